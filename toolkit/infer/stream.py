"""Films in parallel, in bounded memory and in order."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
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
    """What `work` makes of each item, in the order of `items`, as soon as it is made: `items` may be endless, is read only as far as is
    needed, and may wait for an answer before it gives the next one.

    `workers` threads (all cores when None) work ahead; 1 works here, without a thread.
    """
    count = workers or os.cpu_count() or 1
    yield from map(work, items) if count == 1 else _in_threads(items, work, count)


def _in_threads(items: Iterable[Item], work: Callable[[Item], Made], count: int) -> Iterator[Made]:
    """Imported here: for a single film they are a part of the start that nobody needs."""
    from concurrent.futures import Future, ThreadPoolExecutor
    from queue import SimpleQueue
    from threading import Event, Semaphore, Thread

    room, made, stopped = Semaphore(AHEAD * count), SimpleQueue[Future[Made] | None](), Event()
    with ThreadPoolExecutor(count, "films") as pool:

        def feed() -> None:
            """Not a worker's task: it may wait for the next item while all workers rest, and nobody waits for it at the end."""
            try:
                for item in items:
                    room.acquire()
                    if stopped.is_set():
                        return
                    made.put(pool.submit(work, item))
            except BaseException as cause:
                failed: Future[Made] = Future()
                failed.set_exception(cause)
                made.put(failed)
            made.put(None)

        Thread(target=feed, daemon=True, name="films").start()
        try:
            while (future := made.get()) is not None:
                yield future.result()
                room.release()
        finally:
            stopped.set()
            room.release()
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
