"""Where an artifact runs: backend, precision, and the kind of processor that it was made for."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

import msgspec

from toolkit.core.codec import Frozen
from toolkit.errors import RecipeError

CpuBackend = Literal["onnxruntime", "openvino"]
Backend = Literal["onnxruntime", "openvino", "tensorrt-rtx", "tensorrt"]
Precision = Literal["fp32", "fp16w", "bf16", "fp16", "int8", "int8ac"]
Family = Literal["x86-vnni", "x86", "arm64", "gpu", "npu"]
ArtifactName = Literal[
    "onnxruntime-fp32",
    "onnxruntime-fp16w",
    "onnxruntime-int8",
    "onnxruntime-int8-x86",
    "onnxruntime-int8-arm64",
    "openvino-fp32",
    "openvino-fp16w",
    "openvino-bf16",
    "openvino-int8",
    "openvino-int8ac",
    "openvino-fp16-gpu",
    "openvino-fp16-npu",
    "tensorrt-rtx-fp32",
    "tensorrt-rtx-fp16",
    "tensorrt-rtx-int8",
    "tensorrt-fp32",
    "tensorrt-fp16",
    "tensorrt-int8",
]
PROCESSORS: tuple[Family, ...] = ("x86-vnni", "x86", "arm64")
VNNI = {"avx_vnni", "avx512_vnni", "amx_int8"}
AS_WRITTEN = ("session.disable_quant_qdq", "1")
"""ONNX Runtime's setting for no int8 kernels: it goes between bytes and single precision where the graph says so, exactly, everywhere."""
UNSUFFIXED: tuple[Family | None, ...] = (None, "x86-vnni")


class Target(Frozen, frozen=True, kw_only=True):
    """A runtime, an arithmetic, and the processors that the form is for; `family` None is any.

    `fp32` is plain single precision, `fp16w` stores the weights in half precision and calculates in single, `bf16` and `fp16`
    calculate in that, `int8` has quantized weights and activations, `int8ac` those of them that an accuracy control left.
    ONNX Runtime's int8 has a form for each family: 'x86-vnni' adds products of unsigned and signed bytes in 32 bits; 'x86' adds pairs in
    16 bits, so its weights have seven; 'arm64' takes signed bytes on both sides. OpenVINO's has weights of eight bits alone.
    """

    backend: Backend
    precision: Precision
    family: Family | None = None

    def __post_init__(self) -> None:
        """ONNX Runtime's int8 is never for any processor: bundles that were sealed before it had a family hold the one for VNNI."""
        if self.backend == "onnxruntime" and self.is_int8 and self.family is None:
            msgspec.structs.force_setattr(self, "family", "x86-vnni")

    @property
    def name(self) -> ArtifactName:
        """The artifact's name, such as 'onnxruntime-int8-arm64'; the form for x86 with VNNI has no suffix."""
        suffix = "" if self.family in UNSUFFIXED else f"-{self.family}"
        return f"{self.backend}-{self.precision}{suffix}"  # type: ignore[return-value]

    @property
    def stem(self) -> str:
        """How its files are called; artifacts of equal files share them: OpenVINO calculates in bfloat16 from the single-precision file."""
        shared = {"openvino-bf16": "fp32", "openvino-fp16": "fp16w"}.get(f"{self.backend}-{self.precision}")
        return shared or self.name.removeprefix(f"{self.backend}-")

    @property
    def requires(self) -> str:
        """What it asks of a machine, for people."""
        more = {"x86-vnni": "x86 with VNNI", "x86": "x86", "arm64": "ARM64", "gpu": "a GPU", "npu": "an NPU"}.get(str(self.family), "")
        if self.precision == "bf16":
            more = "a processor that calculates in bfloat16"
        if self.needs_engine:
            more = "an NVIDIA GPU that its engine is for"
        return f"{self.backend}, {more}" if more else self.backend

    @property
    def is_int8(self) -> bool:
        """True when activations are bytes."""
        return self.precision in ("int8", "int8ac")

    @property
    def needs_engine(self) -> bool:
        """True when an engine has to be built for one GPU."""
        return self.backend in ("tensorrt-rtx", "tensorrt")

    def serves(self, family: Family) -> bool:
        """True when the form is right on these processors; the one for x86 is so with VNNI too, and OpenVINO's int8 with it alone."""
        if self.family is None:
            return not (family == "x86" and self.backend == "openvino" and self.is_int8)
        return self.family == family or (self.family, family) == ("x86", "x86-vnni")

    @property
    def processors(self) -> str:
        """Those that it serves, for people."""
        served = [family for family in PROCESSORS if self.serves(family)]
        return "any processor" if len(served) == len(PROCESSORS) else ", ".join(served) or str(self.family)

    @classmethod
    def from_name(cls, name: str) -> Target:
        """The target of an artifact's name; raises RecipeError for any other."""
        known = get_args(ArtifactName)
        if name not in known:
            raise RecipeError(f"'{name}' is not a target; expected one of {', '.join(known)}.")
        backend = next(backend for backend in sorted(get_args(Backend), key=len, reverse=True) if name.startswith(f"{backend}-"))
        precision, _, family = name.removeprefix(f"{backend}-").partition("-")
        return cls(backend=backend, precision=precision, family=family or None)  # type: ignore[arg-type]


def processor_family(machine: str, features: Collection[str]) -> Family:
    """Of a machine (`platform.machine()`) with these features; an x86 whose features cannot be read counts as one without VNNI."""
    if machine.lower() in ("arm64", "aarch64"):
        return "arm64"
    return "x86-vnni" if VNNI & set(features) else "x86"
