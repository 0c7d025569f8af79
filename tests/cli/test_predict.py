"""What `predict` leaves beside its table: files beside films, heat maps, a log; and a folder that is watched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from tests.conftest import EDGE, call_cli
from tests.imaging.test_dicom import film as dicom_film
from tests.imaging.test_dicom import written
from toolkit.core.codec import read_json
from toolkit.core.files import sha256_of
from toolkit.infer.results import Record, sidecar_of

Captured = pytest.CaptureFixture[str]
PATIENCE_S = 60  # guards against a hang


def film(path: Path, level: int = 200) -> Path:
    Image.fromarray(np.full((EDGE, EDGE), level, np.uint8)).save(path)
    return path


def test_a_record_stands_beside_each_film_also_of_a_broken_one(bundle: Path, tmp_path: Path) -> None:
    good, bad = film(tmp_path / "good.png"), tmp_path / "bad.png"
    bad.write_bytes(b"no film")
    assert call_cli("predict", bundle, good, bad, tmp_path / "none.png", "--sidecar") == 3
    record = read_json(sidecar_of(good), Record)
    assert record.prediction.decision == "PNEUMONIA"
    assert record.sha256 == sha256_of(good)
    assert record.film is not None
    assert (record.film.bytes, record.film.mtime_ns) == (good.stat().st_size, good.stat().st_mtime_ns)
    assert read_json(sidecar_of(bad), Record).prediction.decision == "REJECTED"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        *("bad.png", "bad.png.cxr-edge.json", "good.png", "good.png.cxr-edge.json")
    ]


def test_heat_maps_of_films_of_one_name_do_not_meet(bundle: Path, tmp_path: Path, capsys: Captured) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        film(tmp_path / folder / "film.png", 100 if folder == "a" else 200)
    assert call_cli("predict", bundle, tmp_path / "a", tmp_path / "b", "--heatmap", tmp_path / "maps", "--json", "-") == 0
    named = [json.loads(line)["heatmap"] for line in capsys.readouterr().out.splitlines()]
    assert len(set(named)) == 2
    assert sorted(map(Path, named)) == sorted((tmp_path / "maps").iterdir())
    for place in named:
        with Image.open(place) as picture:
            assert picture.format == "PNG"


def test_a_dicom_film_has_a_capture_in_its_study_and_other_films_have_none(bundle: Path, tmp_path: Path, capsys: Captured) -> None:
    in_study, alone, plain = tmp_path / "in_study.dcm", tmp_path / "alone.dcm", film(tmp_path / "plain.png")
    in_study.write_bytes(written(dicom_film(np.full((EDGE, EDGE), 200, np.uint8), StudyInstanceUID="2.25.7", PatientID="P-12")))
    alone.write_bytes(written(dicom_film(np.full((EDGE, EDGE), 200, np.uint8))))
    shown = tmp_path / "shown"
    assert call_cli("predict", bundle, in_study, alone, plain, "--secondary-capture", shown, "--json", "-") == 3
    said = capsys.readouterr()
    records = [json.loads(line) for line in said.out.splitlines()]
    assert [record["decision"] for record in records] == ["PNEUMONIA"] * 3
    assert [record["secondary_capture"] for record in records[1:]] == [None, None]
    assert f"{alone}: was judged, but has no Secondary Capture: it names no StudyInstanceUID" in said.err
    assert list(map(str, shown.iterdir())) == [records[0]["secondary_capture"]]
    capture = dcmread(records[0]["secondary_capture"])
    assert (capture.StudyInstanceUID, capture.PatientID, capture.PhotometricInterpretation) == ("2.25.7", "P-12", "RGB")
    assert capture.SeriesDescription.startswith("Screening aid, no diagnosis: PNEUMONIA ")
    for text in (records[0]["bundle_sha256"], records[0]["artifact"], f"threshold {records[0]['threshold']:.3f}"):
        assert text in capture.ImageComments


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Give one PATH or more, or --watch DIR."),
        (["film.png", "--watch", "films"], "Give one PATH or more, or --watch DIR."),
        (["film.png", "--json", "-", "--csv", "-"], "Only one of --json and --csv can go to standard output"),
        (["--watch", "nowhere"], "There is no folder nowhere to watch"),
        (["--watch", ".", "--csv", "out.csv"], "--watch has no end at which a file could be written"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: list[str], sentence: str, bundle: Path, capsys: Captured) -> None:
    assert call_cli("predict", bundle, *arguments) == 2
    assert sentence in capsys.readouterr().err


def test_a_name_with_a_line_break_stays_one_line(bundle: Path, tmp_path: Path, capsys: Captured) -> None:
    film(tmp_path / "two\nlines\x1b[31m.png")
    (tmp_path / os.fsdecode(b"no\xfftext.png")).write_bytes(b"")
    assert call_cli("predict", bundle, tmp_path, "--json", tmp_path / "out.json") == 3
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert "two\\nlines\\x1b[31m.png" in out
    assert len(err.splitlines()) == 2
    names = [json.loads(line)["path"] for line in (tmp_path / "out.json").read_text(encoding="utf-8").splitlines()]
    assert sorted(Path(name).name for name in names) == ["no\\xfftext.png", "two\nlines\x1b[31m.png"]


Start = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def watch(bundle: Path, tmp_path: Path) -> Iterator[tuple[Path, Start]]:
    """A folder, and what starts `predict --watch` on it."""
    folder, started = tmp_path / "films", []
    folder.mkdir()

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "toolkit.cli", "predict", str(bundle), "--watch", str(folder), "--json", "-"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Watching ")
        return process

    yield folder, start
    for process in started:
        process.kill()
        process.communicate()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_dropped_film_is_read_once_also_after_a_kill_and_again_when_it_was_replaced(watch: tuple[Path, Start]) -> None:
    folder, start = watch
    before = film(folder / "before.png")
    first = start()
    until(sidecar_of(before).exists)
    dropped = film(folder / "dropped.png", 100)
    until(sidecar_of(dropped).exists)
    first.kill()
    stdout, _ = first.communicate()
    assert [Path(json.loads(line)["path"]).name for line in stdout.splitlines()] == ["before.png", "dropped.png"]
    second = start()
    film(dropped, 220)
    until(lambda: read_json(sidecar_of(dropped), Record).prediction.decision == "PNEUMONIA")
    second.send_signal(signal.SIGTERM)
    stdout, _ = second.communicate(timeout=PATIENCE_S)
    assert [Path(json.loads(line)["path"]).name for line in stdout.splitlines()] == ["dropped.png"]
    assert second.returncode == 0


def test_a_folder_is_watched_by_one_process(watch: tuple[Path, Start], bundle: Path, capsys: Captured) -> None:
    folder, start = watch
    start()
    assert call_cli("predict", bundle, "--watch", folder) == 2
    assert "is watched already by another process" in capsys.readouterr().err


@pytest.mark.parametrize("stop", ["the reader leaves", "the list ends"])
def test_a_list_that_comes_film_by_film_is_answered_film_by_film(bundle: Path, tmp_path: Path, stop: str) -> None:
    command = [sys.executable, "-m", "toolkit.cli", "predict", str(bundle), "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for number in range(4):
            process.stdin.write(f"{film(tmp_path / f'{number}.png')}\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith("PNEUMONIA")
        if stop == "the reader leaves":
            process.stdout.close()
            process.stdin.write(f"{tmp_path / '0.png'}\n")
            process.stdin.flush()
        else:
            process.stdin.close()
        assert process.wait(timeout=PATIENCE_S) >= 0  # no signal, above all not the interpreter's own abort
        assert process.stderr.read() == ""
