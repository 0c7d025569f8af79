"""Nothing phones home."""

from __future__ import annotations

import sys


def refuse_telemetry() -> None:
    """Call before importing openvino or nncf: makes their `openvino_telemetry` count as not installed.

    Else its import alone writes an identity to the home folder and reports the use; its own switches act too late.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
