"""device_tests: what it may import, that it can fail, and the parts of the emulation that need no emulator."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from device_tests import arm64, record
from device_tests.test_sustained import drift_pct, medians
from tests.conftest import EDGE, ROOT, make_bundle, reseal, without
from tests.regression.record import LIMITS, read
from tests.test_wheel import BASE, PULLED_BY_ONNXRUNTIME
from toolkit.core.bundle import Bundle
from toolkit.core.codec import encode_json
from toolkit.infer.machine import FEATURES, features

SUITE = ROOT / "device_tests"
FILES = sorted(SUITE.glob("*.py"))
TESTED = """
import sys
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""
BLOCKED = ("torch", "torchvision", "scipy", "yaml", "onnx", "matplotlib", "jinja2", "nncf", "tqdm", "sklearn", "pydicom", "tests", "psutil")


def modules(file: Path) -> set[str]:
    """All modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file.name}: name the package"
            found.add(str(node.module))
    return found


def run_suite(bundle: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    """The suite in a process of its own, in which all but the base install is blocked, on half a second of load."""
    words = ["-p", "no:cacheprovider", SUITE, "--bundle", bundle, "--sustained-s", "0.3", "--latency-runs", "10", *options]
    command = [sys.executable, "-c", without(BLOCKED, TESTED), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A hand-made bundle, with golden answers in `golden` beside it."""
    folder = make_bundle(tmp_path / "handmade")
    (tmp_path / "golden").mkdir()
    (tmp_path / "golden" / "handmade.json").write_bytes(encode_json(record.record(Bundle(folder))))
    return folder


def altered(recorded: Path, **changes: object) -> None:
    """Change what is recorded of it."""
    path = recorded.parent / "golden" / "handmade.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_imports_the_base_install_the_package_and_pytest_only(file: Path) -> None:
    distributions = {"pillow": "PIL"}
    allowed = {distributions.get(name, name) for name in BASE | PULLED_BY_ONNXRUNTIME} | {"pytest", "toolkit", "device_tests"}
    assert {name.split(".")[0] for name in modules(file)} <= allowed | sys.stdlib_module_names


def test_the_emulations_script_needs_nothing_but_python() -> None:
    assert {name.split(".")[0] for name in modules(SUITE / "arm64.py")} <= sys.stdlib_module_names


def test_the_suite_passes_and_reports_on_the_base_install(recorded: Path, tmp_path: Path) -> None:
    done = run_suite(recorded, "--golden", tmp_path / "golden", "--device-report", tmp_path / "report.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
    for about in ("handmade, decoding: 18 of 18", "handmade, onnxruntime-fp32: logits moved by", "handmade, latency: ", "handmade, load: "):
        assert about in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["host"]["emulator"] is None
    assert report["notes"]["handmade, load"]["films"] >= 18
    assert report["notes"]["handmade, latency"]["p50_ms"] > 0


def test_a_bundle_of_which_nothing_is_recorded_is_skipped_with_the_command(bundle: Path) -> None:
    done = run_suite(bundle, "-k", "golden")
    assert done.returncode == 0
    assert f"python -m device_tests.record {bundle} --to DIR" in done.stdout


def test_moved_scores_and_turned_decisions_fail_with_the_film_named(recorded: Path, tmp_path: Path) -> None:
    golden = record.record(Bundle(recorded))
    answers = golden.artifacts["onnxruntime-fp32"]
    moved = (-answers.logits[0], *answers.logits[1:])
    altered(recorded, artifacts={"onnxruntime-fp32": msgspec.to_builtins(msgspec.structs.replace(answers, logits=moved))})
    done = run_suite(recorded, "--golden", tmp_path / "golden", "-k", "golden")
    assert done.returncode == 1
    assert f"are allowed; most in {golden.films[0].name}" in done.stdout
    assert f"1 decisions turned, 0 are allowed: {golden.films[0].name} (" in done.stdout
    allowed = run_suite(recorded, "--golden", tmp_path / "golden", "-k", "golden_decisions", "--max-turned", "1")
    assert allowed.returncode == 0


def test_other_pixels_fail_and_are_told_from_other_scores(recorded: Path, tmp_path: Path) -> None:
    golden = record.record(Bundle(recorded))
    altered(recorded, drawn={**golden.drawn, "500 x 400": "0" * 64})
    done = run_suite(recorded, "--golden", tmp_path / "golden", "-k", "golden or recorded", "-rf")
    assert done.returncode == 1
    assert re.findall(r"^FAILED \S+::(\w+)", done.stdout, re.MULTILINE) == ["test_preparation_gives_the_recorded_pixels"]


def test_a_changed_bundle_fails(recorded: Path, tmp_path: Path) -> None:
    with (recorded / "fp32.onnx").open("ab") as stream:
        stream.write(b"\0")
    done = run_suite(recorded, "--golden", tmp_path / "golden", "-k", "sealed")
    assert done.returncode == 1
    assert "its digest is not the sealed one" in done.stdout
    reseal(recorded)
    assert run_suite(recorded, "-k", "sealed").returncode == 0


LIMITED = {
    ("--max-p50-ms=0", "--max-latency-drift=-1e9"): ("p50_ms of onnxruntime-fp32 is", "is allowed by --max-latency-drift"),
    ("--max-rss-mb=1", "--max-growth-mb=-1e9"): ("--max-rss-mb allows 1.0", "is allowed by --max-growth-mb"),
    ("--recipe-budget",): ("names no prune.target.latency_ms",),
}


@pytest.mark.parametrize("options", LIMITED, ids=lambda options: options[0])
def test_a_limit_that_is_not_kept_fails(recorded: Path, options: tuple[str, ...]) -> None:
    done = run_suite(recorded, "-k", "latency or load", *options)
    assert done.returncode == 1
    for said in LIMITED[options]:
        assert said in done.stdout


def test_an_emulators_times_are_marked_and_held_against_no_limit(recorded: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(arm64.EMULATOR, "an emulator")
    limits = [option for options in LIMITED for option in options]
    done = run_suite(recorded, "-k", "latency or load", *limits, "--device-report", tmp_path / "report.json")
    assert done.returncode == 0, done.stdout
    assert "EMULATED by an emulator" in done.stdout
    assert done.stdout.count("(the emulator's)") == 2
    assert json.loads((tmp_path / "report.json").read_text())["host"]["emulator"] == "an emulator"


def test_the_budget_of_a_recipe_is_read_from_the_report(recorded: Path) -> None:
    (recorded / "report.json").write_text(json.dumps({"recipe": {"prune": {"target": {"latency_ms": 1e9}}}}))
    done = run_suite(recorded, "-k", "latency_and_memory", "--recipe-budget")
    assert done.returncode == 0, done.stdout
    assert "the recipe's budget is 1e+09 ms" in done.stdout


def test_drift_is_the_last_part_against_the_first() -> None:
    assert medians(record.np.array([1.0, 1.0, 2.0, 2.0, 3.0, 3.0]), 3) == [1.0, 2.0, 3.0]
    assert drift_pct([2.0, 9.0, 3.0]) == pytest.approx(50)


def test_golden_answers_of_sealed_bundles_are_those_that_the_regression_tests_record() -> None:
    for path in record.HERE.glob("*.json"):
        bundle = Bundle(ROOT / "exported" / path.stem)
        golden, recorded = record.read(record.HERE, bundle), read(ROOT / "tests" / "regression" / path.stem)
        assert golden is not None, f"{bundle.folder} was made anew: python -m device_tests.record {bundle.folder}"
        assert set(golden.artifacts) == set(bundle.names)
        for name, answers in golden.artifacts.items():
            logits = dict(zip((film.name for film in golden.films), answers.logits, strict=True))
            drawn = {film.removeprefix("test/"): logit for film, logit in recorded.scores["phantom"][name].items()}
            assert {film: logits[film] for film in drawn} == pytest.approx(drawn, abs=2e-5)
            kind = LIMITS.arithmetic[bundle.artifact(name).target.precision]
            for limit, source in ((answers.same, LIMITS.same[kind]), (answers.other, LIMITS.other_phantom[kind])):
                assert (limit.mean, limit.largest) == (source.mean, source.largest)


def test_every_sealed_bundle_has_golden_answers() -> None:
    assert {path.parent.name for path in (ROOT / "exported").glob("*/bundle.json")} == {path.stem for path in record.HERE.glob("*.json")}


def test_limits_are_narrow_on_a_processor_like_the_recorded_one(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = record.record(Bundle(recorded))
    answers = golden.artifacts["onnxruntime-fp32"]
    assert golden.features == features()
    assert record.limit(golden, "onnxruntime-fp32") == answers.same
    assert record.limit(msgspec.structs.replace(golden, features=("another",)), "onnxruntime-fp32") == answers.other
    assert answers.same.mean < answers.other.mean
    monkeypatch.setattr(record, "family", lambda: "arm64")
    vnni = msgspec.structs.replace(golden, features=("avx512_vnni",))
    assert record.limit(vnni, "onnxruntime-fp32") == answers.same
    assert record.limit(msgspec.structs.replace(golden, features=("none of them",)), "onnxruntime-fp32") == answers.other


def test_the_machine_that_is_imitated_is_what_the_package_reads() -> None:
    for cpu in arm64.CPUS.values():
        files = arm64.machine_files(cpu, 2)
        info = files["proc/cpuinfo"]
        assert info.count("processor\t:") == 2
        found = re.search(r"^Features\s*:\s*(.+)$", info, re.MULTILINE)
        assert found
        assert set(found[1].split()) & set(FEATURES)
        assert files["sys/devices/system/cpu/online"] == "0-1\n"
        assert int(files["sys/devices/system/cpu/cpu1/regs/identification/midr_el1"], 16) >> 4 & 0xFFF == cpu.part


def test_the_device_gets_what_setup_cfg_asks_for() -> None:
    names = [re.split("[<>=]", line)[0] for line in arm64.requirements()]
    assert names == ["click", "msgspec", "numpy", "onnxruntime", "pillow", "openvino", "pytest"]


def test_the_c_library_says_which_wheels_fit() -> None:
    assert arm64.glibc_minor(["gcc-12-base_12.2.0-14_arm64.deb", "libc6_2.36-9+deb12u14_arm64.deb"]) == 36
    with pytest.raises(arm64.ToolError, match="no C library"):
        arm64.glibc_minor([])


def test_another_set_of_versions_is_another_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(arm64, "release", lambda: "bookworm")
    before = arm64.key()
    assert arm64.key() == before
    monkeypatch.setattr(arm64, "requirements", lambda: ["numpy>=3"])
    assert arm64.key() != before


def test_a_root_that_fails_half_way_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(partial: Path) -> int:
        (partial / "debian").mkdir()
        raise arm64.ToolError("no network")

    monkeypatch.setattr(arm64, "key", lambda: "0123")
    monkeypatch.setattr(arm64, "_unpack_packages", fails)
    with pytest.raises(arm64.ToolError, match="no network"):
        arm64.arm64_root(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_root_is_built_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    built: list[Path] = []
    monkeypatch.setattr(arm64, "key", lambda: "0123")
    monkeypatch.setattr(arm64, "_unpack_packages", lambda partial: built.append(partial) or 36)
    monkeypatch.setattr(arm64, "_unpack_wheels", lambda partial, glibc: None)
    (tmp_path / ".0123.999999999").mkdir(parents=True)  # of a run that was killed
    assert arm64.arm64_root(tmp_path) == arm64.arm64_root(tmp_path) == tmp_path / "0123"
    assert len(built) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["0123"]


def test_golden_answers_are_recorded_only_where_there_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(arm64.PLACE, str(tmp_path / "cache"))
    assert arm64.golden_options(ROOT / "exported" / "szanet") == []
    bundle = make_bundle(tmp_path / "run" / "bundle")
    option, place = arm64.golden_options(bundle)
    assert (option, [path.name for path in Path(place).iterdir()]) == ("--golden", ["run.json"])
    with pytest.raises(arm64.ToolError, match="No bundle at"):
        arm64.golden_options(tmp_path)


def test_without_an_emulator_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert arm64.main([]) == 2
    assert "apt-get install qemu-user-static" in capsys.readouterr().err


def test_on_another_system_it_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: {"ID": "fedora"})
    with pytest.raises(arm64.ToolError, match="come from apt"):
        arm64.release()


@pytest.mark.skipif(not shutil.which("sh"), reason="no shell")
def test_the_interpreter_passes_everything_on(tmp_path: Path) -> None:
    """With a stand-in for the emulator: what it is given, and by which name."""
    root = tmp_path / "root with space"
    (root / "debian" / "usr" / "bin").mkdir(parents=True)
    (root / "debian" / "usr" / "bin" / "python3.11").touch()
    (root / "wheels").mkdir()
    stand_in = tmp_path / "qemu"
    stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$CXR_EDGE_EMULATOR" "$@"\n')
    stand_in.chmod(0o755)
    python = arm64.interpreter(root, "cortex-a72", str(stand_in))
    assert arm64.interpreter(root, "cortex-a72", str(stand_in)) == python
    said = subprocess.run([str(python), "-c", "print(1, 2)"], capture_output=True, text=True, check=True).stdout.splitlines()
    home, binary = root / "cpus" / "cortex-a72", root / "debian" / "usr" / "bin"
    emulator = ["qemu-aarch64 cortex-a72", "-cpu", "cortex-a72", "-L", str(home / "root"), "-0", str(python)]
    assert said == [*emulator, str(binary / "python3.11"), "-c", "print(1, 2)"]
    assert f"home = {binary}" in (home / "pyvenv.cfg").read_text()
    assert (home / "lib" / "python3.11" / "site-packages").samefile(root / "wheels")


def test_emulated_arm64_gives_the_golden_scores() -> None:
    """Where the emulator and its root are here already; `make device-test-arm64` builds it and runs the whole suite."""
    if not any(map(shutil.which, arm64.QEMU)) or not shutil.which("apt-get") or not (arm64.cache() / arm64.key()).is_dir():
        pytest.skip("no emulated ARM64 is built here: make device-test-arm64")
    command = [sys.executable, "-m", "device_tests.arm64", "--cpu", "cortex-a76", "--bundle", "exported/szanet"]
    choice = ["--", "-k", "golden_scores and onnxruntime-int8"]
    done = subprocess.run([*command, *choice], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "EMULATED by qemu-aarch64 cortex-a76" in done.stdout
    assert "aarch64" in done.stdout
    assert "szanet, onnxruntime-int8: logits moved by 0.0000" in done.stdout
    assert "its times and memory say nothing of any device" in done.stderr


def test_the_page_names_the_options_of_the_suite() -> None:
    page = (ROOT / "docs" / "device_tests.md").read_text(encoding="utf-8")
    options = set(re.findall(r'addoption\("(--[a-z0-9-]+)"', (SUITE / "conftest.py").read_text(encoding="utf-8")))
    assert set(re.findall(r"^\| `(--[a-z0-9-]+)", page, re.MULTILINE)) == options
    assert all(f"`{cpu}`" in page for cpu in arm64.CPUS)


def test_the_golden_films_are_prepared_by_every_bundle() -> None:
    films = record.prepared(msgspec.structs.replace(Bundle(ROOT / "exported" / "szanet").manifest.preprocessing, size_px=EDGE))
    assert len(films) == 18
    assert {pixels.shape for pixels in films.values()} == {(EDGE, EDGE)}
