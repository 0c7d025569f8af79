"""`cxr-edge report`: machines compared, end to end; one clear sentence for each wrong input."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import msgspec
import pytest

from tests.conftest import call_cli
from tests.report.machines import device, host, latency
from toolkit.core.bundle import Bundle
from toolkit.core.codec import decode_json, encode_json, read_json
from toolkit.core.latency import LatencyReport
from toolkit.core.reports import DeviceReport, RunReport, TargetComparison
from toolkit.infer.machine import family

Captured = pytest.CaptureFixture[str]


def measured_elsewhere(run: Path, slower: int = 3) -> LatencyReport:
    """The run's own report, as a slower machine of the same kind would have it."""
    own = read_json(run / "report.json", RunReport).latency
    plain = json.loads(encode_json(own))
    for row in plain["rows"]:
        for key in ("p50_ms", "end_to_end_p50_ms"):
            row[key] = row[key] and slower * row[key]
    return decode_json(json.dumps(plain).encode(), LatencyReport, "made up")


def ward(run: Path, sha256: str | None = None) -> DeviceReport:
    return device("Ward 3", measured_elsewhere(run), sha256 or Bundle(run / "bundle").sha256)


def written(path: Path, value: object) -> Path:
    path.write_bytes(value if isinstance(value, bytes) else encode_json(value))
    return path


def test_a_run_alone_has_one_machine(copy_of_run: Path, capsys: Captured) -> None:
    assert call_cli("report", copy_of_run) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("SYNTHETIC films")
    assert "the machine that made the bundle: On this machine, use " in out
    assert f"Report: {copy_of_run / 'targets' / 'index.html'}" in out
    assert {path.name for path in (copy_of_run / "targets").iterdir()} == {"index.html", "own-machine.html"}


def test_machines_are_added_kept_and_replaced(copy_of_run: Path, tmp_path: Path, capsys: Captured) -> None:
    laptop, other = written(tmp_path / "laptop.json", measured_elsewhere(copy_of_run)), written(tmp_path / "w.json", ward(copy_of_run))
    assert call_cli("report", copy_of_run, "--add", laptop, "--add", other) == 0
    assert call_cli("report", copy_of_run) == 0
    out, err = capsys.readouterr()
    for line in ("laptop: On this machine, use ", "Ward 3: On this machine, use "):
        assert out.count(line) == 2
    assert f"{other}: added, {copy_of_run / 'targets' / 'ward-3.json'}" in err
    assert call_cli("report", copy_of_run, "--add", other) == 0
    assert f"{other}: replaces the earlier report, {copy_of_run / 'targets' / 'ward-3.json'}" in capsys.readouterr().err
    assert (copy_of_run / "targets" / "ward-3.json").read_bytes() == other.read_bytes()


def test_json_is_the_comparison_and_nothing_else(copy_of_run: Path, tmp_path: Path, capsys: Captured) -> None:
    assert call_cli("report", copy_of_run, "--add", written(tmp_path / "w.json", ward(copy_of_run)), "--json", "-") == 0
    found = decode_json(capsys.readouterr().out.encode(), TargetComparison, "stdout")
    own, other = found.targets
    assert found.bundle_sha256 == Bundle(copy_of_run / "bundle").sha256
    assert (own.name, other.name, other.device) == ("own-machine", "ward-3", "Ward 3")
    assert {point.artifact for point in own.points} == set(Bundle(copy_of_run / "bundle").names)
    pairs = {mine.artifact: (mine.p50_ms, slower.p50_ms) for mine, slower in zip(own.points, other.points, strict=True)}
    untimed = {name for name, (mine, _) in pairs.items() if mine is None}
    assert untimed <= ({"openvino-int8"} if family() == "x86" else set())
    assert all(slower == (mine and pytest.approx(3 * mine)) for mine, slower in pairs.values())


def test_an_emulator_is_named_and_not_compared(copy_of_run: Path, tmp_path: Path, capsys: Captured) -> None:
    emulated = latency(*measured_elsewhere(copy_of_run).rows, on=host(emulator="qemu-aarch64"))
    report = device("board", emulated, Bundle(copy_of_run / "bundle").sha256)
    assert call_cli("report", copy_of_run, "--add", written(tmp_path / "e.json", report)) == 0
    assert "board: This is no machine but an emulator (qemu-aarch64): times of an emulator, not compared." in capsys.readouterr().out


def scores_of(run: Path) -> dict[str, dict[str, float]]:
    """What each artifact was sealed with, by film."""
    with (run / "bundle" / "reference_scores.csv").open(newline="") as stream:
        films = list(csv.DictReader(stream))
    return {name: {film["sha256"]: float(film[name]) for film in films} for name in Bundle(run / "bundle").names}


def test_scores_that_came_without_a_verdict_are_judged(copy_of_run: Path, tmp_path: Path, capsys: Captured) -> None:
    brought = msgspec.structs.replace(ward(copy_of_run), scores=scores_of(copy_of_run))
    assert call_cli("report", copy_of_run, "--add", written(tmp_path / "w.json", brought), "--json", "-") == 0
    _, found = decode_json(capsys.readouterr().out.encode(), TargetComparison, "stdout").targets
    assert {point.judged for point in found.points} == {"device"}
    assert {point.verdict for point in found.points} == {"pass"}
    assert found.artifact is not None
    assert found.problems == ()


def test_a_device_that_answers_otherwise_than_when_it_was_sealed_is_told_not_to_use_it(
    copy_of_run: Path, tmp_path: Path, capsys: Captured
) -> None:
    turned = {name: {film: 1 - score for film, score in found.items()} for name, found in scores_of(copy_of_run).items()}
    brought = msgspec.structs.replace(ward(copy_of_run), scores=turned)
    assert call_cli("report", copy_of_run, "--add", written(tmp_path / "w.json", brought)) == 0
    assert "Ward 3: On this machine, use none: " in capsys.readouterr().out


def test_scores_that_are_no_probabilities_are_refused(copy_of_run: Path, tmp_path: Path, capsys: Captured) -> None:
    brought = msgspec.structs.replace(ward(copy_of_run), scores={"onnxruntime-fp32": {"0" * 64: 3.5}})
    assert call_cli("report", copy_of_run, "--add", written(tmp_path / "w.json", brought)) == 2
    assert "has a score that is no probability" in capsys.readouterr().err


def test_scores_of_an_artifact_that_the_bundle_has_not_are_refused(copy_of_run: Path, tmp_path: Path, capsys: Captured) -> None:
    brought = msgspec.structs.replace(ward(copy_of_run), scores={"another": {"0" * 64: 0.5}})
    assert call_cli("report", copy_of_run, "--add", written(tmp_path / "w.json", brought)) == 2
    assert "reports another, which" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not json", "is not valid JSON"),
        (b"", "is not valid JSON"),
        (b'{"p50_ms": 3}', "is no report of a machine"),
    ],
)
def test_a_file_that_is_no_report_is_refused_and_nothing_written(
    copy_of_run: Path, tmp_path: Path, capsys: Captured, content: bytes, message: str
) -> None:
    assert call_cli("report", copy_of_run, "--add", written(tmp_path / "a.json", content)) == 2
    assert message in capsys.readouterr().err
    assert not (copy_of_run / "targets").exists()


def test_another_bundles_file_is_refused_by_name(copy_of_run: Path, tmp_path: Path, capsys: Captured) -> None:
    assert call_cli("report", copy_of_run, "--add", written(tmp_path / "a.json", ward(copy_of_run, "f" * 64))) == 2
    assert "a.json was measured with another bundle: brightness ffffffffffff, and this one is" in capsys.readouterr().err


def test_a_folder_a_missing_file_and_a_huge_one_are_refused(copy_of_run: Path, tmp_path: Path, capsys: Captured) -> None:
    huge = tmp_path / "huge.json"
    with huge.open("wb") as stream:
        stream.truncate(50_000_001)
    for file, message in ((tmp_path, "is a folder"), (tmp_path / "none.json", "is not there"), (huge, "more than 50 MB")):
        assert call_cli("report", copy_of_run, "--add", file) == 2
        assert message in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: Captured) -> None:
    assert call_cli("report", tmp_path) == 2
    assert call_cli("report", tmp_path / "none") == 2
    assert capsys.readouterr().err.count("No finished run at") == 2


def test_a_stale_file_is_named_with_exit_code_3(copy_of_run: Path, capsys: Captured) -> None:
    (copy_of_run / "targets").mkdir()
    written(copy_of_run / "targets" / "ward-3.json", ward(copy_of_run, "f" * 64))
    assert call_cli("report", copy_of_run) == 3
    out, err = capsys.readouterr()
    assert "Ward 3" not in out
    assert "ward-3.json" in err
    assert (copy_of_run / "targets" / "index.html").is_file()
