"""Which parts of a network learn."""

from __future__ import annotations

from torch import nn

from toolkit.errors import RecipeError

BatchNorm = nn.modules.batchnorm._BatchNorm


def train_only(network: nn.Module, names: tuple[str, ...]) -> None:
    """Freeze every parameter that does not lie in a part named in `names` ('head', 'backbone.features.18'); empty: all learn.

    Raises RecipeError for a name that the network has not, listing its parts.
    """
    parameters = dict(network.named_parameters())
    unknown = [name for name in names if not any(_within(parameter, name) for parameter in parameters)]
    if unknown:
        parts = dict.fromkeys(".".join(name.split(".")[:2]) for name in parameters)
        raise RecipeError(f"train.trainable names '{unknown[0]}', which this network has not; its parts: {', '.join(parts)}.")
    for parameter_name, parameter in parameters.items():
        parameter.requires_grad_(not names or any(_within(parameter_name, name) for name in names))


def frozen_batch_norms(network: nn.Module) -> list[nn.Module]:
    """Batch norms that do not learn; they keep their running statistics too, as in Keras."""
    return [layer for layer in network.modules() if isinstance(layer, BatchNorm) and layer.affine and not layer.weight.requires_grad]


def _within(parameter: str, part: str) -> bool:
    return parameter == part or parameter.startswith(f"{part}.")
