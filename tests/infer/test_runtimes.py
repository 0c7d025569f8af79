"""One contract for every runtime: same graph, same answers, same errors."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.conftest import EDGE, brightness_graph
from toolkit.errors import BundleError, MissingDependencyError
from toolkit.infer.runtimes import MODULES, runtime

BACKENDS = sorted(name for name in MODULES if not name.startswith("tensorrt"))  # its engines: test_on_tensorrt.py


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(brightness_graph(scale=0.1, middle=128), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def grey(*levels: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.stack([np.full((1, EDGE, EDGE), level, np.uint8) for level in levels])


@pytest.mark.parametrize("backend", BACKENDS)
def test_answers_are_those_worked_out_by_hand(backend: str, model: Path) -> None:
    logits = runtime(backend).load([model], threads=1).logits(grey(28, 128, 228))
    assert logits.dtype == np.float32
    assert logits == pytest.approx([-10.0, 0.0, 10.0], abs=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_earlier_answers_stay_when_later_ones_come(backend: str, model: Path) -> None:
    session = runtime(backend).load([model])
    first = session.logits(grey(28))
    session.logits(grey(228))
    assert first == pytest.approx([-10.0], abs=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_films_that_may_not_be_written_or_lie_otherwise_are_answered(backend: str, model: Path) -> None:
    session = runtime(backend).load([model])
    mapped = grey(28, 228)
    mapped.flags.writeable = False
    assert session.logits(mapped) == pytest.approx([-10.0, 10.0], abs=1e-5)
    assert session.logits(mapped[::-1]) == pytest.approx([10.0, -10.0], abs=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_file_that_is_no_model_is_refused(backend: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(BundleError, match=r"model\.onnx is no ONNX file, or is damaged; copy the bundle again"):
        runtime(backend).load([tmp_path / "model.onnx"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_missing_package_names_its_extra(backend: str, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == backend:
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=rf"'{backend}', which is not installed: pip install"):
        runtime(backend).load([model])


def test_openvino_sessions_of_one_thread_do_not_wait_for_the_same_core(model: Path) -> None:
    def pinned(threads: int) -> bool:
        session = runtime("openvino").load([model], threads=threads)
        return bool(session._compiled[1].get_property("ENABLE_CPU_PINNING"))  # type: ignore[attr-defined]

    assert (pinned(1), pinned(2)) == (False, True)
