"""EfficientNet-B0 (Tan, Le 2019) with the heads of two reports."""

from __future__ import annotations

from torch import nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.models.published import torchvision_backbone
from toolkit.models.transfer import Transfer, dense_head, without


def efficientnet_b0(preprocessing: Preprocessing) -> nn.Module:
    """Chapin et al., table III: 500 and 100 units with dropout of .3 (ReLU between them, which the report does not name), two units."""
    backbone, imagenet = torchvision_backbone("efficientnet_b0", "classifier", preprocessing)
    return Transfer(backbone, dense_head((1280, 500, 100, 2), dropout=0.3), without("classifier."), imagenet)


def efficientnet_b0_512(preprocessing: Preprocessing) -> nn.Module:
    """Ganesh, figure 16: the 1000 ImageNet logits of the whole network, 512 ReLU units, one unit; 513 025 parameters in the head."""
    backbone, imagenet = torchvision_backbone("efficientnet_b0", None, preprocessing)
    return Transfer(backbone, dense_head((1000, 512, 1)), without(), imagenet)
