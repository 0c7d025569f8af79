"""One logit from one unit or from two."""

from __future__ import annotations

from torch import Tensor


def one_logit(units: Tensor) -> Tensor:
    """`[N, 1]` -> `[N]`; `[N, 2]` (negative, positive) -> their difference `[N]`: sigmoid of it is the softmax of the two."""
    return units[:, 0] if units.shape[1] == 1 else units[:, 1] - units[:, 0]
