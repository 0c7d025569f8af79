"""Our runner and another tool, as `benchmarks.latency_checks` and `benchmarks.artifacts` run them: in turns, and both say milliseconds."""

from pathlib import Path

import pytest

from benchmarks.latency_checks import beside_other
from toolkit.core.bundle import Bundle
from toolkit.core.target import CpuBackend


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_both_tools_time_one_artifact(finished_run: Path, backend: CpuBackend) -> None:
    bundle = Bundle(finished_run / "bundle")
    artifact = next(one for one in bundle.manifest.artifacts if one.target.backend == backend)
    theirs, ours = beside_other(bundle, artifact, threads=1, runs=60)
    assert 0 < ours < 50 * theirs  # another unit would be a thousand times more
    assert theirs < 50 * ours
