"""Decoding in parallel, ahead of the inference, in bounded memory and in order."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, NamedTuple, TypeVar

from toolkit.errors import ImageError

Item = TypeVar("Item")
Made = TypeVar("Made")
AHEAD = 4  # films for each worker that wait decoded or are being decoded


class Prepared(NamedTuple, Generic[Made]):
    """A film ready for the network, or why there is none; and how long that took."""

    found: Made | ImageError
    ms: float


def prepared(items: Iterable[Item], prepare: Callable[[Item], Made], workers: int | None = None) -> Iterator[tuple[Item, Prepared[Made]]]:
    """Each item with what `prepare` makes of it, in the order of `items`, which may be endless: it is read only as far as is needed.

    `workers` threads (all cores when None) work ahead; 1 prepares here, without a thread. An ImageError becomes the item's result.
    """
    count = workers or os.cpu_count() or 1
    if count == 1:
        yield from ((item, _attempt(prepare, item)) for item in items)
        return
    waiting: deque[tuple[Item, Future[Prepared[Made]]]] = deque()
    with ThreadPoolExecutor(count, "decode") as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(_attempt, prepare, item)))
                if len(waiting) >= AHEAD * count:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _attempt(prepare: Callable[[Item], Made], item: Item) -> Prepared[Made]:
    started = time.perf_counter()
    found: Made | ImageError
    try:
        found = prepare(item)
    except ImageError as cause:
        found = cause
    return Prepared(found, (time.perf_counter() - started) * 1000)
