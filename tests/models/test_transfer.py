"""Backbone and head: the form, the heads of the reports, where published tensors belong."""

from __future__ import annotations

import torch
from torch import nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.models.registry import build
from toolkit.models.transfer import Transfer, dense_head, without


def test_a_head_of_two_units_gives_their_difference() -> None:
    network = Transfer(nn.Flatten(), nn.Linear(4, 2), without(), None)
    image = torch.rand(3, 1, 2, 2)
    assert network(image).shape == (3,)
    assert torch.allclose(torch.sigmoid(network(image)), torch.softmax(network.head(image.flatten(1)), 1)[:, 1])


def test_activations_and_dropout_lie_between_the_layers_only() -> None:
    assert [type(layer) for layer in dense_head((4, 3, 2, 1))] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    kinds = [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert [type(layer) for layer in dense_head((4, 3, 2), dropout=0.5)] == kinds
    assert [type(layer) for layer in dense_head((4, 2), dropout=0.5)] == [nn.Linear]


def test_the_classifier_that_was_taken_out_has_no_place() -> None:
    place = without("fc.", "AuxLogits.")
    assert [place(name) for name in ("fc.weight", "AuxLogits.fc.bias", "fcx.weight", "Conv.fc.weight")] == [
        None,
        None,
        "backbone.fcx.weight",
        "backbone.Conv.fc.weight",
    ]
    assert without()("classifier.1.weight") == "backbone.classifier.1.weight"


def test_chexnet_judges_its_findings_after_their_sigmoid() -> None:
    head = build("chexnet", Preprocessing(size_px=32)).head
    assert isinstance(head, nn.Sequential)
    features = torch.randn(2, 1024)
    expected = head.call(torch.sigmoid(head.findings(features)))
    assert torch.allclose(head(features), expected)
