"""A Ray cluster of several machines on this one: a raylet each, as in Ray's own tests of lost machines."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
SMALL = {"object_store_memory": 100_000_000, "include_dashboard": False}


@contextmanager
def cluster(machines: int) -> Iterator[Any]:
    """So many machines of one core each; the first one is the head, which must not be lost. `address` is where it answers."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **SMALL})
        try:
            for _ in range(machines - 1):
                found.add_node(num_cpus=1, object_store_memory=SMALL["object_store_memory"])
            yield found
        finally:
            found.shutdown()


def environment() -> dict[str, str]:
    """Of commands that join such a cluster."""
    return {**os.environ, **ENVIRONMENT}
