"""The loss of a batch: weighted, smoothed or focal binary cross-entropy, with a teacher's opinion where there is one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from toolkit.core.recipe import DistillSpec, TrainSpec


def classification_loss(logits: Tensor, labels: Tensor, weights: tuple[float, float], spec: TrainSpec) -> Tensor:
    """Mean over the batch. `logits` and `labels` (0 or 1) float32 `[N]`; `weights` of class 0 and 1.

    Label smoothing e turns 1 into 1 - e/2 and 0 into e/2; focal gamma weighs a film by (1 - p of the truth)^gamma.
    """
    negative, positive = weights
    weight = torch.where(labels > 0.5, positive, negative)
    if spec.focal_gamma:
        doubt = logsigmoid(torch.where(labels > 0.5, -logits, logits))  # its logarithm: the gradient stays finite where it is 0
        weight = weight * torch.exp(spec.focal_gamma * doubt)
    smoothed = labels * (1 - spec.label_smoothing) + spec.label_smoothing / 2
    return (weight * binary_cross_entropy_with_logits(logits, smoothed, reduction="none")).mean()  # torch's own `weight` takes no gradient


def distillation_loss(logits: Tensor, teacher: Tensor, spec: DistillSpec) -> Tensor:
    """Cross-entropy against the teacher's softened probabilities, times temperature squared (Hinton et al. 2015)."""
    soft = torch.sigmoid(teacher / spec.temperature)
    return binary_cross_entropy_with_logits(logits / spec.temperature, soft) * spec.temperature**2
