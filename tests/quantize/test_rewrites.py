"""Rewrites: a graph answers as before, on random pictures and on real films, and looks as it should."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from tests.conftest import KERMANY, needs_kermany
from toolkit.core.preprocessing import Preprocessing
from toolkit.imaging.prepare import prepare_file
from toolkit.models.registry import build
from toolkit.quantize import lower as lowering
from toolkit.quantize.lower import lower
from toolkit.quantize.rewrites import REWRITES, norms_behind_pools, norms_into_followers, rewrite

Values = NDArray[np.float32]


def graph(*layers: onnx.NodeProto, edge: int = 12, **constants: Values) -> ir.Model:
    """`x` `[n, 4, edge, edge]`, a batch norm that does something, then the layers; the last one gives `y`."""
    draw = np.random.default_rng(5)
    norm = {
        "scale": draw.uniform(0.3, 2, 4),
        "offset": draw.normal(size=4),
        "mean": draw.normal(size=4),
        "variance": draw.uniform(0.3, 2, 4),
    }
    values = {name: np.asarray(value, np.int64 if name == "shape" else np.float32) for name, value in {**norm, **constants}.items()}
    initializers = [numpy_helper.from_array(value, name) for name, value in values.items()]
    nodes = [helper.make_node("BatchNormalization", ["x", *norm], ["z"], name="norm", epsilon=1e-3), *layers]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, edge, edge])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    proto = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], initializers), opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    )
    return ir.from_proto(proto)


def answers(model: ir.Model | bytes, given: NDArray[np.generic]) -> Values:
    raw = model if isinstance(model, bytes) else ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(raw, providers=["CPUExecutionProvider"])
    found: Values = session.run(None, {session.get_inputs()[0].name: given})[0]
    return found


def kinds(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def random(*shape: int) -> Values:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def pool() -> onnx.NodeProto:
    return helper.make_node("MaxPool", ["z"], ["y"], name="pool", kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 0, 0])


def test_maximum_of_a_rising_norm_is_the_norm_of_the_maximum() -> None:
    model, x = graph(pool()), random(3, 4, 12, 12)
    before = answers(model, x)
    assert norms_behind_pools(model.graph) == 1
    assert kinds(model) == ["MaxPool", "BatchNormalization"]
    assert answers(model, x) == pytest.approx(before, abs=1e-6)


def test_a_norm_with_a_falling_channel_stays_before_its_pool() -> None:
    model = graph(pool(), scale=np.array([1, 1, -0.5, 1], np.float32))
    assert norms_behind_pools(model.graph) == 0
    assert kinds(model) == ["BatchNormalization", "MaxPool"]


FOLLOWERS: dict[str, tuple[Callable[[], ir.Model], list[str]]] = {
    "convolution": (
        lambda: graph(helper.make_node("Conv", ["z", "w", "b"], ["y"], name="conv"), w=random(5, 4, 3, 3), b=random(5)),
        ["Conv"],
    ),
    "convolution without a bias": (lambda: graph(helper.make_node("Conv", ["z", "w"], ["y"], name="conv"), w=random(5, 4, 3, 3)), ["Conv"]),
    "convolution that pads": (
        lambda: graph(helper.make_node("Conv", ["z", "w", "b"], ["y"], name="conv", pads=[1, 1, 1, 1]), w=random(5, 4, 3, 3), b=random(5)),
        ["Add", "Conv"],
    ),
    "depthwise": (lambda: graph(helper.make_node("Conv", ["z", "w"], ["y"], name="conv", group=4), w=random(4, 1, 3, 3)), ["Conv"]),
    "grouped": (lambda: graph(helper.make_node("Conv", ["z", "w"], ["y"], name="conv", group=2), w=random(6, 2, 3, 3)), ["Conv"]),
    "linear layer behind a flattening": (
        lambda: graph(
            helper.make_node("Reshape", ["z", "shape"], ["flat"], name="flat"),
            helper.make_node("Gemm", ["flat", "w", "b"], ["y"], name="linear", transB=1),
            shape=np.array([-1, 4 * 12 * 12]),
            w=random(3, 4 * 12 * 12),
            b=random(3),
        ),
        ["Reshape", "Gemm"],
    ),
    "linear layer, inputs first": (
        lambda: graph(
            helper.make_node("Reshape", ["z", "shape"], ["flat"], name="flat"),
            helper.make_node("Gemm", ["flat", "w"], ["y"], name="linear"),
            shape=np.array([-1, 4 * 12 * 12]),
            w=random(4 * 12 * 12, 3),
        ),
        ["Reshape", "Gemm"],
    ),
}


@pytest.mark.parametrize("name", FOLLOWERS)
def test_a_norm_goes_into_the_layer_that_reads_it(name: str) -> None:
    make, expected = FOLLOWERS[name]
    model, x = make(), random(3, 4, 12, 12)
    before = answers(model, x)
    assert norms_into_followers(model.graph) == 1
    assert kinds(model) == expected
    assert answers(model, x) == pytest.approx(before, rel=1e-4, abs=1e-4)


def test_a_gain_of_three_and_a_shift_of_one_by_hand() -> None:
    """y = 2 (3 x + 1) + 5 = 6 x + 7."""
    ones = np.ones(4, np.float32)
    model = graph(
        helper.make_node("Conv", ["z", "w", "b"], ["y"], name="conv", group=4),
        scale=3 * ones,
        offset=ones,
        mean=0 * ones,
        variance=ones - 1e-3,
        w=np.full((4, 1, 1, 1), 2, np.float32),
        b=5 * ones,
    )
    rewrite(model)
    values = {name: value.const_value.numpy() for name, value in model.graph.initializers.items() if value.const_value is not None}
    assert {name: set(np.round(value.flatten(), 5)) for name, value in values.items()} == {"conv.weights": {6.0}, "conv.bias": {7.0}}


def test_a_norm_with_a_second_reader_is_left_alone() -> None:
    conv = helper.make_node("Conv", ["z", "w"], ["c"], name="conv", pads=[1, 1, 1, 1])
    model = graph(conv, helper.make_node("Add", ["c", "z"], ["y"]), w=random(4, 4, 3, 3))
    assert rewrite(model) == {"norms-behind-pools": 0, "heatmap": 0, "norms-into-followers": 0}
    assert kinds(model) == ["BatchNormalization", "Conv", "Add"]


def noisy(size_px: int) -> nn.Module:
    """The custom CNN, whose norms follow a ReLU, with norms that do something."""
    torch.manual_seed(3)
    network = build("custom_cnn", Preprocessing(size_px=size_px))
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.normal_(layer.bias)
    return network.eval()


def stages_of(network: nn.Module, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The graph as exported, and behind each rewrite."""
    with monkeypatch.context() as patch:
        patch.setattr(lowering, "rewrite", lambda _model: {})
        raw = {"": lower(network, preprocessing, 20)}
    model = ir.from_proto(onnx.load_model_from_string(raw[""]))
    for name, work in REWRITES.items():
        assert work(model.graph) > 0
        raw[name] = ir.to_proto(model).SerializeToString()
    return raw


def test_custom_cnn_answers_the_same_behind_each_rewrite(monkeypatch: pytest.MonkeyPatch) -> None:
    preprocessing = Preprocessing(size_px=160, normalise="film", scale=1.0)
    images = np.random.default_rng(0).integers(0, 256, (6, 1, 160, 160), dtype=np.uint8)
    images[0], images[1] = 0, 255
    raw = stages_of(noisy(160), preprocessing, monkeypatch)
    for name in REWRITES:
        assert answers(raw[name], images) == pytest.approx(answers(raw[""], images), rel=1e-4, abs=1e-4)
    model = onnx.load_model_from_string(lower(noisy(160), preprocessing, 20))
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


@needs_kermany
def test_custom_cnn_answers_the_same_on_real_films(monkeypatch: pytest.MonkeyPatch) -> None:
    preprocessing = Preprocessing(size_px=224, normalise="film", scale=1.0)
    files = sorted((KERMANY / "train").rglob("*.jpeg"))[::400]
    images = np.stack([prepare_file(file, preprocessing)[None] for file in files])
    raw = stages_of(noisy(224), preprocessing, monkeypatch)
    for name in REWRITES:
        assert answers(raw[name], images) == pytest.approx(answers(raw[""], images), rel=1e-4, abs=1e-4)
