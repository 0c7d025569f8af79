"""Films in memory -> batches for Lightning. The only file of this room that needs torch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from toolkit.data.films import Films

Batch = tuple[Tensor, Tensor]


class FilmBatches(Dataset[Batch]):
    """Indexed by a list of rows: (uint8 `[B, 1, H, W]`, float32 labels `[B]`)."""

    def __init__(self, films: Films) -> None:
        self.images = torch.from_numpy(films.images)
        self.labels = torch.from_numpy(films.labels.astype(np.float32))

    def __getitem__(self, rows: list[int]) -> Batch:
        return self.images[rows], self.labels[rows]

    def __len__(self) -> int:
        return len(self.labels)


class EpochOrder(Sampler[list[int]]):
    """Batches of row numbers, shuffled by (seed, epoch) alone, so that a resumed run sees the same order.

    Lightning calls `set_epoch`. A last batch of one film is left out: batch norm needs two.
    """

    def __init__(self, count: int, batch_size: int, seed: int | None) -> None:
        self.count, self.batch_size, self.seed, self.epoch = count, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose order comes next."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        order = np.arange(self.count)
        if self.seed is not None:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.count)
        for start in range(0, self.count, self.batch_size):
            rows = order[start : start + self.batch_size].tolist()
            if self.seed is None or len(rows) > 1 or self.batch_size == 1:
                yield rows

    def __len__(self) -> int:
        whole, rest = divmod(self.count, self.batch_size)
        return whole + (rest > 1 or (rest == 1 and self.seed is None))


def batches(films: Films, batch_size: int, shuffle_seed: int | None = None) -> DataLoader[Batch]:
    """A loader of whole batches; shuffled when a seed is given.

    It has a generator of its own: else each start of an epoch would draw from torch's global one, and a resumed run, which
    starts at another moment, would drop out other units.
    """
    order = EpochOrder(len(films), batch_size, shuffle_seed)
    return DataLoader(FilmBatches(films), sampler=order, batch_size=None, generator=torch.Generator())
