"""Every artifact of a model, dense and pruned, beside the usual routes: all in one run, in turns, and OpenVINO's own tool beside ours.

    python -m benchmarks.artifacts RECIPE DENSE PRUNED CHEST_XRAY [KEY=VALUE ...]

DENSE is a run in which RECIPE was trained, PRUNED one in which it was pruned too, both with these KEY=VALUE; every artifact that there is
is made, judged and sealed in both, or kept where that was done. Recommended (*) is what a bundle of those that RECIPE itself exports
would recommend.
The usual routes: the dense network as torch exports it, three float channels scaled outside, then `quantize_static` with its
defaults in ONNX Runtime, and `nncf.quantize` with its defaults in OpenVINO. Two threads, one film at a time. OpenVINO's `benchmark_app` and
our `benchmark` have a process each, which work a tenth of a second in turns (`benchmarks.latency_checks`). Prints, and keeps in
docs/results/artifacts-NAME.json, bytes, milliseconds, and what each misses of the official test films against the dense network in torch.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.latency_checks import beside_other
from toolkit.benchmark.compare import calls_in_turns
from toolkit.benchmark.host import describe_host
from toolkit.benchmark.timer import percentile
from toolkit.cli.options import number, table
from toolkit.core import operating
from toolkit.core.bundle import Artifact, Bundle
from toolkit.core.codec import Frozen, encode_json
from toolkit.core.drift import DriftRow
from toolkit.core.files import write_atomically
from toolkit.core.metrics import roc_auc
from toolkit.core.privacy import refuse_telemetry
from toolkit.core.recipe import read_recipe
from toolkit.core.target import ArtifactName
from toolkit.errors import CxrEdgeError
from toolkit.imaging.decode import Pixels
from toolkit.infer import machine
from toolkit.infer.runtimes import runtime
from toolkit.pipeline import Run, run_stages
from toolkit.quantize.calibration import calibration_images
from toolkit.seal import seal
from toolkit.stages import fastest_first, holdout_of, read_results
from toolkit.train.checkpoint import load_checkpoint
from toolkit.train.module import to_network
from toolkit.train.score import score
from toolkit.validate import drift

THREADS, ROUNDS, RUNS, PAUSE_S = 2, 15, 70, 0.2  # short turns, so that a slow spell of the machine meets all alike
PAIRS, PAIR_S = 5, 3.0  # shorter, and one would have ended while the other still begins
AS_TRAINED = ("prune.method=none", "prune.target=null", "prune.scope=global")
FOLDER = Path(__file__).parent.parent / "docs" / "results"
HEAD = ("network", "artifact", "MB", "p50 ms", "p99 ms", "benchmark_app / ours", "AUC", "recall", "recall loss pt", "verdict")
GAINS = ("recommended", "against", "times faster", "times smaller", "recall loss pt", "of the usual route")
USUAL = "dense, usual route"
USUAL_ORT, USUAL_OPENVINO = "onnxruntime, quantize_static", "openvino, nncf.quantize"
Logits = NDArray[np.float32]


class Row(Frozen, frozen=True, kw_only=True):
    """One artifact; losses against the dense network in torch. Nulls: not measured, `reason` says why."""

    network: str
    artifact: str
    bytes: int
    recommended: bool = False
    p50_ms: float | None = None
    p99_ms: float | None = None
    benchmark_app_p50_ms: float | None = None
    beside_it_p50_ms: float | None = None
    recall: float | None = None
    roc_auc: float | None = None
    recall_loss_pt: float | None = None
    lost_positives: int | None = None
    gained_positives: int | None = None
    verdict: str = "not measured"
    reason: str = ""


class Table(Frozen, frozen=True, kw_only=True):
    """One model of one seed. The rows of the usual routes come after those of our artifacts."""

    recipe: str
    seed: int
    processor: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Form:
    """One way to run one network. `score` takes uint8 `[N, 1, H, W]`; `call` is one film, prepared before. `sealed`: where it is ours."""

    network: str
    artifact: str
    files: tuple[Path, ...]
    call: Callable[[], object]
    score: Callable[[Pixels], Logits]
    recommended: bool = False
    sealed: tuple[Bundle, Artifact] | None = None


def measure(dense: Run, pruned: Run, own: Collection[str]) -> Table:
    """All rows; `own`: the artifacts of which one is recommended."""
    film = pruned.films("test").images[:1]
    with tempfile.TemporaryDirectory() as folder:
        forms = [*_forms(dense, "dense", film, own), *_forms(pruned, "pruned", film, own), *_usual(dense, film, Path(folder))]
        times = calls_in_turns({f"{form.network} {form.artifact}": form.call for form in forms}, RUNS, ROUNDS, PAUSE_S)
        judged = _drift(dense, forms)
        rows = [_row(form, times[f"{form.network} {form.artifact}"], judged[form.network, form.artifact]) for form in forms]
    rows += [*_not_measured(dense, "dense"), *_not_measured(pruned, "pruned")]
    recipe = pruned.recipe
    return Table(recipe=recipe.name, seed=recipe.seed, processor=describe_host().processor, rows=tuple(rows))


def _forms(run: Run, network: str, film: Pixels, own: Collection[str]) -> list[Form]:
    bundle = Bundle(run.out / "bundle")
    best = _recommended(run, own)
    forms = []
    for artifact in bundle.manifest.artifacts:
        if machine.why_not_timed(artifact.target) is None:
            session = runtime(artifact.target.backend).load(bundle.paths(artifact), THREADS, artifact.target)
            call = lambda session=session: session.logits(film)  # noqa: E731
            sealed, score_all = (bundle, artifact), _in_batches(session.logits)
            forms.append(Form(network, artifact.name, bundle.paths(artifact), call, score_all, artifact.name == best, sealed))
    return forms


def _recommended(run: Run, own: Collection[str]) -> str | None:
    """What the bundle would recommend here if it held nothing but `own`."""
    *_, drifted, latency = read_results(run)
    rows = tuple(row for row in latency.rows if row.artifact in own)
    names = fastest_first(drifted, msgspec.structs.replace(latency, rows=rows))[machine.family()]
    return names[0] if names else None


def _not_measured(run: Run, network: str) -> list[Row]:
    manifest = Bundle(run.out / "bundle").manifest
    sizes = {artifact.name: artifact.bytes for artifact in manifest.artifacts}
    left_out = {name: reason for name, reason in manifest.left_out.items() if name not in sizes}
    reasons = {**manifest.unmeasured, **left_out}
    return [Row(network=network, artifact=name, bytes=sizes.get(name, 0), reason=reason) for name, reason in reasons.items()]


def _usual(run: Run, film: Pixels, folder: Path) -> list[Form]:
    """As the documentation of torch, ONNX Runtime and NNCF shows it."""
    import nncf
    import onnxruntime
    import openvino
    import torch
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    refuse_telemetry()
    checkpoint, network = load_checkpoint(run.folder("train"))
    preprocessing, edge = checkpoint.preprocessing, checkpoint.preprocessing.size_px

    def prepare(images: Pixels) -> NDArray[np.float32]:
        return np.ascontiguousarray(to_network(torch.from_numpy(images).float(), preprocessing).numpy())

    films = [prepare(one[None]) for one in calibration_images(run.films("train"), run.recipe.quantize.calibration_films, run.recipe.seed)]
    plain, rounded, ir = folder / "plain.onnx", folder / "rounded.onnx", folder / "rounded.xml"
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(
            network.eval(),
            (torch.zeros(1, 3, edge, edge),),
            plain,
            input_names=["image"],
            output_names=["logit"],
            external_data=False,
            verbose=False,
        )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.films = iter(films)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            film = next(self.films, None)
            return None if film is None else {"image": film}

    quantize_static(str(plain), str(rounded), Reader())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(str(rounded), options, providers=["CPUExecutionProvider"])
    nncf_model = nncf.quantize(openvino.Core().read_model(str(plain)), nncf.Dataset([{"image": one} for one in films]))
    openvino.save_model(nncf_model, str(ir))
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": THREADS, "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(str(ir), "CPU", settings).create_infer_request()
    runners: dict[str, tuple[tuple[Path, ...], Callable[[NDArray[np.float32]], Logits]]] = {
        USUAL_ORT: ((rounded,), lambda given: np.array(session.run(["logit"], {"image": given})[0])),
        USUAL_OPENVINO: ((ir, ir.with_suffix(".bin")), lambda given: np.array(request.infer({0: given})[0])),
    }
    ready = prepare(film)
    return [
        Form(
            USUAL,
            name,
            files,
            lambda run=run: run(ready),  # type: ignore[misc]
            lambda images, run=run: np.concatenate([run(prepare(one[None])).reshape(1) for one in images]),  # type: ignore[misc]
        )
        for name, (files, run) in runners.items()
    ]


def _in_batches(logits: Callable[[Pixels], Logits]) -> Callable[[Pixels], Logits]:
    return lambda images: np.concatenate([logits(images[start : start + 8]) for start in range(0, len(images), 8)])


def _drift(run: Run, forms: Sequence[Form]) -> Mapping[tuple[str, str], tuple[DriftRow, float]]:
    """Each form against the dense network in torch on the test films, each at the threshold that held-out patients gave it."""
    holdout, test = holdout_of(run), run.films("test")
    checkpoint, network = load_checkpoint(run.folder("train"))
    reference = drift.Scores.of("dense (torch)", score(network, test.images, checkpoint.preprocessing), checkpoint.operating)
    found = {}
    for form in forms:
        point = operating.choose(holdout.labels, form.score(holdout.images), run.recipe.train.target_recall)
        scores = drift.Scores.of(form.artifact, form.score(test.images), point)
        row = drift.compare(reference, scores, test, run.recipe.validate)
        found[form.network, form.artifact] = row, roc_auc(test.labels, scores.probability) or 0.0
    return found


def _row(form: Form, times: NDArray[np.float64], judged: tuple[DriftRow, float]) -> Row:
    drifted, area = judged
    p50_ms = float(np.median(times))
    theirs, ours = _beside_benchmark_app(*form.sealed, p50_ms) if form.sealed and form.artifact.startswith("openvino-") else (None, None)
    return Row(
        network=form.network,
        artifact=form.artifact,
        bytes=sum(file.stat().st_size for file in form.files),
        recommended=form.recommended,
        p50_ms=p50_ms,
        p99_ms=percentile(times.ravel(), 99),
        benchmark_app_p50_ms=theirs,
        beside_it_p50_ms=ours,
        recall=drifted.recall,
        roc_auc=area,
        recall_loss_pt=drifted.recall_loss_pt,
        lost_positives=drifted.lost_positives,
        gained_positives=drifted.gained_positives,
        verdict=drifted.verdict,
    )


def _beside_benchmark_app(bundle: Bundle, artifact: Artifact, p50_ms: float) -> tuple[float, float]:
    """Medians of one film, milliseconds, by OpenVINO's own tool and by ours: of PAIRS pairs the one whose ratio is the median."""
    pairs = [beside_other(bundle, artifact, THREADS, round(1000 * PAIR_S / p50_ms)) for _ in range(PAIRS)]
    return sorted(pairs, key=lambda pair: pair[0] / pair[1])[PAIRS // 2]


def gains(found: Table) -> list[tuple[str, ...]]:
    """What the recommended artifact of the pruned network is worth against each usual route, under GAINS."""
    best = next(row for row in found.rows if row.network == "pruned" and row.recommended)
    rows = []
    for usual in (row for row in found.rows if row.network == USUAL):
        assert usual.p50_ms is not None  # it was timed
        assert best.p50_ms is not None
        figures = (f"{usual.p50_ms / best.p50_ms:.1f}", f"{usual.bytes / best.bytes:.1f}")
        rows.append((best.artifact, usual.artifact, *figures, number(best.recall_loss_pt, 2), number(usual.recall_loss_pt, 2)))
    return rows


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table, under HEAD."""
    lost = "-" if row.recall_loss_pt is None else f"{row.recall_loss_pt:.2f} ({row.lost_positives} lost, {row.gained_positives} gained)"
    return (
        row.network,
        f"{row.artifact}{' *' if row.recommended else ''}",
        f"{row.bytes / 1e6:.2f}" if row.bytes else "-",
        number(row.p50_ms),
        number(row.p99_ms),
        "-" if row.benchmark_app_p50_ms is None else f"{row.benchmark_app_p50_ms:.2f} / {row.beside_it_p50_ms:.2f}",
        number(row.roc_auc),
        number(row.recall),
        lost,
        row.verdict if row.recall is not None else f"not measured: {row.reason}",
    )


def main() -> None:
    """What the command line says."""
    path, dense, pruned, data, *overrides = sys.argv[1:]
    every = f"export.artifacts=[{', '.join(get_args(ArtifactName))}]"
    try:
        runs = []
        for out, more in ((dense, AS_TRAINED), (pruned, ())):
            run = Run(read_recipe(Path(path), (*overrides, *more, every)), Path(data), Path(out))
            run_stages(run, "prune", "benchmark")
            seal(run)
            runs.append(run)
        found = measure(*runs, read_recipe(Path(path), overrides).export.artifacts)
    except CxrEdgeError as error:
        sys.exit(f"Error: {error}")
    write_atomically(FOLDER / f"artifacts-{found.recipe}.json", encode_json(found))
    print(table(HEAD, [cells(row) for row in found.rows]), table(GAINS, gains(found)), sep="\n\n")


if __name__ == "__main__":
    main()
