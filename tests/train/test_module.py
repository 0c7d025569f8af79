"""The network in training clothes: what is augmented, the loss with a teacher, a teacher that does not learn."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.train.test_fit import PREPROCESSING, bright_and_dark, module
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.recipe import AugmentSpec, DistillSpec, OversampleSpec, TrainSpec
from toolkit.models.registry import build
from toolkit.train.module import Classifier, to_network
from toolkit.train.score import score
from toolkit.train.teacher import Teacher

BRIGHTER = AugmentSpec(brightness=0.3)


def batch(count: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    films = bright_and_dark(count)
    copied = torch.arange(count) >= count // 2
    return torch.from_numpy(films.images), torch.from_numpy(films.labels).float(), copied


def changed(spec: TrainSpec, training: bool) -> list[bool]:
    """Which films of the batch come out of the augmentation as others."""
    classifier, (images, labels, copied) = module(spec), batch()
    classifier.train(training)
    new, same_labels, same_copied = classifier.on_after_batch_transfer((images, labels, copied), 0)
    assert new.dtype == torch.float32
    assert torch.equal(same_labels, labels)
    assert torch.equal(same_copied, copied)
    return [not torch.equal(one, other.float()) for one, other in zip(new, images, strict=True)]


def test_copies_alone_are_changed_by_their_own_recipe() -> None:
    spec = TrainSpec(model="szanet", epochs=1, oversample=OversampleSpec(augment=BRIGHTER))
    assert changed(spec, training=True) == [False] * 4 + [True] * 4


def test_all_films_are_changed_by_the_recipe_of_the_training() -> None:
    spec = TrainSpec(model="szanet", epochs=1, augment=BRIGHTER, oversample=OversampleSpec(augment=AugmentSpec()))
    assert changed(spec, training=True) == [True] * 8


def test_heldout_films_are_not_changed() -> None:
    spec = TrainSpec(model="szanet", epochs=1, augment=BRIGHTER, oversample=OversampleSpec(augment=BRIGHTER))
    assert changed(spec, training=False) == [False] * 8


def augmented(seed: int, epoch: int, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Two batches of the same films at the beginning of an epoch."""
    spec = TrainSpec(model="szanet", epochs=1, augment=BRIGHTER)
    classifier = Classifier(build("szanet", PREPROCESSING), spec, PREPROCESSING, seed)
    monkeypatch.setattr(Classifier, "current_epoch", epoch)
    classifier.on_train_epoch_start()
    return [classifier.on_after_batch_transfer(batch(), 0)[0][:4] for _ in range(2)]  # the others are copies


def test_augmentation_follows_from_seed_and_epoch_and_differs_between_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = augmented(1, 0, monkeypatch)
    assert not torch.equal(first, second)
    assert torch.equal(augmented(1, 0, monkeypatch)[0], first)
    assert not torch.equal(augmented(1, 1, monkeypatch)[0], first)
    assert not torch.equal(augmented(2, 0, monkeypatch)[0], first)


def with_teacher(share: float, temperature: float, preprocessing: Preprocessing = PREPROCESSING) -> Classifier:
    spec = TrainSpec(model="szanet", epochs=1, distill=DistillSpec(teacher="", share=share, temperature=temperature))
    classifier = module(spec)
    torch.manual_seed(8)
    classifier.teacher = Teacher(build("szanet", preprocessing), preprocessing)
    classifier.log = lambda *_, **__: None  # type: ignore[method-assign,assignment]
    return classifier.eval()


def cross_entropy(logit: float, target: float) -> float:
    return math.log1p(math.exp(-logit)) * target + math.log1p(math.exp(logit)) * (1 - target)


def step(classifier: Classifier) -> tuple[float, list[float], list[float], list[float]]:
    """The loss of a batch; labels, logits of the student and of the teacher."""
    images, labels, copied = batch()
    images = images.float()
    with torch.no_grad():
        loss = classifier.training_step((images, labels, copied), 0).item()
        assert classifier.teacher is not None
        return loss, labels.tolist(), classifier(images).tolist(), classifier.teacher(images).tolist()


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_share_of_one_is_the_cross_entropy_against_the_teacher_alone(temperature: float) -> None:
    loss, labels, logits, taught = step(with_teacher(1.0, temperature))
    soft = [1 / (1 + math.exp(-t / temperature)) for t in taught]
    expected = temperature**2 * sum(cross_entropy(z / temperature, p) for z, p in zip(logits, soft, strict=True)) / len(labels)
    assert loss == pytest.approx(expected, rel=1e-4)


def test_a_smaller_share_leaves_the_rest_to_the_labels() -> None:
    loss, labels, logits, taught = step(with_teacher(0.25, 2.0))
    soft = [1 / (1 + math.exp(-t / 2)) for t in taught]
    teachers = 4 * sum(cross_entropy(z / 2, p) for z, p in zip(logits, soft, strict=True)) / len(labels)
    truth = sum(map(cross_entropy, logits, labels)) / len(labels)
    assert loss == pytest.approx(0.25 * teachers + 0.75 * truth, rel=1e-4)


def test_a_teacher_sees_films_in_its_own_scale() -> None:
    own = Preprocessing(size_px=32, channels=3, scale=1 / 127.5, offset=-1.0)
    classifier = with_teacher(1.0, 1.0, own)
    torch.manual_seed(8)
    network = build("szanet", own)
    films = bright_and_dark(8)
    assert classifier.teacher is not None
    found = classifier.teacher(torch.from_numpy(films.images).float()).numpy()
    assert np.abs(found - score(network, films.images, own)).max() < 1e-4


def test_a_teacher_has_no_gradient_and_is_no_part_of_the_student() -> None:
    classifier = with_teacher(1.0, 2.0)
    assert classifier.teacher is not None
    teacher = classifier.teacher.network
    before = copy.deepcopy(teacher.state_dict())
    images, labels, copied = batch()
    classifier.train()
    classifier.training_step((images.float(), labels, copied), 0).backward()  # type: ignore[no-untyped-call]
    assert not teacher.training
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    own = set(classifier.state_dict())
    assert own == {f"network.{name}" for name in classifier.network.state_dict()}


def test_the_network_of_a_classifier_gets_scaled_channels_last_films() -> None:
    image = to_network(torch.full((2, 1, 4, 4), 255.0), Preprocessing(size_px=32, scale=1 / 127.5, offset=-1.0))
    assert torch.allclose(image, torch.ones(2, 3, 4, 4))
    assert image.is_contiguous(memory_format=torch.channels_last)
