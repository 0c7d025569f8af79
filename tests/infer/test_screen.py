"""What is no usable frontal film is rejected before a model is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw

import toolkit.screen
from tests.conftest import EDGE, KERMANY, needs_kermany
from toolkit.core.artifacts import FileEntry
from toolkit.core.bundle import Bundle, ScreenCount, ScreenEntry, ScreenLimits, write_manifest
from toolkit.core.codec import read_json
from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import BundleError
from toolkit.imaging.prepare import prepare_file
from toolkit.infer import screen as screens
from toolkit.infer.predictor import Predictor
from toolkit.infer.runtimes import runtime
from toolkit.infer.screen import BLANK, BRIGHT, DARK, INVERTED, NO_FILM, Screen, why_by_rule

PACKAGED = Path(toolkit.screen.__file__).parent
LIMITS = ScreenLimits(contrast_least=3.0, clipped_most=0.8, bright_least=40, dark_most=215, usable_least=0.0, inverted_most=0.0)
NOTHING = ScreenCount(pictures=0, rejected=0)
Picture = NDArray[np.uint8]


def column_graph() -> onnx.ModelProto:
    """A graph whose answers are known by hand: `logit` = mean of the left column - 100, `inverted` = mean of the right column - 200."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 1, 16, 16])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("logit", "inverted")]
    nodes = [helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT)]
    constants = [numpy_helper.from_array(np.array([1, 2]), "axes")]
    for name, column, level in (("logit", 0, 100.0), ("inverted", 15, 200.0)):
        constants += [
            numpy_helper.from_array(np.int64(column), f"{name} column"),
            numpy_helper.from_array(np.float32(level), f"{name} level"),
        ]
        nodes += [
            helper.make_node("Gather", ["pixels", f"{name} column"], [f"{name} taken"], axis=3),
            helper.make_node("ReduceMean", [f"{name} taken", "axes"], [f"{name} mean"], keepdims=0),
            helper.make_node("Sub", [f"{name} mean", f"{name} level"], [name]),
        ]
    graph = helper.make_graph(nodes, "columns", [image], outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def picture(left: int, right: int, edge: int = 16) -> Picture:
    """Left half, right half, and a dark and a bright row in the middle, so that no rule applies."""
    found = np.full((edge, edge), left, np.uint8)
    found[:, edge // 2 :] = right
    return found


@pytest.fixture
def screened(bundle: Path) -> Path:
    """The hand-made bundle, with the hand-made graph as its screen."""
    onnx.save(column_graph(), bundle / "screen.onnx")
    entry = ScreenEntry(file=FileEntry.of(bundle, "screen.onnx"), size_px=16, limits=LIMITS, films=NOTHING, others=NOTHING)
    write_manifest(bundle, msgspec.structs.replace(Bundle(bundle).manifest, screen=entry))
    return bundle


def loaded(folder: Path, backend: str = "onnxruntime") -> Screen:
    found = Screen.load(Bundle(folder), backend)
    assert found is not None
    return found


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("left", "right", "expected"), [(110, 60, None), (90, 60, NO_FILM), (110, 210, INVERTED), (90, 210, INVERTED), (100, 200, None)]
)
def test_both_outputs_decide(left: int, right: int, expected: str | None, backend: str, screened: Path) -> None:
    assert loaded(screened, backend).why_rejected(picture(left, right)) == expected


def test_a_picture_of_any_size_is_shrunk_first(screened: Path) -> None:
    assert loaded(screened).why_rejected(picture(110, 60, 64)) is None
    assert loaded(screened).why_rejected(picture(90, 60, 224)) == NO_FILM


def edged(level: int, other: int, share: float) -> Picture:
    """Grey `level`, but for the share that is `other`."""
    found = np.full(10_000, level, np.uint8)
    found[: round(share * 10_000)] = other
    return found.reshape(100, 100)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.full((96, 96), 90, np.uint8), BLANK),
        (edged(90, 92, 0.5), BLANK),  # standard deviation 1
        (edged(90, 98, 0.5), None),  # 4
        (edged(0, 120, 0.19), DARK),
        (edged(0, 120, 0.21), None),
        (edged(6, 120, 0.19), None),
        (edged(255, 120, 0.19), BRIGHT),
        (edged(255, 120, 0.21), None),
        (edged(249, 120, 0.19), None),
        (edged(8, 40, 0.3), DARK),  # nothing brighter than 40
        (edged(8, 41, 0.3), None),
        (edged(250, 216, 0.3), BRIGHT),  # nothing as dark as 215
        (edged(250, 215, 0.3), None),
    ],
)
def test_rules_need_no_network(image: Picture, expected: str | None) -> None:
    assert why_by_rule(image, LIMITS) == expected


def test_a_rejected_picture_has_no_label_and_no_probability(screened: Path, tmp_path: Path) -> None:
    paths = []
    for name, left, right in (("film", 150, 140), ("other", 20, 60), ("inverted", 150, 255)):
        Image.fromarray(picture(left, right, EDGE)).save(tmp_path / f"{name}.png")
        paths.append(tmp_path / f"{name}.png")
    film, other, inverted = Predictor(Bundle(screened)).predict(paths)
    assert (film.decision, film.error) == ("PNEUMONIA", None)
    assert (other.decision, other.label, other.probability, other.error) == ("REJECTED", None, None, NO_FILM)
    assert (inverted.decision, inverted.label, inverted.probability, inverted.error) == ("REJECTED", None, None, INVERTED)


def test_a_rejected_picture_is_still_handed_over(screened: Path, tmp_path: Path) -> None:
    Image.fromarray(picture(20, 60, EDGE)).save(tmp_path / "other.png")
    (judged,) = Predictor(Bundle(screened)).judge([tmp_path / "other.png"])
    assert judged.film is not None
    assert judged.film.pixels.shape == (EDGE, EDGE)
    assert judged.heat is None


def test_a_bundle_without_screen_screens_nothing(bundle: Path, tmp_path: Path) -> None:
    assert Screen.load(Bundle(bundle), "onnxruntime") is None
    Image.fromarray(np.full((EDGE, EDGE), 200, np.uint8)).save(tmp_path / "blank.png")
    (found,) = Predictor(Bundle(bundle)).predict([tmp_path / "blank.png"])
    assert found.decision == "PNEUMONIA"


def test_a_changed_screen_is_never_loaded(screened: Path) -> None:
    raw = bytearray((screened / "screen.onnx").read_bytes())
    raw[60] ^= 1
    (screened / "screen.onnx").write_bytes(raw)
    with pytest.raises(BundleError, match=r"screen\.onnx was changed"):
        Predictor(Bundle(screened))


def test_an_artifact_that_reads_no_onnx_has_its_screen_in_the_base_install(screened: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(screens, "runtime", lambda backend: asked.append(backend) or runtime(backend))
    for backend in ("tensorrt", "tensorrt-rtx", "openvino", "onnxruntime"):
        loaded(screened, backend)
    assert asked == ["onnxruntime", "onnxruntime", "openvino", "onnxruntime"]


# The packaged screen.


@pytest.fixture(scope="module")
def packaged() -> Screen:
    return Screen(runtime("onnxruntime").load((PACKAGED / "screen.onnx",), 1), read_json(PACKAGED / "screen.json", ScreenEntry))


def test_the_packaged_screen_is_the_one_that_is_described_and_small() -> None:
    entry = read_json(PACKAGED / "screen.json", ScreenEntry)
    assert entry.file == FileEntry.of(PACKAGED, "screen.onnx")
    assert entry.file.bytes < 250_000


def test_the_packaged_screen_promises_what_the_issue_asks_for() -> None:
    entry = read_json(PACKAGED / "screen.json", ScreenEntry)
    assert entry.others.pictures > 1000
    assert entry.others.rejected >= 0.95 * entry.others.pictures
    assert entry.films.pictures == 624
    assert entry.films.rejected <= 0.01 * entry.films.pictures


def test_both_runtimes_answer_alike() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 96, 96), np.uint8)
    sessions = [runtime(name).load((PACKAGED / "screen.onnx",), 1) for name in ("onnxruntime", "openvino")]
    first, second = (session.outputs(images) for session in sessions)
    assert [output.shape for output in first] == [(5,), (5,)]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


def _sheet(random: np.random.Generator) -> Picture:
    """A white sheet with dark lines."""
    page = Image.new("L", (224, 224), 245)
    for row in range(12, 212, 14):
        ImageDraw.Draw(page).line((16, row, int(random.integers(60, 210)), row), fill=20, width=4)
    return np.asarray(page)


def _face(random: np.random.Generator) -> Picture:
    """An oval with two eyes and a mouth."""
    page = Image.new("L", (224, 224), int(random.integers(60, 200)))
    pen = ImageDraw.Draw(page)
    pen.ellipse((60, 30, 164, 194), fill=int(random.integers(150, 255)))
    for left in (85, 125):
        pen.ellipse((left, 85, left + 16, 97), fill=20)
    pen.arc((88, 120, 136, 165), 10, 170, fill=30, width=4)
    return np.asarray(page)


def _waves(random: np.random.Generator) -> Picture:
    y, x = np.mgrid[:224, :224]
    first, second = random.uniform(0.05, 0.4, 2)
    return (127 + 60 * np.sin(first * x) + 60 * np.cos(second * y)).astype(np.uint8)


def _grain(random: np.random.Generator) -> Picture:
    return random.integers(0, 256, (224, 224), np.uint8)


def _ramp(random: np.random.Generator) -> Picture:
    return np.tile(np.linspace(0, random.integers(100, 256), 224).astype(np.uint8), (224, 1))


def _white(random: np.random.Generator) -> Picture:
    return np.full((224, 224), 255, np.uint8)


@pytest.mark.parametrize("draw", [_sheet, _face, _waves, _grain, _ramp, _white])
def test_drawn_pictures_are_rejected(draw: Callable[[np.random.Generator], Picture], packaged: Screen) -> None:
    said = [packaged.why_rejected(draw(np.random.default_rng(seed))) for seed in range(20)]
    assert sum(why is not None for why in said) >= 19, said


@pytest.fixture(scope="module")
def films() -> list[Picture]:
    """Every tenth film of the official test split."""
    return [prepare_file(path, Preprocessing(size_px=224)) for path in sorted((KERMANY / "test").rglob("*.jpeg"))[::10]]


@needs_kermany
def test_real_films_pass(films: list[Picture], packaged: Screen) -> None:
    assert sum(packaged.why_rejected(film) is not None for film in films) <= 1


@needs_kermany
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda film: 255 - film, id="inverted"),
        pytest.param(lambda film: np.rot90(film).copy(), id="turned"),
        pytest.param(lambda film: film[::-1].copy(), id="upside down"),
        pytest.param(lambda film: np.clip(film.astype(int) * 12, 0, 255).astype(np.uint8), id="overexposed"),
        pytest.param(lambda film: film // 24, id="underexposed"),
        pytest.param(lambda film: np.where(np.arange(224) < 130, 0, film).astype(np.uint8), id="half missing"),
        pytest.param(lambda film: film[80:130, 20:70].copy(), id="zoom"),
    ],
)
def test_spoilt_films_are_rejected(spoil: Callable[[Picture], Picture], films: list[Picture], packaged: Screen) -> None:
    said = [packaged.why_rejected(spoil(film)) for film in films]
    assert np.mean([why is not None for why in said]) >= 0.95, said


@needs_kermany
def test_an_inverted_film_is_called_so(films: list[Picture], packaged: Screen) -> None:
    assert np.mean([packaged.why_rejected(255 - film) == INVERTED for film in films]) >= 0.9
