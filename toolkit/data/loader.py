"""Films -> batches for Lightning. The only file of this room that needs torch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from toolkit.core import ranks
from toolkit.data.films import Films

Batch = tuple[Tensor, Tensor, Tensor]


class FilmBatches(Dataset[Batch]):
    """Indexed by a list of rows: (uint8 `[B, 1, H, W]`, float32 labels `[B]`, bool `[B]`: True where the film is a copy).

    Rows behind the last film are the copies: `copies` names the films that are seen again. A memory-mapped array stays on disk,
    only the rows that are asked for are read.
    """

    def __init__(self, films: Films, copies: NDArray[np.int64] | None = None) -> None:
        self.films = films
        self.rows = np.arange(len(films)) if copies is None else np.concatenate([np.arange(len(films)), copies])
        self.labels = torch.from_numpy(films.labels.astype(np.float32))

    def __getitem__(self, places: list[int]) -> Batch:
        rows = self.rows[places]
        copied = torch.tensor([place >= len(self.films) for place in places])
        return torch.from_numpy(self.films.images[rows]), self.labels[rows], copied

    def __len__(self) -> int:
        return len(self.rows)


class EpochOrder(Sampler[list[int]]):
    """Batches of row numbers, shuffled by (seed, epoch) alone, so that a resumed run sees the same order.

    Lightning calls `set_epoch`. A last batch of one film is left out: batch norm needs two. Of `processes` each takes its part of each
    batch (`process`, from 0), so that together they see what one would see, each film once; of a last batch that does not suffice for
    all, a part of one film has it twice, and one of none borrows two, whose `share` of the gradient is none.
    """

    def __init__(self, count: int, batch_size: int, seed: int | None, process: int = 0, processes: int = 1) -> None:
        self.count, self.batch_size, self.seed, self.epoch = count, batch_size, seed, 0
        self.process, self.processes = process, processes

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
                yield self._part(rows)

    def share(self, index: int) -> float:
        """What the mean over this process's part of batch `index` weighs in the mean over all processes: 1 where parts are equal."""
        films = min(self.batch_size, self.count - index * self.batch_size)
        return len(range(self.process, films, self.processes)) * self.processes / films

    def _part(self, rows: list[int]) -> list[int]:
        if self.processes == 1:
            return rows
        own = rows[self.process :: self.processes]
        return own * 2 if len(own) == 1 else own or rows[:2]

    def __len__(self) -> int:
        whole, rest = divmod(self.count, self.batch_size)
        return whole + (rest > 1 or (rest == 1 and self.seed is None))


def batches(films: Films, batch_size: int, shuffle_seed: int | None = None, copies: NDArray[np.int64] | None = None) -> DataLoader[Batch]:
    """A loader of whole batches; shuffled when a seed is given, with the films of `copies` seen once more, and in parts where torchrun
    started several processes.

    It has a generator of its own: else each start of an epoch would draw from torch's global one, and a resumed run, which
    starts at another moment, would drop out other units.
    """
    dataset = FilmBatches(films, copies)
    part = (ranks.rank(), ranks.count()) if shuffle_seed is not None else (0, 1)
    order = EpochOrder(len(dataset), batch_size, shuffle_seed, *part)
    return DataLoader(dataset, sampler=order, batch_size=None, generator=torch.Generator())
