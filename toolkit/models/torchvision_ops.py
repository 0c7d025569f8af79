"""Import this before torchvision, or before anything that imports it (Lightning does, through torchmetrics).

torchvision's wheel brings compiled operators that need a CUDA build of torch. Beside a CPU build they do not load, and
`import torchvision` stops with 'operator torchvision::nms does not exist'. Declaring the two schemas cures it; where the
real operators load, nothing is declared.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def _declare_missing() -> torch.library.Library | None:
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None or _real_operators_load(Path(found.origin).parent):
        return None
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    return library


def _real_operators_load(folder: Path) -> bool:
    for file in folder.glob("_C*.so"):
        try:
            torch.ops.load_library(str(file))  # type: ignore[no-untyped-call]
        except OSError:
            return False
    return hasattr(torch.ops.torchvision, "nms")


KEPT_ALIVE = _declare_missing()
