"""The int8 graphs: really int8, equal on repetition, and nobody is told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest

from toolkit.core.files import sha256_of
from toolkit.errors import StorageError
from toolkit.infer.machine import family
from toolkit.infer.runtimes import runtime
from toolkit.quantize import for_onnxruntime, for_openvino
from toolkit.quantize.ladder import Settings

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 1, 32, 32), dtype=np.uint8)


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_onnxruntime_int8_stays_near_float(method: str, finished_run: Path, tmp_path: Path) -> None:
    graph, out = finished_run / "quantize" / "float.onnx", tmp_path / "int8.onnx"
    for_onnxruntime.quantize(IMAGES, Settings(graph, method), out, for_onnxruntime.FORMS[family()])  # type: ignore[arg-type]
    before, after = (runtime("onnxruntime").load([file]).logits(IMAGES) for file in (graph, out))
    assert np.abs(before - after).mean() < 0.25 * max(1.0, float(np.abs(before).max()))
    weights = {tensor.data_type for tensor in onnx.load(out).graph.initializer if len(tensor.dims) > 1}
    assert weights == {onnx.TensorProto.INT8}


@pytest.mark.parametrize(("room", "suffix"), [(for_onnxruntime, ".onnx"), (for_openvino, ".xml")])
def test_equal_calibration_gives_equal_files(room: object, suffix: str, finished_run: Path, tmp_path: Path) -> None:
    digests = []
    for name in "ab":
        room.quantize(IMAGES, Settings(finished_run / "quantize" / "float.onnx"), tmp_path / f"{name}{suffix}")  # type: ignore[attr-defined]
        digests.append([sha256_of(file) for file in sorted(tmp_path.glob(f"{name}.*"))])
    assert digests[0] == digests[1]


PHONE = """
import socket, sys
def refuse(*_, **__):
    raise AssertionError("something opened a connection")
socket.socket.connect = socket.create_connection = refuse
from pathlib import Path
import numpy as np
from toolkit.errors import StorageError
from toolkit.infer.runtimes import runtime
from toolkit.quantize import for_openvino
from toolkit.quantize.ladder import Settings
graph, out = map(Path, sys.argv[1:])
images = np.zeros((4, 1, 32, 32), np.uint8)
for_openvino.quantize(images, Settings(graph), out)
print(runtime("openvino").load([out]).logits(images).shape)
"""

PREDICT = """
import sys
from pathlib import Path
import numpy as np
from toolkit.infer.runtimes import runtime
print(runtime("onnxruntime").load([Path(sys.argv[1])]).logits(np.zeros((4, 1, 32, 32), np.uint8)).shape)
"""
CALIBRATE = """
import sys
from pathlib import Path
import numpy as np
from toolkit.quantize import for_onnxruntime
from toolkit.quantize.ladder import Settings
graph, out = map(Path, sys.argv[1:])
images = np.zeros((4, 1, 32, 32), np.uint8)
for_onnxruntime.quantize(images, Settings(graph, bias_correction=True), out)
from toolkit.infer.runtimes import runtime
print(runtime("onnxruntime").load([out]).logits(images).shape)
"""


def test_nothing_phones_home(finished_run: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-c", PHONE, str(finished_run / "quantize" / "float.onnx"), str(tmp_path / "int8.xml")]
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("NNCF")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**surroundings, "HOME": str(home)})
    assert done.stdout == "(4,)\n", done.stderr
    assert not list(home.iterdir()), "OpenVINO's telemetry leaves an identity in the home folder"


@pytest.mark.parametrize("code", [PREDICT, CALIBRATE])
def test_onnxruntime_does_not_either(code: str, finished_run: Path, tmp_path: Path) -> None:
    places = {"HOME": tmp_path / "home", "TMPDIR": tmp_path / "temporary"}
    for place in places.values():
        place.mkdir()
    surroundings = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")}
    command = [sys.executable, "-c", code, str(finished_run / "quantize" / "float.onnx"), str(tmp_path / "int8.onnx")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**surroundings, **{name: str(place) for name, place in places.items()}}
    )
    assert done.stdout == "(4,)\n", done.stderr
    assert [left for place in places.values() for left in place.iterdir()] == []


def test_a_full_disk_is_one_sentence(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("basic_ios::clear: iostream error")  # as OpenVINO says it

    monkeypatch.setattr("openvino.save_model", full)
    with pytest.raises(
        StorageError, match=r"Cannot write .*int8.xml: basic_ios::clear: iostream error; free some space there, or set TMPDIR"
    ):
        for_openvino.quantize(IMAGES, Settings(finished_run / "quantize" / "float.onnx"), tmp_path / "int8.xml")
    assert not list(tmp_path.iterdir())


def test_openvinos_description_has_no_spaces_between_its_tags(finished_run: Path) -> None:
    description = (finished_run / "quantize" / "openvino-int8.xml").read_text()
    assert not re.search(r">\s+<", description)


def test_openvino_rounds_behind_its_pools(finished_run: Path) -> None:
    """Its kernels pool floats faster than bytes, and a maximum is the same before and after rounding."""
    model = openvino.Core().read_model(str(finished_run / "quantize" / "openvino-int8.xml"))
    pools = [node for node in model.get_ordered_ops() if node.get_type_name() == "MaxPool"]
    assert pools
    assert "FakeQuantize" not in {pool.input_value(0).get_node().get_type_name() for pool in pools}
    assert "FakeQuantize" in {target.get_node().get_type_name() for pool in pools for target in pool.output(0).get_target_inputs()}
