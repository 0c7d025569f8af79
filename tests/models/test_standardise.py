"""A film's own normalisation: by hand, and alike in training and in the lowered graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from toolkit.core.preprocessing import Preprocessing
from toolkit.infer.runtimes import runtime
from toolkit.models.registry import build
from toolkit.models.standardise import standardise
from toolkit.quantize import for_onnxruntime, for_openvino
from toolkit.quantize.ladder import Settings
from toolkit.quantize.lower import lower
from toolkit.train.score import score

BY_FILM = Preprocessing(size_px=32, normalise="film", scale=1.0)
FILMS = np.random.default_rng(0).integers(20, 120, (12, 1, 32, 32), dtype=np.uint8)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build("szanet", BY_FILM).eval()


@pytest.fixture(scope="module")
def graph(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("graph") / "float.onnx"
    file.write_bytes(lower(network, BY_FILM, 20))
    return file


def test_four_pixels_by_hand() -> None:
    film = torch.tensor([[[[10.0, 20.0], [30.0, 40.0]]]])  # mean 25, variance 125
    expected = torch.tensor([-15.0, -5.0, 5.0, 15.0]) / 125**0.5
    assert torch.allclose(standardise(film).flatten(), expected)


def test_a_blank_film_becomes_zero() -> None:
    assert torch.equal(standardise(torch.full((1, 1, 8, 8), 200.0)), torch.zeros(1, 1, 8, 8))


def test_exposure_and_window_do_not_matter(network: torch.nn.Module) -> None:
    brighter = FILMS * 2 + 10  # at most 250, so nothing is clipped
    assert np.allclose(score(network, FILMS, BY_FILM), score(network, brighter, BY_FILM), atol=1e-5)


def test_the_lowered_graph_agrees_with_torch_also_on_blank_films(network: torch.nn.Module, graph: Path) -> None:
    films = np.concatenate([FILMS, np.zeros((1, 1, 32, 32), np.uint8), np.full((1, 1, 32, 32), 255, np.uint8)])
    expected = score(network, films, BY_FILM)
    for backend in ("onnxruntime", "openvino"):
        assert np.allclose(runtime(backend).load([graph]).logits(films), expected, atol=1e-5), backend


def test_eight_bits_begin_at_the_first_convolution(network: torch.nn.Module, graph: Path, tmp_path: Path) -> None:
    for_onnxruntime.quantize(FILMS, Settings(graph), tmp_path / "int8.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node if node.op_type != "DequantizeLinear"]
    first = kinds.index("QuantizeLinear")
    assert {"ReduceMean", "Sqrt", "Div"} <= set(kinds[:first])
    assert kinds[first + 1] == "Conv"
    for_openvino.quantize(FILMS, Settings(graph), tmp_path / "int8.xml")
    expected = score(network, FILMS, BY_FILM)
    for backend, file in (("onnxruntime", "int8.onnx"), ("openvino", "int8.xml")):
        found = runtime(backend).load([tmp_path / file]).logits(FILMS)
        assert np.abs(found - expected).mean() < 0.25 * np.abs(expected).max(), backend
