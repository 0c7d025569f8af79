"""The light models on an NVIDIA GPU: torch eager and compiled, ONNX Runtime's CUDA provider, the engines that a bundle holds.

    python -m benchmarks.gpu NAME CHEST_XRAY NETWORK=RUN [NETWORK=RUN ...]

NETWORK is `dense` or `pruned`, RUN the folder in which it was compressed; its bundle holds the engines that `cxr-edge export --on-device`
built. From a film as uint8 in the processor's memory to its logit there: p50 of one film at a time, and films per second at the best of
BATCHES; what each form misses on the films of CHEST_XRAY against the dense network's reference scores. Prints, and keeps in
docs/results/gpu-NAME.json. A form that cannot run here has a row that says why.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from toolkit.benchmark.compare import calls_in_turns
from toolkit.benchmark.timer import percentile, time_calls
from toolkit.cli.options import number, table
from toolkit.core.bundle import Artifact, Bundle
from toolkit.core.codec import Frozen, encode_json
from toolkit.core.files import write_atomically
from toolkit.core.metrics import roc_auc
from toolkit.core.operating import OperatingPoint
from toolkit.core.recipe import ValidateSpec
from toolkit.data.films import Films, prepare_films
from toolkit.data.sources import read_source
from toolkit.data.splits import labelled_films
from toolkit.errors import CxrEdgeError
from toolkit.imaging.decode import Pixels
from toolkit.infer.machine import why_not
from toolkit.infer.runtimes import runtime
from toolkit.train.checkpoint import load_checkpoint
from toolkit.train.module import to_network
from toolkit.validate import drift

BATCHES = (1, 16, 256)
ROUNDS, RUNS, BATCH_RUNS = 5, 250, 20
STAGES = {"dense": "train", "pruned": "prune"}
FLOAT = {"fp32": "onnxruntime-fp32", "fp16": "tensorrt-fp16"}  # whose threshold a float graph is used at
FOLDER = Path(__file__).parent.parent / "docs" / "results"
HEAD = ("network", "form", "p50 ms", "p99 ms", "films/s", "at batch", "largest logit error", "AUC", "recall", "recall loss pt", "verdict")
Logits = NDArray[np.float32]
Answer = Callable[[Pixels], Logits]


class Row(Frozen, frozen=True, kw_only=True):
    """One form of one network. Nulls: it did not run, `reason` says why."""

    network: str
    form: str
    p50_ms: float | None = None
    p99_ms: float | None = None
    films_per_s: float | None = None
    batch: int | None = None
    largest_logit_error: float | None = None
    roc_auc: float | None = None
    recall: float | None = None
    recall_loss_pt: float | None = None
    lost_positives: int | None = None
    gained_positives: int | None = None
    verdict: str = "not measured"
    reason: str = ""


class Table(Frozen, frozen=True, kw_only=True):
    """One model on one GPU."""

    name: str
    gpu: str
    versions: dict[str, str]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Form:
    """One way to run one network; `answer` takes uint8 `[N, 1, H, W]`."""

    name: str
    answer: Answer
    point: OperatingPoint


def measure(run: Path, network: str, films: Films, device: str) -> list[Row]:
    """All rows of one network."""
    bundle, spec = Bundle(run / "bundle"), ValidateSpec()
    reference, films = drift.read_reference(bundle, films)
    forms: list[Form] = []
    rows: list[Row] = []
    for name, make in _ways(run, bundle, network, device):
        try:
            form = make()
            form.answer(films.images[:1])
        except Exception as error:  # a runtime that refuses is a row of the table
            rows.append(Row(network=network, form=name, reason=_sentence(error, bundle)))
        else:
            forms.append(form)
    exact = _in_parts(_on_processor(bundle), films.images)
    times = calls_in_turns({form.name: partial(form.answer, films.images[:1]) for form in forms}, RUNS, ROUNDS, 0.2)
    for form in forms:
        logits = _in_parts(form.answer, films.images)
        judged = drift.compare(reference, drift.Scores.of(form.name, logits, form.point), films, spec)
        speed, batch = _best_batch(form.answer, films.images)
        rows.append(
            Row(
                network=network,
                form=form.name,
                p50_ms=float(np.median(times[form.name])),
                p99_ms=percentile(times[form.name].ravel(), 99),
                films_per_s=speed,
                batch=batch,
                largest_logit_error=float(np.abs(logits - exact).max()),
                roc_auc=roc_auc(films.labels, form.point.probability(logits)),
                recall=judged.recall,
                recall_loss_pt=judged.recall_loss_pt,
                lost_positives=judged.lost_positives,
                gained_positives=judged.gained_positives,
                verdict=judged.verdict,
            )
        )
    return rows


def _sentence(error: Exception, bundle: Bundle) -> str:
    return " ".join(str(error).replace(f"{bundle.folder}/", "").split())


def _ways(run: Path, bundle: Bundle, network: str, device: str) -> Iterator[tuple[str, Callable[[], Form]]]:
    """Names of all forms, and what makes each or raises."""
    yield "torch, eager", partial(_in_torch, run / STAGES[network], bundle, device, "torch, eager")
    yield "torch, compiled", partial(_in_torch, run / STAGES[network], bundle, device, "torch, compiled")
    for precision in FLOAT:
        name = f"onnxruntime CUDA, {precision}"
        yield name, partial(_in_onnxruntime, bundle, precision, name)
    for artifact in bundle.manifest.artifacts:
        if artifact.target.needs_engine:
            yield artifact.name, partial(_in_engine, bundle, artifact)


def _in_torch(folder: Path, bundle: Bundle, device: str, name: str) -> Form:
    checkpoint, network = load_checkpoint(folder)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def whole(images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = network(to_network(images.float(), checkpoint.preprocessing))
        return found

    run = torch.compile(whole, mode="reduce-overhead") if name.endswith("compiled") else whole

    def answer(images: Pixels) -> Logits:
        with torch.inference_mode():
            found: Logits = run(torch.from_numpy(images).to(device)).cpu().numpy()
            return found

    return Form(name, answer, bundle.artifact(FLOAT["fp32"]).operating)


def _in_onnxruntime(bundle: Bundle, precision: str, name: str) -> Form:
    import onnxruntime

    artifact = bundle.artifact(FLOAT[precision])
    graph = next(path for path in bundle.paths(artifact) if path.suffix == ".onnx")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise RuntimeError("this onnxruntime has no CUDA provider: pip install onnxruntime-gpu")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CUDAExecutionProvider"])
    if session.get_providers()[0] != "CUDAExecutionProvider":
        raise RuntimeError("ONNX Runtime fell back to the processor: its CUDA provider does not load here")
    return Form(name, lambda images: np.asarray(session.run(["logit"], {"image": images})[0], np.float32), artifact.operating)


def _in_engine(bundle: Bundle, artifact: Artifact) -> Form:
    reason = why_not(artifact.target)
    if reason:
        raise RuntimeError(reason)
    session = runtime(artifact.target.backend).load(bundle.paths(artifact), None, artifact.target)
    return Form(artifact.name, session.logits, artifact.operating)


def _on_processor(bundle: Bundle) -> Answer:
    artifact = bundle.artifact(FLOAT["fp32"])
    return runtime("onnxruntime").load(bundle.paths(artifact), None, artifact.target).logits


def _in_parts(answer: Answer, images: Pixels) -> Logits:
    """In parts of one size, which a compiled form was made for; the last is filled up with the first films."""
    size = BATCHES[1]
    whole = np.concatenate([images, images[: -len(images) % size]])
    return np.concatenate([answer(whole[start : start + size]) for start in range(0, len(whole), size)])[: len(images)]


def _best_batch(answer: Answer, images: Pixels) -> tuple[float, int]:
    """Films per second, and the batch that brings the most."""
    speeds = []
    for batch in BATCHES:
        films = np.resize(images, (batch, *images.shape[1:]))
        speeds.append((1000 * batch / float(np.median(time_calls(partial(answer, films), BATCH_RUNS, 5))), batch))
    return max(speeds)


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table, under HEAD."""
    if row.p50_ms is None:
        return (row.network, row.form, *["-"] * 8, f"not measured: {row.reason}")
    return (
        *(row.network, row.form, number(row.p50_ms), number(row.p99_ms), f"{row.films_per_s:.0f}", str(row.batch)),
        *(f"{row.largest_logit_error:.4f}", number(row.roc_auc), number(row.recall)),
        f"{row.recall_loss_pt:.2f} ({row.lost_positives} lost, {row.gained_positives} gained)",
        row.verdict,
    )


def _versions() -> dict[str, str]:
    import onnxruntime

    found = {"torch": str(torch.__version__), "onnxruntime": onnxruntime.__version__}
    try:
        import tensorrt_rtx
    except ImportError:
        return found
    return {**found, "tensorrt-rtx": tensorrt_rtx.__version__}


def main() -> None:
    """What the command line says."""
    name, data, *runs = sys.argv[1:]
    if not torch.cuda.is_available():
        sys.exit("torch finds no NVIDIA GPU here; run this where one is.")
    rows: list[Row] = []
    try:
        for network, run in (pair.split("=", 1) for pair in runs):
            bundle = Bundle(Path(run) / "bundle")
            source = read_source(Path(data), bundle.manifest.labels)
            films = prepare_films(source, labelled_films(source), bundle.manifest.preprocessing, "read films")
            rows += measure(Path(run), network, films, "cuda")
    except CxrEdgeError as error:
        sys.exit(f"Error: {error}")
    found = Table(name=name, gpu=torch.cuda.get_device_name(), versions=_versions(), rows=tuple(rows))
    write_atomically(FOLDER / f"gpu-{name}.json", encode_json(found))
    print(table(HEAD, [cells(row) for row in rows]))


if __name__ == "__main__":
    main()
