"""Reports of machines: read strictly, held against the bundle, kept under safe names, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.report.machines import FP32, HOSTILE, INT8, device, drift, drift_row, full_latency, host, latency, make_run, manifest, row
from toolkit.core.codec import encode_json, to_plain
from toolkit.errors import InputError
from toolkit.report import target_files
from toolkit.report.target_files import UNJUDGED, Opened, add, open_run, read_all, read_report


@pytest.fixture
def run(tmp_path: Path) -> Opened:
    make_run(tmp_path / "run", full_latency(1.0, host("Xeon"), 2))
    return open_run(tmp_path / "run")


def written(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(value if isinstance(value, bytes) else encode_json(value))
    return path


def of_device(run: Opened, name: str = "Laptop", p50_ms: float = 4.0, **more: Any) -> Any:
    return device(name, latency(row(FP32, p50_ms)), run.bundle.sha256, **more)


def test_a_runs_folder_and_a_bundles_folder_are_both_a_run(tmp_path: Path) -> None:
    make_run(tmp_path / "bundle", latency(row(FP32, 4.0)))
    assert open_run(tmp_path / "bundle").bundle.folder == tmp_path / "bundle"
    (tmp_path / "run").mkdir()
    (tmp_path / "bundle").replace(tmp_path / "run" / "bundle")
    (tmp_path / "run" / "bundle" / "report.json").replace(tmp_path / "run" / "report.json")
    assert open_run(tmp_path / "run").bundle.folder == tmp_path / "run" / "bundle"


def test_a_report_beside_another_bundle_is_refused(run: Opened) -> None:
    (run.folder / "bundle.json").write_bytes(encode_json(manifest()) + b"\n")
    with pytest.raises(InputError, match=r"report\.json is of bundle [0-9a-f]{12}, .* is [0-9a-f]{12}; compress again"):
        open_run(run.folder)


def test_a_devices_report_is_copied_byte_by_byte_and_read_again(run: Opened, tmp_path: Path) -> None:
    file = written(tmp_path / "any.json", of_device(run))
    assert add(run, [file]) == [(file, run.targets / "laptop.json", False)]
    assert (run.targets / "laptop.json").read_bytes() == file.read_bytes()
    found, left_out = read_all(run)
    assert [(one.name, one.device) for one in found] == [("own-machine", "the machine that made the bundle"), ("laptop", "Laptop")]
    assert left_out == {}


def test_a_latency_report_is_named_by_its_file_and_says_what_it_cannot_prove(run: Opened, tmp_path: Path) -> None:
    file = written(tmp_path / "My Old PC.json", latency(row(FP32, 4.0), on=host("Atom")))
    add(run, [file])
    _, old = read_all(run)[0]
    assert (old.name, old.device, old.taken) == ("my-old-pc", "my-old-pc", "")
    assert "does not name its bundle" in old.problems[0]
    assert add(run, [file]) == [(file, run.targets / "my-old-pc.json", True)]


def test_the_same_device_again_replaces_its_report(run: Opened, tmp_path: Path) -> None:
    first, second = (written(tmp_path / f"{ms}.json", of_device(run, p50_ms=ms)) for ms in (4.0, 3.0))
    add(run, [first])
    assert add(run, [second]) == [(second, run.targets / "laptop.json", True)]
    assert [one.latency.rows[0].p50_ms for one in read_all(run)[0][1:]] == [3.0]


def test_devices_whose_names_differ_only_in_marks_both_stay(run: Opened, tmp_path: Path) -> None:
    names = ("Ward 3", "ward-3", "病院", "诊所", "")
    add(run, [written(tmp_path / f"{number}.json", of_device(run, name)) for number, name in enumerate(names)])
    add(run, [written(tmp_path / "again.json", of_device(run, "诊所"))])
    found = read_all(run)[0][1:]
    assert sorted(one.device for one in found) == sorted([*names[:4], "device"])
    assert len({one.name for one in found}) == 5


def test_a_hostile_name_stays_in_the_folder(run: Opened, tmp_path: Path) -> None:
    ((_, place, _),) = add(run, [written(tmp_path / "a.json", of_device(run, HOSTILE))])
    assert place.parent == run.targets
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "run"]
    assert "\x1b" not in read_all(run)[0][1].device


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda data: data | {"bundle_sha256": "f" * 64},
            "was measured with another bundle: brightness ffffffffffff, and this one is brightness",
        ),
        (lambda data: data | {"scores_of": {}}, "unknown key 'scores_of'"),
        (lambda data: {key: value for key, value in data.items() if key != "taken"}, "missing required field `taken`"),
        (lambda data: {"rows": 3}, "is no report of a machine"),
        (lambda data: [data], "is no report of a machine"),
        (lambda data: data | {"latency": {"host": 3, "rows": []}}, "'latency.host'"),
    ],
)
def test_what_is_no_report_of_this_bundle_is_refused(run: Opened, tmp_path: Path, change: Any, message: str) -> None:
    file = written(tmp_path / "a.json", change(to_plain(of_device(run))))
    with pytest.raises(InputError, match=message):
        read_report(file, run)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (latency(row(FP32, 4.0, model_bytes=5)), "is of another bundle: its onnxruntime-fp32 has 5 bytes, here it has 11200000"),
        (latency(row("torch-eager", 4.0)), "it knows no artifact of"),
        (latency(row(FP32, -4.0)), "a row of onnxruntime-fp32 that is no measurement"),
        (latency(row(FP32, 4.0, threads=0)), "that is no measurement"),
    ],
)
def test_times_that_cannot_be_of_this_bundle_are_refused(run: Opened, tmp_path: Path, found: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_report(written(tmp_path / "a.json", found), run)


def test_bytes_that_are_no_json_a_folder_and_a_huge_file_are_refused(run: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"a\.json is not valid JSON"):
        read_report(written(tmp_path / "a.json", b"\xff\xd8\xff"), run)
    with pytest.raises(InputError, match="is not valid JSON"):
        read_report(written(tmp_path / "deep.json", b"[" * 100_000), run)
    with pytest.raises(InputError, match="is a folder; expected the JSON file"):
        read_report(tmp_path, run)
    with pytest.raises(InputError, match="is not there; expected the JSON file"):
        read_report(tmp_path / "none.json", run)
    monkeypatch.setattr(target_files, "MAX_REPORT_BYTES", 100)
    with pytest.raises(InputError, match="more than any report of a machine"):
        read_report(written(tmp_path / "b.json", of_device(run)), run)


def test_scores_without_a_verdict_are_judged_or_said_to_be_unjudged(run: Opened, tmp_path: Path) -> None:
    file = written(tmp_path / "a.json", of_device(run, scores={FP32: {"0" * 64: 0.5}}))
    assert read_report(file, run).measured.problems == (UNJUDGED,)
    judged = run._replace(judge=lambda report, bundle: msgspec.structs.replace(report, drift=drift(drift_row(FP32))))
    assert read_report(file, judged).measured.drift == drift(drift_row(FP32))
    sure = written(tmp_path / "b.json", of_device(run, scores={FP32: {"0" * 64: 0.5}}, drift=drift(drift_row(INT8))))
    assert read_report(sure, judged).measured.drift == drift(drift_row(INT8))  # it brought its own


def test_nothing_is_added_when_one_of_the_files_cannot_be_used(run: Opened, tmp_path: Path) -> None:
    files = [written(tmp_path / "a.json", of_device(run)), written(tmp_path / "b.json", b"{}")]
    with pytest.raises(InputError, match=r"b\.json is no report"):
        add(run, files)
    assert not run.targets.exists()


def test_files_that_lie_there_and_cannot_be_used_are_left_out_by_name(run: Opened) -> None:
    written(run.targets / "stale.json", device("A", latency(row(INT8, 1.0)), "e" * 64))
    written(run.targets / "broken.json", b"{")
    written(run.targets / "index.json", of_device(run))
    found, left_out = read_all(run)
    assert [one.name for one in found] == ["own-machine"]
    assert set(left_out) == {"stale.json", "broken.json", "index.json"}
    assert "another bundle" in left_out["stale.json"]
