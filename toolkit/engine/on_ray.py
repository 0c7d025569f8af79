"""A Ray cluster: one that runs already, or one of this machine alone. Ray schedules, retries and carries; this package travels with the
work, and each worker's copy and libraries are held against those here before it is asked."""

from __future__ import annotations

import logging
import os
import platform
import socket
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, redirect_stdout
from tempfile import TemporaryDirectory
from typing import Any

from toolkit.engine.place import PACKAGE, Place, difference, here
from toolkit.engine.work import Item, Made, Work
from toolkit.errors import ClusterError, CxrEdgeError, MissingDependencyError

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it would send figures of the cluster to Ray's makers
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or it warns of a change to come
    "RAY_NUM_REDIS_GET_RETRIES": "2",  # of half a minute each, where something answers that is no cluster
}
RETRIES = 5  # of a piece of work whose worker or machine was lost
LISTENING_S = 10.0
AHEAD = 2  # pieces a core, so that none waits for the next
NOT_CARRIED = ("__pycache__", "*.pyc")

_opened: dict[str, Callable[[Any], Any]] = {}  # in a worker: what it was asked with before
_during = ExitStack()


class Ray:
    """The cluster at `address` (HOST:PORT), or one of `cores` cores of this machine (None: all) that ends with the engine."""

    def __init__(self, address: str | None = None, cores: int | None = None) -> None:
        """Raises MissingDependencyError without Ray, ClusterError when no cluster answers at the address."""
        os.environ.update(QUIET)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                import ray
            except ImportError as cause:
                raise MissingDependencyError("ray", "cluster", "The engine 'ray'") from cause
            self._ray: Any = ray
            self._during = ExitStack()
            self._during.enter_context(redirect_stdout(sys.stderr))  # a thread of Ray's prints what was lost among our results
            if address:
                _check_listening(address)
            options: dict[str, Any] = {"address": address or "local"}
            if not address:
                place = self._during.enter_context(TemporaryDirectory(prefix="cxr-ray-", ignore_cleanup_errors=True))  # Ray's would stay
                options |= {"num_cpus": cores or _cores(), "_temp_dir": place}
            try:
                ray.init(
                    **options,
                    runtime_env={"py_modules": [str(PACKAGE)], "excludes": list(NOT_CARRIED)},
                    include_dashboard=None if address else False,
                    configure_logging=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            except (ConnectionError, RuntimeError, ValueError, OSError) as cause:
                raise ClusterError(_unreachable(address, cause)) from cause

    def run(self, work: Work[Item, Made], items: Iterable[Item]) -> Iterator[tuple[Item, Made]]:
        """As `work.Engine` says. A piece whose worker or machine is lost is taken up again, RETRIES times."""
        ray = self._ray
        held = [ray.put(work)]  # in a list: a worker fetches it once, not with every piece
        task = ray.remote(_do).options(num_cpus=work.cores, max_retries=RETRIES)
        waiting: dict[Any, Item] = {}
        for item in items:
            while len(waiting) >= AHEAD * max(1, self._cores() // work.cores):
                yield from self._finished(waiting)
            waiting[task.remote(held, work.key, here(), item)] = item
        while waiting:
            yield from self._finished(waiting)

    def close(self) -> None:
        """Leave the cluster, which then gives up what is in progress; end it where it was started for this engine. Pieces are not cancelled
        one by one: Ray (2.60) breaks down when one is that has failed meanwhile."""
        self._ray.shutdown()
        self._during.close()

    def _cores(self) -> int:
        """Of all machines that are there now: some come later, some are lost."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def _finished(self, waiting: dict[Any, Item]) -> Iterator[tuple[Item, Any]]:
        ray = self._ray
        done, _ = ray.wait(list(waiting), num_returns=1)
        for piece in done:
            try:
                made = ray.get(piece)
            except ray.exceptions.RayTaskError as cause:
                raise _named(cause) from cause
            except ray.exceptions.RayError as cause:
                raise ClusterError(f"A piece of work was lost {RETRIES + 1} times with its worker: {_first_line(cause)}") from cause
            yield waiting.pop(piece), made


def _do(held: list[Any], key: str, wanted: Place, item: Any) -> Any:
    """In a worker: `item` to what is made of it."""
    if key not in _opened:
        import ray

        if other := difference(wanted, here()):
            raise ClusterError(f"The worker on {platform.node()} {other}; install there what is installed here.")
        work = ray.get(held[0])
        _opened[key] = _during.enter_context(work.open())
    return _opened[key](item)


def _named(cause: Any) -> CxrEdgeError:
    """The work's own error, or one that names it."""
    own = cause.cause
    return own if isinstance(own, CxrEdgeError) else ClusterError(f"The work failed on a worker: {type(own).__name__}: {_first_line(own)}")


def _unreachable(address: str | None, cause: Exception) -> str:
    if address is None:
        return f"Ray could not be started on this machine: {_first_line(cause)}"
    return (
        f"No Ray cluster answers at {address} ({_first_line(cause)}). Start one with 'ray start --head' and run this on one of its "
        "machines, or leave the address out."
    )


def _check_listening(address: str) -> None:
    """Ray itself waits for minutes where nobody listens."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), LISTENING_S).close()
    except (OSError, ValueError) as cause:
        raise ClusterError(_unreachable(address, cause)) from cause


def _first_line(cause: object) -> str:
    return next(iter(str(cause).strip().splitlines()), "") or type(cause).__name__


def _cores() -> int:
    return len(os.sched_getaffinity(0))
