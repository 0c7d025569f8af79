"""ROC and precision-recall curves, and two-dimensional pictures of features; scikit-learn computes them."""

from __future__ import annotations

import numpy as np

from toolkit.core.metrics import Curves, FloatArray, LabelArray
from toolkit.errors import MissingDependencyError

MIN_FILMS = 5
SEED = 0


def curves(labels: LabelArray, scores: FloatArray) -> Curves:
    """`labels` 0 or 1 and `scores` `[N]`, both classes present."""
    try:
        from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve
    except ImportError as cause:
        raise MissingDependencyError("scikit-learn", "workshop", "Drawing curves") from cause
    false_positive, recall, _ = roc_curve(labels, scores)
    precision, recalled, _ = precision_recall_curve(labels, scores)
    return Curves(np.stack([false_positive, recall], 1), np.stack([recalled, precision], 1), float(average_precision_score(labels, scores)))


def embed(values: FloatArray) -> dict[str, FloatArray]:
    """`[N, F]` -> {'PCA': `[N, 2]`, 't-SNE': `[N, 2]`}, each feature brought to unit spread first; drawn with a fixed seed."""
    try:
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE
        from sklearn.preprocessing import StandardScaler
    except ImportError as cause:
        raise MissingDependencyError("scikit-learn", "workshop", "Drawing features") from cause
    level = StandardScaler().fit_transform(np.asarray(values, np.float64))
    if not level.any():  # every film looks the same
        return {"PCA": np.zeros((len(level), 2)), "t-SNE": np.zeros((len(level), 2))}
    few = PCA(min(50, *level.shape), random_state=SEED).fit_transform(level)
    if few.shape[1] == 1:
        few = np.concatenate([few, np.zeros_like(few)], 1)
    perplexity = min(30.0, (len(few) - 1) / 3)
    return {"PCA": few[:, :2], "t-SNE": TSNE(2, perplexity=perplexity, init="pca", random_state=SEED).fit_transform(few)}
