"""The stage 'validate': the dense network is asked as a graph where many answers are needed, and that graph is held against torch."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT, TINY
from toolkit import judgement
from toolkit.core.recipe import read_recipe
from toolkit.errors import ParityError
from toolkit.pipeline import Run


def column(file: Path, name: str) -> dict[str, float]:
    """By digest of the film."""
    with file.open(encoding="ascii", newline="") as lines:
        return {row["sha256"]: float(row[name]) for row in csv.DictReader(lines)}


def test_on_films_as_they_are_the_graph_of_the_dense_network_says_what_torch_says(finished_run: Path) -> None:
    torch_says = column(finished_run / "validate" / "reference_scores.csv", "score")
    graph_says = column(finished_run / "validate" / "reference_corruptions.csv", "clean-0")
    assert len(graph_says) == 12
    assert graph_says == {digest: pytest.approx(torch_says[digest], abs=1e-5) for digest in graph_says}


def test_a_dense_graph_that_departs_from_torch_judges_nothing(copy_of_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Shifted:
        def logits(self, images: np.ndarray) -> np.ndarray:
            return np.full(len(images), 50.0, np.float32)

        def outputs(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
            return (self.logits(images),)

    monkeypatch.setattr(judgement, "_dense_session", lambda *_: Shifted())
    run = Run(read_recipe(ROOT / "recipes" / "demo.yaml", TINY), None, copy_of_run)
    with pytest.raises(ParityError, match=r"The dense network's graph disagrees with torch: largest logit error \d.*, limit 0\.001; raise"):
        judgement.validate(run)
