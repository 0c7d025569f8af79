"""Recipes are read strictly, overridden by key, and each stage's digest holds what it depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from toolkit.core.codec import decode_json, encode_json, to_plain
from toolkit.core.recipe import (
    STAGES,
    AugmentSpec,
    DataSpec,
    DistillSpec,
    OptimizerSpec,
    OversampleSpec,
    PhantomSpec,
    Recipe,
    ScheduleSpec,
    read_recipe,
)
from toolkit.errors import RecipeError
from toolkit.models.registry import MODELS

MINIMAL = "name: tiny\ntrain: {model: szanet, epochs: 3}\n"
SHIPPED = sorted({*(ROOT / "recipes").rglob("*.yaml")} - {ROOT / "recipes" / "devices.yaml"})  # that one lists machines
SHARES = ("zoom", "shift", "aspect", "gamma", "contrast", "brightness", "noise", "erase")
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


def test_there_are_recipes_of_our_own_and_of_the_reports() -> None:
    assert {path.parent.name for path in SHIPPED} == {"recipes", "reports"}
    assert len(SHIPPED) >= 20


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_shipped_recipe_is_valid_named_as_its_file_and_survives_json(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    assert recipe.train.model in MODELS
    assert (recipe.data.phantom is not None) is (path.stem in ("demo", "sweep"))
    assert decode_json(encode_json(recipe), Recipe, "here") == recipe


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_value_of_a_shipped_recipe_is_read(path: Path) -> None:
    def refuse_difference(written: dict[str, Any], read: dict[str, Any], at: str) -> None:
        for key, value in written.items():
            if isinstance(value, dict):
                refuse_difference(value, read[key], f"{at}{key}.")
            else:
                found = list(read[key]) if isinstance(read[key], tuple) else read[key]
                assert found == (float(value) if isinstance(found, float) else value), f"{at}{key}"

    refuse_difference(yaml.safe_load(path.read_text()), to_plain(read_recipe(path)), "")


def test_what_training_does_unless_told_is_as_it_was_in_the_first_version(minimal: Path) -> None:
    train = read_recipe(minimal).train
    assert (train.optimizer, train.schedule) == (OptimizerSpec(name="adam"), ScheduleSpec(name="plateau", patience_epochs=3, factor=0.3))
    assert (train.weights, train.trainable, train.balance, train.keep, train.folds) == ("random", (), "class_weights", "best", None)
    assert (train.label_smoothing, train.focal_gamma, train.distill, train.average) == (0.0, 0.0, None, None)
    assert read_recipe(minimal).data == DataSpec(holdout=0.12, holdout_rule="random", kept_away=(), holdout_augment=AugmentSpec())
    assert read_recipe(minimal).preprocessing.offset == 0.0


def test_the_sections_of_training_are_read(minimal: Path) -> None:
    train = read_recipe(
        minimal,
        (
            "train.optimizer={name: sgd, momentum: 0.9, weight_decay: 1e-4}",
            "train.schedule={name: one_cycle, warmup: 0.1}",
            "train.balance=oversample",
            "train.oversample={ratio: 1, augment: {rotate_deg: 5}}",
            "train.distill={teacher: runs/teacher/train, share: 1, temperature: 4}",
            "train.augment={crop: [0.75, 1.1], aspect: 0.3, gamma: 0.4, contrast: 0.5, brightness: 0.1, blur_px: 1.5, noise: 0.05, erase: 0.2}",
            "train.trainable=[head, backbone.features.18]",
            "train.average=0.99",
        ),
    ).train
    assert train.optimizer == OptimizerSpec(name="sgd", momentum=0.9, weight_decay=1e-4)
    assert train.schedule == ScheduleSpec(name="one_cycle", warmup=0.1)
    assert train.oversample == OversampleSpec(ratio=1.0, augment=AugmentSpec(rotate_deg=5.0))  # and no flip: given, not added
    assert train.distill == DistillSpec(teacher="runs/teacher/train", share=1.0, temperature=4.0)
    assert train.augment == AugmentSpec(
        crop=(0.75, 1.1), aspect=0.3, gamma=0.4, contrast=0.5, brightness=0.1, blur_px=1.5, noise=0.05, erase=0.2
    )
    assert (train.trainable, train.average) == (("head", "backbone.features.18"), 0.99)


@pytest.mark.parametrize(
    ("key", "valid"),
    [
        ("epoch", TOP_KEYS),
        ("train.epoch", "model, epochs, batch_size"),
        ("train.augment.rotate", "shear_rad, zoom, flip"),
        ("data.phantom.films", "train_patients, test_patients, prevalence, size_px, seed"),
        ("prune.share", "method, scope, sparsity, pattern, importance, target"),
        ("train.optimizer.lr", "name, weight_decay, momentum"),
        ("train.schedule.patience", "name, patience_epochs, factor, warmup"),
        ("train.oversample.factor", "ratio, augment"),
        ("train.oversample.augment.rotate", "shear_rad, zoom, flip, rotate_deg"),
        ("train.distill.alpha", "teacher, share, temperature"),
        (
            "data.holdout_augment.blur",
            "shear_rad, zoom, flip, rotate_deg, shift, aspect, crop, gamma, contrast, brightness, blur_px, noise, erase",
        ),
        ("data.rule", "holdout, holdout_rule, kept_away, holdout_augment, phantom"),
        ("preprocessing.mean", "size_px, colour, resize, resample, decode, normalise, scale, offset, channels"),
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
        ("train.optimizer=adam", "'train.optimizer': Expected `object`, got `str`"),
        ("train.schedule=cosine", "'train.schedule': Expected `object`, got `str`"),
        ("train.augment.crop=0.9", "'train.augment.crop': Expected `array`, got `float`"),
        ("train.augment.crop=[0.9]", "'train.augment.crop': Expected `array` of length 2, got 1"),
        ("train.augment.crop=[0.7, 0.8, 0.9]", "'train.augment.crop': Expected `array` of length 2, got 3"),
        ("train.trainable=head", "'train.trainable': Expected `array`, got `str`"),
        ("train.distill=runs/teacher", "'train.distill': Expected `object"),
        ("train.distill={share: 0.5}", "'train.distill': Object missing required field `teacher`"),
        ("train.weights=null", "'train.weights': Expected `str`, got `null`"),
        ("data.kept_away=virus", "'data.kept_away': Expected `array`, got `str`"),
        ("data.kept_away=[1]", r"'data.kept_away\[0\]': Expected `str`, got `int`"),
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
        ("prune.sparsity=0", "'prune.sparsity': Expected `float` > 0"),
        ("prune={method: structured, target: {ratio: 1.5}}", "'prune.target.ratio': Expected `float` < 1"),
        ("prune={method: structured, target: {ratio: -0.5}}", "'prune.target.ratio': Expected `float` > 0"),
        ("prune={method: structured, target: {ratio: 0.5, macs: 7}}", "'prune.target': expected exactly one of latency_ms, macs, bytes"),
        ("prune={method: structured, target: {}}", "'prune.target': expected exactly one of latency_ms, macs, bytes, ratio"),
        ("prune={method: structured}", "'prune': expected either 'target' or 'search' for the method 'structured'"),
        ("prune={method: structured, target: {ratio: 0.5}, search: {}}", "'prune': expected either 'target' or 'search'"),
        ("prune={target: {ratio: 0.5}}", "'prune': expected the method 'structured' for 'target'"),
        ("prune={scope: isomorphic}", "'prune': expected the method 'structured' for 'target', 'search' and the scope 'isomorphic'"),
        ("prune={method: n_m, pattern: [4, 4]}", "'prune': expected a pattern"),
        ("prune={method: structured, search: {low: 0.9, high: 0.2}}", "'prune.search': expected low below high"),
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
        ("preprocessing.scale=0", "'preprocessing.scale': Expected `float` > 0"),
        ("preprocessing.offset=-1001", "'preprocessing.offset': Expected `float` >= -1000"),
        ("preprocessing.offset=1001", "'preprocessing.offset': Expected `float` <= 1000"),
        ("data.holdout_rule=newest", "'data.holdout_rule': Invalid enum value 'newest'; valid values: random, lowest, groups, conflict"),
        ("data.holdout_augment.erase=1", "'data.holdout_augment.erase': Expected `float` < 1"),
        ("train.optimizer.name=adagrad", "'train.optimizer.name': Invalid enum value 'adagrad'; valid values: adam, adamw, sgd, rmsprop"),
        ("train.optimizer.weight_decay=-0.1", "'train.optimizer.weight_decay': Expected `float` >= 0"),
        ("train.optimizer.momentum=1", "'train.optimizer.momentum': Expected `float` < 1"),
        (
            "train.schedule.name=step",
            "'train.schedule.name': Invalid enum value 'step'; valid values: plateau, constant, one_cycle, cosine",
        ),
        ("train.schedule.factor=1", "'train.schedule.factor': Expected `float` < 1"),
        ("train.schedule.warmup=0", "'train.schedule.warmup': Expected `float` > 0"),
        ("train.schedule.patience_epochs=0", "'train.schedule.patience_epochs': Expected `int` >= 1"),
        ("train.balance=weights", "'train.balance': Invalid enum value 'weights'; valid values: class_weights, oversample, none"),
        ("train.oversample.ratio=0.9", "'train.oversample.ratio': Expected `float` >= 1"),
        ("train.oversample.augment.rotate_deg=181", "'train.oversample.augment.rotate_deg': Expected `float` <= 180"),
        ("train.label_smoothing=1", "'train.label_smoothing': Expected `float` < 1"),
        ("train.focal_gamma=-1", "'train.focal_gamma': Expected `float` >= 0"),
        ("train.distill={teacher: t, share: 0}", "'train.distill.share': Expected `float` > 0"),
        ("train.distill={teacher: t, share: 1.1}", "'train.distill.share': Expected `float` <= 1"),
        ("train.distill={teacher: t, temperature: 0.5}", "'train.distill.temperature': Expected `float` >= 1"),
        ("train.average=1", "'train.average': Expected `float` < 1"),
        ("train.average=0", "'train.average': Expected `float` > 0"),
        ("train.keep=first", "'train.keep': Invalid enum value 'first'; valid values: best, last"),
        ("train.early_stopping_epochs=0", "'train.early_stopping_epochs': Expected `int` >= 1"),
        ("train.batch_size=1", "'train.batch_size': Expected `int` >= 2"),
        ("train.folds=1", "'train.folds': Expected `int` >= 2"),
        ("train.folds=21", "'train.folds': Expected `int` <= 20"),
        ("train.augment.crop=[0, 1]", r"'train.augment.crop\[0\]': Expected `float` > 0"),
        ("train.augment.crop=[1, 2.1]", r"'train.augment.crop\[1\]': Expected `float` <= 2"),
        ("train.augment.shear_rad=1.1", "'train.augment.shear_rad': Expected `float` <= 1"),
        ("train.augment.blur_px=5.1", "'train.augment.blur_px': Expected `float` <= 5"),
        *((f"train.augment.{name}=1", f"'train.augment.{name}': Expected `float` < 1") for name in SHARES),
        *((f"train.augment.{name}=-0.1", f"'train.augment.{name}': Expected `float` >= 0") for name in SHARES),
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
        ("preprocessing.offset=-1", list(STAGES)),
        ("data.holdout_rule=lowest", list(STAGES)),
        ("data.holdout_augment.flip=true", list(STAGES)),
        ("train.weights=imagenet", list(STAGES)),
        ("train.optimizer.name=sgd", list(STAGES)),
        ("train.distill={teacher: runs/teacher/train}", list(STAGES)),
        ("train.folds=5", list(STAGES)),
        ("name=other", []),
        ("attribution=somebody", []),
        ("train.epochs=3", []),
    ],
)
def test_a_value_changes_the_digests_of_its_stage_and_of_later_ones(override: str, stages: list[str], minimal: Path) -> None:
    assert changed_digests(minimal, override) == stages
