"""Recipes are read strictly, overridden by key, and each stage's digest holds what it depends on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT
from toolkit.core.codec import decode_json, encode_json
from toolkit.core.recipe import STAGES, PhantomSpec, Recipe, read_recipe
from toolkit.errors import RecipeError

MINIMAL = "name: tiny\ntrain: {model: szanet, epochs: 3}\n"
TOP_KEYS = "name, attribution, seed, labels, preprocessing, data, train, prune, quantize, export, validate, benchmark"


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    """A recipe with only what has no default."""
    path = tmp_path / "tiny.yaml"
    path.write_text(MINIMAL)
    return path


def test_what_is_not_said_has_its_default(minimal: Path) -> None:
    recipe = read_recipe(minimal)
    assert (recipe.name, recipe.train.model, recipe.train.epochs) == ("tiny", "szanet", 3)
    assert (recipe.preprocessing.size_px, recipe.labels.names, recipe.data.phantom) == (224, ("NORMAL", "PNEUMONIA"), None)


@pytest.mark.parametrize(("name", "synthetic"), [("demo", True), ("szanet", False)])
def test_the_shipped_recipes_are_valid(name: str, synthetic: bool) -> None:
    recipe = read_recipe(ROOT / "recipes" / f"{name}.yaml")
    assert (recipe.name, recipe.train.model, recipe.preprocessing.channels) == (name, "szanet", 3)
    assert (recipe.data.phantom is not None) is synthetic


def test_a_recipe_survives_json_and_back() -> None:
    recipe = read_recipe(ROOT / "recipes" / "demo.yaml")
    assert decode_json(encode_json(recipe), Recipe, "here") == recipe


@pytest.mark.parametrize(
    ("key", "valid"),
    [
        ("epoch", TOP_KEYS),
        ("train.epoch", "model, epochs, batch_size"),
        ("train.augment.rotate", "shear_rad, zoom, flip"),
        ("data.phantom.films", "train_patients, test_patients, prevalence, size_px, seed"),
        ("prune.share", "method, sparsity, epochs, learning_rate"),
    ],
)
def test_an_unknown_key_is_refused_with_the_valid_ones(key: str, valid: str, minimal: Path) -> None:
    with pytest.raises(RecipeError, match=f"unknown key '{key}'; valid keys here: {valid}"):
        read_recipe(minimal, (f"{key}=1",))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.epochs=many", "'train.epochs': Expected `int`, got `str`"),
        ("train.epochs=2.5", "'train.epochs': Expected `int`, got `float`"),
        ("train.epochs=", "'train.epochs': Expected `int`, got `null`"),
        ("train.augment.flip=1", "'train.augment.flip': Expected `bool`, got `int`"),
        ("name=5", "'name': Expected `str`, got `int`"),
        ("prune=3", "'prune': Expected `object`, got `int`"),
        ("benchmark.threads=2", "'benchmark.threads': Expected `array`, got `int`"),
    ],
)
def test_a_wrong_type_is_refused(override: str, words: str, minimal: Path) -> None:
    with pytest.raises(RecipeError, match=words):
        read_recipe(minimal, (override,))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.epochs=0", "'train.epochs': Expected `int` >= 1"),
        ("train.learning_rate=0", "'train.learning_rate': Expected `float` > 0"),
        ("train.learning_rate=.nan", "'train.learning_rate': Expected `float` > 0"),
        ("train.target_recall=1.01", "'train.target_recall': Expected `float` <= 1"),
        ("train.precision=fp64", "'train.precision': Invalid enum value 'fp64'"),
        ("prune.sparsity=1.0", "'prune.sparsity': Expected `float` < 1"),
        ("data.holdout=0", "'data.holdout': Expected `float` > 0"),
        ("quantize.calibration_films=1", "'quantize.calibration_films': Expected `int` >= 2"),
        ("export.opset=22", "'export.opset': Expected `int` <= 21"),
        ("export.artifacts=[onnxruntime-fp32, tensorrt-int4]", r"'export.artifacts\[1\]': Invalid enum value 'tensorrt-int4'"),
        ("preprocessing.size_px=8", "'preprocessing.size_px': Expected `int` >= 16"),
        ("preprocessing.channels=2", "'preprocessing.channels': Invalid enum value 2"),
        ("benchmark.threads=[1, 0]", r"'benchmark.threads\[1\]': Expected `int` >= 1"),
        ("seed=-1", "'seed': Expected `int` >= 0"),
        ("data.phantom.seed=-1", "'data.phantom.seed': Expected `int` >= 0"),
        ("data.phantom.size_px=1", "'data.phantom.size_px': Expected `int` >= "),
    ],
)
def test_a_value_out_of_range_is_refused(override: str, words: str, minimal: Path) -> None:
    with pytest.raises(RecipeError, match=words):
        read_recipe(minimal, (override,))


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("name: x\ntrain: {epochs: 1}\n")
    with pytest.raises(RecipeError, match="'train': Object missing required field `model`"):
        read_recipe(tmp_path / "r.yaml")


def test_overrides_replace_values_and_the_last_one_wins(minimal: Path) -> None:
    recipe = read_recipe(minimal, ("train.epochs=5", "train.epochs = 7", "name='5'", "benchmark.threads=[4]"))
    assert (recipe.train.epochs, recipe.name, recipe.benchmark.threads, recipe.train.model) == (7, "5", (4,), "szanet")


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", "1E-3", "0.001", "+1e-3"])
def test_a_number_may_have_an_exponent(text: str, minimal: Path) -> None:
    assert read_recipe(minimal, (f"train.learning_rate={text}",)).train.learning_rate == 0.001


def test_a_quoted_number_stays_text(minimal: Path) -> None:
    assert read_recipe(minimal, ("name='1e3'",)).name == "1e3"


def test_overrides_make_the_mappings_above_them(minimal: Path) -> None:
    recipe = read_recipe(minimal, ("data.phantom.seed=9", "train.augment={zoom: 0.2}"))
    assert recipe.data.phantom == PhantomSpec(seed=9)
    assert (recipe.train.augment.zoom, recipe.train.augment.flip) == (0.2, False)


@pytest.mark.parametrize("override", ["train.epochs", "=3", "train..epochs=3", ".epochs=3", ""])
def test_an_override_of_another_form_is_refused(override: str, minimal: Path) -> None:
    with pytest.raises(RecipeError, match=r"expected KEY=VALUE such as train.epochs=3"):
        read_recipe(minimal, (override,))


def test_a_single_value_has_no_keys_below_it(minimal: Path) -> None:
    with pytest.raises(RecipeError, match="--set train.epochs.x=1: 'epochs' is a single value"):
        read_recipe(minimal, ("train.epochs.x=1",))


def test_an_override_that_is_no_yaml_is_refused(minimal: Path) -> None:
    with pytest.raises(RecipeError, match=r"--set train.epochs=\[ is not valid YAML"):
        read_recipe(minimal, ("train.epochs=[",))


@pytest.mark.parametrize("name", ["none.yaml", ""])
def test_a_missing_recipe_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="No recipe at .*give a YAML file such as recipes/demo.yaml"):
        read_recipe(tmp_path / name)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"name: [", "is not valid YAML"),
        (b"a: b: c", "is not valid YAML"),
        (b"name: \x00", "is not valid YAML"),
        (b"name: !!python/object:os.system ls", "is not valid YAML"),
        (b"\xff\xd8\xff\xe0 JFIF", "is not valid YAML"),
        (b"name: 2024-99-99", "is not valid YAML"),
        (b"", "found NoneType, expected keys such as 'name' and 'train'"),
        (b"- name", "found list, expected keys"),
        (b"szanet", "found str, expected keys"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(raw: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(raw)
    with pytest.raises(RecipeError, match=words):
        read_recipe(tmp_path / "r.yaml")


def changed_digests(path: Path, override: str) -> list[str]:
    """The stages whose digest another value changes."""
    before, after = read_recipe(path), read_recipe(path, (override,))
    return [stage for stage in STAGES if before.sha256_through(stage) != after.sha256_through(stage)]


@pytest.mark.parametrize(
    ("override", "stages"),
    [
        ("train.epochs=4", ["train", "prune", "quantize", "export", "validate", "benchmark"]),
        ("prune.sparsity=0.1", ["prune", "quantize", "export", "validate", "benchmark"]),
        ("quantize.method=entropy", ["quantize", "export", "validate", "benchmark"]),
        ("export.opset=19", ["quantize", "export", "validate", "benchmark"]),
        ("validate.mode=proven", ["validate", "benchmark"]),
        ("benchmark.runs=5", ["benchmark"]),
        ("seed=2", list(STAGES)),
        ("data.holdout=0.2", list(STAGES)),
        ("preprocessing.resample=bicubic", list(STAGES)),
        ("labels.positive=SICK", list(STAGES)),
        ("name=other", []),
        ("attribution=somebody", []),
        ("train.epochs=3", []),
    ],
)
def test_a_value_changes_the_digests_of_its_stage_and_of_later_ones(override: str, stages: list[str], minimal: Path) -> None:
    assert changed_digests(minimal, override) == stages
