"""`--engine`: a word for one of the engines."""

from __future__ import annotations

from toolkit.engine.local import Local
from toolkit.engine.work import Engine
from toolkit.errors import InputError

LOCAL, RAY = "local", "ray"
SEPARATOR = "://"


def chosen(name: str, cores: int | None = None) -> Engine:
    """'local' with so many cores (None: all), 'ray' for a cluster of this machine alone, 'ray://HOST:PORT' for the one there.

    Raises InputError for any other word, MissingDependencyError without Ray, ClusterError when no cluster answers.
    """
    kind, _, address = name.partition(SEPARATOR)
    if name == LOCAL:
        return Local(cores)
    if kind != RAY or (SEPARATOR in name and not address):
        raise InputError(f"No engine '{name}'; take {LOCAL}, {RAY}, or {RAY}://HOST:PORT with the address of a running cluster.")
    from toolkit.engine.on_ray import Ray

    return Ray(address or None, cores)
