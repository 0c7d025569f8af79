"""Training in several processes: together they see what one would see, learn what one would learn, and go on as another number of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from tests.conftest import TINY, call_cli
from toolkit.core.artifacts import Checkpoint
from toolkit.core.codec import read_json
from toolkit.data.loader import EpochOrder
from toolkit.train.checkpoint import load_checkpoint
from toolkit.train.fit import read_history

Captured = pytest.CaptureFixture[str]


def parts(count: int, batch: int, processes: int, epoch: int = 0) -> list[list[tuple[list[int], float]]]:
    """Batch by batch, what each process has of it and what that weighs."""
    orders = [EpochOrder(count, batch, 1, process, processes) for process in range(processes)]
    for order in orders:
        order.set_epoch(epoch)
    return [
        [(rows, order.share(at)) for order, rows in zip(orders, found, strict=True)] for at, found in enumerate(zip(*orders, strict=True))
    ]


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("count", [16, 17, 18, 19, 21, 23])
def test_processes_together_have_each_batch_of_one_with_each_film_weighing_alike(count: int, processes: int) -> None:
    alone = list(EpochOrder(count, 8, 1))
    together = parts(count, 8, processes)
    assert len(together) == len(alone)
    for rows, found in zip(alone, together, strict=True):
        weights = np.zeros(count)
        for own, share in found:
            assert len(own) >= min(2, len(rows))  # batch norm
            for row in own:
                weights[row] += share / len(own) / processes  # the mean of a part, in the mean over processes
        assert weights[rows] == pytest.approx(1 / len(rows))
        assert weights.sum() == pytest.approx(1)


def test_parts_by_hand() -> None:
    order = EpochOrder(10, 8, None)
    assert list(order) == [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9]]
    first, second = EpochOrder(11, 8, None, 0, 2), EpochOrder(11, 8, None, 1, 2)
    assert list(first) == [[0, 2, 4, 6], [8, 10]]
    assert list(second) == [[1, 3, 5, 7], [9, 9]]
    assert [first.share(1), second.share(1)] == pytest.approx([4 / 3, 2 / 3])
    assert list(EpochOrder(10, 8, None, 2, 3)) == [[2, 5], [8, 9]]
    assert EpochOrder(10, 8, None, 2, 3).share(1) == 0


def training(out: Path, *more: str) -> list[str]:
    changes = (*TINY[1:], "train.epochs=4", "train.batch_size=8", "train.average=0.9", "train.learning_rate=0.001", *more)
    return ["train", "recipes/demo.yaml", "--out", str(out), *(word for change in changes for word in ("--set", change))]


def started(processes: int, out: Path, *more: str) -> subprocess.Popen[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m", "toolkit.cli"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*launcher, *training(out, *more)],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def test_two_processes_learn_what_one_does_and_a_killed_training_goes_on_as_one(tmp_path: Path) -> None:
    assert call_cli(*training(tmp_path / "one")) == 0
    both = started(2, tmp_path / "two")
    said, problems = both.communicate(timeout=300)
    assert both.returncode == 0, problems[-3000:]
    assert said.count("train: ") == 1
    alone, together = (read_history(tmp_path / name / "train") for name in ("one", "two"))
    assert [row["epoch"] for row in together] == [1, 2, 3, 4]
    assert [row["learning_rate"] for row in together] == [row["learning_rate"] for row in alone]
    for column in ("train_loss", "holdout_loss"):
        assert [row[column] for row in together] == pytest.approx([row[column] for row in alone], abs=0.15)
    assert not list((tmp_path / "two").rglob("*.ckpt"))
    _, network = load_checkpoint(tmp_path / "two" / "train")
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())

    killed = started(2, tmp_path / "killed")
    while not (tmp_path / "killed" / "train" / "last.ckpt").is_file():
        assert killed.poll() is None
        time.sleep(0.02)
    for process in (*psutil.Process(killed.pid).children(recursive=True), killed):  # torchrun's have sessions of their own
        process.kill()
    killed.communicate()
    assert not (tmp_path / "killed" / "train" / "checkpoint.json").exists()
    assert call_cli(*training(tmp_path / "killed")) == 0
    resumed = read_history(tmp_path / "killed" / "train")
    assert [row["epoch"] for row in resumed] == [1, 2, 3, 4]
    assert resumed[0] == together[0]
    assert [row["holdout_loss"] for row in resumed] == pytest.approx([row["holdout_loss"] for row in alone], abs=0.15)
    assert read_json(tmp_path / "killed" / "train" / "checkpoint.json", Checkpoint).epochs in range(1, 5)


def test_what_several_processes_cannot_do_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert call_cli("compress", "recipes/demo.yaml", "--out", tmp_path / "run") == 2
    assert "Several processes of torchrun can 'train' together; run the other stages in one process" in capsys.readouterr().err
