"""Published backbones: what is asked of torchvision, the sentence for a missing timm."""

from __future__ import annotations

import toolkit.models.torchvision_ops  # noqa: F401  isort: skip

import sys

import pytest
import torch
from torchvision.models import get_model

from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import MissingDependencyError
from toolkit.models.published import torchvision_backbone
from toolkit.models.registry import build

FILMS = Preprocessing(size_px=32)


def test_a_backbone_gives_what_the_classifier_was_given() -> None:
    torch.manual_seed(0)
    backbone, _ = torchvision_backbone("mobilenet_v3_small", "classifier", FILMS)
    torch.manual_seed(0)
    whole = get_model("mobilenet_v3_small").eval()
    image = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        expected = whole.avgpool(whole.features(image)).flatten(1)
        assert torch.equal(backbone.eval()(image), expected)


@pytest.mark.parametrize("name", ["mobilenet", "resnet152v2"])
def test_a_missing_timm_names_the_extra_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        MissingDependencyError, match=r"needs the package 'timm', which is not installed: pip install 'cxr-edge\[workshop\]'"
    ):
        build(name, FILMS)
