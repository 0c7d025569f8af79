"""The processes that torchrun started, as one group; nothing happens where there is one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed, nn

from toolkit.core import ranks

BACKEND = "cpu:gloo,cuda:nccl"


@contextmanager
def together() -> Iterator[None]:
    """Within it, the processes can wait for each other; all have to enter it."""
    if ranks.count() == 1:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(ranks.local_rank())
    distributed.init_process_group(BACKEND if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


@contextmanager
def first_first() -> Iterator[None]:
    """The first process does what is within, then the others: they find what it left."""
    if not ranks.is_first():
        wait()
    yield
    if ranks.is_first():
        wait()


def wait() -> None:
    """Until all processes are here."""
    if ranks.count() > 1:
        distributed.barrier()


def share_statistics(network: nn.Module) -> None:
    """Give the first process's batch-norm statistics to all: each estimates them on its own part of a batch; the first's count."""
    if ranks.count() > 1:
        for buffer in network.buffers():
            distributed.broadcast(buffer, 0)
