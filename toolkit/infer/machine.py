"""What the processor of this machine can do, and whether an artifact gives its sealed answers here."""

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
    """Why an artifact cannot be run here, or would not give its sealed answers; None when it can.

    Bytes multiplied without VNNI are added in sixteen bits and saturate, unless the weights have only seven; a form for ARM is exact
    with VNNI.
    """
    module = runtime(target.backend)
    if not module.is_available():
        return f"{target.backend} is not installed: pip install 'cxr-edge{f'[{module.REQUIRES}]' if module.REQUIRES else ''}'"
    if target.precision == "bf16" and not BF16 & set(features()):
        return "this processor does not calculate in bfloat16"
    if target.family in ("x86-vnni", "arm64") and family() == "x86":
        return f"it is for {target.family} and this processor is x86 without VNNI, where its sums of bytes overflow"
    return module.why_not(target)
