"""Rewrites of OpenVINO's int8 graphs: a graph answers as before, bit for bit, and is smaller."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import openvino
import pytest
from numpy.typing import NDArray
from openvino import opset13 as ops

from toolkit.quantize.ir_rewrites import (
    activations_into_ranges,
    forget_making,
    make_smaller,
    name_by_position,
    share_constants,
    without_read_shapes,
    without_spaces,
)

FILMS = np.random.default_rng(0).integers(0, 256, (4, 1, 6, 6), dtype=np.uint8)


def number(value: float) -> openvino.Node:
    return ops.constant(np.float32(value))


def clipped(activation: str, low: float, high: float) -> openvino.Model:
    """Greys from -100 to 155, an activation, a quantization of `low` to `high`; another reader of the same activation is 'logit'."""
    image = ops.parameter([-1, 1, 6, 6], np.uint8, name="image")
    shifted = ops.subtract(ops.convert(image, np.float32), number(100))
    active = ops.relu(shifted) if activation == "relu" else ops.clamp(shifted, -20.0, 60.0)
    rounded = ops.fake_quantize(active, number(low), number(high), number(low), number(high), 256)
    return openvino.Model([ops.reduce_mean(rounded, np.array([1, 2, 3]))], [image], "net")


def answers(model: openvino.Model | Path, films: NDArray[np.uint8] = FILMS) -> list[NDArray[np.float32]]:
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(model if isinstance(model, openvino.Model) else str(model), "CPU", settings)
    return list(compiled([films]).to_tuple())


def kinds(model: openvino.Model) -> list[str]:
    return [node.get_type_name() for node in model.get_ordered_ops()]


@pytest.mark.parametrize(
    ("activation", "low", "high", "gone"),
    [
        ("relu", 0.0, 90.0, 1),
        ("relu", -10.0, 90.0, 0),  # below zero the quantization lets through what the ReLU does not
        ("clamp", -20.0, 60.0, 1),
        ("clamp", 0.0, 40.0, 1),
        ("clamp", -20.0, 60.5, 0),
        ("clamp", -20.5, 60.0, 0),
    ],
)
def test_an_activation_goes_where_the_range_behind_it_clips_as_much(activation: str, low: float, high: float, gone: int) -> None:
    model = clipped(activation, low, high)
    before = answers(model.clone())
    assert activations_into_ranges(model) == gone
    assert len({"Relu", "Clamp"} & set(kinds(model))) == 1 - gone
    assert np.array_equal(answers(model), before)


def test_an_activation_that_others_read_too_stays() -> None:
    image = ops.parameter([-1, 1, 6, 6], np.uint8, name="image")
    active = ops.relu(ops.subtract(ops.convert(image, np.float32), number(100)))
    rounded = ops.fake_quantize(active, number(0), number(90), number(0), number(90), 256)
    model = openvino.Model([ops.add(rounded, active)], [image], "net")
    before = answers(model.clone())
    assert activations_into_ranges(model) == 0
    assert kinds(model).count("Relu") == 1
    assert np.array_equal(answers(model), before)


def test_a_range_that_is_calculated_is_left_alone() -> None:
    image = ops.parameter([-1, 1, 6, 6], np.uint8, name="image")
    greys = ops.convert(image, np.float32)
    high = ops.reduce_max(greys, np.array([0, 1, 2, 3]))
    model = openvino.Model([ops.fake_quantize(ops.relu(greys), number(0), high, number(0), high, 256)], [image], "net")
    assert activations_into_ranges(model) == 0


def test_equal_constants_are_one_and_unequal_ones_are_not() -> None:
    """Three differ in value, in shape and in type from the one that stands there four times."""
    image = ops.parameter([-1, 1, 6, 6], np.uint8, name="image")
    greys = ops.convert(image, np.float32)
    for _ in range(4):
        greys = ops.add(greys, number(7))
    greys = ops.add(greys, number(8))
    greys = ops.add(greys, ops.constant(np.full((1, 1), 7, np.float32)))
    greys = ops.add(greys, ops.convert(ops.constant(np.frombuffer(np.float32(7).tobytes(), np.int32)[0]), np.float32))
    model = openvino.Model([greys], [image], "net")
    before = answers(model.clone())
    assert share_constants(model) == 3
    assert kinds(model).count("Constant") == 4
    assert np.array_equal(answers(model), before)


def test_inputs_outputs_and_the_heat_map_keep_their_names() -> None:
    image = ops.parameter([-1, 1, 6, 6], np.uint8, name="image")
    greys = ops.convert(image, np.float32, name="grey")
    greys.output(0).set_names({"inner"})
    logit, heat = ops.reduce_mean(greys, np.array([1, 2, 3]), name="mean"), ops.negative(greys, name="heatmap_1")
    logit.output(0).set_names({"logit"})
    heat.output(0).set_names({"heatmap"})
    model = openvino.Model([logit, heat], [image], "net")
    name_by_position(model)
    names = {node.get_type_name(): node.get_friendly_name() for node in model.get_ordered_ops()}
    assert names["Parameter"] == "image"
    assert names["Negative"] == "heatmap_1"
    assert names["Convert"].isdecimal()
    assert [output.get_any_name() for output in model.outputs] == ["logit", "heatmap"]
    assert greys.output(0).get_names() == set()


def test_what_made_it_is_forgotten_once() -> None:
    model = clipped("relu", 0.0, 90.0)
    model.set_rt_info("3.4", ["nncf", "version"])
    model.set_rt_info("float.onnx", ["conversion_parameters", "input_model"])
    forget_making(model)
    forget_making(model)
    assert not {"nncf", "conversion_parameters"} & set(model.rt_info)


def test_spaces_that_say_something_stay() -> None:
    xml = b'<a b="c  d" />\n  <e f="1 > 0 "/>\n<g />'
    assert without_spaces(xml) == b'<a b="c  d"/><e f="1 > 0 "/><g/>'


def test_a_shape_stands_where_it_is_made_and_not_where_it_is_read() -> None:
    made = b'<output><port id="1" precision="FP32"><dim>-1</dim><dim>3</dim></port></output>'
    read = b'<input><port id="0" precision="FP32"><dim>-1</dim><dim>3</dim></port><port id="1" precision="I8"/></input>'
    assert without_read_shapes(made + read + made) == (
        made + b'<input><port id="0" precision="FP32"/><port id="1" precision="I8"/></input>' + made
    )


def test_shapes_are_inferred_as_they_were(finished_run: Path, tmp_path: Path) -> None:
    core = openvino.Core()
    written = finished_run / "bundle" / "int8.xml"
    assert b"<dim>" not in b"".join(re.findall(rb"<input>.*?</input>", written.read_bytes()))
    model = core.read_model(written)
    openvino.save_model(model, tmp_path / "whole.xml", compress_to_fp16=False)
    assert b"<dim>" in b"".join(re.findall(rb"<input>.*?</input>", (tmp_path / "whole.xml").read_bytes(), re.DOTALL))
    whole = core.read_model(tmp_path / "whole.xml")
    shapes = [
        [(node.get_type_name(), str(output)) for node in one.get_ordered_ops() for output in node.outputs()] for one in (model, whole)
    ]
    assert shapes[0] == shapes[1]


def test_a_quantized_network_is_smaller_and_answers_as_before(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's own, made with the rewrites and without."""
    from toolkit.quantize import for_openvino
    from toolkit.quantize.ladder import Settings

    films = np.random.default_rng(1).integers(0, 256, (8, 1, 32, 32), dtype=np.uint8)
    settings = Settings(finished_run / "quantize" / "float.onnx")
    small, _ = for_openvino.quantize(films, settings, tmp_path / "small.xml")
    monkeypatch.setattr(for_openvino, "make_smaller", name_by_position)
    large, _ = for_openvino.quantize(films, settings, tmp_path / "large.xml")
    assert small.stat().st_size < 0.95 * large.stat().st_size
    for before, after in zip(answers(large, films), answers(small, films), strict=True):
        assert np.array_equal(before, after)
    model = openvino.Core().read_model(str(small))
    make_smaller(model)
    for_openvino.write(model, tmp_path / "again.xml")
    assert (tmp_path / "again.xml").read_bytes() == small.read_bytes(), "what is small is not made smaller"
