"""The clinic's install: the built wheel in a clean environment, without torch, without network."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import EDGE, ROOT, make_bundle

WHEELHOUSE = Path(sys.prefix) / "wheelhouse"
BASE = {"click", "cxr-edge", "msgspec", "numpy", "onnxruntime", "pillow"}
PULLED_BY_ONNXRUNTIME = {"flatbuffers", "packaging", "protobuf", "coloredlogs", "humanfriendly", "sympy", "mpmath", "ml-dtypes"}


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a clean environment that holds the wheel and what it requires."""
    folder = tmp_path_factory.mktemp("clinic")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(wheel, check=True, capture_output=True, cwd=folder)
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    (built,) = folder.glob("cxr_edge-*.whl")
    install = ["--python", str(python), "install", "--no-index", "--find-links", str(WHEELHOUSE), str(built)]
    done = subprocess.run([*pip, *install], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return python.parent


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, cwd="/")


def test_base_install_is_what_the_plan_says(clinic: Path) -> None:
    code = "import importlib.metadata as m; print(*sorted(d.name.lower() for d in m.distributions()))"
    found = set(run(clinic / "python", "-c", code).stdout.split())
    assert found >= BASE
    assert found - BASE <= PULLED_BY_ONNXRUNTIME


def test_predict_works_there_and_names_a_broken_film(clinic: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    Image.fromarray(np.full((EDGE, EDGE), 200, np.uint8)).save(tmp_path / "film.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    done = run(clinic / "cxr-edge", "predict", bundle, tmp_path / "film.png", tmp_path / "broken.png", "--json", "-")
    good, broken = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, good["decision"], broken["decision"]) == (3, "PNEUMONIA", "REJECTED")


def test_the_workshops_verbs_name_the_extra_there(clinic: Path, tmp_path: Path) -> None:
    done = run(clinic / "cxr-edge", "compress", ROOT / "recipes" / "demo.yaml", "--out", tmp_path / "run")
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'cxr-edge[workshop]'" in done.stderr


def test_evaluate_names_its_extra_there(clinic: Path, tmp_path: Path, phantoms: Path) -> None:
    done = run(clinic / "cxr-edge", "evaluate", make_bundle(tmp_path / "bundle"), "--data", phantoms)
    assert done.returncode == 2
    assert "pip install 'cxr-edge[validate]'" in done.stderr


def test_doctor_runs_there(clinic: Path) -> None:
    done = run(clinic / "cxr-edge", "doctor")
    assert done.returncode == 0
    assert "pip install 'cxr-edge[openvino]'" in done.stdout
