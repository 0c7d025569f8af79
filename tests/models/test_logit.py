"""One logit from one unit or two: its sigmoid is the softmax."""

from __future__ import annotations

import torch

from toolkit.models.logit import one_logit


def test_one_unit_is_the_logit() -> None:
    assert torch.equal(one_logit(torch.tensor([[1.5], [-2.0]])), torch.tensor([1.5, -2.0]))


def test_the_sigmoid_of_two_units_is_their_softmax() -> None:
    units = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)) * 5
    assert torch.allclose(torch.sigmoid(one_logit(units)), torch.softmax(units, 1)[:, 1], atol=1e-6)


def test_the_second_unit_speaks_for_pneumonia() -> None:
    assert one_logit(torch.tensor([[1.0, 4.0]])).tolist() == [3.0]
