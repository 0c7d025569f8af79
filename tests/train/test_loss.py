"""The loss of a batch against hand arithmetic."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from toolkit.core.recipe import DistillSpec, TrainSpec
from toolkit.train.loss import classification_loss, distillation_loss

LOGITS = (2.0, -1.0, 0.5, -3.0)
LABELS = (1.0, 1.0, 0.0, 0.0)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def cross_entropy(logit: float, target: float) -> float:
    return -target * math.log(sigmoid(logit)) - (1 - target) * math.log(1 - sigmoid(logit))


def loss(weights: tuple[float, float] = (1.0, 1.0), **fields: float) -> float:
    spec = TrainSpec(model="", epochs=1, **fields)  # type: ignore[arg-type]
    return classification_loss(torch.tensor(LOGITS), torch.tensor(LABELS), weights, spec).item()


def test_plain_loss_is_torchs_mean_cross_entropy() -> None:
    expected = binary_cross_entropy_with_logits(torch.tensor(LOGITS), torch.tensor(LABELS)).item()
    assert loss() == pytest.approx(expected, rel=1e-6)
    assert loss() == pytest.approx(sum(map(cross_entropy, LOGITS, LABELS)) / 4, rel=1e-6)


def test_a_class_weight_multiplies_the_films_of_its_class() -> None:
    parts = [cross_entropy(logit, label) for logit, label in zip(LOGITS, LABELS, strict=True)]
    expected = (0.67 * (parts[0] + parts[1]) + 1.94 * (parts[2] + parts[3])) / 4
    assert loss(weights=(1.94, 0.67)) == pytest.approx(expected, rel=1e-6)


def test_label_smoothing_moves_both_targets_by_half_of_it() -> None:
    targets = (0.9, 0.9, 0.1, 0.1)
    assert loss(label_smoothing=0.2) == pytest.approx(sum(map(cross_entropy, LOGITS, targets)) / 4, rel=1e-6)


def test_smoothed_labels_keep_the_weight_of_their_class() -> None:
    parts = [cross_entropy(logit, target) for logit, target in zip(LOGITS, (0.6, 0.6, 0.4, 0.4), strict=True)]
    expected = (3 * (parts[0] + parts[1]) + 2 * (parts[2] + parts[3])) / 4
    assert loss(weights=(2.0, 3.0), label_smoothing=0.8) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_weighs_by_the_doubt_in_the_truth(gamma: float) -> None:
    truths = [sigmoid(2.0), sigmoid(-1.0), 1 - sigmoid(0.5), 1 - sigmoid(-3.0)]
    expected = sum(-((1 - p) ** gamma) * math.log(p) for p in truths) / 4
    assert loss(focal_gamma=gamma) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_of_a_certain_film_has_a_finite_gradient(gamma: float) -> None:
    logits = torch.tensor([200.0, -200.0, 200.0], requires_grad=True)
    spec = TrainSpec(model="", epochs=1, focal_gamma=gamma)
    classification_loss(logits, torch.tensor([1.0, 0.0, 0.0]), (1.0, 1.0), spec).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.tolist() == pytest.approx([0, 0, 1 / 3])


def test_the_gradient_of_the_focal_loss_is_that_of_its_formula() -> None:
    logit = torch.tensor([0.7], requires_grad=True)
    spec = TrainSpec(model="", epochs=1, focal_gamma=2.0)
    classification_loss(logit, torch.tensor([1.0]), (1.0, 1.0), spec).backward()  # type: ignore[no-untyped-call]
    step = 1e-5
    above, below = (-((1 - sigmoid(x)) ** 2) * math.log(sigmoid(x)) for x in (0.7 + step, 0.7 - step))
    assert logit.grad is not None
    assert logit.grad.item() == pytest.approx((above - below) / (2 * step), rel=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_is_cross_entropy_against_softened_probabilities_times_temperature_squared(temperature: float) -> None:
    teacher = (3.0, -2.0, 0.0, 1.0)
    expected = sum(cross_entropy(s / temperature, sigmoid(t / temperature)) for s, t in zip(LOGITS, teacher, strict=True)) / 4
    spec = DistillSpec(teacher="", temperature=temperature)
    found = distillation_loss(torch.tensor(LOGITS), torch.tensor(teacher), spec).item()
    assert found == pytest.approx(expected * temperature**2, rel=1e-6)


def test_distillation_pulls_to_the_teachers_logit_and_rests_there() -> None:
    student = torch.tensor([0.0, 1.5], requires_grad=True)
    distillation_loss(student, torch.tensor([1.0, 1.5]), DistillSpec(teacher="")).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert student.grad[0] < -0.01
    assert student.grad[1] == 0
