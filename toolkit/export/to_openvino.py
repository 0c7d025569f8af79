"""OpenVINO artifacts: int8 as IR; float ones are the ONNX file itself, which OpenVINO reads as it is.

So a bundle that serves both runtimes carries its float weights once.
"""

from __future__ import annotations

from pathlib import Path

from toolkit.core.files import write_atomically
from toolkit.core.target import Precision
from toolkit.export import to_onnx

REQUIRES = "openvino"


def export(graph: Path, precision: Precision, folder: Path) -> tuple[str, ...]:
    """Write the files of one artifact into `folder` and give their names, the one to load first."""
    if precision != "int8":
        return to_onnx.export(graph, precision, folder)
    names = ("int8.xml", "int8.bin")
    for name in names:
        write_atomically(folder / name, graph.with_suffix(Path(name).suffix).read_bytes())
    return names
