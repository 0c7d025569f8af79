"""Runs device_tests with ARM64's real instructions on another processor, in QEMU's user-mode emulation: answers are proven, times are not.

python -m device_tests.arm64 --bundle exported/szanet [--cpu cortex-a72] [-- PYTEST'S OPTIONS]

A root of ARM64 packages of this machine's Debian release and the wheels of setup.cfg in the versions of constraints.txt are kept in
CXR_EDGE_ARM64_ROOT, by default ~/.cache/cxr-edge/arm64, under a digest of all that they are made of: a second run builds nothing.
Nothing is installed on this machine but, with --install-qemu, the emulator. The interpreter there is a shell script that starts the real
one in the emulator, so that processes which a test starts with `sys.executable` are emulated too, without binfmt.
"""

from __future__ import annotations

import argparse
import configparser
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PLACE = "CXR_EDGE_ARM64_ROOT"
EMULATOR = "CXR_EDGE_EMULATOR"  # as toolkit.benchmark.host reads it
FORM = 1  # to be raised when what is built changes: older roots are not used any more
PACKAGES = ("python3", "libstdc++6")
QEMU = ("qemu-aarch64-static", "qemu-aarch64")
OLDEST_GLIBC = 17
NOTICE = "Emulated ARM64 ({emulator}): its answers are those of real instructions, its times and memory say nothing of any device."
APT = """APT::Architecture "arm64";
APT::Architectures {{ "arm64"; }};
APT::Sandbox::User "root";
Debug::NoLocking "true";
Dir::State "{place}";
Dir::State::lists "{place}/lists";
Dir::State::status "{place}/status";
Dir::Cache "{place}";
Dir::Cache::archives "{place}/archives";
"""


class ToolError(Exception):
    """What the emulation needs is not here; the message says what to do."""


class Cpu(NamedTuple):
    """A processor: QEMU's name for it, what stands in its /proc/cpuinfo, and the board that has it."""

    qemu: str
    part: int
    features: str
    board: str


BASIC = "fp asimd evtstrm crc32 cpuid"
DOT = f"{BASIC} aes pmull sha1 sha2 atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"
CPUS = {
    "cortex-a72": Cpu("cortex-a72", 0xD08, BASIC, "Raspberry Pi 4"),
    "cortex-a76": Cpu("cortex-a76", 0xD0B, DOT, "Raspberry Pi 5"),
    "max": Cpu("max,sve=off", 0xD0C, f"{DOT} jscvt fcma i8mm bf16", "all instructions but SVE"),
}
"""The int8 kernels differ: multiply and add long, dot product (asimddp), matrix product (i8mm)."""


def main(arguments: Sequence[str]) -> int:
    """Build what is missing, run the suite; its exit code, or 2 when something is missing."""
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    options, more = _options(arguments[:end]), arguments[end + 1 :]
    try:
        if platform.machine() in ("aarch64", "arm64"):
            return _suite([sys.executable], options.bundle, more)
        qemu = find_qemu(options.install_qemu)
        started = time.monotonic()
        root = arm64_root(cache())
        python = interpreter(root, options.cpu, qemu)
        _say(f"{root}: ready after {time.monotonic() - started:.1f} s")
        notice = NOTICE.format(emulator=f"qemu-aarch64 {options.cpu}")
        _say(notice)
        started = time.monotonic()
        code = _suite([str(python)], options.bundle, more)
        _say(f"{time.monotonic() - started:.0f} s. {notice}")
        return code
    except ToolError as cause:
        _say(str(cause))
        return 2


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m device_tests.arm64", description="Run device_tests in an emulated ARM64.")
    parser.add_argument("--bundle", action="append", type=Path, default=[], help="a sealed bundle; by default all of exported/")
    parser.add_argument("--cpu", choices=CPUS, default="max", help="which processor is imitated (default: max, without SVE)")
    parser.add_argument("--install-qemu", action="store_true", help="install Debian's qemu-user-static where it is missing (as root)")
    return parser.parse_args(arguments)


def cache() -> Path:
    """Where roots are kept."""
    return Path(os.environ.get(PLACE) or Path.home() / ".cache" / "cxr-edge" / "arm64")


def find_qemu(install: bool) -> str:
    """The emulator; raises ToolError with the command that brings it."""
    found = next((path for name in QEMU if (path := shutil.which(name))), None)
    if found is None and install:
        _call(["apt-get", "install", "--yes", "--quiet", "qemu-user-static"], "qemu-user-static cannot be installed (are you root?)")
        return find_qemu(install=False)
    if found is None:
        raise ToolError("The emulator is missing: apt-get install qemu-user-static, or give --install-qemu as root.")
    return found


def requirements() -> list[str]:
    """What the device has: the base install, OpenVINO and pytest, as setup.cfg asks for them."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = setup["options.extras_require"]
    lines = [*setup["options"]["install_requires"].splitlines(), *extras["openvino"].splitlines(), *extras["dev"].splitlines()]
    base = len(lines) - len(extras["dev"].splitlines())
    return [line for place, line in enumerate(lines) if line and (place < base or line.startswith("pytest>"))]


def release() -> str:
    """The code name of this Debian; raises ToolError elsewhere."""
    known = platform.freedesktop_os_release()
    if "debian" not in (known.get("ID"), *known.get("ID_LIKE", "").split()) or not shutil.which("apt-get"):
        raise ToolError("The packages for ARM64 come from apt, and this system has none: use Debian, or a machine with ARM64.")
    return known.get("VERSION_CODENAME", "unknown")


def key() -> str:
    """Digest of all that a root is made of."""
    parts = (str(FORM), release(), *PACKAGES, *requirements(), (ROOT / "constraints.txt").read_text(encoding="utf-8"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def arm64_root(place: Path) -> Path:
    """The folder of packages and wheels, built when there is none: beside its place, and moved in when it is whole."""
    _remove_abandoned(place)
    root = place / key()
    if root.is_dir():
        return root
    partial = place / f".{root.name}.{os.getpid()}"
    _say(f"Building {root}: Debian's packages for ARM64, then the wheels; once.")
    try:
        partial.mkdir(parents=True)
        glibc = _unpack_packages(partial)
        _unpack_wheels(partial, glibc)
        partial.rename(root)
    except OSError as cause:
        if not root.is_dir():  # another run was quicker
            raise ToolError(f"{root} cannot be written: {cause}") from cause
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return root


def _remove_abandoned(place: Path) -> None:
    """What killed builds left."""
    for folder in place.glob(".*.*"):
        process = folder.name.rpartition(".")[2]
        if process.isdecimal() and not Path("/proc", process).exists():
            shutil.rmtree(folder, ignore_errors=True)


def _unpack_packages(partial: Path) -> int:
    """Python and what it needs, from this machine's apt sources, in a state of its own; the minor version of its C library."""
    apt = partial / "apt"
    for folder in ("lists/partial", "archives/partial"):
        (apt / folder).mkdir(parents=True)
    (apt / "status").touch()
    (apt / "config").write_text(APT.format(place=apt), encoding="utf-8")
    private = {"APT_CONFIG": str(apt / "config")}
    _call(["apt-get", "--quiet", "update"], "The lists of packages for ARM64 cannot be read", private)
    wanted = ["--yes", "--no-install-recommends", "--download-only", "install", *PACKAGES]
    _call(["apt-get", "--quiet", *wanted], "The packages for ARM64 cannot be fetched", private)
    archives = sorted((apt / "archives").glob("*.deb"))
    for archive in archives:
        _call(["dpkg", "--extract", str(archive), str(partial / "debian")], f"{archive.name} cannot be unpacked")
    (partial / "packages.txt").write_text("".join(f"{archive.name}\n" for archive in archives), encoding="utf-8")
    shutil.rmtree(apt)
    return glibc_minor([archive.name for archive in archives])


def glibc_minor(archives: Sequence[str]) -> int:
    """36 when one is libc6_2.36-9_arm64.deb."""
    found = next((match for name in archives if (match := re.match(r"libc6_2\.(\d+)", name))), None)
    if found is None:
        raise ToolError("The packages for ARM64 hold no C library.")
    return int(found[1])


def _unpack_wheels(partial: Path, glibc: int) -> None:
    """The wheels, for the Python that was unpacked."""
    version = python_version(partial)
    platforms = [word for minor in range(OLDEST_GLIBC, glibc + 1) for word in ("--platform", f"manylinux_2_{minor}_aarch64")]
    where = ["--target", str(partial / "wheels"), "--python-version", version, "--platform", "manylinux2014_aarch64", *platforms]
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--only-binary=:all:"]
    _call([*pip, *where, "--constraint", str(ROOT / "constraints.txt"), *requirements()], "The wheels for ARM64 cannot be fetched")


def python_version(root: Path) -> str:
    """Such as 3.11; raises ToolError when it is too old for the package."""
    found = [match[1] for path in (root / "debian/usr/bin").glob("python3.*") if (match := re.fullmatch(r"python(3\.\d+)", path.name))]
    if not found or int(found[0].split(".")[1]) < 11:
        raise ToolError(f"This Debian's Python for ARM64 is {', '.join(found) or 'missing'}; 3.11 or newer is needed.")
    return found[0]


def interpreter(root: Path, name: str, qemu: str) -> Path:
    """A virtual environment of this processor, whose `python` is the emulator at work; written anew each time.

    Python takes the script for itself, by the name that it is started with (-0), and finds the environment around it. What runs there
    says of itself that it is emulated.
    """
    cpu, version = CPUS[name], python_version(root)
    home = root / "cpus" / name
    system, site = home / "root", home / "lib" / f"python{version}" / "site-packages"
    for folder in (home / "bin", site.parent, system):
        folder.mkdir(parents=True, exist_ok=True)
    for folder in (root / "debian").iterdir():
        _link(system / folder.name, folder)
    _link(site, root / "wheels")
    for path, text in machine_files(cpu, os.cpu_count() or 1).items():
        (system / path).parent.mkdir(parents=True, exist_ok=True)
        (system / path).write_text(text, encoding="ascii")
    binary = root / "debian" / "usr" / "bin"
    (home / "pyvenv.cfg").write_text(f"home = {binary}\ninclude-system-site-packages = false\n", encoding="utf-8")
    python = home / "bin" / "python"
    partial = python.with_name(f".python.{os.getpid()}")
    start = f'exec "{qemu}" -cpu {cpu.qemu} -L "{system}" -0 "$0" "{binary / f"python{version}"}" "$@"'
    partial.write_text(f'#!/bin/sh\nexport {EMULATOR}="qemu-aarch64 {name}"\n{start}\n', encoding="utf-8")
    partial.chmod(0o755)
    partial.replace(python)
    return python


def _link(place: Path, target: Path) -> None:
    if not place.is_symlink():
        place.symlink_to(target)


def machine_files(cpu: Cpu, cores: int) -> dict[str, str]:
    """What Linux on such a processor says of it; the emulator looks here first. Without them ONNX Runtime does not start."""
    lines = f"BogoMIPS\t: 50.00\nFeatures\t: {cpu.features}\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x1\n"
    lines += f"CPU part\t: {cpu.part:#x}\nCPU revision\t: 0\n"
    files = {"proc/cpuinfo": "".join(f"processor\t: {core}\n{lines}\n" for core in range(cores))}
    processors = "sys/devices/system/cpu"
    files |= {f"{processors}/{name}": f"0-{cores - 1}\n" for name in ("possible", "present", "online")}
    midr = 0x411F0000 | cpu.part << 4  # implementer, variant 1, architecture 15, part, revision 0
    return files | {f"{processors}/cpu{core}/regs/identification/midr_el1": f"{midr:#018x}\n" for core in range(cores)}


def _suite(python: Sequence[str], bundles: Sequence[Path], more: Sequence[str]) -> int:
    """Run device_tests with this interpreter; answers of a bundle that has no golden ones are recorded here first."""
    words = [*python, "-m", "pytest", "-p", "no:cacheprovider", str(ROOT / "device_tests")]
    for folder in map(Path.resolve, bundles):
        words += ["--bundle", str(folder), *golden_options(folder)]
    return subprocess.run([*words, *more], check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode


def golden_options(bundle: Path) -> list[str]:
    """Where its golden answers are, unless device_tests has them; raises ToolError when they cannot be recorded."""
    manifest = bundle / "bundle.json"
    if not manifest.is_file():
        raise ToolError(f"No bundle at {bundle}: there is no {manifest.name} in it.")
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    if any(digest in path.read_text(encoding="utf-8") for path in (ROOT / "device_tests" / "golden").glob("*.json")):
        return []
    place = cache() / "golden" / digest[:16]
    words = [sys.executable, "-m", "device_tests.record", str(bundle), "--to", str(place)]
    _call(words, f"The answers of {bundle} cannot be recorded", {"PYTHONPATH": str(ROOT)}, cwd=ROOT)
    return ["--golden", str(place)]


def _call(words: Sequence[str], problem: str, more: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
    """A command to its end; raises ToolError with what it said when it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, **(more or {})}, cwd=cwd)
    except FileNotFoundError as cause:
        raise ToolError(f"{problem}: {words[0]} is not here.") from cause
    if done.returncode:
        said = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-5:])
        raise ToolError(f"{problem}:\n{said}")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
