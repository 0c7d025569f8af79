"""Films in parallel, in bounded memory and in order."""

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


def ahead(items: Iterable[Item], work: Callable[[Item], Made], workers: int | None = None) -> Iterator[Made]:
    """What `work` makes of each item, in the order of `items`, which may be endless: it is read only as far as is needed.

    `workers` threads (all cores when None) work ahead; 1 works here, without a thread.
    """
    count = workers or os.cpu_count() or 1
    if count == 1:
        yield from map(work, items)
        return
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(count, "decode") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= AHEAD * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def attempt(prepare: Callable[[Item], Made], item: Item) -> Prepared[Made]:
    """What `prepare` makes of an item; an ImageError is a result too."""
    started = time.perf_counter()
    found: Made | ImageError
    try:
        found = prepare(item)
    except ImageError as cause:
        found = ImageError(str(cause))  # the caught one's traceback holds the film, until garbage is looked for
    return Prepared(found, (time.perf_counter() - started) * 1000)
