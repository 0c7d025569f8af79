"""DenseNet-121 (Huang et al. 2017) with one unit, and CheXNet (Rajpurkar et al. 2017) below it, as Ganesh's report has them."""

from __future__ import annotations

import re
from collections import OrderedDict

from torch import nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.models.published import torchvision_backbone
from toolkit.models.transfer import Transfer, without

FINDINGS = 14  # of ChestX-ray14
OLD_NAMES = re.compile(r"(norm|conv)\.([12])(?=\.)")  # of torchvision before 0.3


def densenet121(preprocessing: Preprocessing) -> nn.Module:
    """Average-pooled features, one unit; 6 954 881 trainable parameters (7 038 529 with the running statistics, as in the report)."""
    backbone, imagenet = torchvision_backbone("densenet121", "classifier", preprocessing)
    return Transfer(backbone, nn.Sequential(nn.Linear(1024, 1)), _imagenet_place, imagenet)


def chexnet(preprocessing: Preprocessing) -> nn.Module:
    """DenseNet-121 with CheXNet's sigmoid layer of 14 findings, and one unit on these; 7 051 869 parameters with statistics.

    `train.weights` may be a file of published CheXNet weights, with torchvision's names or with those of the common PyTorch port
    (`module.densenet121.features.denseblock1.denselayer1.norm.1.weight`).
    """
    backbone, _ = torchvision_backbone("densenet121", "classifier", preprocessing)
    head = nn.Sequential(OrderedDict(findings=nn.Linear(1024, FINDINGS), sigmoid=nn.Sigmoid(), call=nn.Linear(FINDINGS, 1)))
    return Transfer(backbone, head, _chexnet_place, None)


def _imagenet_place(name: str) -> str | None:
    """torchvision's file still has the old names."""
    return without("classifier.")(OLD_NAMES.sub(r"\1\2", name))


def _chexnet_place(name: str) -> str:
    plain = name.removeprefix("module.").removeprefix("densenet121.")
    plain = OLD_NAMES.sub(r"\1\2", plain)
    findings = re.fullmatch(r"classifier\.(?:0\.)?(weight|bias)", plain)
    return f"head.findings.{findings[1]}" if findings else f"backbone.{plain}"
