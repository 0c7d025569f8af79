"""What makes training on a CPU faster without changing what is trained; benchmarks/training_speed.py measures the whole."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import sys
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h
KEPT_BYTES = 2**31 - 1
DRAWS = 2**16


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed blocks. By default each activation of some megabytes is mapped anew for every batch, and its
    pages are cleared by the kernel one by one. True where the library took the request (glibc); elsewhere nothing happens."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(*wish) for wish in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, KEPT_BYTES), (M_TOP_PAD, 64 * 2**20)))


class StridedDepthwise(nn.Conv2d):
    """A depthwise convolution that stays in single precision: on CPUs the bfloat16 gradient of a strided one is far slower."""

    def forward(self, image: Tensor) -> Tensor:
        """`[N, C, H, W]` -> `[N, C, H', W']`, in the type that came in."""
        with torch.autocast(image.device.type, enabled=False):
            return super().forward(image.float()).to(image.dtype)


@contextlib.contextmanager
def strided_depthwise_in_single_precision(network: nn.Module) -> Iterator[None]:
    """Within it, the strided depthwise convolutions of `network` calculate in single precision."""
    layers = [
        layer for layer in network.modules() if type(layer) is nn.Conv2d and 1 < layer.groups == layer.in_channels and max(layer.stride) > 1
    ]
    for layer in layers:
        layer.__class__ = StridedDepthwise
    try:
        yield
    finally:
        for layer in layers:
            layer.__class__ = nn.Conv2d


@contextlib.contextmanager
def pooled_before_relu(network: nn.Module) -> Iterator[None]:
    """Within it, a max pooling right behind a ReLU comes before it: the same values and gradients, for a fraction of the ReLU's work."""
    pairs = [
        (holder, place)
        for holder in network.modules()
        if isinstance(holder, nn.Sequential)
        for place, (layer, following) in enumerate(itertools.pairwise(holder))
        if type(layer) is nn.ReLU and type(following) is nn.MaxPool2d
    ]
    for holder, place in pairs:
        _swap(holder, place)
    try:
        yield
    finally:
        for holder, place in pairs:
            _swap(holder, place)


class QuickDropout(nn.Dropout):
    """The same law, drawn from 16 random bits an element by numpy's fastest generator: on a CPU torch draws one element after another.

    The rate is rounded to 1 / 65 536; the seed comes from torch's generator.
    """

    def forward(self, image: Tensor) -> Tensor:
        """Any shape -> the same; outside of training, on a GPU, and with nothing to drop as torch does it."""
        if not self.training or self.p == 0 or image.device.type != "cpu":
            return super().forward(image)
        shape = image.shape if image.dim() != 4 else [image.shape[place] for place in (0, 2, 3, 1)]  # as it lies in memory
        generator = np.random.Generator(np.random.SFC64(int(torch.randint(2**62, (1,)))))
        drawn = np.frombuffer(generator.bytes(2 * image.numel()), np.uint16)
        kept = torch.from_numpy(drawn >= round(self.p * DRAWS)).view(*shape)
        kept = kept if image.dim() != 4 else kept.permute(0, 3, 1, 2)
        return image * kept.to(image.dtype).mul_(1 / (1 - self.p))


@contextlib.contextmanager
def quick_dropout(network: nn.Module) -> Iterator[None]:
    """Within it, the dropouts of `network` draw quickly."""
    layers = [layer for layer in network.modules() if type(layer) is nn.Dropout]
    for layer in layers:
        layer.__class__ = QuickDropout
    try:
        yield
    finally:
        for layer in layers:
            layer.__class__ = nn.Dropout


def calculates_in_bf16() -> bool:
    """True where bfloat16 is the faster one: on a GPU that has it, on a CPU with AMX or AVX512-BF16. Elsewhere it is emulated."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _swap(holder: nn.Sequential, place: int) -> None:
    """The module at `place` and the one behind it; both without parameters, so no name of a weight changes."""
    holder[place], holder[place + 1] = holder[place + 1], holder[place]
