"""Augmentation against geometry worked out by hand."""

from __future__ import annotations

import math

import torch

from toolkit.core.recipe import AugmentSpec
from toolkit.train.augment import augment, draw_matrices


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nothing_asked_changes_nothing() -> None:
    images = torch.rand(3, 1, 8, 8)
    assert augment(images, AugmentSpec(), generator()) is images


def test_flip_alone_mirrors_about_half_of_the_films() -> None:
    images = torch.rand(64, 1, 8, 8)
    flipped = augment(images, AugmentSpec(flip=True), generator())
    mirrored = [torch.allclose(new, old.flip(-1), atol=1e-5) for old, new in zip(images, flipped, strict=True)]
    same = [torch.allclose(new, old, atol=1e-5) for old, new in zip(images, flipped, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 16 < sum(mirrored) < 48


def test_zoom_alone_stays_in_its_range_on_both_axes() -> None:
    matrices = draw_matrices(500, AugmentSpec(zoom=0.2), generator())
    for zoom in (matrices[:, 0, 0], matrices[:, 1, 1]):
        assert 0.8 <= zoom.min() < 0.82
        assert 1.18 < zoom.max() <= 1.2
    assert torch.all(matrices[:, 1, 0] == 0)
    assert torch.all(matrices[:, :, 2] == 0)


def test_shear_alone_is_at_most_the_angle_of_the_report() -> None:
    matrices = draw_matrices(500, AugmentSpec(shear_rad=0.2), generator())
    angle = torch.asin(-matrices[:, 0, 1])
    assert angle.abs().max() <= 0.2
    assert torch.allclose(matrices[:, 1, 1], torch.cos(angle), atol=1e-6)
    assert math.isclose(float(angle.mean()), 0, abs_tol=0.02)


def test_equal_generators_give_equal_films() -> None:
    spec, images = AugmentSpec(shear_rad=0.2, zoom=0.2, flip=True), torch.rand(4, 1, 16, 16)
    assert torch.equal(augment(images, spec, generator(5)), augment(images, spec, generator(5)))
    assert not torch.equal(augment(images, spec, generator(5)), augment(images, spec, generator(6)))
