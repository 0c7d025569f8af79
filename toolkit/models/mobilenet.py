"""MobileNets: v1 (Howard et al. 2017) as Ganesh's report uses it, v2 (Sandler et al. 2018), v3 small (Howard et al. 2019)."""

from __future__ import annotations

from torch import nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.models.published import timm_backbone, torchvision_backbone
from toolkit.models.transfer import Transfer, dense_head, without


def mobilenet(preprocessing: Preprocessing) -> nn.Module:
    """MobileNet v1 of timm, global average pooling, 1024 ReLU units, one unit.

    4 257 601 trainable parameters and 21 888 running statistics: the 4 279 489 of the report.
    """
    backbone, imagenet = timm_backbone("mobilenetv1_100", preprocessing)
    return Transfer(backbone, dense_head((1024, 1024, 1)), without("classifier."), imagenet)


def mobilenet_v2(preprocessing: Preprocessing) -> nn.Module:
    """torchvision's, its dropout of .2 and one unit."""
    backbone, imagenet = torchvision_backbone("mobilenet_v2", "classifier", preprocessing)
    return Transfer(backbone, nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1)), without("classifier."), imagenet)


def mobilenet_v3_small(preprocessing: Preprocessing) -> nn.Module:
    """torchvision's, with its 1024 hard-swish units and dropout of .2, and one unit."""
    backbone, imagenet = torchvision_backbone("mobilenet_v3_small", "classifier", preprocessing)
    head = nn.Sequential(nn.Linear(576, 1024), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(1024, 1))
    return Transfer(backbone, head, without("classifier."), imagenet)
