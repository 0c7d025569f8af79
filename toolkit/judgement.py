"""What the stage 'validate' does: the dense network and every artifact on the test films, and what lies between them. Wiring only. Needs
the workshop.

    RUN/validate/   dense.json, evaluations.json, drift.json, reference_scores.csv, reference_corruptions.csv; flips.json with a picture
                    of each
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from torch import nn

from toolkit.core.artifacts import Checkpoint
from toolkit.core.bundle import REFERENCE_SCORES, Bundle
from toolkit.core.codec import encode_json
from toolkit.core.drift import DriftRow, Flip, FlipPicture, Robustness
from toolkit.core.evaluation import Evaluation
from toolkit.core.files import write_atomically
from toolkit.core.operating import OperatingPoint
from toolkit.data.films import Films
from toolkit.data.groups import by_look, by_name, looks_of
from toolkit.errors import ParityError
from toolkit.infer.predictor import open_session
from toolkit.infer.runtimes import Session, runtime
from toolkit.pipeline import Run
from toolkit.quantize.lower import lower
from toolkit.report import drift_plots
from toolkit.train.checkpoint import load_checkpoint
from toolkit.train.score import score
from toolkit.validate import drift, parity, robustness
from toolkit.validate.evaluate import judge, session_logits
from toolkit.validate.scores import Scores, copies, write_scores

DENSE, EVALUATIONS, DRIFT, FLIPS = "dense.json", "evaluations.json", "drift.json", "flips.json"
DENSE_NAME = "dense"
Model = tuple[Session, OperatingPoint]
SHOWN = 6  # flips of an artifact that the page shows as pictures


def validate(run: Run) -> None:
    """Judge the dense network and every artifact that runs here on the test films, and hold each artifact against the dense one."""
    folder, films, spec = run.folder("validate"), run.films("test"), run.recipe.validate
    dense, network = load_checkpoint(run.folder("train"))
    logits = score(network, films.images, dense.preprocessing)
    reference = Scores.of(f"{dense.model} dense (torch)", logits, dense.operating).as_written()
    write_atomically(folder / DENSE, encode_json(_evaluation(run, reference.name, films, logits, dense.operating)))
    groups = {**by_name(films.cases), **by_look(looks_of(run.source, films.cases, films.images))}
    sessions = _sessions(Bundle(run.folder("export")))
    rows, evaluations, scored = [], [], []
    for name, (session, point) in sessions.items():
        found = session_logits(session, films.images, name)
        evaluations.append(_evaluation(run, name, films, found, point))
        scored.append(Scores.of(name, found, point))
        rows.append(drift.compare(reference, scored[-1], films, spec, groups))
    write_atomically(folder / EVALUATIONS, encode_json(evaluations))
    write_atomically(folder / REFERENCE_SCORES, write_scores(films, reference, scored))
    report = drift.summarise(reference.name, films, tuple(rows), run.source.synthetic, spec.max_recall_loss_pt)
    graph = _dense_session(run, dense, network)
    robust = _robustness(run, (graph, dense.operating), logits, sessions) if spec.corruption_films else None
    write_atomically(folder / DRIFT, encode_json(msgspec.structs.replace(report, copies=copies(films), robustness=robust)))
    _draw_flips(run, graph, {name: session for name, (session, _) in sessions.items()}, rows)


def _sessions(bundle: Bundle) -> dict[str, Model]:
    """The artifacts that run here."""
    chosen = [artifact for artifact in bundle.manifest.artifacts if artifact.name not in bundle.manifest.unmeasured]
    return {artifact.name: (open_session(bundle, artifact, threads=1), artifact.operating) for artifact in chosen}


def _robustness(run: Run, dense: Model, dense_logits: NDArray[np.float32], sessions: Mapping[str, Model]) -> Robustness:
    """All models on corrupted films; leaves what the dense one says of them, for whoever has no torch.

    The dense network is asked as a graph, which is faster. Raises ParityError when that graph, on the films as they are, disagrees with
    torch's `dense_logits` `[N]` of the test films.
    """
    test = run.films("test")
    rows = robustness.choose(test, run.recipe.validate.corruption_films)
    films, models = test.take(rows), {**sessions, DENSE_NAME: dense}
    answers = {name: robustness.film_by_film(session) for name, (session, _) in models.items()}
    logits = robustness.corrupted_logits(films.images, films, answers)
    _refuse_departure(dense_logits[rows], logits[DENSE_NAME][robustness.CLEAN], run.recipe.export.max_logit_error_fp32)
    scores = {name: {place: Scores.of(name, found, models[name][1]) for place, found in places.items()} for name, places in logits.items()}
    reference = scores.pop(DENSE_NAME)
    text = robustness.write_corruptions(films, {place: found.probability for place, found in reference.items()})
    write_atomically(run.folder("validate") / robustness.REFERENCE_CORRUPTIONS, text)
    return robustness.compare(reference, scores, films)


def _refuse_departure(expected: NDArray[np.float32], found: NDArray[np.float32], limit: float) -> None:
    error = float(parity.relative_errors(expected, found).max())
    if not error <= limit:  # also when it is not a number
        raise ParityError(
            f"The dense network's graph disagrees with torch: largest logit error {error:.3g}, limit {limit:g}; raise "
            "export.max_logit_error_fp32, or leave the corrupted films out with validate.corruption_films=0."
        )


def _evaluation(run: Run, name: str, films: Films, logits: NDArray[np.float32], point: OperatingPoint) -> Evaluation:
    return judge(name, films, logits, point, run.source.synthetic)


def _dense_session(run: Run, dense: Checkpoint, network: nn.Module) -> Session:
    """The dense network as a graph, made as those of the artifacts are, for what needs many answers or its heat maps."""
    with tempfile.TemporaryDirectory(prefix="cxr-edge-") as folder:
        file = Path(folder) / "dense.onnx"
        file.write_bytes(lower(network, dense.preprocessing, run.recipe.export.opset))
        return runtime("onnxruntime").load((file,), threads=1)


def _draw_flips(run: Run, dense: Session, sessions: Mapping[str, Session], rows: Sequence[DriftRow]) -> None:
    """A picture of the gravest flips of each artifact: the film, and where dense network and artifact look."""
    folder, films = run.folder("validate"), run.films("test")
    place = {case.name: row for row, case in enumerate(films.cases)}
    pictures = []
    for row in rows:
        for number, flip in enumerate(sorted(row.flips, key=_gravest_first)[:SHOWN]):
            film = films.images[place[flip.path]]
            maps = {"dense": _heatmap(dense, film), "artifact": _heatmap(sessions[row.artifact], film)}
            name = f"{row.artifact}-{number}.png"
            write_atomically(folder / name, drift_plots.flip(film[0], maps))
            pictures.append(FlipPicture(artifact=row.artifact, path=flip.path, file=name))
    write_atomically(folder / FLIPS, encode_json(pictures))


def _gravest_first(flip: Flip) -> tuple[bool, bool, float]:
    """Lost pneumonias, then gained ones, then healthy films; within each the greatest change."""
    return flip.change != "lost", flip.label != "positive", -abs(flip.score - flip.reference)


def _heatmap(session: Session, film: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """float32 `[h, w]` in [0, 1], of a film uint8 `[1, H, W]`; None where the graph has no such output."""
    outputs = session.outputs(film[None])
    if len(outputs) < 2:
        return None
    values: NDArray[np.float32] = outputs[1][0]
    top = float(values.max())
    return values / top if top > 0 else values
