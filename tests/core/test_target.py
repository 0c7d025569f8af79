"""Names of targets."""

from __future__ import annotations

from typing import get_args

import pytest

from toolkit.core.target import ArtifactName, Target
from toolkit.errors import RecipeError


def test_a_name_holds_backend_and_precision() -> None:
    assert Target.from_name("openvino-fp16w") == Target(backend="openvino", precision="fp16w")


@pytest.mark.parametrize("name", get_args(ArtifactName))
def test_each_artifact_name_survives_there_and_back(name: str) -> None:
    assert Target.from_name(name).name == name


def test_there_is_a_name_for_each_pair() -> None:
    pairs = {f"{backend}-{precision}" for backend in ("onnxruntime", "openvino") for precision in ("fp32", "fp16w", "int8")}
    assert set(get_args(ArtifactName)) == pairs


@pytest.mark.parametrize(
    "name", ["", "onnxruntime", "int8", "onnxruntime-", "-int8", "onnxruntime-int4", "tflite-int8", "onnxruntime-int8-x", "OpenVINO-int8"]
)
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=f"'{name}' is not a target; expected BACKEND-PRECISION such as onnxruntime-int8"):
        Target.from_name(name)
