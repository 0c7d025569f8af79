"""Shared material: drawn films, a bundle made by hand, a whole run on films of 32 pixels."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolkit.cli.main import run as run_cli
from toolkit.core.artifacts import FileEntry, Provenance
from toolkit.core.bundle import SCHEMA_VERSION, Artifact, Bundle, Gate, Manifest, Parity, write_manifest
from toolkit.core.labels import Labels
from toolkit.core.operating import OperatingPoint
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.recipe import PhantomSpec
from toolkit.core.target import Target
from toolkit.data.phantom import write_phantoms
from toolkit.infer.machine import family

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
KERMANY = SHARED / "data" / "chest_xray_224"
PNEUMONIAMNIST = SHARED / "data" / "pneumoniamnist" / "pneumoniamnist.npz"

needs_kermany = pytest.mark.skipif(not KERMANY.is_dir(), reason="the Kermany films are not here")
needs_medmnist = pytest.mark.skipif(not PNEUMONIAMNIST.is_file(), reason="PneumoniaMNIST is not here")

EDGE = 32
INT8 = {"x86-vnni": "onnxruntime-int8", "x86": "onnxruntime-int8-x86", "arm64": "onnxruntime-int8-arm64"}[family()]
"""What this processor multiplies exactly."""
TINY_FILMS = PhantomSpec(train_patients=60, test_patients=30, size_px=64, seed=3)
TINY = (
    f"export.artifacts=[onnxruntime-fp32, {INT8}, openvino-fp32, openvino-int8]",
    "preprocessing.size_px=32",
    f"data.phantom={msgspec.json.encode(TINY_FILMS).decode()}",
    "train.epochs=3",
    "train.precision=fp32",
    "prune.recovery.epochs=2",
    "quantize.calibration_films=16",
    "export.parity_films=8",
    "validate={max_recall_loss_pt: 100, corruption_films: 12}",
    "benchmark={runs: 20, warmup: 2, threads: [1]}",
)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small set of synthetic films in the Kermany layout; read only."""
    folder = tmp_path_factory.mktemp("films") / "phantoms"
    write_phantoms(PhantomSpec(train_patients=40, test_patients=16, size_px=64, seed=11), folder)
    return folder


def brightness_graph(scale: float = 0.1, middle: float = 128.0) -> onnx.ModelProto:
    """An ONNX graph whose answer is known by hand: logit = scale * (mean of all pixels - middle)."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 1, EDGE, EDGE])
    logit = helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["n"])
    values = {"axes": np.array([1, 2, 3]), "scale": np.float32(scale), "middle": np.float32(middle)}
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        helper.make_node("Sub", ["mean", "middle"], ["centred"]),
        helper.make_node("Mul", ["centred", "scale"], ["logit"]),
    ]
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "brightness", [image], [logit], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def make_bundle(folder: Path, threshold: float = 0.5, verdict: str = "pass") -> Path:
    """A sealed bundle with the brightness graph as its one artifact, for ONNX Runtime."""
    folder.mkdir(parents=True)
    onnx.save(brightness_graph(), folder / "fp32.onnx")
    gate = Gate(
        verdict=verdict,  # type: ignore[arg-type]
        recall_loss_pt=0.0,
        recall_loss_upper95_pt=0.8,
        lost_positives=0,
        gained_positives=0,
        limit_pt=1.0,
        mode="observed",
    )
    artifact = Artifact(
        name="onnxruntime-fp32",
        target=Target.from_name("onnxruntime-fp32"),
        files=(FileEntry.of(folder, "fp32.onnx"),),
        requires="onnxruntime",
        operating=OperatingPoint(threshold=threshold),
        parity=Parity(films=1, max_logit_error=0.0, mean_logit_error=0.0, sign_flips=0),
        drift=gate,
        p50_ms=0.1,
    )
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name="brightness",
        model="none",
        sparsity=0.0,
        labels=Labels(),
        preprocessing=Preprocessing(size_px=EDGE, channels=1),
        artifacts=(artifact,),
        recommended=(artifact.name,) if verdict == "pass" else (),
        provenance=Provenance(recipe_sha256="0" * 64, data_sha256="0" * 64),
    )
    write_manifest(folder, manifest)
    return folder


def without(packages: Iterable[str], program: str) -> str:
    """The source of `program`, to which the packages are not there."""
    return f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {tuple(packages)!r}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocked())
{program}"""


def reseal(folder: Path) -> None:
    """Write the digests of what lies in a bundle now into its manifest: a fault that no digest tells."""
    manifest = Bundle(folder).manifest

    def fresh(files: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
        return tuple(FileEntry.of(folder, file.path) for file in files)

    artifacts = tuple(msgspec.structs.replace(artifact, files=fresh(artifact.files)) for artifact in manifest.artifacts)
    write_manifest(folder, msgspec.structs.replace(manifest, artifacts=artifacts, files=fresh(manifest.files)))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled models of tests are not kept among the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A hand-made bundle that calls films brighter than 128 PNEUMONIA; may be damaged by the test."""
    return make_bundle(tmp_path / "bundle")


def call_cli(*arguments: str | Path) -> int:
    """Run `cxr-edge` in this process and give its exit code."""
    try:
        run_cli([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


MadeOnce = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> MadeOnce:
    """Gives the folder of this name, which the first worker that asks for it fills; read only."""
    own = tmp_path_factory.getbasetemp()

    def folder(name: str, fill: Callable[[Path], None]) -> Path:
        found = (own if worker_id == "master" else own.parent) / name
        with found.with_suffix(".made").open("a+") as made:
            fcntl.flock(made, fcntl.LOCK_EX)
            if made.tell() == 0:
                found.mkdir(exist_ok=True)
                fill(found)
                made.write(worker_id)
        return found

    return folder


@pytest.fixture(scope="session")
def finished_run(made_once: MadeOnce) -> Path:
    """The folder of a whole `compress` run on tiny synthetic films; read only."""

    def compress(out: Path) -> None:
        overrides = [word for value in TINY for word in ("--set", value)]
        assert call_cli("compress", ROOT / "recipes" / "demo.yaml", "--out", out, *overrides) == 0

    return made_once("finished-run", compress)


@pytest.fixture
def copy_of_run(finished_run: Path, tmp_path: Path) -> Path:
    """The finished run's folder, to be changed."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture
def opened(bundle: Path) -> Callable[[], Bundle]:
    """Opens the hand-made bundle, again after each change."""
    return lambda: Bundle(bundle)
