"""Names of targets."""

from __future__ import annotations

from typing import get_args

import pytest

from toolkit.core.codec import decode
from toolkit.core.target import PROCESSORS, ArtifactName, Target, processor_family
from toolkit.errors import RecipeError


def test_a_name_holds_backend_and_precision() -> None:
    assert Target.from_name("openvino-fp16w") == Target(backend="openvino", precision="fp16w")


@pytest.mark.parametrize("name", get_args(ArtifactName))
def test_each_artifact_name_survives_there_and_back(name: str) -> None:
    assert Target.from_name(name).name == name


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("onnxruntime-int8", Target(backend="onnxruntime", precision="int8", family="x86-vnni")),
        ("onnxruntime-int8-x86", Target(backend="onnxruntime", precision="int8", family="x86")),
        ("tensorrt-rtx-fp16", Target(backend="tensorrt-rtx", precision="fp16")),
        ("openvino-fp16-gpu", Target(backend="openvino", precision="fp16", family="gpu")),
    ],
)
def test_a_name_is_taken_apart(name: str, target: Target) -> None:
    assert Target.from_name(name) == target


@pytest.mark.parametrize(
    ("machine", "features", "family"),
    [
        ("x86_64", ["avx2", "avx512_vnni"], "x86-vnni"),
        ("AMD64", ["avx2", "avx_vnni"], "x86-vnni"),
        ("x86_64", ["avx2", "avx512f"], "x86"),
        ("AMD64", [], "x86"),
        ("aarch64", ["asimd"], "arm64"),
        ("arm64", [], "arm64"),
    ],
)
def test_a_machine_belongs_to_a_family(machine: str, features: list[str], family: str) -> None:
    assert processor_family(machine, features) == family


@pytest.mark.parametrize(
    ("name", "families"),
    [
        ("onnxruntime-fp32", {"x86-vnni", "x86", "arm64"}),
        ("onnxruntime-int8", {"x86-vnni"}),
        ("onnxruntime-int8-x86", {"x86-vnni", "x86"}),
        ("onnxruntime-int8-arm64", {"arm64"}),
        ("openvino-fp32", {"x86-vnni", "x86", "arm64"}),
        ("openvino-int8", {"x86-vnni", "arm64"}),
        ("openvino-int8ac", {"x86-vnni", "arm64"}),
        ("openvino-fp16-gpu", set()),
        ("tensorrt-rtx-int8", {"x86-vnni", "x86", "arm64"}),
    ],
)
def test_a_form_serves_its_processors(name: str, families: set[str]) -> None:
    assert {family for family in PROCESSORS if Target.from_name(name).serves(family)} == families


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("onnxruntime-fp32", "any processor"),
        ("onnxruntime-int8-x86", "x86-vnni, x86"),
        ("openvino-int8", "x86-vnni, arm64"),
        ("openvino-fp16-gpu", "gpu"),
    ],
)
def test_the_processors_that_it_serves_are_said(name: str, said: str) -> None:
    assert Target.from_name(name).processors == said


@pytest.mark.parametrize(
    "name", ["", "onnxruntime", "int8", "onnxruntime-", "-int8", "onnxruntime-int4", "tflite-int8", "onnxruntime-int8-x", "OpenVINO-int8"]
)
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=f"'{name}' is not a target; expected one of onnxruntime-fp32, "):
        Target.from_name(name)


def test_a_bundle_of_before_families_holds_the_form_for_vnni() -> None:
    old = decode({"backend": "onnxruntime", "precision": "int8"}, Target, "bundle.json")
    assert (old, old.family) == (Target.from_name("onnxruntime-int8"), "x86-vnni")
    assert not old.serves("x86")
    assert decode({"backend": "openvino", "precision": "int8"}, Target, "bundle.json").family is None
