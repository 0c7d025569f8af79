"""Weights to begin with: whole networks, published backbones, files that are neither, ImageNet without a network."""

from __future__ import annotations

import toolkit.models.torchvision_ops  # noqa: F401  isort: skip

import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor, nn
from torchvision.models import get_model

from tests.conftest import SHARED
from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import ModelError
from toolkit.models.registry import build
from toolkit.models.transfer import Transfer
from toolkit.train.weights import fill, initialise, read_tensors

FILMS = Preprocessing(size_px=32)
MOBILENET_V2 = SHARED / "weights" / "mobilenet_v2_imagenet.pt"
needs_mobilenet_v2 = pytest.mark.skipif(not MOBILENET_V2.is_file(), reason="the ImageNet weights of MobileNetV2 are not here")

State = dict[str, Tensor]


def fresh(name: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build(name, FILMS)


def state(network: nn.Module) -> State:
    return {name: value.clone() for name, value in network.state_dict().items()}


def part(tensors: State, prefix: str) -> State:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def as_safetensors(tensors: State, folder: Path) -> Path:
    safetensors.torch.save_file(tensors, folder / "w.safetensors")
    return folder / "w.safetensors"


def as_torch(tensors: State, folder: Path) -> Path:
    torch.save(tensors, folder / "w.pt")
    return folder / "w.pt"


def as_wrapped(tensors: State, folder: Path) -> Path:
    torch.save({"epoch": 3, "state_dict": tensors, "optimizer": {"lr": 0.1}}, folder / "w.pth.tar")
    return folder / "w.pth.tar"


FORMS = [as_safetensors, as_torch, as_wrapped]


@pytest.mark.parametrize("write", FORMS)
@pytest.mark.parametrize("name", ["szanet", "mobilenet_v3_small"])
def test_a_file_of_the_whole_network_fills_all_of_it(write: Callable[[State, Path], Path], name: str, tmp_path: Path) -> None:
    given = state(fresh(name, 1))
    network = fresh(name, 2)
    assert not same(state(network), given)
    initialise(network, str(write(given, tmp_path)))
    assert same(state(network), given)


def test_random_weights_stay_as_they_are() -> None:
    network = fresh("szanet", 1)
    before = state(network)
    initialise(network, "random")
    assert same(state(network), before)


@pytest.mark.parametrize("write", FORMS)
def test_a_published_file_fills_the_backbone_and_leaves_the_head(write: Callable[[State, Path], Path], tmp_path: Path) -> None:
    published = get_model("mobilenet_v3_small").eval()
    network = fresh("mobilenet_v3_small", 2)
    head = part(state(network), "head.")
    initialise(network, str(write(state(published), tmp_path)))
    assert same(part(state(network), "head."), head)
    image = torch.rand(2, 3, 32, 32)
    assert isinstance(network, Transfer)
    with torch.inference_mode():
        assert torch.equal(network.eval().backbone(image), published.avgpool(published.features(image)).flatten(1))


def test_a_network_that_is_used_with_its_classifier_takes_the_classifier_too(tmp_path: Path) -> None:
    published = get_model("efficientnet_b0")
    network = fresh("efficientnet_b0_512", 2)
    initialise(network, str(as_torch(state(published), tmp_path)))
    assert same(part(state(network), "backbone."), state(published))


@pytest.mark.parametrize(("name", "published"), [("mobilenet", "mobilenetv1_100"), ("resnet152v2", "resnetv2_152")])
def test_the_names_of_timm_fit(name: str, published: str) -> None:
    network = fresh(name, 1)
    assert isinstance(network, Transfer)
    names = {network.place(tensor) for tensor in timm.create_model(published).state_dict()} - {None}
    assert names == {tensor for tensor in network.state_dict() if tensor.startswith("backbone.")}


@needs_mobilenet_v2
def test_the_given_mobilenet_v2_loads() -> None:
    network = fresh("mobilenet_v2", 1)
    head = part(state(network), "head.")
    initialise(network, str(MOBILENET_V2))
    given = torch.load(MOBILENET_V2, weights_only=True)
    expected = {name: value for name, value in given.items() if not name.startswith("classifier.")}
    assert same(part(state(network), "backbone."), expected)
    assert same(part(state(network), "head."), head)


def old_densenet(classes: int) -> tuple[State, State]:
    """A DenseNet-121 as torchvision names it today, and as files of 2018 do: dots in names, no counts of batches."""
    torch.manual_seed(5)
    today = state(get_model("densenet121", num_classes=classes))
    for name in today:
        if name.endswith("running_mean"):
            today[name] = torch.rand_like(today[name])
    dotted = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): value for name, value in today.items()}
    return today, {name: value for name, value in dotted.items() if not name.endswith("num_batches_tracked")}


def without_counts(tensors: State) -> State:
    return {name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}


def test_published_chexnet_weights_fill_backbone_and_findings(tmp_path: Path) -> None:
    today, old = old_densenet(classes=14)
    ported = {f"module.densenet121.{name.replace('classifier.', 'classifier.0.')}": value for name, value in old.items()}
    assert "module.densenet121.features.denseblock1.denselayer1.norm.1.weight" in ported
    network = fresh("chexnet", 2)
    call = part(state(network), "head.call.")
    initialise(network, str(as_wrapped(ported, tmp_path)))
    filled = state(network)
    assert same(without_counts(part(filled, "backbone.features.")), without_counts(part(today, "features.")))
    assert same(part(filled, "head.findings."), part(today, "classifier."))
    assert same(part(filled, "head.call."), call)


def test_chexnet_weights_with_the_names_of_torchvision_fit_too(tmp_path: Path) -> None:
    today, _ = old_densenet(classes=14)
    network = fresh("chexnet", 2)
    initialise(network, str(as_torch(today, tmp_path)))
    assert same(part(state(network), "head.findings."), part(today, "classifier."))


def test_the_old_names_of_torchvisions_densenet_file_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    today, old = old_densenet(classes=1000)
    asked = []

    def download(url: str, **options: object) -> State:
        asked.append((url.rpartition("/")[2], options["check_hash"], options["weights_only"]))
        return old

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    network = fresh("densenet121", 2)
    initialise(network, "imagenet")
    assert asked == [("densenet121-a639ec97.pth", True, True)]
    assert same(
        without_counts(part(state(network), "backbone.")), {k: v for k, v in without_counts(today).items() if "classifier" not in k}
    )


@pytest.mark.parametrize("reason", [URLError("no route to host"), OSError("disk"), RuntimeError("invalid hash value")])
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "densenet121", "efficientnet_b0", "inception_v3"])
def test_imagenet_without_network_is_one_clear_sentence(name: str, reason: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> State:
        raise reason

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    network = build(name, Preprocessing(size_px=75))
    with pytest.raises(ModelError) as caught:
        initialise(network, "imagenet")
    end = "; on a machine without network, give a file of them: train.weights=FILE."
    assert str(caught.value) == f"The ImageNet weights cannot be downloaded ({reason}){end}"
    assert caught.value.__cause__ is reason


def test_imagenet_of_timm_without_network_is_the_same_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"^The ImageNet weights cannot be downloaded \(.*\); on a machine without network, give a file"):
        initialise(fresh("mobilenet", 1), "imagenet")


@pytest.mark.parametrize("name", ["szanet", "chexnet", "vanilla_cnn"])
def test_imagenet_for_a_model_without_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="There are no ImageNet weights for this model; set train.weights to 'random' or to a file"):
        initialise(fresh(name, 1), "imagenet")


def test_weights_of_another_model_are_listed_by_name(tmp_path: Path) -> None:
    file = as_torch(state(get_model("mobilenet_v3_small")), tmp_path)
    with pytest.raises(ModelError) as caught:
        initialise(fresh("mobilenet_v2", 1), str(file))
    message = str(caught.value)
    assert message.startswith(f"{file} holds weights of another model: backbone.features.1.conv.0.0.weight (missing), ")
    assert message.endswith(", ....")
    assert message.count("(") == 6


def test_names_that_are_missing_unknown_or_of_another_shape_are_told_apart(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    before = state(network)
    given = {"0.weight": torch.zeros(3, 2), "0.bias": torch.zeros(4), "1.weight": torch.zeros(1, 3), "stem": torch.zeros(1)}
    with pytest.raises(ModelError) as caught:
        fill(network, given, "w.pt")
    assert str(caught.value) == ("w.pt holds weights of another model: 1.bias (missing), stem (unknown), 0.bias (found [4], expected [3]).")
    assert same(state(network), before)


def test_a_missing_file_is_told_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"No weights at .*none.pt; train.weights is 'random', 'imagenet' or a file \(.safetensors, .pt"):
        initialise(fresh("szanet", 1), str(tmp_path / "none.pt"))


class Payload:
    """A pickle that would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_pickle_with_code_is_refused_and_not_run(wrapped: bool, tmp_path: Path) -> None:
    payload = Payload(tmp_path / "made")
    torch.save({"state_dict": {"0.weight": torch.zeros(1)}, "best": payload} if wrapped else payload, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"w.pt is no file of plain weights \(.*\); give a state dict, saved by torch or as safetensors"):
        read_tensors(tmp_path / "w.pt")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("value", "kind"),
    [([torch.zeros(1)], "list"), (torch.zeros(1), "Tensor"), ({}, "dict"), ({"epoch": 3}, "dict"), ({"state_dict": {}}, "dict")],
)
def test_a_file_that_holds_no_state_dict_is_refused(value: object, kind: str, tmp_path: Path) -> None:
    torch.save(value, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=rf"w.pt holds {kind}, expected a state dict: names and tensors\.$"):
        read_tensors(tmp_path / "w.pt")


@pytest.mark.parametrize("raw", [b"", b"\x80", b"\x80\x02", b"PK\x03\x04", b"<html>404</html>", b"\x89PNG\r\n\x1a\n" + b"\0" * 64])
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_any_other_file_is_refused_with_a_sentence(name: str, raw: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(ModelError, match=rf"{name} is no file of plain weights \(.+\); give a state dict"):
        read_tensors(tmp_path / name)


def saved(zipped: bool, folder: Path) -> bytes:
    torch.save(nn.Linear(2, 2).state_dict(), folder / "good.pt", _use_new_zipfile_serialization=zipped)
    return (folder / "good.pt").read_bytes()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_was_cut_off_is_refused(zipped: bool, tmp_path: Path) -> None:
    raw = saved(zipped, tmp_path)
    for length in range(0, len(raw) - 1, 23):
        (tmp_path / "w.pt").write_bytes(raw[:length])
        with pytest.raises(ModelError):
            read_tensors(tmp_path / "w.pt")


def test_a_file_with_a_flipped_bit_is_read_or_refused(tmp_path: Path) -> None:
    raw = saved(False, tmp_path)
    refused = 0
    for place in range(0, len(raw), 5):
        changed = bytearray(raw)
        changed[place] ^= 4
        (tmp_path / "w.pt").write_bytes(changed)
        try:
            read_tensors(tmp_path / "w.pt")
        except ModelError:
            refused += 1
    assert refused > 10
