"""What an engine is asked to do, and what it promises."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")
In_contra = TypeVar("In_contra", contravariant=True)
Out_co = TypeVar("Out_co", covariant=True)


class Work(Protocol[In_contra, Out_co]):
    """One kind of work; it travels by pickle to where it is done. Equal work has an equal `key`."""

    @property
    def key(self) -> str:
        """What tells this work from any other."""
        ...

    @property
    def cores(self) -> int:
        """How many cores one item keeps busy."""
        ...

    def open(self) -> AbstractContextManager[Callable[[In_contra], Out_co]]:
        """Entered once in each place that works, which is then asked with one item after another: here is loaded what takes long."""
        ...


class Engine(Protocol):
    """Does the same work to many items, side by side."""

    def run(self, work: Work[Item, Made], items: Iterable[Item]) -> Iterator[tuple[Item, Made]]:
        """Each item with what was made of it, as soon as it is made, in no order. Items are read no further than places are free.

        The first error of the work ends it; what is in progress is then given up. Raises ClusterError when places are lost for good.
        """
        ...

    def close(self) -> None:
        """Give up what the engine holds."""
        ...
