"""The base line of `benchmark`: a checkpoint in PyTorch as it was trained, `python -m toolkit.eager`, jobs and rows as JSON. Wiring only.
Needs the workshop."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from toolkit.benchmark.runner import Loaded, Sitting, measure_session, serve
from toolkit.core.latency import LatencyRow
from toolkit.core.preprocessing import Preprocessing
from toolkit.imaging.decode import Pixels
from toolkit.train.checkpoint import WEIGHTS, load_checkpoint
from toolkit.train.module import to_network


class EagerSession:
    """A network as a session: uint8 `[N, 1, H, W]` -> logits float32 `[N]`, in single precision."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._preprocessing = preprocessing

    def logits(self, images: Pixels) -> NDArray[np.float32]:
        """The graph's only output."""
        with torch.inference_mode():
            batch = to_network(torch.from_numpy(images).float(), self._preprocessing)
            return np.asarray(self._network(batch).numpy(), np.float32)

    def outputs(self, images: Pixels) -> tuple[NDArray[np.float32], ...]:
        """The same; torch makes no heat map on the way."""
        return (self.logits(images),)


def measure(jobs: Sitting) -> tuple[LatencyRow, ...]:
    """Load the checkpoint, and for each job warm up and time."""
    assert jobs[0].checkpoint is not None, "run.eager names one"
    folder = Path(jobs[0].checkpoint)
    torch.set_num_threads(jobs[0].threads)
    started = time.perf_counter()
    checkpoint, network = load_checkpoint(folder)
    session = EagerSession(network, checkpoint.preprocessing)
    load_ms = (time.perf_counter() - started) * 1000
    loaded = Loaded(session, "torch", "fp32", (folder / WEIGHTS).stat().st_size, load_ms)
    return tuple(measure_session(job, loaded, checkpoint.preprocessing) for job in jobs)


if __name__ == "__main__":
    sys.exit(serve(measure))
