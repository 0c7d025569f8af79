"""Augmentation against geometry and tones worked out by hand, and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from tests.train.test_fit import bright_and_dark
from toolkit.core.recipe import AugmentSpec
from toolkit.data.films import Films
from toolkit.train.augment import augment, changed_once, draw_matrices

ALL = AugmentSpec(
    shear_rad=0.05,
    zoom=0.1,
    flip=True,
    rotate_deg=8,
    shift=0.05,
    aspect=0.28,
    crop=(0.75, 1.1),
    gamma=0.4,
    contrast=0.5,
    brightness=0.1,
    blur_px=1.5,
    noise=0.05,
    erase=0.25,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def films(count: int = 3, edge: int = 8) -> Tensor:
    return torch.rand(count, 1, edge, edge, generator=generator(9)) * 255


def flat(value: float, count: int = 400, edge: int = 8) -> Tensor:
    return torch.full((count, 1, edge, edge), float(value))


def halves(left: float, right: float, count: int = 400) -> Tensor:
    """Films of two tones, 2 x 2 pixels."""
    return torch.tensor([float(left), float(right)]).repeat(count, 1, 2, 1)


def matrices(spec: AugmentSpec, count: int = 500) -> Tensor:
    return draw_matrices(count, spec, generator())


def covers(values: Tensor, low: float, high: float) -> bool:
    """True when the values lie within the bounds and come near both."""
    slack = 0.02 * (high - low)
    near_both = values.min() < low + slack and values.max() > high - slack
    return bool(near_both and values.min() >= low - 1e-5 and values.max() <= high + 1e-5)


def test_nothing_asked_changes_nothing() -> None:
    images = films()
    assert augment(images, AugmentSpec(), generator()) is images


def test_flip_alone_mirrors_about_half_of_the_films() -> None:
    images = torch.rand(64, 1, 8, 8)
    flipped = augment(images, AugmentSpec(flip=True), generator())
    mirrored = [torch.allclose(new, old.flip(-1), atol=1e-5) for old, new in zip(images, flipped, strict=True)]
    same = [torch.allclose(new, old, atol=1e-5) for old, new in zip(images, flipped, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 16 < sum(mirrored) < 48


def test_zoom_alone_stays_in_its_range_on_both_axes() -> None:
    drawn = matrices(AugmentSpec(zoom=0.2))
    assert covers(drawn[:, 0, 0], 0.8, 1.2)
    assert covers(drawn[:, 1, 1], 0.8, 1.2)
    assert torch.all(drawn[:, 1, 0] == 0)
    assert torch.all(drawn[:, :, 2] == 0)


def test_shear_alone_is_at_most_the_angle_of_the_report() -> None:
    drawn = matrices(AugmentSpec(shear_rad=0.2))
    angle = torch.asin(-drawn[:, 0, 1])
    assert angle.abs().max() <= 0.2
    assert torch.allclose(drawn[:, 1, 1], torch.cos(angle), atol=1e-6)
    assert math.isclose(float(angle.mean()), 0, abs_tol=0.02)


def test_rotation_alone_turns_to_either_side_and_keeps_lengths() -> None:
    drawn = matrices(AugmentSpec(rotate_deg=15))
    turn = drawn[:, :, :2]
    assert torch.allclose(turn @ turn.transpose(1, 2), torch.eye(2).expand(500, 2, 2), atol=1e-6)
    assert torch.allclose(torch.linalg.det(turn), torch.ones(500), atol=1e-6)
    assert covers(torch.rad2deg(torch.atan2(turn[:, 1, 0], turn[:, 0, 0])), -15, 15)
    assert torch.all(drawn[:, :, 2] == 0)


@pytest.mark.parametrize("axis", [0, 1])
def test_shift_alone_moves_by_its_share_of_the_edge(axis: int) -> None:
    drawn = matrices(AugmentSpec(shift=0.1))
    assert torch.equal(drawn[:, :, :2], torch.eye(2).expand(500, 2, 2))
    assert covers(drawn[:, axis, 2] / 2, -0.1, 0.1)  # the edge is 2 long


def test_aspect_alone_stretches_one_axis_against_the_other() -> None:
    drawn = matrices(AugmentSpec(aspect=0.28))
    wide, tall = drawn[:, 0, 0], drawn[:, 1, 1]
    assert torch.allclose(wide * tall, torch.ones(500), atol=1e-5)
    assert covers(torch.log(wide / tall), -math.log(1.28), math.log(1.28))
    assert torch.all(drawn[:, :, 2] == 0)
    assert torch.all(drawn[:, 0, 1] == 0)
    assert torch.all(drawn[:, 1, 0] == 0)


def test_crop_alone_sees_a_share_of_the_edge_that_lies_within_the_film() -> None:
    drawn = matrices(AugmentSpec(crop=(0.5, 0.9)))
    seen, place = drawn[:, 0, 0], drawn[:, :, 2].abs()
    assert torch.equal(seen, drawn[:, 1, 1])
    assert covers(seen, 0.5, 0.9)
    assert torch.all(place + seen[:, None] <= 1 + 1e-6)
    assert (place / (1 - seen[:, None])).max() > 0.98  # up to the film's very edge


def test_a_window_larger_than_the_film_still_holds_all_of_it() -> None:
    drawn = matrices(AugmentSpec(crop=(1.05, 1.4)))
    seen, place = drawn[:, 0, 0], drawn[:, :, 2].abs()
    assert covers(seen, 1.05, 1.4)
    assert torch.all(seen[:, None] - place >= 1 - 1e-6)


def test_crop_and_shift_leave_the_film_by_no_more_than_the_shift() -> None:
    drawn = matrices(AugmentSpec(crop=(0.5, 1.0), shift=0.1))
    reach = drawn[:, 0, 0, None] + drawn[:, :, 2].abs()
    assert reach.max() <= 1 + 2 * 0.1 + 1e-6
    assert reach.max() > 1.15


def test_a_film_is_shifted_as_scipy_does() -> None:
    spec, images = AugmentSpec(shift=0.2), films(6, 20)
    moved = augment(images, spec, generator(3))
    for film, new, matrix in zip(images[:, 0], moved[:, 0], draw_matrices(6, spec, generator(3)).numpy(), strict=True):
        right, down = matrix[:, 2] * 10  # pixels
        expected = ndimage.shift(film.numpy(), (-down, -right), order=1, mode="nearest")
        assert np.abs(new.numpy() - expected).max() < 0.01


def by_scipy(film: NDArray[np.float32], matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same affine map in rows and columns of pixels, edges repeated."""
    linear, middle = matrix[::-1, 1::-1].astype(float), (len(film) - 1) / 2
    offset = middle - linear @ [middle, middle] + matrix[::-1, 2] * len(film) / 2
    moved: NDArray[np.float32] = ndimage.affine_transform(film, linear, offset, order=1, mode="nearest")
    return moved


@pytest.mark.parametrize(
    "spec",
    [
        AugmentSpec(rotate_deg=180),
        AugmentSpec(shear_rad=0.5, zoom=0.3),
        AugmentSpec(aspect=0.5, crop=(0.5, 1.5), flip=True),
        AugmentSpec(shear_rad=0.2, zoom=0.2, flip=True, rotate_deg=30, shift=0.1, aspect=0.28, crop=(0.75, 1.1)),
    ],
    ids=["rotation", "shear and zoom", "aspect, crop and flip", "all"],
)
def test_all_geometry_is_what_scipy_makes_of_the_matrix(spec: AugmentSpec) -> None:
    images = films(5, 17)
    moved = augment(images, spec, generator(4))
    drawn = draw_matrices(5, spec, generator(4)).numpy()
    for film, new, matrix in zip(images[:, 0].numpy(), moved[:, 0].numpy(), drawn, strict=True):
        assert np.abs(new - by_scipy(film, matrix)).max() < 0.05


def test_gamma_alone_raises_every_pixel_to_one_power() -> None:
    changed = augment(halves(50, 200), AugmentSpec(gamma=0.4), generator()) / 255
    powers = changed.log() / (torch.tensor([50.0, 200.0]) / 255).log()
    assert torch.allclose(powers, powers[:, :, :1, :1].expand_as(powers), atol=1e-4)
    assert covers(powers[:, 0, 0, 0].log(), -math.log(1.4), math.log(1.4))


def test_gamma_keeps_black_and_white() -> None:
    changed = augment(halves(0, 255), AugmentSpec(gamma=0.9), generator())
    assert changed[..., 0].max() < 0.2
    assert torch.all(changed[..., 1] == 255)


def test_contrast_alone_stretches_about_the_mean() -> None:
    changed = augment(halves(100, 150), AugmentSpec(contrast=0.5), generator())
    assert torch.allclose(changed.mean((1, 2, 3)), torch.tensor(125.0), atol=1e-3)
    assert covers(((changed[:, 0, 0, 1] - changed[:, 0, 0, 0]) / 50).log(), -math.log(1.5), math.log(1.5))


def test_contrast_leaves_a_constant_film_alone() -> None:
    assert torch.equal(augment(flat(90), AugmentSpec(contrast=0.9), generator()), flat(90))


def test_brightness_alone_adds_one_value_to_all_pixels() -> None:
    added = augment(halves(100, 150), AugmentSpec(brightness=0.1), generator()) - halves(100, 150)
    assert torch.allclose(added, added[:, :, :1, :1].expand_as(added), atol=1e-3)
    assert covers(added[:, 0, 0, 0], -25.5, 25.5)


def test_brightness_is_clipped_at_black_and_white() -> None:
    changed = augment(halves(3, 250), AugmentSpec(brightness=0.5), generator())
    assert (changed.min(), changed.max()) == (0, 255)


def test_blur_leaves_about_half_of_the_films_alone_and_a_constant_one_as_it_is() -> None:
    images = films(200, 12)
    same = [torch.equal(new, old) for old, new in zip(images, augment(images, AugmentSpec(blur_px=1.5), generator()), strict=True)]
    assert 75 < sum(same) < 135
    assert torch.allclose(augment(flat(77, 50), AugmentSpec(blur_px=3), generator()), flat(77, 50), atol=1e-3)


@pytest.mark.parametrize(("largest_px", "reach"), [(0.3, 1), (1.5, 4), (2.0, 6)])
def test_blur_has_the_gaussian_of_scipy(largest_px: float, reach: int) -> None:
    images = torch.zeros(60, 1, 32, 32)
    images[:, :, :9, :] = torch.rand(60, 1, 9, 32, generator=generator(1)) * 255
    images[:, :, 24, 24] = 200.0  # alone: how it spreads tells the width
    blurred = augment(images, AugmentSpec(blur_px=largest_px), generator(2))
    widths = []
    for film, new in zip(images[:, 0].double().numpy(), blurred[:, 0].double().numpy(), strict=True):
        ratio = new[24, 25] / new[24, 24]
        if ratio > 0:
            widths.append(math.sqrt(-1 / (2 * math.log(ratio))))
            assert np.abs(new - ndimage.gaussian_filter(film, widths[-1], mode="nearest", radius=reach)).max() < 0.02
    assert 15 < len(widths) < 45
    assert 0.9 * largest_px < max(widths) <= largest_px + 1e-4


def test_noise_alone_has_a_deviation_of_its_own_for_each_film() -> None:
    changed = augment(flat(128, 300, 32), AugmentSpec(noise=0.08), generator())
    deviations = changed.std((1, 2, 3)) / 255
    assert deviations.min() < 0.002
    assert 0.075 < deviations.max() < 0.085
    assert deviations.mean().item() == pytest.approx(0.04, abs=0.004)
    assert changed.mean().item() == pytest.approx(128, abs=0.1)


@pytest.mark.parametrize("chance", [0.25, 0.75])
def test_erase_alone_makes_a_rectangle_grey_at_its_chance(chance: float) -> None:
    images = flat(10, 600, 40)
    changed = augment(images, AugmentSpec(erase=chance), generator())
    assert torch.equal(images, flat(10, 600, 40))
    erased = 0
    for film in changed[:, 0]:
        grey = film == 127.5
        assert torch.all(grey | (film == 10))
        rows, columns = int(grey.any(1).sum()), int(grey.any(0).sum())
        assert int(grey.sum()) == rows * columns
        assert rows == 0 or (4 <= rows <= 14 and 4 <= columns <= 14)
        erased += rows > 0
    assert erased / 600 == pytest.approx(chance, abs=0.06)


def test_everything_together_stays_a_film() -> None:
    changed = augment(films(64, 24), ALL, generator())
    assert (changed.shape, changed.dtype) == ((64, 1, 24, 24), torch.float32)
    assert torch.isfinite(changed).all()
    assert changed.min() >= 0
    assert changed.max() <= 255


def test_equal_generators_give_equal_films() -> None:
    images = films(6, 16)
    before = images.clone()
    assert torch.equal(augment(images, ALL, generator(5)), augment(images, ALL, generator(5)))
    assert not torch.equal(augment(images, ALL, generator(5)), augment(images, ALL, generator(6)))
    assert torch.equal(images, before)


def test_films_are_changed_once_and_always_alike() -> None:
    given = bright_and_dark(20)
    before = given.images.copy()
    once = changed_once(given, ALL)
    torch.manual_seed(7)
    assert np.array_equal(once.images, changed_once(given, ALL).images)
    assert np.array_equal(given.images, before)
    assert (once.images.dtype, once.images.shape) == (np.uint8, before.shape)
    assert all(not np.array_equal(new, old) for new, old in zip(once.images, before, strict=True))
    assert once.cases == given.cases
    assert np.array_equal(once.labels, given.labels)


def test_films_of_several_pieces_are_all_changed() -> None:
    cases = bright_and_dark(600).cases
    images = np.full((600, 1, 4, 4), 100, np.uint8)
    once = changed_once(Films(images, np.arange(600) % 2, cases), AugmentSpec(brightness=0.2))
    means = once.images.mean((1, 2, 3))
    assert [len(np.unique(part)) > 20 for part in (means[:256], means[256:512], means[512:])] == [True] * 3
    assert not np.array_equal(means[:88], means[256:344])


def test_nothing_asked_gives_the_same_films() -> None:
    given = bright_and_dark(4)
    assert changed_once(given, AugmentSpec()) is given
