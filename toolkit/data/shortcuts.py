"""Short cuts of a data set: how far trivial statistics of a picture, which no reader would call a finding, tell its classes apart.

In Kermany's train films they tell them apart well (normals were larger pictures, with other borders and contrast), in the official test
films less so. Films that contradict the short cut are the ones that show whether a network has learnt more than that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from toolkit.data.duplicates import patient_families
from toolkit.data.films import Films
from toolkit.errors import DataError, MissingDependencyError
from toolkit.imaging.decode import Pixels

Statistics = NDArray[np.float64]
PERCENTILES = (1, 10, 50, 90, 99)
BORDER = 16  # the outer sixteenth of the edge
FOLDS = 5


def statistics(images: Pixels) -> Statistics:
    """uint8 `[N, 1, H, W]` -> `[N, 19]`: percentiles, mean and spread of grey, grey of the four borders and corners,
    sharpness (mean absolute difference of neighbours, two directions, at full and at half size)."""
    rows = [_of_one(image[0]) for image in images]
    return np.array(rows)


def contradiction(films: Films, seed: int) -> NDArray[np.float64]:
    """How much a film's statistics speak against its label: 1 - probability of the truth, `[N]`, from a logistic regression on the
    statistics of other patients (five folds by patient). Raises DataError when a class has fewer than five patients."""
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as cause:
        raise MissingDependencyError("scikit-learn", "workshop", "data.holdout_rule 'conflict'") from cause
    family = patient_families(films.cases)
    if min(len({family[case.patient] for case in films.cases if case.label == label}) for label in (0, 1)) < FOLDS:
        raise DataError(f"data.holdout_rule 'conflict' needs {FOLDS} patients of each class in train; choose another rule.")
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))
    groups = [family[case.patient] for case in films.cases]
    found = cross_val_predict(model, statistics(films.images), films.labels, groups=groups, cv=folds, method="predict_proba")
    return np.asarray(1 - found[np.arange(len(films)), films.labels])


def _of_one(image: Pixels) -> list[float]:
    grey = image.astype(np.float64)
    edge = max(1, len(grey) // BORDER)
    borders = [grey[:edge], grey[-edge:], grey[:, :edge], grey[:, -edge:]]
    corners = [grey[:edge, :edge], grey[:edge, -edge:], grey[-edge:, :edge], grey[-edge:, -edge:]]
    half = (grey[:-1:2, :-1:2] + grey[1::2, :-1:2] + grey[:-1:2, 1::2] + grey[1::2, 1::2]) / 4
    sharpness = [float(np.abs(np.diff(picture, axis=axis)).mean()) for picture in (grey, half) for axis in (0, 1)]
    tones = [float(value) for value in np.percentile(grey, PERCENTILES)]
    return [*tones, float(grey.mean()), float(grey.std()), *(float(part.mean()) for part in (*borders, *corners)), *sharpness]
