"""The directions that never run: an import walk against a table, and fresh interpreters in which torch is blocked."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import ROOT, without

PACKAGE = ROOT / "toolkit"
FILES = sorted(PACKAGE.rglob("*.py"))
WIRING = {
    "pipeline",
    "stages",
    "judgement",
    "seal",
    "examine",
    "candidate",
    "int8",
    "artifact",
    "eager",
    "sweep",
    "searching",
    "pytest_plugin",
}  # the top of the package: knows every room
EVERYWHERE = {"core", "errors"}
# What each room may import, besides itself, `core` and `errors`.
ROOMS: dict[str, set[str]] = {
    "core": set(),
    "errors": set(),
    "imaging": set(),
    "data": {"imaging"},
    "models": set(),
    "train": {"models", "data", "imaging", "infer"},  # infer: a sealed bundle teaches
    "prune": {"train", "models", "data"},
    "quantize": {"models", "data", "imaging"},
    "export": {"infer"},
    "infer": {"imaging"},
    "screen": set(),  # data alone
    "serve": {"imaging", "infer"},
    "engine": set(),
    "archive": {"engine", "imaging", "infer"},
    "validate": {"engine", "infer", "data", "imaging"},
    "benchmark": {"infer", "imaging"},
    "devices": {"benchmark", "data", "imaging", "infer", "validate"},
    "report": set(),
    "cli": {
        "archive",
        "benchmark",
        "data",
        "devices",
        "engine",
        "export",
        "imaging",
        "infer",
        "validate",
        "report",
        "serve",
        "pipeline",
        "seal",
    },
}
# A library lives in these rooms or files and nowhere else.
HOMES = {
    "click": {"cli"},
    "yaml": {"core/recipe.py"},
    "PIL": {"imaging", "data/phantom.py", "benchmark/runner.py"},
    "pydicom": {"imaging/dicom.py", "imaging/dicom_file.py", "imaging/encode.py", "imaging/secondary_capture.py"},
    "onnxruntime": {"infer/on_onnxruntime.py", "quantize/for_onnxruntime.py", "quantize/bias.py", "export/typed.py"},
    "openvino": {"infer/on_openvino.py", "quantize/for_openvino.py", "quantize/ir_rewrites.py", "export/to_openvino.py"},
    "nncf": {"quantize/for_openvino.py"},
    "onnx": {"quantize/lower.py", "quantize/for_onnxruntime.py", "quantize/bias.py", "export/to_onnx.py", "export/typed.py"},
    "onnx_ir": {"quantize/lower.py", "quantize/rewrites.py", "quantize/heatmap.py", "quantize/nodes.py", "export/typed.py"},
    "ray": {"engine/on_ray.py"},
    "pyarrow": {"archive/remote.py", "archive/tables.py"},
    "starlette": {"serve"},
    "uvicorn": {"serve"},
    "python_multipart": {"serve"},
    "tensorrt_rtx": {"infer/engine.py"},
    "tensorrt": {"infer/engine.py"},
    "cuda": {"infer/gpu.py"},
    "pytorch_lightning": {"train"},
    "torch_pruning": {"prune/structured.py"},
    "optuna": {"prune/search.py", "sweep.py"},
    "sqlalchemy": {"sweep.py"},
    "safetensors": {"train/checkpoint.py", "train/weights.py"},
    "torchvision": {"models"},
    "timm": {"models/published.py"},
    "captum": {"train/explain.py"},
    "sklearn": {"train/folds.py", "validate/curves.py", "data/shortcuts.py"},
    "matplotlib": {"report/plots.py", "report/drift_plots.py", "report/target_plots.py"},
    "jinja2": {"report/render.py"},
    "pytest": {"pytest_plugin.py"},
    "scipy": {"validate/intervals.py", "core/operating.py"},
    "torch": {
        *("models", "train", "prune", "quantize/lower.py", "data/loader.py"),
        *("examine.py", "candidate.py", "int8.py", "artifact.py", "judgement.py", "eager.py", "searching.py"),
    },
}
TORCH_FREE = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for file in FILES
    if file.relative_to(PACKAGE).parts[0]
    in (
        *("core", "imaging", "infer", "screen", "export", "validate", "benchmark", "devices", "serve", "engine", "archive"),
        *("cli", "data", "quantize"),
    )
    and file.name not in ("loader.py", "lower.py", "__main__.py")
)


def imported(file: Path) -> set[str]:
    """Dotted names of all modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", [file for file in FILES if room_of(file) not in WIRING | {"__init__"}], ids=lambda file: file.name)
def test_a_room_imports_only_what_the_plan_allows(file: Path) -> None:
    room = room_of(file)
    ours = {name.split(".")[1] for name in imported(file) if name.startswith("toolkit.")}
    assert ours <= ROOMS[room] | EVERYWHERE | {room, "__version__"}


def test_every_room_stands_in_the_table() -> None:
    assert {room_of(file) for file in FILES} - WIRING - {"__init__"} == set(ROOMS)


@pytest.mark.parametrize("library", HOMES)
def test_a_library_lives_in_one_place(library: str) -> None:
    users = [file for file in FILES if any(name.split(".")[0] == library for name in imported(file))]
    homes = HOMES[library]
    strangers = [str(file) for file in users if not {room_of(file), file.relative_to(PACKAGE).as_posix()} & homes]
    assert users, f"nothing imports {library}: take it out of the table"
    assert not strangers


def test_nobody_imports_the_command_line() -> None:
    users = [file for file in FILES if room_of(file) != "cli" and any(name.startswith("toolkit.cli") for name in imported(file))]
    assert not users


IMPORTED = """
import importlib
for name in {names!r}:
    importlib.import_module(name)
print("imported", len({names!r}))
"""


def test_the_clinics_half_imports_without_torch() -> None:
    blocked = ("torch", "torchvision", "pytorch_lightning", "nncf", "safetensors")
    names = [name for name in TORCH_FREE if name != "toolkit.validate.intervals"]
    done = subprocess.run(
        [sys.executable, "-c", without(blocked, IMPORTED.format(names=names))], capture_output=True, text=True, check=False
    )
    assert done.stdout == f"imported {len(names)}\n", done.stderr


def test_predict_and_doctor_import_only_the_base_install() -> None:
    blocked = (
        "torch",
        "scipy",
        "yaml",
        "openvino",
        "onnx",
        "matplotlib",
        "jinja2",
        "nncf",
        "tqdm",
        "sklearn",
        "pydicom",
        "starlette",
        "ray",
        "pyarrow",
    )
    verbs = ("predict", "doctor", "benchmark", "bundle", "serve")
    names = ["toolkit.cli.main", *(f"toolkit.cli.{verb}" for verb in verbs)]
    done = subprocess.run(
        [sys.executable, "-c", without(blocked, IMPORTED.format(names=names))], capture_output=True, text=True, check=False
    )
    assert done.stdout == "imported 6\n", done.stderr


NOT_FOR_ONE_FILM = (
    *("toolkit.core.reports", "toolkit.core.drift", "toolkit.core.latency", "toolkit.imaging.dicom", "toolkit.imaging.overlay"),
    *("PIL.TiffImagePlugin", "concurrent.futures", "csv", "shutil", "openvino", "pydicom"),
)


def test_a_prediction_of_one_film_starts_with_nothing_that_it_does_not_need(bundle: Path, tmp_path: Path) -> None:
    Image.new("L", (64, 64), 200).save(film := tmp_path / "film.jpeg")
    code = f"""
import sys
from toolkit.cli.main import run
sys.argv = ["cxr-edge", "predict", {str(bundle)!r}, {str(film)!r}]
try:
    run()
finally:
    print(sorted(set({NOT_FOR_ONE_FILM!r}) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import toolkit; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['toolkit']\n"
