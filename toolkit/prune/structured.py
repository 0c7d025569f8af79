"""Whole channels out of a network. torch-pruning's dependency graph (Fang et al. 2023) says what goes with a channel: batch norms, the
inputs of the next layer, depthwise filters, the 676 columns behind a flattened 26x26 map. Which channels go is decided here, since its own
rounding rounds down, to nothing in small networks."""

from __future__ import annotations

import toolkit.models.torchvision_ops  # noqa: F401  isort: skip

import copy
import logging
import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.core.recipe import PruneSpec
from toolkit.errors import MissingDependencyError, PruningError

LOG = logging.getLogger(__name__)
ROOTS = (nn.Conv2d, nn.Linear)
Ratios = float | Mapping[str, float]
Score = Callable[[Any], Tensor | None]


@dataclass(frozen=True)
class Channels:
    """Channels that live and die together, named by the layer that writes them; `scores` float32 `[C]`, the least important lowest.

    `kind` is equal for groups of equal structure, which isomorphic ranking compares (Fang et al. 2024).
    """

    name: str
    kind: str
    scores: Tensor


class ChannelGraph:
    """What depends on which channel of one network."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        """Raises PruningError when the network's operations cannot be followed."""
        self.network = network.eval().requires_grad_(True)
        self.names = {layer: name for name, layer in network.named_modules()}
        self.classifier = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
        edge = preprocessing.size_px
        example = torch.zeros(2, preprocessing.channels, edge, edge)
        graph = _library().DependencyGraph()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch-pruning's advice on parameters outside of layers; `left_dense` names them
            try:
                self.graph: Any = graph.build_dependency(network, example)
            except Exception as cause:  # whatever it stumbles over
                raise PruningError(f"torch-pruning cannot follow this network ({cause}); prune it with method 'magnitude'.") from cause

    @cached_property
    def groups(self) -> list[Any]:
        """torch-pruning's groups while all channels are there, the classifier's left out."""
        return list(self.graph.get_all_groups(ignored_layers=[self.classifier], root_module_types=list(ROOTS)))

    def scored(self, score: Score) -> list[Channels]:
        """All groups with the importance of their channels; a group that `score` says nothing of is judged by the L2 norm."""
        found = []
        for group in self.groups:
            scores = score(group)
            if scores is None:
                scores = _library().importance.GroupMagnitudeImportance(p=2)(group)
            found.append(Channels(self.names[group[0].dep.target.module], _kind(group, self.graph), scores.detach().float().cpu()))
        return found

    def left_dense(self) -> tuple[str, ...]:
        """Names of convolutions and linear layers, but the classifier, whose channels are in no group."""
        written = {dep.target.module for group in self.groups for dep, _ in group if self.graph.is_out_channel_pruning_fn(dep.handler)}
        prunable = [layer for layer in self.network.modules() if isinstance(layer, ROOTS) and layer is not self.classifier]
        return tuple(self.names[layer] for layer in prunable if layer not in written)

    def remove(self, removed: Mapping[str, list[int]]) -> None:
        """Take channels out of the network (in place): by name of the layer that writes them, which ones."""
        layers = dict(self.network.named_modules())
        for name, channels in removed.items():
            layer = layers[name]
            self.graph.get_pruning_group(layer, self.graph.get_pruner_of_module(layer).prune_out_channels, list(channels)).prune()


def importance(spec: PruneSpec, network: nn.Module, losses: Callable[[], Sequence[Tensor]]) -> Score:
    """The importance that `spec` names. Taylor (Molchanov et al. 2019) and Hessian (LeCun et al. 1989) need the `losses` of some train
    films, by film."""
    kinds: Any = _library().importance
    if spec.importance == "taylor":
        network.zero_grad()
        torch.stack(list(losses())).mean().backward()  # type: ignore[no-untyped-call]
        taylor: Score = kinds.GroupTaylorImportance()
        return taylor
    if spec.importance == "hessian":
        _mean_squared_gradients(network, losses())
        hessian: Score = kinds.GroupHessianImportance()
        return hessian
    by_name: dict[str, Callable[[], Score]] = {
        "l1": lambda: kinds.GroupMagnitudeImportance(p=1),
        "l2": lambda: kinds.GroupMagnitudeImportance(p=2),
        "bn_scale": kinds.BNScaleImportance,
        "fpgm": kinds.FPGMImportance,
        "lamp": kinds.LAMPImportance,
        "random": kinds.RandomImportance,
    }
    return by_name[spec.importance]()


def _library() -> Any:
    """torch-pruning, imported when it is needed: it imports timm, which takes its time."""
    try:
        import torch_pruning  # type: ignore[import-untyped]
    except ImportError as cause:
        raise MissingDependencyError("torch-pruning", "workshop", "Taking channels out") from cause
    return torch_pruning


def _mean_squared_gradients(network: nn.Module, losses: Sequence[Tensor]) -> None:
    """Leave them in `.grad`, where torch-pruning reads them; its own `accumulate_grad` (1.6.1) keeps the last film's alone."""
    parameters = list(network.parameters())
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    for loss in losses:
        for place, gradient in enumerate(torch.autograd.grad(loss, parameters, retain_graph=True)):
            sums[place] += gradient.square()
    for parameter, total in zip(parameters, sums, strict=True):
        parameter.grad = total / len(losses)


def kept(groups: Sequence[Channels], spec: PruneSpec, ratio: Ratios) -> dict[str, int]:
    """By group, how many channels stay when the share `ratio` of each scope goes, the least important first, or of each named group.

    Rounded up to a multiple of `spec.round_to`, and `spec.min_channels` at least: a layer never vanishes.
    """
    if isinstance(ratio, Mapping):
        doomed = {group.name: round(ratio.get(group.name, 0.0) * len(group.scores)) for group in groups}
    else:
        doomed = _by_rank(groups, spec.scope, ratio)
    return {group.name: _rounded_up(len(group.scores) - doomed[group.name], len(group.scores), spec) for group in groups}


def on_the_way(full: Mapping[str, int], goal: Mapping[str, int], share: float, spec: PruneSpec) -> dict[str, int]:
    """How many channels stay when `share` of the way from the widths `full` to those of `goal` is done; 1 gives the goal."""
    widths = {name: full[name] - share * (full[name] - goal[name]) for name in goal}
    return {name: max(goal[name], _rounded_up(math.ceil(width - 1e-9), full[name], spec)) for name, width in widths.items()}


def least_important(groups: Sequence[Channels], widths: Mapping[str, int]) -> dict[str, list[int]]:
    """By group that is wider than `widths` says, the channels that go."""
    return {
        group.name: torch.argsort(group.scores, stable=True)[: len(group.scores) - widths[group.name]].tolist()
        for group in groups
        if len(group.scores) > widths[group.name]
    }


def cut(network: nn.Module, preprocessing: Preprocessing, removed: Mapping[str, list[int]]) -> nn.Module:
    """A copy of `network` without the channels `removed`."""
    smaller = copy.deepcopy(network)
    ChannelGraph(smaller, preprocessing).remove(removed)
    smaller.zero_grad()
    return smaller


def refused(network: nn.Module, preprocessing: Preprocessing, groups: Sequence[Channels]) -> tuple[str, ...]:
    """Names of groups that cannot lose channels: the network no longer runs. They are left dense."""
    half = least_important(groups, {group.name: (len(group.scores) + 1) // 2 for group in groups})
    if _runs(network, preprocessing, half):
        return ()
    return tuple(name for name, channels in half.items() if not _runs(network, preprocessing, {name: channels}))


def _runs(network: nn.Module, preprocessing: Preprocessing, removed: Mapping[str, list[int]]) -> bool:
    edge = preprocessing.size_px
    smaller = cut(network, preprocessing, removed)
    try:
        with torch.no_grad():
            smaller(torch.zeros(1, preprocessing.channels, edge, edge))
    except (RuntimeError, ValueError, IndexError):  # shapes that no longer fit
        return False
    return True


def _by_rank(groups: Sequence[Channels], scope: str, ratio: float) -> dict[str, int]:
    """How many channels of each group are among the least important of their scope."""
    scopes: dict[str, list[Channels]] = defaultdict(list)
    for group in groups:
        scopes[{"global": "", "layer": group.name, "isomorphic": group.kind}[scope]].append(group)
    counts: dict[str, int] = {}
    for members in scopes.values():
        scores = torch.cat([group.scores for group in members])
        lowest = torch.zeros(len(scores), dtype=torch.bool)
        lowest[torch.argsort(scores, stable=True)[: round(ratio * len(scores))]] = True
        parts = torch.split(lowest, [len(group.scores) for group in members])
        counts |= {group.name: int(part.sum()) for group, part in zip(members, parts, strict=True)}
    return counts


def _rounded_up(width: int, full: int, spec: PruneSpec) -> int:
    return min(full, math.ceil(max(width, spec.min_channels) / spec.round_to) * spec.round_to)


def _kind(group: Any, graph: Any) -> str:
    sides = ((dep, "out" if graph.is_out_channel_pruning_fn(dep.handler) else "in") for dep, _ in group)
    return " ".join(f"{type(dep.source.module).__name__}>{type(dep.target.module).__name__}:{side}" for dep, side in sides)
