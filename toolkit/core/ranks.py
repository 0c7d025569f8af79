"""Which of how many processes this is, as torchrun says; one of one without it."""

from __future__ import annotations

import os

STARTED_BY_TORCHRUN = "TORCHELASTIC_RUN_ID"


def count() -> int:
    """How many processes work on one training."""
    return _number("WORLD_SIZE", 1)


def rank() -> int:
    """This one's number, from 0."""
    return _number("RANK", 0)


def local_count() -> int:
    """How many of them are on this machine."""
    return _number("LOCAL_WORLD_SIZE", 1)


def local_rank() -> int:
    """This one's number among those on its machine."""
    return _number("LOCAL_RANK", 0)


def is_first() -> bool:
    """Whether this is the one that writes."""
    return rank() == 0


def _number(name: str, alone: int) -> int:
    return int(os.environ[name]) if STARTED_BY_TORCHRUN in os.environ else alone
