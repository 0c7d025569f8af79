"""This machine: a thread for each place, in which the work runs processes of its own where it needs them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import Any

from toolkit.engine.work import Item, Made, Work


class Local:
    """So many cores of this machine, all when None."""

    def __init__(self, cores: int | None = None) -> None:
        self._cores = cores or len(os.sched_getaffinity(0))

    def run(self, work: Work[Item, Made], items: Iterable[Item]) -> Iterator[tuple[Item, Made]]:
        """As `work.Engine` says."""
        own, closing, places = threading.local(), threading.Lock(), max(1, self._cores // work.cores)

        def do(item: Item) -> Made:
            if not hasattr(own, "asked"):
                entered = work.open()
                own.asked = entered.__enter__()
                with closing:
                    during.push(entered.__exit__)
            asked: Callable[[Item], Made] = own.asked
            return asked(item)

        with ExitStack() as during:
            pool = ThreadPoolExecutor(places, "places")
            during.callback(pool.shutdown, cancel_futures=True)
            waiting: dict[Future[Made], Item] = {}
            for item in items:
                waiting[pool.submit(do, item)] = item
                if len(waiting) > places:
                    yield from _finished(waiting)
            while waiting:
                yield from _finished(waiting)
            pool.shutdown()

    def close(self) -> None:
        """Nothing is held."""


def _finished(waiting: dict[Future[Any], Item]) -> Iterator[tuple[Item, Any]]:
    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in done:
        yield waiting.pop(future), future.result()
