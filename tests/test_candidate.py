"""What a network costs: counted by hand, and measured on the very graph that would be exported."""

from __future__ import annotations

import copy
import itertools
import zlib

import numpy as np
import torch

from toolkit.benchmark.compare import ROUNDS, in_turns
from toolkit.candidate import ExportGauge
from toolkit.core.preprocessing import Preprocessing
from toolkit.core.recipe import PruneSpec
from toolkit.imaging.decode import Pixels
from toolkit.models.registry import build
from toolkit.prune.unstructured import make_zeros
from toolkit.quantize.lower import lower

PREPROCESSING = Preprocessing(size_px=32)
DENSE = build("szanet", PREPROCESSING)
GAUGE = ExportGauge(DENSE, PREPROCESSING, opset=20, backend="onnxruntime", threads=1)


def test_szanets_multiply_accumulates_by_hand() -> None:
    """32 px: maps of 30, 13 and 4 px before their pooling; the last is 2x2x64 = 256 numbers."""
    by_hand = 30 * 30 * 16 * 27 + 13 * 13 * 32 * 9 * 16 + 4 * 4 * 64 * 9 * 32 + 256 * 64 + 64
    assert GAUGE.macs(build("szanet", PREPROCESSING)) == by_hand


def test_bytes_are_those_of_the_graph_and_the_network_is_left_as_it_was() -> None:
    network = build("szanet", PREPROCESSING)
    before = copy.deepcopy(network.state_dict())
    assert GAUGE.bytes(network) == len(lower(network, PREPROCESSING, 20))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_each_network_has_a_median_of_each_round() -> None:
    found = GAUGE.latency_ms({"one": build("szanet", PREPROCESSING), "other": build("szanet", PREPROCESSING)})
    assert {name: times.shape for name, times in found.items()} == {"one": (ROUNDS,), "other": (ROUNDS,)}
    assert all((times > 0).all() for times in found.values())


def test_zeros_shrink_the_zipped_file_and_nothing_else() -> None:
    sparse = copy.deepcopy(DENSE)
    make_zeros(sparse, PruneSpec(scope="layer"), 0.9, seed=0)
    rows = GAUGE.benefits(sparse)
    assert [row.runtime for row in rows] == ["onnxruntime", "openvino"]
    for row in rows:
        assert row.bytes == row.bytes_dense == len(lower(DENSE, PREPROCESSING, 20))
        assert row.compressed_bytes == len(zlib.compress(lower(sparse, PREPROCESSING, 20), 9))
        assert row.compressed_bytes < 0.4 * row.compressed_bytes_dense
        assert 0 <= row.faster_rounds <= row.rounds == ROUNDS


def test_models_have_their_turns_one_after_the_other() -> None:
    turns: list[str] = []

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def logits(self, images: Pixels) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
            turns.append(self.name)
            return np.zeros(len(images), np.float32)

    in_turns({"a": Named("a"), "b": Named("b")}, np.zeros((1, 1, 4, 4), np.uint8))
    blocks = [turns[0], *(after for before, after in itertools.pairwise(turns) if before != after)]
    assert blocks == ["a", "b"] * ROUNDS
