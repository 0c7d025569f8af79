"""Checkpoint -> one float ONNX graph: uint8 film in, logit out, everything exact that makes it smaller folded in."""

from __future__ import annotations

import copy
import logging
import warnings

import numpy as np
import onnx
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import ModelError
from toolkit.imaging.decode import Pixels
from toolkit.models.fold import fold_batch_norms
from toolkit.models.standardise import standardise
from toolkit.quantize.rewrites import rewrite


class UInt8Network(nn.Module):
    """The network behind a cast, and the film's own normalisation where there is one: its first convolution takes grey values, less the
    one that the network knows as zero."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        self.by_film = preprocessing.normalise == "film"
        self.zero = -preprocessing.offset / preprocessing.scale

    def forward(self, image: Tensor) -> Tensor:
        """uint8 `[N, 1, H, W]` -> logits float32 `[N]`."""
        grey = image.to(torch.float32)
        if self.by_film:
            grey = standardise(grey)
        logit: Tensor = self.network(grey - self.zero if self.zero else grey)
        return logit


def lower(network: nn.Module, preprocessing: Preprocessing, opset: int) -> bytes:
    """Serialised ONNX with a dynamic batch, without names of this machine, so that equal weights give equal bytes.

    Folded exactly: batch norm into the convolution before it, the equal grey channels into one, the scaling into the weights; then the
    graph is rewritten (`rewrites`).
    Raises ModelError when the network does not begin with a convolution over `preprocessing.channels` channels, or has an operator that
    ONNX has not, which is named.
    """
    edge = preprocessing.size_px
    example = torch.zeros(2, 1, edge, edge, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            program = torch.onnx.export(
                UInt8Network(_folded(network, preprocessing), preprocessing).eval(),
                (example,),
                input_names=["image"],
                output_names=["logit"],
                dynamic_shapes={"image": {0: torch.export.Dim("n")}},
                opset_version=opset,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ModelError(f"The network cannot be written as ONNX of opset {opset}: {_first_cause(error)}") from error
    if program is None:
        raise AssertionError("the exporter returns a program when dynamo=True")
    rewrite(program.model)
    return _anonymous(ir.to_proto(program.model))


def _first_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).partition("\n")[0]


def layer_outputs(network: nn.Module, preprocessing: Preprocessing, images: Pixels) -> dict[str, NDArray[np.float32]]:
    """What each convolution and linear layer gives for uint8 `[N, 1, H, W]`, by name, in the order of the calls, folded as for export."""
    folded = _folded(network, preprocessing)
    seen: dict[str, NDArray[np.float32]] = {}
    for name, layer in folded.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(lambda _layer, _given, output, name=name: seen.update({name: output.numpy().copy()}))
    with torch.inference_mode():
        UInt8Network(folded, preprocessing).eval()(torch.from_numpy(images))
    return seen


def _folded(network: nn.Module, preprocessing: Preprocessing) -> nn.Module:
    folded = fold_batch_norms(copy.deepcopy(network).eval().to(memory_format=torch.contiguous_format))  # type: ignore[call-overload]
    fold_input(folded, preprocessing)
    return folded


def fold_input(network: nn.Module, preprocessing: Preprocessing) -> None:
    """Let the first convolution take one grey channel of 0..255, less the grey of value zero (in place).

    Three equal channels meet the sum of their weights; `conv(scale * x) = (scale * weight)(x)`, exact also with zero padding, which
    is why an offset is not folded into the bias: `scale * x + offset = scale * (x - zero)`.
    """
    first = next((layer for layer in network.modules() if isinstance(layer, nn.Conv2d)), None)
    if first is None or first.in_channels != preprocessing.channels or first.groups != 1:
        raise ModelError(f"The network does not begin with a convolution over {preprocessing.channels} channels; grey cannot be folded.")
    with torch.no_grad():
        first.weight = nn.Parameter(first.weight.double().sum(1, keepdim=True).mul(preprocessing.scale).float().contiguous())
    first.in_channels = 1


def _anonymous(model: onnx.ModelProto) -> bytes:
    """Drop doc strings and metadata: they hold stack traces with the paths of this machine."""
    model.ClearField("metadata_props")
    model.graph.ClearField("metadata_props")
    for item in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        item.ClearField("doc_string")
        item.ClearField("metadata_props")
    return bytes(model.SerializeToString(deterministic=True))
