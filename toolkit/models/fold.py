"""Exact rewrites of a trained network for inference."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Merge each batch norm that directly follows a convolution in a Sequential into it (in place; the network is in evaluation mode)."""
    for holder in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for (name, layer), (next_name, following) in zip(list(holder.named_children()), list(holder.named_children())[1:], strict=False):
            if isinstance(layer, nn.Conv2d) and type(following) is nn.BatchNorm2d:  # timm's subclass holds an activation too
                setattr(holder, name, fuse_conv_bn_eval(layer, following))
                setattr(holder, next_name, nn.Identity())
    return network
