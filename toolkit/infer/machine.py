"""What the processor of this machine can do, and which artifacts it runs, exactly and at their speed."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from toolkit.core.target import Family, Target, processor_family
from toolkit.infer.runtimes import runtime

FEATURES = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16")
BF16 = {"avx512_bf16", "amx_bf16", "bf16"}
CPUINFO = Path("/proc/cpuinfo")


def cpuinfo() -> str:
    """What Linux says of its processor; empty elsewhere."""
    return CPUINFO.read_text(encoding="utf-8", errors="replace") if CPUINFO.is_file() else ""


def features() -> tuple[str, ...]:
    """Those of FEATURES that this processor has; none where they cannot be read."""
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", cpuinfo(), re.MULTILINE)
    listed = set(found[1].split()) if found else set()
    return tuple(name for name in FEATURES if name in listed)


def family() -> Family:
    """The kind of processor that this is."""
    return processor_family(platform.machine(), features())


def why_not(target: Target) -> str | None:
    """Why an artifact cannot be run here; None when it can."""
    module = runtime(target.backend)
    if not module.is_available():
        return f"{target.backend} is not installed: pip install 'cxr-edge{f'[{module.REQUIRES}]' if module.REQUIRES else ''}'"
    if target.precision == "bf16" and not BF16 & set(features()):
        return "this processor does not calculate in bfloat16"
    return module.why_not(target)


def adds_bytes_exactly(target: Target) -> bool:
    """False for an int8 graph that must be calculated in single precision here to give what it states.

    Without VNNI, products of bytes are added in sixteen bits and saturate, unless the weights have only seven; in OpenVINO that moved
    MobileNetV2's logits by .4. With VNNI the form for ARM64 is exact too. TensorRT's graph has no kernels on a processor.
    """
    return not target.is_int8 or (not target.needs_engine and (target.family == "x86" or family() != "x86"))


def why_not_timed(target: Target) -> str | None:
    """Why a time measured here would say nothing of an artifact; None when it would."""
    reason = why_not(target)
    if reason is None and not target.needs_engine and not adds_bytes_exactly(target):
        return "its sums of bytes would overflow on x86 without VNNI, where it is calculated in single precision"
    return reason
