"""The work on the device, and how far what comes back is trusted."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.conftest import make_bundle, reseal
from tests.devices.conftest import QUICK, sealed_bundle
from toolkit.core.bundle import Bundle
from toolkit.core.codec import encode_json, read_json, to_plain
from toolkit.core.reports import DeviceReport
from toolkit.devices import look, on_device
from toolkit.devices.job import Job, parse_result, read_result
from toolkit.devices.on_device import Clocks, clock_problems, work
from toolkit.devices.payload import Options, pack
from toolkit.devices.verdict import judged
from toolkit.devices.visit import measure
from toolkit.errors import BundleError, DeviceError, InputError


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> DeviceReport:
    """What a device gives back; scores of two films."""
    folder = tmp_path_factory.mktemp("device")
    make_bundle(folder / "bundle")
    report = work(Job(device="pi", benchmark=QUICK), folder)
    return msgspec.structs.replace(report, scores={"onnxruntime-fp32": {"0" * 64: 0.25, "1" * 64: 0.75}})


def changed(report: DeviceReport, change: Callable[[dict[str, Any]], object]) -> bytes:
    plain = json.loads(encode_json(report))
    change(plain)
    return json.dumps(plain).encode()


def jumping(by: float) -> Clocks:
    """A wall clock that somebody sets between the start and the end."""
    walls: Iterator[float] = itertools.chain([1_800_000_000.0], itertools.repeat(1_800_000_010.0 + by))
    steady: Iterator[float] = itertools.chain([50.0], itertools.repeat(60.0))
    return Clocks(lambda: next(walls), lambda: next(steady))


@pytest.mark.parametrize(("by", "said"), [(0.0, 0), (0.9, 0), (-0.9, 0), (3600.0, 1), (-1.5, 1)])
def test_a_clock_that_jumps_is_told(bundle: Path, by: float, said: int) -> None:
    report = work(Job(device="pi", benchmark=QUICK), bundle.parent, jumping(by))
    assert report.taken == "2027-01-15T08:00:00+00:00"
    assert len(report.problems) == said
    if said:
        assert report.problems[0].startswith(f"The clock jumped by {by:+.0f} s meanwhile")


def test_a_clock_that_stands_before_the_kit_was_written_is_told() -> None:
    (sentence,) = clock_problems(86_400.0, 0.0, 1_800_000_000.0)
    assert sentence == "The clock is behind: it says 1970-01-02 00:00 UTC, and the job was written at 2027-01-15 08:00 UTC."
    assert clock_problems(1_800_000_000.0, 0.0, 1_800_000_200.0) == ()


@pytest.mark.parametrize(("off", "said"), [(0, ""), (3600, "60 minutes behind of ours"), (-600, "10 minutes ahead of ours"), (200, "")])
def test_a_clock_that_differs_from_ours_is_told(
    off: int, said: str, bundle: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setattr(look, "time", SimpleNamespace(time=lambda: time.time() + off))
    report = measure(bundle, "local", options)
    assert [said in sentence for sentence in report.problems] == ([True] if said else [])


def test_a_bundle_that_is_damaged_there_is_not_run(bundle: Path) -> None:
    (bundle / "fp32.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match="its digest is not the sealed one"):
        work(Job(device="pi", benchmark=QUICK), bundle.parent)


def test_a_bundle_that_is_damaged_here_is_not_sent(bundle: Path) -> None:
    (bundle / "fp32.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match="its digest is not the sealed one"):
        pack(bundle, Options())


def test_an_artifact_that_gives_no_number_is_told_and_gets_no_verdict(
    with_scores: Path, films: Path, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sent").mkdir()
    for entry in pack(with_scores, replace(options, films=films)).entries:
        if entry.name.startswith("films/"):
            (tmp_path / "sent" / entry.name[6:]).write_bytes(entry.read())
    session = SimpleNamespace(logits=lambda images: np.where(np.arange(len(images)) == 3, np.nan, 0.0).astype(np.float32))
    monkeypatch.setattr(on_device, "open_session", lambda *_: session)
    job = Job(device="pi", benchmark=QUICK, bundle="sealed", films="sent")
    report = parse_result(encode_json(work(job, tmp_path)), "pi")
    assert list(report.unusable.values()) == ["onnxruntime-fp32 gives no number for it"]
    verdict = judged(report, Bundle(with_scores))
    assert verdict.drift is None
    assert verdict.problems[0].startswith("No verdict on drift: onnxruntime-fp32 gives no number for 1 of 16 films")


def test_without_the_films_the_bundle_itself_tells_the_labels(with_scores: Path, films: Path, options: Options) -> None:
    report = measure(with_scores, "local", replace(options, films=films))
    again = judged(msgspec.structs.replace(report, drift=None), Bundle(with_scores))
    assert again.drift is not None
    assert report.drift is not None
    assert (again.drift.verdict, again.drift.n, again.drift.positives) == ("pass", 16, 8)
    assert again.drift.rows[0].recall_loss_pt == report.drift.rows[0].recall_loss_pt


def test_films_that_a_device_keeps_silent_about_are_named(with_scores: Path, films: Path, options: Options) -> None:
    report = measure(with_scores, "local", replace(options, films=films))
    scores = dict(list(report.scores["onnxruntime-fp32"].items())[1:])
    cases = pack(with_scores, replace(options, films=films)).cases
    again = judged(msgspec.structs.replace(report, scores={"onnxruntime-fp32": scores}), Bundle(with_scores), cases)
    assert list(again.unusable.values()) == ["the device gave no score"]


def test_a_report_of_another_bundle_is_refused(result: DeviceReport, films: Path, tmp_path: Path) -> None:
    other = Bundle(sealed_bundle(tmp_path / "other", films))
    with pytest.raises(DeviceError, match="pi measured another bundle"):
        judged(result, other)


def test_artifacts_that_the_bundle_has_not_are_refused(result: DeviceReport, bundle: Path) -> None:
    same = msgspec.structs.replace(result, bundle_sha256=Bundle(bundle).sha256, scores={"other": {}})
    with pytest.raises(DeviceError, match="pi reports other, which .* does not hold"):
        judged(same, Bundle(bundle))


def test_a_result_is_read_as_it_was_written(result: DeviceReport, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(encode_json(result))
    assert to_plain(read_result(tmp_path / "result.json")) == to_plain(result)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plain: plain.update(command="rm"), "unknown key 'command'"),
        (lambda plain: plain.pop("latency"), "latency"),
        (lambda plain: plain["scores"]["onnxruntime-fp32"].update({"2" * 64: 1.5}), "a score of onnxruntime-fp32 is no probability"),
        (lambda plain: plain["scores"]["onnxruntime-fp32"].update({"2" * 64: "0.5"}), "Expected `float`"),
        (lambda plain: plain["latency"]["rows"][0].update(p50_ms=-1.0), "a median of -1.0 ms"),
        (lambda plain: plain["latency"]["rows"][0].update(runs=[]), "Expected `int`"),
    ],
)
def test_what_is_no_result_is_refused(result: DeviceReport, change: Callable[[dict[str, Any]], object], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        parse_result(changed(result, change), "pi")


def test_control_characters_and_a_verdict_of_its_own_are_taken_off(
    result: DeviceReport, with_scores: Path, films: Path, options: Options
) -> None:
    raw = changed(result, lambda plain: plain["latency"]["host"].update(processor="\x1b[2JArm"))
    assert parse_result(raw, "pi").latency.host.processor == "?[2JArm"
    full = measure(with_scores, "local", replace(options, films=films))
    assert full.drift is not None
    assert parse_result(encode_json(full), "pi").drift is None


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    with pytest.raises(DeviceError):
        parse_result(raw, "pi")


def test_a_result_that_is_missing_or_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="No result at"):
        read_result(tmp_path / "result.json")
    monkeypatch.setattr("toolkit.devices.job.MAX_RESULT_BYTES", 3)
    (tmp_path / "result.json").write_bytes(b"null")
    with pytest.raises(DeviceError, match="has 4 bytes; a result has at most 3"):
        read_result(tmp_path / "result.json")


def test_the_entry_says_in_a_sentence_what_is_wrong(bundle: Path) -> None:
    reseal(bundle)
    job = bundle.parent / "job.json"
    job.write_bytes(encode_json(Job(device="pi", benchmark=QUICK, artifacts=("nothing",))))
    command = [sys.executable, "-m", "toolkit.devices.on_device", str(job), str(bundle.parent / "result.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "has no artifact 'nothing'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (bundle.parent / "result.json").exists()
    job.write_bytes(encode_json(Job(device="pi", benchmark=QUICK)))
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert read_json(bundle.parent / "result.json", DeviceReport).latency.rows
