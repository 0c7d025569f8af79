"""`cxr-edge doctor`: what this machine can run, and why not."""

from __future__ import annotations

import click

from toolkit.benchmark.host import describe_host
from toolkit.cli.options import json_option, table, write_json
from toolkit.core.libraries import installed

PARTS = (
    ("onnxruntime", "run ONNX artifacts", "cxr-edge"),
    ("openvino", "run OpenVINO artifacts", "cxr-edge[openvino]"),
    ("tensorrt-rtx-cu13", "build and run TensorRT-RTX engines", "cxr-edge[tensorrt-rtx]"),
    ("tensorrt", "build and run TensorRT engines", "cxr-edge[tensorrt]"),
    ("pydicom", "read DICOM films", "cxr-edge[dicom]"),
    ("scipy", "evaluate and drift: intervals and tests", "cxr-edge[validate]"),
    ("torch", "train, prune, lower", "cxr-edge[workshop]"),
    ("pytorch-lightning", "train", "cxr-edge[workshop]"),
    ("onnx", "quantize for ONNX Runtime", "cxr-edge[workshop]"),
    ("nncf", "quantize for OpenVINO", "cxr-edge[workshop]"),
    ("matplotlib", "draw reports", "cxr-edge[workshop]"),
)
INT8_FEATURES = {"avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"}


@click.command()
@json_option
def doctor(json_file: str | None) -> None:
    """Which runtimes are here, what the processor can do, what is missing and the command that adds it.

    \b
    Example:  cxr-edge doctor
    """
    host = describe_host()
    versions = installed(tuple(name for name, _, _ in PARTS))
    missing = {name: f"pip install '{where}'" for name, _, where in PARTS if name not in versions}
    if json_file != "-":
        fast = INT8_FEATURES & set(host.features)
        click.echo(f"{host.processor} ({host.machine}), {host.cores} cores, {host.memory_mb or '?'} MB")
        click.echo(f"{host.system}, Python {host.python}")
        click.echo(f"features: {', '.join(host.features) or 'none of those that matter here'}")
        click.echo(f"int8 instructions: {', '.join(sorted(fast)) if fast else 'none; int8 may be slower than float here'}\n")
        rows = [[name, versions.get(name, "missing"), does, missing.get(name, "")] for name, does, _ in PARTS]
        click.echo(table(("package", "version", "for", "to add it"), rows))
    write_json({"host": host, "installed": versions, "missing": missing}, json_file)
