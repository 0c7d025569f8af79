"""Small networks, a few films, and a gauge whose answers are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from toolkit.core.artifacts import Provenance
from toolkit.core.labels import Labels
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.recipe import PruneSpec, RecoverySpec, TrainSpec
from toolkit.data.films import Films, prepare_films
from toolkit.data.sources import read_source
from toolkit.models.registry import build, count_parameters
from toolkit.prune.pruning import Pruning
from toolkit.train.run import Task

EDGE = 32
SMALL = Preprocessing(size_px=EDGE, channels=3)


@dataclass
class CountingGauge:
    """Parameters stand for bytes, multiply-accumulates and a millionth of them for milliseconds; `asked` counts latencies."""

    slower: bool = False
    asked: list[str] = field(default_factory=list)

    def macs(self, network: nn.Module) -> int:
        return count_parameters(network)

    def bytes(self, network: nn.Module) -> int:
        return 4 * count_parameters(network)

    def latency_ms(self, networks: Mapping[str, nn.Module]) -> dict[str, NDArray[np.float64]]:
        self.asked += list(networks)
        found = {name: np.full(3, count_parameters(network) / 1e6) for name, network in networks.items()}
        if self.slower:
            found = {name: times + (name == "candidate") for name, times in found.items()}
        return found


@pytest.fixture(scope="session")
def films(phantoms: Path) -> Films:
    """Phantoms of both classes at 32 px."""
    source = read_source(phantoms, Labels())
    return prepare_films(source, source.cases, SMALL, "films")


@pytest.fixture
def pruning(films: Films) -> Callable[..., Pruning]:
    """A pruning of a fresh network without a long recovery; keywords go to the PruneSpec."""

    def make(model: str = "szanet", gauge: CountingGauge | None = None, **spec: object) -> Pruning:
        spec.setdefault("recovery", RecoverySpec(epochs=0, batch_norm=False))
        provenance = Provenance(recipe_sha256="0" * 64, data_sha256="0" * 64)
        task = Task(train=films, holdout=films, preprocessing=SMALL, labels=Labels(), seed=1, provenance=provenance)
        training = TrainSpec(model=model, epochs=1, batch_size=16, early_stopping_epochs=None)
        torch.manual_seed(0)
        network = build(model, SMALL).eval()
        return Pruning(PruneSpec(**spec), training, network, task, gauge or CountingGauge())  # type: ignore[arg-type]

    return make
