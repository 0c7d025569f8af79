"""Zeros in place of weights: by magnitude (Han et al. 2015), at random, or n of m neighbours (Mishra et al. 2021). True zeros, counted."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune

from toolkit.core.recipe import PruneSpec
from toolkit.errors import PruningError

Weights = list[tuple[nn.Module, str]]


def prunable(network: nn.Module) -> Weights:
    """The weights of convolutions and linear layers; biases and batch norms stay whole."""
    return [(layer, "weight") for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


def tensors_of(network: nn.Module) -> list[Tensor]:
    """The prunable weights themselves."""
    return [getattr(layer, name) for layer, name in prunable(network)]


def sparsity(network: nn.Module) -> float:
    """The counted share of exact zeros among the prunable weights."""
    tensors = tensors_of(network)
    zeros = sum(int((tensor == 0).sum()) for tensor in tensors)
    return zeros / int(sum(tensor.numel() for tensor in tensors))


def sparsity_at(step: int, steps: int, final: float) -> float:
    """The cubic schedule of Zhu and Gupta 2017: much at first, little at the end; `step` from 1."""
    return final * (1 - (1 - step / steps) ** 3)


def make_zeros(network: nn.Module, spec: PruneSpec, share: float, seed: int) -> None:
    """Make the share `share` of the weights zero, those that are zero already among them (in place); n of m ignores the share.

    Raises PruningError when a layer would keep no weight.
    """
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's masks are views of one vector
    weights = prunable(network)
    if spec.method == "n_m":
        for layer, name in weights:
            torch_prune.custom_from_mask(layer, name, n_of_m(layer, *spec.pattern))  # type: ignore[no-untyped-call]
    elif spec.scope == "layer":
        scores = _scores(weights, spec.method, seed)
        for layer, name in weights:
            torch_prune.l1_unstructured(layer, name, share, importance_scores=scores[layer, name])  # type: ignore[no-untyped-call]
    else:
        torch_prune.global_unstructured(weights, torch_prune.L1Unstructured, _scores(weights, spec.method, seed), amount=share)
    for layer, name in weights:
        torch_prune.remove(layer, name)  # type: ignore[no-untyped-call]
    _refuse_vanished(network, share)


class Mask(nn.Module):
    """Leaves a weight where it was not zero."""

    kept: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("kept", weight != 0)

    def forward(self, weight: Tensor) -> Tensor:
        """`weight`, zero where it was zero."""
        return weight * self.kept


def hold_zeros(network: nn.Module) -> None:
    """Let no training change a weight that is zero now (in place)."""
    for layer, name in prunable(network):
        parametrize.register_parametrization(layer, name, Mask(getattr(layer, name).detach()))


def release_zeros(network: nn.Module) -> None:
    """The end of `hold_zeros`: weights as they are, zeros among them (in place)."""
    for layer, name in prunable(network):
        parametrize.remove_parametrizations(layer, name)


def n_of_m(layer: nn.Module, n: int, m: int) -> Tensor:
    """True for the n largest of each m weights that are neighbours along the input channels, as sparse tensor cores read them.

    All True where the input channels are no multiple of m: a first convolution, a depthwise one.
    """
    weight: Tensor = layer.weight.detach()  # type: ignore[operator]
    if weight.shape[1] % m:
        return torch.ones_like(weight, dtype=torch.bool)
    inputs_last = weight.movedim(1, -1)  # [out, kh, kw, in] or [out, in]
    blocks = inputs_last.reshape(-1, m).abs()
    kept = torch.zeros_like(blocks, dtype=torch.bool).scatter_(1, blocks.topk(n, dim=1).indices, True)
    return kept.reshape(inputs_last.shape).movedim(-1, 1)


def whole_layers(network: nn.Module, spec: PruneSpec) -> tuple[str, ...]:
    """Names of layers that the pattern n of m leaves whole; none for the other methods."""
    if spec.method != "n_m":
        return ()
    whole = {layer for layer, _ in prunable(network) if n_of_m(layer, *spec.pattern).all()}
    return tuple(name for name, layer in network.named_modules() if layer in whole)


def _scores(weights: Weights, method: str, seed: int) -> dict[tuple[nn.Module, str], Tensor]:
    """The lowest go first: magnitudes, or random numbers, zero where the weight is zero already."""
    if method == "magnitude":
        return {(layer, name): getattr(layer, name).detach().abs() for layer, name in weights}
    generator = torch.Generator().manual_seed(seed)
    drawn = {(layer, name): torch.rand(getattr(layer, name).shape, generator=generator) + 0.5 for layer, name in weights}
    return {(layer, name): scores * (getattr(layer, name).detach() != 0) for (layer, name), scores in drawn.items()}


def _refuse_vanished(network: nn.Module, share: float) -> None:
    names = {layer: name for name, layer in network.named_modules()}
    for layer, name in prunable(network):
        if not (getattr(layer, name) != 0).any():
            raise PruningError(
                f"Making {100 * share:.4g} % of the weights zero leaves layer '{names[layer]}' without any; lower prune.sparsity, or set "
                "prune.scope to 'layer'."
            )
