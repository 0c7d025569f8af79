"""The stage `train`: the checkpoint it leaves, the last good one after a breakdown, teachers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from tests.train.test_fit import PREPROCESSING, RISING, bright_and_dark
from toolkit.core.artifacts import Checkpoint, Provenance
from toolkit.core.files import sha256_of
from toolkit.core.labels import Labels
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.recipe import DistillSpec, TrainSpec
from toolkit.data.films import Films
from toolkit.errors import ModelError, RecipeError, StageError, TrainingError
from toolkit.models.registry import build
from toolkit.train.checkpoint import has_checkpoint, load_checkpoint, weights_of
from toolkit.train.fit import read_history
from toolkit.train.module import Classifier
from toolkit.train.run import LAST_GOOD, Task, fresh_network, keep, train
from toolkit.train.teacher import teacher_of

SPEC = RISING.__replace__(epochs=2, learning_rate=1e-3)


def task(films: Films | None = None, preprocessing: Preprocessing = PREPROCESSING) -> Task:
    shown = films or bright_and_dark(24)
    return Task(shown, shown, preprocessing, Labels(), 1, Provenance(recipe_sha256="0" * 64, data_sha256="1" * 64))


def break_epoch(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights become no numbers when this epoch (from 1) begins."""
    begin = Classifier.on_train_epoch_start

    def broken(classifier: Classifier) -> None:
        begin(classifier)
        if classifier.current_epoch == number - 1:
            next(classifier.network.parameters()).data.fill_(float("nan"))

    monkeypatch.setattr(Classifier, "on_train_epoch_start", broken)


def test_the_checkpoint_holds_the_kept_epoch_and_loads(tmp_path: Path) -> None:
    described = train(SPEC, task(), tmp_path / "train")
    found, network = load_checkpoint(tmp_path / "train")
    assert found == described
    losses = [row["holdout_loss"] for row in read_history(tmp_path / "train")]
    assert described.epochs == 1 + int(np.argmin(losses))
    assert (described.model, described.preprocessing, described.sparsity) == ("szanet", PREPROCESSING, 0.0)
    assert described.weights_sha256 == sha256_of(tmp_path / "train" / "weights.safetensors")
    assert (tmp_path / "train" / "weights.safetensors").read_bytes() == weights_of(network)


def test_equal_seeds_give_equal_weights_and_another_seed_others(tmp_path: Path) -> None:
    spec = SPEC.__replace__(epochs=1)
    digests = [train(spec, task(), tmp_path / name).weights_sha256 for name in ("a", "b")]
    other = Task(**{**vars(task()), "seed": 2})
    assert digests[0] == digests[1] != train(spec, other, tmp_path / "c").weights_sha256


def test_a_loss_that_is_no_number_after_good_epochs_leaves_the_best_of_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    good = train(SPEC, task(), tmp_path / "undisturbed")
    break_epoch(3, monkeypatch)
    with pytest.raises(TrainingError) as caught:
        train(SPEC.__replace__(epochs=4), task(), tmp_path / "run" / "train")
    place = tmp_path / "run" / LAST_GOOD
    assert str(caught.value).startswith("The loss of epoch 3, batch 1 is nan: lower train.learning_rate (now 0.001) and train anew")
    assert str(caught.value).endswith(f" The checkpoint of epoch {good.epochs} is kept in {place}.")
    found, network = load_checkpoint(place)
    assert (found.weights_sha256, found.epochs, found.operating) == (good.weights_sha256, good.epochs, good.operating)
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())
    assert not has_checkpoint(tmp_path / "run" / "train")


def test_a_loss_that_is_no_number_at_once_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    break_epoch(1, monkeypatch)
    with pytest.raises(TrainingError, match=r"The loss of epoch 1, batch 1 is nan: .*\(--redo\)\.$"):
        train(SPEC, task(), tmp_path / "run" / "train")
    assert not (tmp_path / "run" / LAST_GOOD).exists()


def test_a_fresh_network_is_filled_and_frozen_as_the_spec_says(tmp_path: Path) -> None:
    torch.manual_seed(3)
    given = build("szanet", PREPROCESSING).state_dict()
    safetensors.torch.save_file(given, tmp_path / "w.safetensors")
    network = fresh_network(SPEC.__replace__(weights=str(tmp_path / "w.safetensors"), trainable=("head",)), PREPROCESSING)
    assert all(torch.equal(value, given[name]) for name, value in network.state_dict().items())
    assert {name.split(".")[0] for name, parameter in network.named_parameters() if parameter.requires_grad} == {"head"}


def test_an_unknown_part_stops_before_training(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"train.trainable names 'tail', .* its parts: features.0, features.1, features.2, head.1, head.4"
    ):
        train(SPEC.__replace__(trainable=("tail",)), task(), tmp_path / "train")


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """The folder of a trained teacher for films of 32 pixels, of another scale than the student's."""
    own = Preprocessing(size_px=32, channels=3, scale=1 / 127.5, offset=-1.0)
    torch.manual_seed(4)
    keep(build("szanet", own), SPEC, task(preprocessing=own), tmp_path / "teacher", epochs=1)
    return tmp_path / "teacher"


def taught(folder: Path, **fields: float) -> TrainSpec:
    return SPEC.__replace__(epochs=1, distill=DistillSpec(teacher=str(folder), **fields))


def test_no_distillation_no_teacher() -> None:
    assert teacher_of(SPEC, PREPROCESSING) is None


def test_a_student_learns_from_a_teacher_that_stays_as_it_is(teacher: Path, tmp_path: Path) -> None:
    before = {file.name: sha256_of(file) for file in teacher.iterdir()}
    alone = train(SPEC.__replace__(epochs=1), task(), tmp_path / "alone")
    student = train(taught(teacher), task(), tmp_path / "student")
    assert student.weights_sha256 != alone.weights_sha256
    assert {file.name: sha256_of(file) for file in teacher.iterdir()} == before


def test_a_teacher_enters_no_checkpoint_of_its_student(teacher: Path, tmp_path: Path) -> None:
    train(taught(teacher), task(), tmp_path / "student")
    own = set(build("szanet", PREPROCESSING).state_dict())
    assert safetensors.torch.load_file(tmp_path / "student" / "weights.safetensors").keys() == own
    for name in ("last.ckpt", "best.ckpt"):
        progress = torch.load(tmp_path / "student" / name, weights_only=True)
        assert progress["state_dict"].keys() == {f"network.{tensor}" for tensor in own}


def test_a_share_of_one_makes_labels_worthless(teacher: Path, tmp_path: Path) -> None:
    films = bright_and_dark(24)
    wrong = Films(films.images, 1 - films.labels, films.cases)
    spec = taught(teacher, share=1.0).__replace__(balance="none", keep="last")
    one = train(spec, Task(**{**vars(task(films)), "holdout": films}), tmp_path / "one")
    other = train(spec, Task(**{**vars(task(wrong)), "holdout": films}), tmp_path / "other")
    assert one.weights_sha256 == other.weights_sha256


def test_a_teacher_of_another_size_is_refused(teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        train(taught(teacher), task(preprocessing=Preprocessing(size_px=48, channels=1)), tmp_path / "student")
    assert str(caught.value) == (
        f"The teacher in {teacher} takes films of 32 px, this recipe 48 px; train a teacher with the same preprocessing.size_px."
    )


def test_a_teacher_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=f"No checkpoint in {tmp_path}"):
        teacher_of(taught(tmp_path), PREPROCESSING)


def test_a_kept_checkpoint_names_epochs_and_sparsity(tmp_path: Path) -> None:
    described = keep(build("szanet", PREPROCESSING), SPEC, task(), tmp_path, epochs=7, sparsity=0.25)
    assert isinstance(described, Checkpoint)
    assert (described.epochs, described.sparsity) == (7, 0.25)
    assert load_checkpoint(tmp_path)[0] == described
