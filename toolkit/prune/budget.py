"""Down to a budget: what a candidate costs is asked of a Gauge, which exports it and measures; nothing is inferred from counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from toolkit.core.recipe import PruneSpec, TargetSpec
from toolkit.errors import PruningError

HIGHEST = 0.99
HALVINGS = 8
UNITS = {"latency_ms": "ms", "macs": "multiply-accumulates", "bytes": "bytes"}


class Gauge(Protocol):
    """What a network costs, in the form that it would be exported in."""

    def macs(self, network: nn.Module) -> int:
        """Multiply-accumulates of one film."""
        ...

    def bytes(self, network: nn.Module) -> int:
        """Size of the float ONNX graph."""
        ...

    def latency_ms(self, networks: Mapping[str, nn.Module]) -> dict[str, NDArray[np.float64]]:
        """In the recipe's runtime, of each network, the median of one film in each round `[rounds]`; in a round all have their turn."""
        ...


class Narrowing(Protocol):
    """Networks of any widths."""

    def widths(self, ratio: float) -> Mapping[str, int]:
        """How many channels of each layer stay at a ratio."""
        ...

    def narrow(self, widths: Mapping[str, int]) -> nn.Module:
        """The network of these widths."""
        ...


def reach(target: TargetSpec, work: Narrowing, gauge: Gauge) -> float:
    """The least ratio at which the network of `work` meets the target; raises PruningError that names the nearest when none does."""
    if target.ratio is not None:
        return target.ratio
    name = next(name for name in UNITS if getattr(target, name) is not None)
    wanted = getattr(target, name)
    known: dict[tuple[int, ...], float] = {}

    def cost(ratio: float) -> float:
        widths = work.widths(ratio)
        key = tuple(widths.values())
        if key not in known:  # rounded to a multiple, near ratios give the same network
            known[key] = _cost(name, work.narrow(widths), gauge)
        return known[key]

    low, high = 0.0, HIGHEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if cost(middle) <= wanted else (middle, high)
    if high == HIGHEST and (nearest := cost(HIGHEST)) > wanted:
        raise PruningError(
            f"The target of {wanted:g} {UNITS[name]} cannot be reached: the nearest is {nearest:.4g}, with all layers at their least "
            "width; raise prune.target, or lower prune.min_channels and prune.round_to."
        )
    return high


def _cost(name: str, network: nn.Module, gauge: Gauge) -> float:
    if name == "latency_ms":
        return float(np.median(gauge.latency_ms({"": network})[""]))
    return float(gauge.macs(network) if name == "macs" else gauge.bytes(network))


def refuse_slower(parent: nn.Module, candidate: nn.Module, spec: PruneSpec, gauge: Gauge) -> None:
    """Raise PruningError when the candidate is slower than its parent in every round."""
    found = gauge.latency_ms({"parent": parent, "candidate": candidate})
    if (found["candidate"] > found["parent"]).all():
        before, after = (float(np.median(found[name])) for name in ("parent", "candidate"))
        raise PruningError(
            f"The pruned network is slower than its parent: {after:.3f} ms against {before:.3f} ms in {spec.runtime} on {spec.threads} "
            "threads; prune more, or set prune.round_to to a multiple that its kernels like."
        )
