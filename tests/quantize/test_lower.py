"""Lowering: the graph answers as torch does, and holds what the plan promises."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import ModelError
from toolkit.models.fold import fold_batch_norms
from toolkit.models.registry import MODELS, build
from toolkit.quantize.lower import fold_input, lower
from toolkit.train.module import to_network
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


def answers(network: nn.Module, preprocessing: Preprocessing, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits of the lowered network in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(lower(network, preprocessing, 20), options)
    return np.asarray(session.run(["logit"], {"image": images})[0])


# The smallest films that each model takes, or nearly. The transfer models take [-1, 1], where black is not the zero of the padding.
OWN = {"szanet": 32, "custom_cnn": 32, "cnn_94": 40, "cnn_v2": 40, "banjo_cnn": 16, "vanilla_cnn": 32, "optimized_cnn": 32}
SIZES = {**dict.fromkeys(MODELS, 32), **OWN, "inception_v3": 75}
GREY = ("szanet", "cnn_94", "cnn_v2", "banjo_cnn")  # with one channel
TWINS = {"densenet121": "chexnet", "resnet152v2_1024": "resnet152v2", "efficientnet_b0_512": "efficientnet_b0"}  # but for the head
CASES = [("szanet", 3), *((name, 1 if name in GREY else 3) for name in MODELS if name not in TWINS)]


def films(edge: int) -> NDArray[np.uint8]:
    """Noise, black, white, a half of each, a slope, a white square on dim noise: `[6, 1, edge, edge]`."""
    random = np.random.default_rng(edge)
    found = random.integers(0, 256, (6, 1, edge, edge), np.uint8)
    found[1], found[2] = 0, 255
    found[3, :, :, : edge // 2], found[3, :, :, edge // 2 :] = 0, 255
    found[4] = np.linspace(0, 255, edge).astype(np.uint8)[:, None]
    found[5] //= 4
    found[5, :, edge // 4 : edge // 2, edge // 4 : edge // 2] = 255
    return found


def lively_network(name: str, preprocessing: Preprocessing) -> nn.Module:
    """A network whose batch norms do something, and whose logits depend on the film, at whatever depth."""
    torch.manual_seed(3)
    network = shortened(build(name, preprocessing).eval())
    norms = [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    for layer in norms:
        nn.init.uniform_(layer.weight, 0.5, 1.5)
        nn.init.normal_(layer.bias, 0, 0.3)
        layer.momentum = 1.0  # the statistics of these films
        layer.train()
    with torch.no_grad():
        network(to_network(torch.from_numpy(films(preprocessing.size_px)).float(), preprocessing))
    for layer in norms:
        layer.running_mean += 0.2 * layer.running_var.sqrt() * torch.randn_like(layer.running_mean)
        layer.running_var *= torch.empty_like(layer.running_var).uniform_(0.5, 2)
    return network.eval()


def shortened(network: nn.Module) -> nn.Module:
    """The network with at most two of equal blocks in a row, which are lowered alike: a ResNet 152 repeats one 35 times."""
    for row in [layer for layer in network.modules() if isinstance(layer, nn.Sequential)]:
        texts = [str(block) for block in row]
        for place in reversed(range(2, len(row))):
            if list(row[place].children()) and texts[place] == texts[place - 1] == texts[place - 2]:
                del row[place]
    return network


def test_a_shortened_network_has_the_layers_of_the_whole_one() -> None:
    with torch.device("meta"):
        whole, short = (build("resnet152v2", Preprocessing(size_px=32)) for _ in range(2))
    shortened(short)
    kinds, left = ({str(layer) for layer in network.modules() if not list(layer.children())} for network in (whole, short))
    assert kinds == left
    convolutions = [sum(isinstance(layer, nn.Conv2d) for layer in network.modules()) for network in (whole, short)]
    assert convolutions == [
        1 + 4 + 3 * 50,
        1 + 4 + 3 * (3 + 3 + 3 + 3),
    ]  # blocks of 3, the first of each four rows with a shortcut of its own


def test_every_model_is_lowered_here() -> None:
    assert set(SIZES) == set(MODELS)
    assert {name for name, _ in CASES} | set(TWINS) == set(MODELS)


def leaves(name: str) -> tuple[list[str], set[str]]:
    """The layers of a model's backbone, and the kinds of layers of its head."""
    with torch.device("meta"):
        network = build(name, Preprocessing(size_px=SIZES[name]))
    parts = [(place, layer) for place, layer in network.named_modules() if not list(layer.children())]
    heads = ("head", "classifier")
    backbone = [f"{place} {layer}" for place, layer in parts if not any(part in heads for part in place.split("."))]
    return backbone, {type(layer).__name__ for place, layer in parts if any(part in heads for part in place.split("."))}


def test_twins_have_the_same_backbone_and_a_head_of_layers_that_others_have() -> None:
    lowered = set().union(*(leaves(name)[1] for name in MODELS if name not in TWINS))
    for name, other in TWINS.items():
        (backbone, head), (same, _) = leaves(name), leaves(other)
        assert len(backbone) > 100
        assert backbone == same
        assert head <= lowered


@pytest.mark.parametrize(("name", "channels"), CASES)
def test_every_model_answers_lowered_as_torch_does(name: str, channels: Any) -> None:
    scaling = {} if name in OWN else {"scale": 1 / 127.5, "offset": -1.0}
    preprocessing = msgspec.structs.replace(Preprocessing(size_px=SIZES[name], channels=channels), **scaling)
    network, images = lively_network(name, preprocessing), films(SIZES[name])
    expected = score(network, images, preprocessing)
    spread = float(np.ptp(expected))
    assert spread > 1e-3  # an answer that no film changes would hide every fault
    assert answers(network, preprocessing, images) == pytest.approx(expected, abs=1e-3 * spread)


@pytest.mark.parametrize(("name", "normalise"), [("custom_cnn", "film"), ("vanilla_cnn", "none"), ("vanilla_cnn", "film")])
def test_an_offset_is_exact_where_the_first_convolution_pads(name: str, normalise: Any) -> None:
    preprocessing = Preprocessing(size_px=33, scale=0.03, offset=-0.7, normalise=normalise)  # vanilla_cnn pads an odd edge
    network, images = lively_network(name, preprocessing), films(33)
    expected = score(network, images, preprocessing)
    spread = float(np.ptp(expected))
    assert spread > 1e-3
    assert answers(network, preprocessing, images) == pytest.approx(expected, abs=1e-3 * spread)


class Sum(nn.Module):
    """One 3x3 convolution of ones with zero padding; the logit is the sum of its map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 3, padding=1, bias=False)
        nn.init.ones_(self.conv.weight)

    def forward(self, image: Tensor) -> Tensor:
        return self.conv(image).sum((1, 2, 3))


@pytest.mark.parametrize(("channels", "scale", "offset"), [(1, 0.5, 0.0), (3, 1 / 127.5, -1.0), (1, 2.0, 3.0)])
def test_padding_is_zero_behind_scale_and_offset_by_hand(channels: Any, scale: float, offset: float) -> None:
    preprocessing = Preprocessing(size_px=16, scale=scale, offset=offset, channels=channels)
    images = np.stack([np.full((1, 16, 16), level, np.uint8) for level in (0, 100, 255)])
    # a pixel is seen by 9 places, by 6 at an edge, by 4 in a corner: 46 x 46 of them in all; what is padded adds nothing
    expected = [channels * 46 * 46 * (level * scale + offset) for level in (0, 100, 255)]
    assert answers(Sum(channels), preprocessing, images) == pytest.approx(expected, rel=1e-5, abs=0.05)


class Activated(nn.BatchNorm2d):
    """A batch norm that holds an activation, as timm has it."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image).relu()


def test_a_batch_norm_with_an_activation_inside_stays() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), Activated(4), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)).eval()
    image = torch.randn(2, 1, 8, 8)
    expected = network(image)
    folded = fold_batch_norms(network)
    assert torch.allclose(folded(image), expected, atol=1e-5)
    assert [type(layer) for layer in folded] == [nn.Conv2d, Activated, nn.Conv2d, nn.Identity]


class WithEigenvalues(nn.Module):
    """An operator that ONNX has not."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)

    def forward(self, films: Tensor) -> Tensor:
        maps = self.first(films).mean(1)
        return torch.linalg.eigvalsh(maps @ maps.transpose(1, 2)).sum(1)


@pytest.mark.parametrize("opset", [18, 21])
def test_an_operator_that_onnx_has_not_is_named(opset: int) -> None:
    with pytest.raises(ModelError, match=f"cannot be written as ONNX of opset {opset}: No ONNX function found for .*_linalg_eigh"):
        lower(WithEigenvalues(), PREPROCESSING, opset)


@pytest.mark.parametrize("opset", [18, 19, 20, 21])
def test_the_graph_has_the_opset_that_was_asked_for(opset: int) -> None:
    model = onnx.load_from_string(lower(trained_looking_network(), PREPROCESSING, opset))
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
