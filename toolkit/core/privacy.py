"""Nothing phones home."""

from __future__ import annotations

import os
import sys

QUIET = {"ORT_DISABLE_TELEMETRY": "1"}
"""What keeps ONNX Runtime's telemetry off, in this process and in those that it starts."""


def refuse_telemetry() -> None:
    """Call before importing onnxruntime, openvino or nncf: their import alone writes an identity into the home folder.

    `openvino_telemetry` then counts as not installed, since its own switches act too late; ONNX Runtime (1.31) heeds a variable.
    """
    os.environ.update(QUIET)
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
