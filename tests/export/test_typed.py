"""Graphs of half precision: the same answers, the film's own scale in single precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.conftest import KERMANY, ROOT, needs_kermany
from tests.export.conftest import LIGHT
from toolkit.core.bundle import MANIFEST, Bundle
from toolkit.data.films import prepare_films
from toolkit.data.sources import read_source
from toolkit.data.splits import labelled_films
from toolkit.errors import ModelError
from toolkit.export.typed import typed
from toolkit.infer.runtimes import runtime

# Largest logit error, as a share of logits beyond 1: eleven bits through the layers of the deepest of the three.
TOLERANCE = 0.1
BUNDLES = sorted(path.parent for path in (ROOT / "exported").glob(f"*/{MANIFEST}"))


def departure(graph: Path, images: Any, folder: Path) -> float:
    """Of the graph in half precision from the graph, both run by ONNX Runtime."""
    (folder / "fp16.onnx").write_bytes(typed(graph, "fp16"))
    sessions = [runtime("onnxruntime").load([file]) for file in (graph, folder / "fp16.onnx")]
    before, after = (np.concatenate([session.logits(images[at : at + 8]) for at in range(0, len(images), 8)]) for session in sessions)
    return float((np.abs(after - before) / np.maximum(1, np.abs(before))).max())


def types_of(raw: bytes) -> dict[str, int]:
    """By tensor, the type that strict inference finds."""
    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(raw), check_type=True, strict_mode=True)
    return {info.name: info.type.tensor_type.elem_type for info in (*model.graph.value_info, *model.graph.input, *model.graph.output)}


def extremes() -> Any:
    """Noise, black, white, and half black half white, whose variance is the largest that there is."""
    pictures = np.random.default_rng(4).integers(0, 256, (6, 1, 224, 224), dtype=np.uint8)
    pictures[3], pictures[4], pictures[5, :, :112], pictures[5, :, 112:] = 0, 255, 0, 255
    return pictures


@pytest.mark.parametrize("name", LIGHT)
def test_random_pictures_and_extremes_answer_nearly_alike(name: str, light_graphs: dict[str, Path], tmp_path: Path) -> None:
    assert departure(light_graphs[name], extremes(), tmp_path) < TOLERANCE


@needs_kermany
@pytest.mark.parametrize("folder", BUNDLES, ids=lambda path: path.name)
def test_real_films_answer_nearly_alike_in_sealed_networks(folder: Path, tmp_path: Path) -> None:
    bundle = Bundle(folder)
    graph = next(artifact for artifact in bundle.manifest.artifacts if artifact.name in ("onnxruntime-fp32", "onnxruntime-fp16w"))
    source = read_source(KERMANY)
    films = prepare_films(source, labelled_films(source)[::16], bundle.manifest.preprocessing, "read")
    assert departure(bundle.paths(graph)[0], films.images, tmp_path) < TOLERANCE


@pytest.mark.parametrize("name", LIGHT)
def test_only_what_scales_the_film_stays_single(name: str, light_graphs: dict[str, Path]) -> None:
    raw = typed(light_graphs[name], "fp16")
    model, types = onnx.load_model_from_string(raw), types_of(raw)
    kinds = [node.op_type for node in model.graph.node]
    first = kinds.index("Conv")
    assert {types[node.input[0]] for node in model.graph.node if node.op_type in ("Conv", "Gemm", "Relu")} == {TensorProto.FLOAT16}
    assert {types[name] for node in model.graph.node[1 : first - 1] for name in node.output} == {TensorProto.FLOAT}
    assert kinds[first - 1] == "Cast"  # one, at the border
    assert kinds.count("Cast") == 2 + len(model.graph.output)
    assert (types["image"], types["logit"]) == (TensorProto.UINT8, TensorProto.FLOAT)
    assert len(raw) < 0.56 * light_graphs[name].stat().st_size


def test_equal_graphs_give_equal_bytes(light_graphs: dict[str, Path]) -> None:
    assert typed(light_graphs["szanet"], "fp16") == typed(light_graphs["szanet"], "fp16")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_other_precisions_stand_in_the_file_already(precision: Any, light_graphs: dict[str, Path]) -> None:
    assert typed(light_graphs["szanet"], precision) == light_graphs["szanet"].read_bytes()


def small_graph(weight: float, kind: str) -> onnx.ModelProto:
    """uint8 -> one operator with one weight -> float32."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 1, 4, 4])
    logit = helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["n", 1, 4, 4])
    nodes = [
        helper.make_node("Cast", ["image"], ["grey"], "cast", to=TensorProto.FLOAT),
        helper.make_node(kind, ["grey", "w"], ["logit"], "layer"),
    ]
    weights = numpy_helper.from_array(np.full((1, 1, 1, 1), weight, np.float32), "w")
    graph = helper.make_graph(nodes, "small", [image], [logit], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_weights_beyond_half_precision_are_clipped(tmp_path: Path) -> None:
    onnx.save(small_graph(-1e6, "Conv"), tmp_path / "big.onnx")
    (weights,) = onnx.load_model_from_string(typed(tmp_path / "big.onnx", "fp16")).graph.initializer
    assert numpy_helper.to_array(weights).ravel().tolist() == [-65504.0]


def test_a_graph_without_a_convolution_is_refused(tmp_path: Path) -> None:
    onnx.save(small_graph(1.0, "Mul"), tmp_path / "flat.onnx")
    with pytest.raises(ModelError, match=r"flat\.onnx has no convolution; half precision begins at the first one"):
        typed(tmp_path / "flat.onnx", "fp16")
