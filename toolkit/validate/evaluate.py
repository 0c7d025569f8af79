"""Metrics of one artifact on labelled films."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from toolkit.core.bundle import Artifact, Bundle
from toolkit.core.evaluation import Evaluation, OutsideBand
from toolkit.core.metrics import ONE_CLASS, Confusion, LabelArray, roc_auc
from toolkit.core.operating import OperatingPoint
from toolkit.core.progress import track
from toolkit.data.films import Films
from toolkit.imaging.decode import Pixels
from toolkit.infer.predictor import open_session
from toolkit.infer.runtimes import Session
from toolkit.infer.stream import ahead
from toolkit.validate.intervals import auc_interval, wilson

BATCH = 8


def judge(artifact: str, films: Films, logits: NDArray[np.float32], point: OperatingPoint, synthetic: bool) -> Evaluation:
    """All promised metrics of `logits` `[N]` on the films' labels, at the operating point; the rates also at a probability of .5."""
    probabilities = point.probability(logits)
    table = Confusion.of(films.labels, probabilities >= point.threshold)
    rates, reason = table.rates()
    area = roc_auc(films.labels, probabilities)
    intervals = {
        "accuracy": wilson(table.tp + table.tn, table.n),
        "recall": wilson(table.tp, table.positives),
        "specificity": wilson(table.tn, table.negatives),
        "roc_auc": auc_interval(films.labels, probabilities),
    }
    if area is None:
        reason["roc_auc"] = ONE_CLASS
    elif intervals["roc_auc"] is None:
        reason["ci95.roc_auc"] = "the classes are fully apart, or one has a single film: DeLong's variance says nothing"
    return Evaluation(
        artifact=artifact,
        n=table.n,
        threshold=point.threshold,
        confusion=table,
        roc_auc=area,
        ci95=intervals,
        reason=reason,
        synthetic=synthetic,
        unusable=dict(films.unusable),
        at_half=Confusion.of(films.labels, logits >= 0).rates()[0],
        outside_band=outside_band(point, films.labels, probabilities),
        **rates,
    )


def outside_band(point: OperatingPoint, labels: LabelArray, probabilities: NDArray[np.float64]) -> OutsideBand | None:
    """What the point's band does to films with `labels` 0 or 1 `[N]` and `probabilities` `[N]`; None when it has none."""
    if point.band is None:
        return None
    unsure = (probabilities >= point.band.low) & (probabilities < point.band.high)
    sick, called = labels == 1, probabilities >= point.threshold
    wrong = called != sick
    return OutsideBand(
        unsure=int(unsure.sum()),
        wrong_unsure=int((unsure & wrong).sum()),
        missed=int((~unsure & wrong & sick).sum()),
        false_alarms=int((~unsure & wrong & ~sick).sum()),
    )


def artifact_logits(bundle: Bundle, artifact: Artifact, images: Pixels) -> NDArray[np.float32]:
    """Logits `[N]` of an artifact, through the clinic's runtime, digests verified first."""
    return session_logits(open_session(bundle, artifact, threads=1), images, artifact.name)


def session_logits(session: Session, images: Pixels, label: str) -> NDArray[np.float32]:
    """uint8 `[N, 1, H, W]` -> logits float32 `[N]`, in small batches on all cores: a session of one thread is asked by several."""
    starts = range(0, len(images), BATCH)
    parts = ahead(starts, lambda start: session.logits(images[start : start + BATCH]))
    return np.concatenate([np.empty(0, np.float32), *track(parts, len(starts), f"score {label}")])
