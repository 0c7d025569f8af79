"""The light networks with random weights, as float graphs of 224 pixels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conftest import MadeOnce
from toolkit.core.preprocessing import Preprocessing
from toolkit.models.registry import build
from toolkit.quantize.lower import lower

LIGHT = ("szanet", "custom_cnn", "mobilenet_v2")


@pytest.fixture(scope="session")
def light_graphs(made_once: MadeOnce) -> dict[str, Path]:
    """By name, a float graph of each; the first two normalise each film, as their recipes do."""
    folder = made_once("light-graphs", write_light_graphs)
    return {name: folder / f"{name}.onnx" for name in LIGHT}


def write_light_graphs(folder: Path) -> None:
    for name in LIGHT:
        torch.manual_seed(1)
        by_film = Preprocessing(normalise="film", scale=1.0)
        preprocessing = Preprocessing(scale=1 / 127.5, offset=-1.0) if name == "mobilenet_v2" else by_film
        (folder / f"{name}.onnx").write_bytes(lower(build(name, preprocessing).eval(), preprocessing, 20))
