"""Lowering: the graph answers as torch does, and holds what the plan promises."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import ModelError
from toolkit.models.registry import build
from toolkit.quantize.lower import fold_input, lower
from toolkit.train.score import score

PREPROCESSING = Preprocessing(size_px=32)


def trained_looking_network() -> nn.Module:
    """SZANet whose batch norms do something."""
    torch.manual_seed(3)
    network = build("szanet", PREPROCESSING)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return network.eval()


def test_graph_and_torch_agree_on_films_of_any_batch() -> None:
    network = trained_looking_network()
    session = onnxruntime.InferenceSession(lower(network, PREPROCESSING, 20))
    for count in (1, 5):
        images = np.random.default_rng(count).integers(0, 256, (count, 1, 32, 32), dtype=np.uint8)
        assert session.run(["logit"], {"image": images})[0] == pytest.approx(score(network, images, PREPROCESSING), abs=1e-5)


def test_graph_has_the_promised_face_and_nothing_to_spare() -> None:
    model = onnx.load_model_from_string(lower(trained_looking_network(), PREPROCESSING, 20))
    (image,), (logit,) = model.graph.input, model.graph.output
    assert (image.name, image.type.tensor_type.elem_type) == ("image", onnx.TensorProto.UINT8)
    assert [dim.dim_param or dim.dim_value for dim in image.type.tensor_type.shape.dim] == ["n", 1, 32, 32]
    assert (logit.name, logit.type.tensor_type.elem_type) == ("logit", onnx.TensorProto.FLOAT)
    assert [dim.dim_param for dim in logit.type.tensor_type.shape.dim] == ["n"]
    assert {node.op_type for node in model.graph.node} == {"Cast", "Conv", "Relu", "MaxPool", "Reshape", "Gemm"}
    assert model.opset_import[0].version == 20


def test_equal_weights_give_equal_bytes_without_paths() -> None:
    network = trained_looking_network()
    graph = lower(network, PREPROCESSING, 20)
    score(network, np.zeros((1, 1, 32, 32), np.uint8), PREPROCESSING)  # leaves the network in another memory format
    assert lower(network, PREPROCESSING, 20) == graph
    assert b".py" not in graph


def test_lowering_leaves_the_network_alone() -> None:
    network = trained_looking_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    lower(network, PREPROCESSING, 20)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_equal_channels_meet_the_sum_of_their_weights() -> None:
    network = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False))
    network[0].weight.data = torch.tensor([1.0, 2.0, 4.0]).reshape(1, 3, 1, 1)
    fold_input(network, Preprocessing(size_px=32, scale=0.5))
    assert network[0].weight.flatten().tolist() == [3.5]
    assert network[0].in_channels == 1


def test_a_network_without_a_first_convolution_is_refused() -> None:
    with pytest.raises(ModelError, match="does not begin with a convolution over 3 channels"):
        fold_input(nn.Sequential(nn.Linear(3, 1)), PREPROCESSING)
