"""One layer at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from toolkit.core.recipe import TargetSpec
from toolkit.prune.pruning import Pruning
from toolkit.prune.sensitivity import RATIOS, sensitivity


@pytest.mark.parametrize(
    ("spec", "layers", "kept"),
    [
        ({"method": "structured", "target": TargetSpec(ratio=0.5), "round_to": 1}, 4, [12, 8, 8, 8]),  # of 16, at least 8
        ({"method": "magnitude"}, 5, [324, 216, 108, 43]),  # of 3 * 16 * 9
    ],
    ids=["structured", "magnitude"],
)
def test_a_row_for_each_layer_and_ratio_and_a_killed_run_goes_on(
    spec: dict[str, object], layers: int, kept: list[int], pruning: Callable[..., Pruning], tmp_path: Path
) -> None:
    rows = sensitivity(pruning(**spec), tmp_path)
    assert len(rows) == layers * len(RATIOS)
    assert [row.kept for row in rows if row.layer == "features.0.0"] == kept
    file = tmp_path / "sensitivity.json"
    stored = json.loads(file.read_text())
    file.write_text(json.dumps(stored[:3]))
    assert sensitivity(pruning(**spec), tmp_path) == rows
