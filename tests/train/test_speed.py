"""What makes training faster changes no result and is undone."""

from __future__ import annotations

import contextlib
import platform

import pytest
import torch
from torch import nn

from toolkit.train.speed import (
    StridedDepthwise,
    calculates_in_bf16,
    keep_freed_memory,
    pooled_before_relu,
    quick_dropout,
    strided_depthwise_in_single_precision,
)


def test_keeping_freed_memory_is_harmless() -> None:
    taken = keep_freed_memory()
    assert isinstance(taken, bool)
    assert taken or platform.libc_ver()[0] != "glibc"
    for _ in range(3):
        assert float(torch.ones(1 << 20).sum()) == 1 << 20


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_other_systems_are_left_alone(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", system)
    assert keep_freed_memory() is False


def layers() -> nn.Sequential:
    """The first alone is strided and depthwise; the others lack a stride, groups, or whole groups."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(4, 4, 3, stride=2, groups=4),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(4, 4, 3, stride=2),
        nn.Conv2d(4, 4, 3, stride=2, groups=2),
        nn.Conv2d(4, 1, 1),
        nn.Conv2d(1, 1, 1, stride=2),
    )


def test_only_strided_depthwise_convolutions_are_replaced_and_come_back() -> None:
    network = layers()
    with strided_depthwise_in_single_precision(network):
        assert [type(layer) for layer in network] == [StridedDepthwise, *[nn.Conv2d] * 5]
    assert [type(layer) for layer in network] == [nn.Conv2d] * 6


def test_they_come_back_after_an_exception() -> None:
    network = layers()
    with pytest.raises(ValueError, match="broken"), strided_depthwise_in_single_precision(network):
        raise ValueError("broken")
    assert [type(layer) for layer in network] == [nn.Conv2d] * 6


def test_the_same_output_and_gradients_in_single_precision() -> None:
    network, image = layers()[0], torch.rand(2, 4, 9, 9)
    results = []
    for replaced in (False, True):
        network.zero_grad()
        if replaced:
            with strided_depthwise_in_single_precision(nn.Sequential(network)):
                output = network(image)
                output.square().sum().backward()
        else:
            output = network(image)
            output.square().sum().backward()
        results.append((output.detach(), network.weight.grad.clone(), network.bias.grad.clone()))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_in_bfloat16_only_the_result_is_rounded() -> None:
    network, image = layers()[0], torch.rand(2, 4, 9, 9).bfloat16()
    with torch.inference_mode():
        exact = network(image.float())
        with strided_depthwise_in_single_precision(nn.Sequential(network)), torch.autocast("cpu", torch.bfloat16):
            found = network(image)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, exact.bfloat16())


def test_names_and_weights_are_the_same_within() -> None:
    network = layers()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with strided_depthwise_in_single_precision(network):
        within = network.state_dict()
        assert within.keys() == before.keys()
        assert all(torch.equal(within[name], before[name]) for name in before)


def test_pooling_comes_before_the_relu_with_the_same_answers_and_gradients() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2)), nn.ReLU(), nn.AvgPool2d(2))
    image = torch.randn(2, 1, 18, 18)
    results = []
    for swapped in (False, True):
        network.zero_grad()
        with pooled_before_relu(network) if swapped else contextlib.nullcontext():
            kinds = [type(layer) for layer in network[0]]
            output = network(image)
        output.square().sum().backward()
        results.append((output.detach(), network[0][0].weight.grad.clone()))
    assert kinds == [nn.Conv2d, nn.MaxPool2d, nn.ReLU]
    assert [type(layer) for layer in network[0]] == [nn.Conv2d, nn.ReLU, nn.MaxPool2d]
    for plain, swapped in zip(*results, strict=True):
        assert torch.equal(plain, swapped)


@pytest.mark.parametrize("shape", [(4, 8, 25, 25), (40, 500)])
@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_quick_dropout_drops_its_share_and_keeps_the_mean(shape: tuple[int, ...], rate: float) -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Dropout(rate))
    with quick_dropout(network):
        image = torch.ones(shape, requires_grad=True)
        given = network(image)
        given.sum().backward()
    dropped = float((given == 0).float().mean())
    assert dropped == pytest.approx(rate, abs=4 * (rate * (1 - rate) / image.numel()) ** 0.5)  # four standard errors of 20 000 draws
    assert given.unique().tolist() == pytest.approx([0, 1 / (1 - rate)])
    assert torch.equal(image.grad, given.detach())  # the gradient goes where the value went
    assert type(network[0]) is nn.Dropout


def test_quick_dropout_follows_torchs_seed_and_differs_from_call_to_call() -> None:
    network, image = nn.Sequential(nn.Dropout(0.5)), torch.ones(2, 3, 8, 8)
    with quick_dropout(network):
        torch.manual_seed(7)
        first, second = network(image), network(image)
        torch.manual_seed(7)
        assert torch.equal(network(image), first)
    assert not torch.equal(first, second)


def test_quick_dropout_depends_on_no_layout_in_memory() -> None:
    network, image = nn.Sequential(nn.Dropout(0.5)), torch.rand(2, 3, 8, 8)
    with quick_dropout(network):
        torch.manual_seed(7)
        plain = network(image)
        torch.manual_seed(7)
        assert torch.equal(network(image.contiguous(memory_format=torch.channels_last)), plain)


def test_quick_dropout_is_still_outside_of_training_and_without_a_rate() -> None:
    image = torch.rand(2, 3)
    for network in (nn.Sequential(nn.Dropout(0.5)).eval(), nn.Sequential(nn.Dropout(0.0)).train()):
        with quick_dropout(network):
            assert torch.equal(network(image), image)


@pytest.mark.parametrize(("amx", "avx512", "there"), [(True, False, True), (False, True, True), (False, False, False)])
def test_bfloat16_is_taken_where_the_processor_calculates_in_it(
    amx: bool, avx512: bool, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    assert calculates_in_bf16() is there
