"""Quantization-aware fine-tuning: a network learns while its weights and activations are rounded to eight bits (Jacob et al. 2018)."""

from __future__ import annotations

import toolkit.models.torchvision_ops  # noqa: F401  isort: skip

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from toolkit.core.recipe import DistillSpec, FineTuningSpec, TrainSpec
from toolkit.train.fit import fit
from toolkit.train.module import Classifier
from toolkit.train.run import Task
from toolkit.train.teacher import Teacher

SIGNED, UNSIGNED = (-127, 127), (0, 255)
MEMORY = 0.99  # of the running range of an activation
ITSELF = "the network unrounded"


class RoundedWeights(nn.Module):
    """Symmetric, per output channel; gradients pass as if nothing was rounded."""

    def forward(self, weights: Tensor) -> Tensor:
        """The same shape."""
        scale = weights.detach().abs().flatten(1).amax(1).clamp(min=1e-8) / SIGNED[1]
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weights.float(), scale.float(), zero, 0, *SIGNED).to(weights.dtype)


class RoundedInput(nn.Module):
    """Asymmetric, per tensor, between the running least and largest values; holds them as buffers, so that a killed run resumes."""

    low: Tensor
    high: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def forward(self, values: Tensor) -> Tensor:
        """The same shape."""
        if self.training:
            seen = values.detach().float()
            for buffer, extreme in ((self.low, seen.amin().clamp(max=0)), (self.high, seen.amax().clamp(min=0))):
                buffer.copy_(extreme if not self.high else MEMORY * buffer + (1 - MEMORY) * extreme)
        scale = ((self.high - self.low) / UNSIGNED[1]).clamp(min=1e-8)
        zero = (-self.low / scale).round().clamp(*UNSIGNED).int()
        return torch.fake_quantize_per_tensor_affine(values.float(), scale, zero, *UNSIGNED).to(values.dtype)


@contextlib.contextmanager
def rounded(network: nn.Module) -> Iterator[None]:
    """Round the weights of each convolution and linear layer, and what it is given; the first layer's input, grey values in single
    precision, is left alone. Behind it the network holds its weights as they were learnt, not rounded."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = []
    for place, layer in enumerate(layers):
        parametrize.register_parametrization(layer, "weight", RoundedWeights())
        if place:
            layer.rounded_input = RoundedInput()
            hooks.append(layer.register_forward_pre_hook(lambda layer, given: (layer.rounded_input(given[0]),)))
    yield
    for hook in hooks:
        hook.remove()
    for place, layer in enumerate(layers):
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
        if place:
            del layer.rounded_input


def fine_tune(network: nn.Module, spec: FineTuningSpec, training: TrainSpec, task: Task, folder: Path) -> nn.Module:
    """A network of the same form, whose answers survive rounding better; a killed run resumes in `folder`."""
    torch.manual_seed(task.seed)
    learner = copy.deepcopy(network)
    tuned = msgspec.structs.replace(
        training,
        epochs=spec.epochs,
        learning_rate=spec.learning_rate,
        distill=DistillSpec(teacher=ITSELF, share=spec.share, temperature=spec.temperature),
    )
    with rounded(learner):
        module = Classifier(learner, tuned, task.preprocessing, task.seed)
        module.teacher = Teacher(copy.deepcopy(network), task.preprocessing)
        fit(module, task.train, task.holdout, folder)
    return learner
