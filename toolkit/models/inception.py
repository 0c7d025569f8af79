"""Inception v3 (Szegedy et al. 2016) on frozen features, as Masson's report has it."""

from __future__ import annotations

from torch import nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.models.published import torchvision_backbone
from toolkit.models.transfer import Transfer, dense_head, without

MIN_SIZE_PX = 75


def inception_v3(preprocessing: Preprocessing) -> nn.Module:
    """Average-pooled features, two units (their softmax). The report does not describe its head: none but the output is taken."""
    backbone, imagenet = torchvision_backbone("inception_v3", "fc", preprocessing, MIN_SIZE_PX, aux_logits=False, init_weights=False)
    return Transfer(backbone, dense_head((2048, 2)), without("fc.", "AuxLogits."), imagenet)
