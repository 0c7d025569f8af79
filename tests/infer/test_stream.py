"""Decoding ahead: in order, bounded, and never further than needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from toolkit.errors import ImageError
from toolkit.imaging.decode import Pixels
from toolkit.infer.stream import AHEAD, ahead, attempt


def picture(number: int) -> Pixels:
    if number % 5 == 3:
        raise ImageError(f"is number {number}")
    time.sleep(0.001 * (number % 3))
    return np.full((2, 2), number, np.uint8)


@pytest.mark.parametrize("workers", [1, 2, 7, None])
def test_results_come_in_order_and_a_bad_one_stops_nothing(workers: int | None) -> None:
    found = list(ahead(range(40), partial(attempt, picture), workers))
    assert len(found) == 40
    for number, one in enumerate(found):
        assert one.ms >= 0
        if isinstance(one.found, ImageError):
            assert str(one.found) == f"is number {number}"
        else:
            assert (one.found == number).all()
    assert sum(isinstance(one.found, ImageError) for one in found) == 8


@pytest.mark.parametrize("workers", [1, 3])
def test_an_endless_list_is_read_only_as_far_as_needed(workers: int) -> None:
    read, before = 0, set(threading.enumerate())

    def endless() -> Iterator[int]:
        nonlocal read
        while True:
            read += 1
            yield 5 * read

    found = ahead(endless(), partial(attempt, picture), workers)
    for place in range(1, 30):
        next(found)
        assert read <= place + AHEAD * workers + 1
    found.close()  # type: ignore[attr-defined]
    end = time.monotonic() + 30
    while set(threading.enumerate()) - before and time.monotonic() < end:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= before


def test_workers_work_at_the_same_time() -> None:
    barrier = threading.Barrier(3, timeout=10)

    def together(number: int) -> Pixels:
        barrier.wait()
        return np.zeros((1, 1), np.uint8)

    assert len(list(ahead(range(9), together, 3))) == 9


def test_other_errors_are_not_swallowed() -> None:
    def broken(number: int) -> Pixels:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(ahead(range(9), partial(attempt, broken), 2))


@pytest.mark.parametrize("workers", [1, 3])
def test_whoever_waits_for_an_answer_before_asking_again_gets_it(workers: int) -> None:
    answered = threading.Semaphore(1)

    def asking() -> Iterator[int]:
        for number in range(10):
            assert answered.acquire(timeout=30)
            yield number

    found = []
    for one in ahead(asking(), lambda number: number * number, workers):
        found.append(one)
        answered.release()
    assert found == [number * number for number in range(10)]


def test_an_error_of_the_list_itself_is_not_swallowed() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    found = ahead(broken(), lambda number: number, 2)
    assert next(found) == 1
    with pytest.raises(ZeroDivisionError):
        next(found)
