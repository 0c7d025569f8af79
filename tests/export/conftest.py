"""The light networks with random weights, as float graphs of 224 pixels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from toolkit.core.preprocessing import Preprocessing
from toolkit.models.registry import build
from toolkit.quantize.lower import lower

LIGHT = ("szanet", "custom_cnn", "mobilenet_v2")


@pytest.fixture(scope="session")
def light_graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By name, a float graph of each; the first two normalise each film, as their recipes do."""
    folder, files = tmp_path_factory.mktemp("graphs"), {}
    for name in LIGHT:
        torch.manual_seed(1)
        by_film = Preprocessing(normalise="film", scale=1.0)
        preprocessing = Preprocessing(scale=1 / 127.5, offset=-1.0) if name == "mobilenet_v2" else by_film
        files[name] = folder / f"{name}.onnx"
        files[name].write_bytes(lower(build(name, preprocessing).eval(), preprocessing, 20))
    return files
