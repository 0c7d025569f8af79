"""The stage: steps, resumption, reloading; a pruned checkpoint is trained on, pruned again and exported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from tests.prune.conftest import SMALL, CountingGauge
from toolkit.core.codec import read_json
from toolkit.core.recipe import RecoverySpec, TargetSpec, TrainSpec
from toolkit.core.reports import PruneReport
from toolkit.errors import ModelError, PruningError
from toolkit.infer.runtimes import runtime
from toolkit.models.registry import count_parameters
from toolkit.models.resize import widths_of
from toolkit.prune.pruning import Pruning
from toolkit.prune.recovery import recover
from toolkit.prune.run import prune
from toolkit.prune.unstructured import sparsity
from toolkit.quantize.lower import lower
from toolkit.train.checkpoint import load_checkpoint
from toolkit.train.fit import read_history
from toolkit.train.run import fresh_network
from toolkit.train.score import score

Make = Callable[..., Pruning]
HALF = TargetSpec(ratio=0.5)
TWO_EPOCHS = RecoverySpec(epochs=2, learning_rate=1e-3, features=1.0)


def test_steps_of_zeros_follow_the_cubic_schedule_and_the_histories_become_one(pruning: Make, tmp_path: Path) -> None:
    checkpoint = prune(pruning(method="random", sparsity=0.8, steps=2, recovery=TWO_EPOCHS), tmp_path)
    report = read_json(tmp_path / "prune.json", PruneReport)
    assert [step.sparsity for step in report.steps] == pytest.approx([0.7, 0.8], abs=1e-4)
    assert checkpoint.sparsity == pytest.approx(0.8, abs=1e-4)
    assert [row["epoch"] for row in read_history(tmp_path)] == [1, 2, 3, 4]
    _, network = load_checkpoint(tmp_path)
    assert sparsity(network) == checkpoint.sparsity


def test_structured_steps_end_in_the_same_widths_as_one(pruning: Make, tmp_path: Path) -> None:
    widths = []
    for steps in (1, 3):
        prune(pruning(method="structured", target=HALF, steps=steps, round_to=2, min_channels=2), tmp_path / str(steps))
        widths.append(widths_of(load_checkpoint(tmp_path / str(steps))[1]))
    assert widths[0] == widths[1]
    report = read_json(tmp_path / "3" / "prune.json", PruneReport)
    counts = [step.parameters for step in report.steps]
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == 3


def test_a_pruned_checkpoint_is_weights_and_a_description_and_gives_the_same_answers(pruning: Make, tmp_path: Path) -> None:
    work = pruning("mobilenet_v2", method="structured", target=HALF)
    checkpoint = prune(work, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        "checkpoint.json",
        "weights.safetensors",
        "history.csv",
        "prune.json",
        "goal.json",
        "step-1",
    }
    films = work.task.holdout.images
    (_, once), (again, twice) = load_checkpoint(tmp_path), load_checkpoint(tmp_path)
    assert again == checkpoint
    assert count_parameters(once) < 0.6 * count_parameters(work.dense)
    assert (score(once, films, SMALL) == score(twice, films, SMALL)).all()


def test_a_pruned_checkpoint_trains_on_is_pruned_again_and_is_exported(pruning: Make, tmp_path: Path) -> None:
    work = pruning(method="structured", target=HALF)
    prune(work, tmp_path / "first")
    network = fresh_network(TrainSpec(model="szanet", epochs=1, weights=str(tmp_path / "first")), SMALL)
    again = Pruning(
        msgspec.structs.replace(work.spec, min_channels=2, round_to=2, recovery=TWO_EPOCHS), work.training, network, work.task, work.gauge
    )
    prune(again, tmp_path / "second")
    checkpoint, smallest = load_checkpoint(tmp_path / "second")
    assert count_parameters(smallest) < count_parameters(network) < count_parameters(work.dense)
    assert len(read_history(tmp_path / "second")) == 2
    graph = tmp_path / "float.onnx"
    graph.write_bytes(lower(smallest, SMALL, 20))
    films = work.task.holdout.images[:8]
    found = runtime("onnxruntime").load([graph]).logits(films)
    assert found == pytest.approx(score(smallest, films, checkpoint.preprocessing), abs=1e-4)


def test_a_checkpoint_of_another_model_is_not_trained_on(pruning: Make, tmp_path: Path) -> None:
    prune(pruning(method="none"), tmp_path)
    with pytest.raises(ModelError, match=r"is a szanet for films of 32 px; this recipe trains custom_cnn for 32 px"):
        fresh_network(TrainSpec(model="custom_cnn", epochs=1, weights=str(tmp_path)), SMALL)


def test_none_leaves_the_network_as_it_is(pruning: Make, tmp_path: Path) -> None:
    work = pruning(method="none", recovery=TWO_EPOCHS)
    checkpoint = prune(work, tmp_path)
    _, network = load_checkpoint(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(network.state_dict().values(), work.dense.state_dict().values(), strict=True))
    assert checkpoint.epochs == 0


def test_a_killed_run_goes_on_in_its_step_and_measures_no_latency_again(pruning: Make, tmp_path: Path) -> None:
    keywords = {"method": "structured", "target": HALF, "steps": 2, "round_to": 2, "recovery": TWO_EPOCHS}
    undisturbed = prune(pruning(**keywords), tmp_path / "undisturbed")
    prune(pruning(**keywords), tmp_path / "killed")
    for name in ("checkpoint.json", "weights.safetensors", "step-2/checkpoint.json", "step-2/last.ckpt"):
        (tmp_path / "killed" / name).unlink()
    gauge = CountingGauge()
    again = prune(pruning(gauge=gauge, **keywords), tmp_path / "killed")
    assert again.weights_sha256 == undisturbed.weights_sha256
    assert not gauge.asked


def test_a_slower_candidate_stops_the_stage_before_it_is_trained(pruning: Make, tmp_path: Path) -> None:
    with pytest.raises(PruningError, match="slower than its parent"):
        prune(pruning(method="structured", target=HALF, gauge=CountingGauge(slower=True)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_pruned_is_named_in_the_report(pruning: Make, tmp_path: Path) -> None:
    prune(pruning(method="n_m"), tmp_path)
    report = json.loads((tmp_path / "prune.json").read_text())
    assert report["left_dense"] == ["features.0.0"]  # three input channels


def test_recovery_learns_from_the_dense_network_and_works_with_weight_averaging(pruning: Make, tmp_path: Path) -> None:
    """A stranger with other first weights comes to order the films as the dense network does, by soft targets and attention alone."""
    work = pruning()
    training = msgspec.structs.replace(work.training, average=0.5, dropout_factor=0.0)
    films = work.task.train.images
    spread = score(work.dense, films, SMALL)
    last = work.dense.get_submodule("head.4")
    with torch.no_grad():  # an untrained network hardly answers: its answers are centred and stretched to a standard deviation of 3
        last.weight.mul_(3 / spread.std())
        last.bias.sub_(float(spread.mean())).mul_(3 / spread.std())
    goal = score(work.dense, films, SMALL)
    torch.manual_seed(5)
    pupil = fresh_network(work.training, SMALL).eval()
    recovery = RecoverySpec(epochs=12, learning_rate=2e-3, share=1.0, temperature=1.0, features=1.0)
    assert recover(pupil, work.dense, recovery, training, work.task, tmp_path) > 0
    assert np.corrcoef(score(pupil, films, SMALL), goal)[0, 1] > 0.8
    assert sparsity(pupil) == 0
