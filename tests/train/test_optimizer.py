"""Optimizers and schedules: what a TrainSpec names is what torch gets."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from toolkit.core.recipe import OptimizerSpec, ScheduleSpec, TrainSpec
from toolkit.train.optimizer import configure


def spec(optimizer: OptimizerSpec | None = None, schedule: ScheduleSpec | None = None, rate: float = 0.01) -> TrainSpec:
    return TrainSpec(
        model="", epochs=1, learning_rate=rate, optimizer=optimizer or OptimizerSpec(), schedule=schedule or ScheduleSpec(name="constant")
    )


def configured(wanted: TrainSpec, batches: int = 100) -> Any:
    return configure(nn.Linear(2, 1).parameters(), wanted, batches)


def rates(wanted: TrainSpec, batches: int) -> list[float]:
    """The learning rate of each batch of a training, moved as Lightning moves it."""
    made = configured(wanted, batches)
    found = []
    for _ in range(batches):
        found.append(made["optimizer"].param_groups[0]["lr"])
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    return found


@pytest.mark.parametrize(
    ("wanted", "kind", "options"),
    [
        (OptimizerSpec(), torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.0}),
        (OptimizerSpec(name="adam", weight_decay=0.1), torch.optim.Adam, {"weight_decay": 0.1}),
        (OptimizerSpec(name="adamw", weight_decay=0.05), torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.05}),
        (OptimizerSpec(name="adamw"), torch.optim.AdamW, {"weight_decay": 0.0}),
        (OptimizerSpec(name="sgd", momentum=0.9, weight_decay=0.1), torch.optim.SGD, {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1}),
        (OptimizerSpec(name="rmsprop", momentum=0.5), torch.optim.RMSprop, {"lr": 0.01, "momentum": 0.5, "weight_decay": 0.0}),
    ],
)
def test_the_named_optimizer_gets_its_values(wanted: OptimizerSpec, kind: type, options: dict[str, float]) -> None:
    optimizer = configured(spec(wanted))["optimizer"]
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    assert {name: group[name] for name in options} == options


def test_one_step_of_sgd_is_hand_arithmetic() -> None:
    weight = nn.Parameter(torch.tensor([2.0]))
    made: Any = configure([weight], spec(OptimizerSpec(name="sgd", weight_decay=0.1), rate=0.5), 1)
    (3 * weight).sum().backward()
    made["optimizer"].step()
    assert weight.item() == pytest.approx(2.0 - 0.5 * (3 + 0.1 * 2.0))


def test_frozen_parameters_are_not_the_optimizers() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    network[0].requires_grad_(False)
    made: Any = configure(network.parameters(), spec(OptimizerSpec(name="adamw", weight_decay=1.0)), 1)
    assert [parameter.shape for parameter in made["optimizer"].param_groups[0]["params"]] == [(1, 2), (1,)]


def test_a_constant_rate_has_no_schedule() -> None:
    assert "lr_scheduler" not in configured(spec())


@pytest.mark.parametrize("warmup", [0.1, 0.25, 0.5])
def test_one_cycle_rises_to_the_rate_after_its_warmup_and_ends_near_zero(warmup: float) -> None:
    found = rates(spec(schedule=ScheduleSpec(name="one_cycle", warmup=warmup), rate=0.02), 200)
    top = found.index(max(found))
    assert found[top] == pytest.approx(0.02, rel=1e-6)
    assert abs(top - warmup * 200) <= 1
    assert found[:top] == sorted(found[:top])
    assert found[top:] == sorted(found[top:], reverse=True)
    assert found[-1] < 0.02 * 1e-3


@pytest.mark.parametrize("batches", range(1, 13))
@pytest.mark.parametrize("warmup", [0.1, 0.25, 0.5, 0.9])
def test_one_cycle_takes_any_number_of_batches(batches: int, warmup: float) -> None:
    found = rates(spec(schedule=ScheduleSpec(name="one_cycle", warmup=warmup)), batches)
    assert all(0 < rate <= 0.01 + 1e-9 for rate in found)


def test_one_cycle_leaves_the_momentum_alone() -> None:
    made = configured(spec(OptimizerSpec(name="sgd", momentum=0.9), ScheduleSpec(name="one_cycle")))
    made["optimizer"].step()
    made["lr_scheduler"]["scheduler"].step()
    assert made["optimizer"].param_groups[0]["momentum"] == 0.9


def test_cosine_falls_from_the_rate_to_zero() -> None:
    found = rates(spec(schedule=ScheduleSpec(name="cosine")), 40)
    expected = [0.01 * (1 + math.cos(math.pi * step / 40)) / 2 for step in range(40)]
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("name", ["one_cycle", "cosine"])
def test_a_schedule_by_batches_moves_at_every_batch(name: str) -> None:
    moved = configured(spec(schedule=ScheduleSpec(name=name)))["lr_scheduler"]  # type: ignore[arg-type]
    assert moved["interval"] == "step"
    assert "monitor" not in moved


def test_plateau_watches_the_heldout_loss_and_waits_its_epochs() -> None:
    made = configured(spec(schedule=ScheduleSpec(name="plateau", patience_epochs=2, factor=0.3)))
    assert made["lr_scheduler"]["monitor"] == "holdout_loss"
    assert made["lr_scheduler"].get("interval", "epoch") == "epoch"
    found = []
    for loss in (1.0, 0.9, 0.95, 0.95, 0.95, 0.5):
        made["lr_scheduler"]["scheduler"].step(loss)
        found.append(made["optimizer"].param_groups[0]["lr"])
    assert found == pytest.approx([0.01, 0.01, 0.01, 0.01, 0.003, 0.003])


def test_a_layer_of_many_inputs_learns_slower_in_proportion() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(400, 8), nn.Linear(8, 1))  # 27, 400 and 8 inputs
    wanted = spec(OptimizerSpec(fan_in=100), ScheduleSpec(name="one_cycle"), rate=0.01)
    made: Any = configure(network.parameters(), wanted, 10)
    fast, slow = made["optimizer"].param_groups
    assert slow["params"] == [network[2].weight]
    assert len(fast["params"]) == 5  # two other weights, three biases
    assert (fast["max_lr"], slow["max_lr"]) == pytest.approx((0.01, 0.01 * 100 / 400))


def test_frozen_parameters_are_in_no_group() -> None:
    layer = nn.Linear(400, 8)
    layer.weight.requires_grad_(False)
    made: Any = configure(layer.parameters(), spec(OptimizerSpec(fan_in=100)), 10)
    assert [group["params"] for group in made["optimizer"].param_groups] == [[layer.bias]]
