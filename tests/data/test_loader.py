"""The order of batches: each row once, fixed by seed and epoch."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from toolkit.data.cases import Case
from toolkit.data.films import Films
from toolkit.data.loader import EpochOrder, batches

SIZES = list(itertools.product((0, 1, 2, 7, 8, 9, 10), (1, 2, 3, 8, 20)))


def order(count: int, batch_size: int, seed: int | None, epoch: int = 0) -> list[list[int]]:
    chosen = EpochOrder(count, batch_size, seed)
    chosen.set_epoch(epoch)
    return list(chosen)


def flat(rows: list[list[int]]) -> list[int]:
    return [row for batch in rows for row in batch]


def films(count: int) -> Films:
    """Films whose pixels hold their row number."""
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 1, 4, 4)).copy()
    labels = np.arange(count, dtype=np.int64) % 2
    cases = tuple(Case(str(row), "train", int(label), str(row), "unknown", str(row)) for row, label in enumerate(labels))
    return Films(images, labels, cases)


@pytest.mark.parametrize(("count", "batch_size"), [(10, 4), (12, 4), (3, 8), (100, 7)])
def test_each_row_is_visited_once_in_full_batches(count: int, batch_size: int) -> None:
    rows = order(count, batch_size, seed=1)
    assert sorted(flat(rows)) == list(range(count))
    assert {len(batch) for batch in rows[:-1]} <= {batch_size}


def test_without_a_seed_the_order_is_kept_and_the_last_film_stays() -> None:
    assert order(5, 2, seed=None) == [[0, 1], [2, 3], [4]]
    assert order(5, 2, seed=None, epoch=3) == [[0, 1], [2, 3], [4]]


def test_equal_seed_and_epoch_give_an_equal_order() -> None:
    assert order(50, 8, 3, epoch=2) == order(50, 8, 3, epoch=2)


def test_epochs_and_seeds_give_other_orders() -> None:
    found = {tuple(flat(order(50, 8, seed, epoch))) for seed in range(3) for epoch in range(3)}
    assert len(found) == 9
    assert tuple(range(50)) not in found


@pytest.mark.parametrize(("count", "batch_size", "seen"), [(9, 4, 8), (10, 3, 9), (1, 4, 0)])
def test_a_last_batch_of_one_film_is_left_out_when_shuffled(count: int, batch_size: int, seen: int) -> None:
    rows = order(count, batch_size, seed=1)
    assert len(set(flat(rows))) == seen
    assert all(len(batch) > 1 for batch in rows)


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize(("count", "batch_size"), SIZES)
def test_the_length_is_the_number_of_batches(count: int, batch_size: int, seed: int | None) -> None:
    assert len(EpochOrder(count, batch_size, seed)) == len(order(count, batch_size, seed))


def test_batches_hold_images_and_labels_of_their_rows() -> None:
    found = list(batches(films(5), 2))
    assert [labels.tolist() for _, labels, _ in found] == [[0, 1], [0, 1], [0]]
    assert [images[:, 0, 3, 3].tolist() for images, _, _ in found] == [[0, 1], [2, 3], [4]]
    assert {(images.dtype, labels.dtype, copied.dtype) for images, labels, copied in found} == {(torch.uint8, torch.float32, torch.bool)}
    assert not any(copied.any() for _, _, copied in found)
    assert found[0][0].shape == (2, 1, 4, 4)


def test_shuffled_batches_keep_image_and_label_together() -> None:
    loader = batches(films(20), 4, shuffle_seed=5)
    assert len(loader) == 5
    seen = [(int(image[0, 0, 0]), int(label)) for images, labels, _ in loader for image, label in zip(images, labels, strict=True)]
    assert sorted(seen) == [(row, row % 2) for row in range(20)]
    assert seen != sorted(seen)


def seen_films(loader: DataLoader[Any]) -> Counter[tuple[int, int, bool]]:
    """How often each (film, label, is a copy) comes in one epoch."""
    return Counter(
        (int(image[0, 0, 0]), int(label), bool(copy))
        for images, labels, copied in loader
        for image, label, copy in zip(images, labels, copied, strict=True)
    )


@pytest.mark.parametrize("shuffle_seed", [None, 5])
def test_copies_are_seen_once_more_in_an_epoch_and_marked(shuffle_seed: int | None) -> None:
    loader = batches(films(10), 4, shuffle_seed, copies=np.array([3, 7, 3]))
    assert len(loader) == (4 if shuffle_seed is None else 3)  # 13 films; the last batch of one is left out when shuffled
    expected = Counter({(row, row % 2, False): 1 for row in range(10)}) + Counter({(3, 1, True): 2, (7, 1, True): 1})
    missing = expected - seen_films(loader)
    assert missing.total() == (0 if shuffle_seed is None else 1)
    assert not seen_films(loader) - expected


def test_copies_are_shuffled_among_the_others() -> None:
    loader = batches(films(40), 8, shuffle_seed=1, copies=np.arange(20))
    marks = [copied.tolist() for _, _, copied in loader]
    assert sum(map(sum, marks)) == 20
    assert all(0 < sum(batch) < len(batch) for batch in marks)


class RowsOnly:
    """Images that tell which rows were asked for, and cannot be read in any other way."""

    def __init__(self, images: np.ndarray[Any, Any]) -> None:
        self.images = images
        self.asked: list[list[int]] = []

    def __getitem__(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        self.asked.append(rows.tolist())
        return self.images[rows]


def test_images_are_asked_for_by_the_rows_of_a_batch_alone() -> None:
    known = films(7)
    rows_only = RowsOnly(known.images)
    loader = batches(Films(rows_only, known.labels, known.cases), 3, copies=np.array([5]))  # type: ignore[arg-type]
    assert rows_only.asked == []
    assert [images[:, 0, 0, 0].tolist() for images, _, _ in loader] == [[0, 1, 2], [3, 4, 5], [6, 5]]
    assert rows_only.asked == [[0, 1, 2], [3, 4, 5], [6, 5]]


def test_batches_of_a_mapped_array_are_copies_in_memory(tmp_path: Path) -> None:
    known = films(6)
    np.save(tmp_path / "pixels.npy", known.images)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")  # a write to it would raise
    (images, _, _), *_ = batches(Films(mapped, known.labels, known.cases), 4)
    images += 100
    assert mapped[:, 0, 0, 0].tolist() == list(range(6))
