"""ResNet-152 V2 (He et al. 2016, pre-activation) with the heads of two reports.

torchvision has no V2; timm's `resnetv2_152` serves, for which no ImageNet weights are published: give a file, or begin at random. It
differs from Keras' by having no biases in its convolutions (58 136 128 parameters and 143 744 running statistics; Keras counts
58 331 648 in all).
"""

from __future__ import annotations

from torch import nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.models.published import timm_backbone
from toolkit.models.transfer import Transfer, dense_head, without

NAME = "resnetv2_152"


def resnet152v2(preprocessing: Preprocessing) -> nn.Module:
    """Gupta et al.: global average pooling, 128 ReLU units, dropout of .5, one unit."""
    backbone, _ = timm_backbone(NAME, preprocessing)
    return Transfer(backbone, dense_head((2048, 128, 1), dropout=0.5), without("head."), None)


def resnet152v2_1024(preprocessing: Preprocessing) -> nn.Module:
    """Ganesh, figure 27: global average pooling, 1024 ReLU units, one unit."""
    backbone, _ = timm_backbone(NAME, preprocessing)
    return Transfer(backbone, dense_head((2048, 1024, 1)), without("head."), None)
