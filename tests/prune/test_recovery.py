"""Batch norms estimated anew, attention by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from toolkit.prune.pruning import Pruning
from toolkit.prune.recovery import Attention, Pupil, estimate_batch_norms, tuning
from toolkit.train.module import to_network


def test_attention_is_a_unit_vector_over_places_whatever_the_channels(pruning: Callable[..., Pruning]) -> None:
    work = pruning()
    attention = Attention(work.dense, work.task.preprocessing)
    attention.maps = torch.tensor([[[[3.0, 0.0]], [[0.0, 1.0]]]])  # [1, 2, 1, 2]: mean squares 4.5 and .5
    assert attention.of_places.flatten().tolist() == pytest.approx([9 / 82**0.5, 1 / 82**0.5])


def test_batch_norms_hold_the_statistics_of_the_films(pruning: Callable[..., Pruning]) -> None:
    """One pass over all films in one batch, nothing changed: the first batch norm's mean is that of what it is given."""
    work = pruning()
    first, norm = work.dense.get_submodule("features.0.0"), work.dense.get_submodule("features.0.1")
    training = tuning(work.spec.recovery, work.training)
    films = work.task.train
    pupil = Pupil(work.dense, training.__class__(**{**_fields(training), "batch_size": len(films)}), work.task, work.dense, 0.0)
    with torch.no_grad():
        given = first(to_network(torch.from_numpy(films.images).float(), work.task.preprocessing))
    estimate_batch_norms(pupil, films)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    assert torch.allclose(norm.running_mean, given.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(norm.running_var, given.var((0, 2, 3)), rtol=1e-4)
    assert not work.dense.training


def _fields(training: object) -> dict[str, object]:
    return {name: getattr(training, name) for name in training.__struct_fields__}  # type: ignore[attr-defined]
