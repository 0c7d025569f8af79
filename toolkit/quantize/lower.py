"""Checkpoint -> one float ONNX graph: uint8 film in, logit out, everything exact that makes it smaller folded in."""

from __future__ import annotations

import copy
import logging
import warnings

import onnx
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import ModelError


class UInt8Network(nn.Module):
    """The network behind a cast: its first convolution takes grey 0..255."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """uint8 `[N, 1, H, W]` -> logits float32 `[N]`."""
        logit: Tensor = self.network(image.to(torch.float32))
        return logit


def lower(network: nn.Module, preprocessing: Preprocessing, opset: int) -> bytes:
    """Serialised ONNX with a dynamic batch, without names of this machine, so that equal weights give equal bytes.

    Folded exactly: batch norm into the convolution before it, the equal grey channels into one, the scaling into the weights.
    Raises ModelError when the network does not begin with a convolution over `preprocessing.channels` channels.
    """
    folded = fold_batch_norms(copy.deepcopy(network).eval().to(memory_format=torch.contiguous_format))  # type: ignore[call-overload]
    fold_input(folded, preprocessing)
    edge = preprocessing.size_px
    example = torch.zeros(2, 1, edge, edge, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            UInt8Network(folded).eval(),
            (example,),
            input_names=["image"],
            output_names=["logit"],
            dynamic_shapes={"image": {0: torch.export.Dim("n")}},
            opset_version=opset,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise AssertionError("the exporter returns a program when dynamo=True")
    return _anonymous(program.model_proto)


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Merge each batch norm that directly follows a convolution in a Sequential into it (in place)."""
    for holder in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for (name, layer), (next_name, following) in zip(list(holder.named_children()), list(holder.named_children())[1:], strict=False):
            if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                setattr(holder, name, fuse_conv_bn_eval(layer, following))
                setattr(holder, next_name, nn.Identity())
    return network


def fold_input(network: nn.Module, preprocessing: Preprocessing) -> None:
    """Let the first convolution take one grey channel of 0..255 (in place).

    Three equal channels meet the sum of their weights; `conv(scale * x) = (scale * weight)(x)`, exact also with zero padding.
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
