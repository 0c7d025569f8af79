"""What a network costs in the form that it would be exported in: bytes, multiply-accumulates, latency. Wiring only. Needs the workshop."""

from __future__ import annotations

import builtins
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from toolkit.benchmark.compare import in_turns
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.reports import Benefit
from toolkit.core.target import CpuBackend
from toolkit.core.turns import alone
from toolkit.infer.runtimes import runtime
from toolkit.quantize.lower import lower

COMPRESSION = 9


@dataclass(frozen=True)
class ExportGauge:
    """Lowers a network to its float ONNX graph, and asks that. `dense` is asked again and again, is not changed, and is lowered once."""

    dense: nn.Module
    preprocessing: Preprocessing
    opset: int
    backend: str
    threads: int

    def macs(self, network: nn.Module) -> int:
        """Multiply-accumulates of one film, as torch counts them."""
        edge = self.preprocessing.size_px
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network.eval()(torch.zeros(1, self.preprocessing.channels, edge, edge))
        return int(counter.get_total_flops()) // 2

    def bytes(self, network: nn.Module) -> int:
        """Size of the float ONNX graph."""
        return len(self._graph(network))

    def latency_ms(self, networks: Mapping[str, nn.Module]) -> dict[str, NDArray[np.float64]]:
        """By network, the median of one film in each round `[rounds]`, in the recipe's runtime."""
        return self._timed({name: self._graph(network) for name, network in networks.items()}, self.backend)

    def benefits(self, pruned: nn.Module) -> tuple[Benefit, ...]:
        """What pruning brought, in each runtime that is here."""
        graphs = {"dense": self._dense_graph, "pruned": self._graph(pruned)}
        small = {name: len(zlib.compress(graph, COMPRESSION)) for name, graph in graphs.items()}
        rows = []
        for backend in get_args(CpuBackend):
            if not runtime(backend).is_available():
                continue
            times = self._timed(graphs, backend)
            rows.append(
                Benefit(
                    runtime=backend,
                    threads=self.threads,
                    bytes_dense=len(graphs["dense"]),
                    bytes=len(graphs["pruned"]),
                    compressed_bytes_dense=small["dense"],
                    compressed_bytes=small["pruned"],
                    p50_ms_dense=float(np.median(times["dense"])),
                    p50_ms=float(np.median(times["pruned"])),
                    rounds=len(times["dense"]),
                    faster_rounds=int((times["pruned"] < times["dense"]).sum()),
                )
            )
        return tuple(rows)

    @cached_property
    def _dense_graph(self) -> builtins.bytes:
        return lower(self.dense, self.preprocessing, self.opset)

    def _graph(self, network: nn.Module) -> builtins.bytes:
        return self._dense_graph if network is self.dense else lower(network, self.preprocessing, self.opset)

    def _timed(self, graphs: Mapping[str, builtins.bytes], backend: str) -> dict[str, NDArray[np.float64]]:
        edge = self.preprocessing.size_px
        film = np.random.default_rng(0).integers(0, 256, (1, 1, edge, edge), dtype=np.uint8)
        with tempfile.TemporaryDirectory(prefix="cxr-edge-") as folder:
            sessions = {}
            for number, (name, graph) in enumerate(graphs.items()):
                file = Path(folder) / f"{number}.onnx"
                file.write_bytes(graph)
                sessions[name] = runtime(backend).load([file], self.threads)
            with alone():
                return in_turns(sessions, film)
