"""Progress of long work, without saying who shows it: the command line hangs in a bar, a library user nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")
Bar = Callable[[Iterable[Any], int, str], Iterable[Any]]

_bar: ContextVar[Bar | None] = ContextVar("progress_bar", default=None)


def show_with(bar: Bar) -> None:
    """From here on, `track` passes its items through `bar(items, total, label)`."""
    _bar.set(bar)


def track(items: Iterable[T], total: int, label: str) -> Iterator[T]:
    """The items, unchanged, shown by the bar that was hung in."""
    bar = _bar.get()
    yield from items if bar is None else bar(items, total, label)
