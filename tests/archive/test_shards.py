"""Archives on this machine: the same answers as film by film, in order, whatever is killed; and what is refused."""

from __future__ import annotations

import csv
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from tests.cli.test_predict import film
from tests.conftest import EDGE, call_cli
from toolkit.archive.shards import ARCHIVE, folder_of
from toolkit.core.bundle import Bundle
from toolkit.core.codec import field_names
from toolkit.core.prediction import Prediction
from toolkit.infer.predictor import Predictor, pictures_below

Captured = pytest.CaptureFixture[str]
SHARD = ("--shard-size", "4")


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Ten films of two folders, one of them no picture."""
    for number in range(10):
        (folder := tmp_path / "films" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        film(folder / f"{number}.png", 20 * number)
    (tmp_path / "films" / "a" / "bad.png").write_bytes(b"no film")
    return tmp_path / "films"


def rows(folder: Path) -> list[dict[str, str]]:
    """All results, shard after shard, without the time that each took."""
    found = []
    for file in sorted((folder / "results").iterdir()):
        with file.open(encoding="utf-8", newline="") as stream:
            found += [{key: cell for key, cell in row.items() if key != "ms"} for row in csv.DictReader(stream)]
    return found


def film_by_film(bundle: Path, films: Path, capsys: Captured) -> list[dict[str, str]]:
    capsys.readouterr()
    assert call_cli("predict", bundle, films, "--csv", "-") == 3
    return [{key: cell for key, cell in row.items() if key != "ms"} for row in csv.DictReader(capsys.readouterr().out.splitlines())]


def test_an_archive_has_the_answers_of_film_by_film_in_the_same_order(bundle: Path, films: Path, tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "out"
    assert call_cli("predict", bundle, films, "--shards", out, *SHARD) == 3
    printed = capsys.readouterr()
    assert "REJECTED       1" in printed.out
    assert "11 films in 3 shards" in printed.out
    assert "1 of the inputs could not be used" in printed.err
    assert [file.name for file in sorted((out / "results").iterdir())] == ["000000.csv", "000001.csv", "000002.csv"]
    assert rows(out) == film_by_film(bundle, films, capsys)


def test_parquet_has_the_same_in_typed_columns(bundle: Path, films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert call_cli("predict", bundle, films, "--shards", out, *SHARD, "--format", "parquet") == 3
    tables = [parquet.read_table(file) for file in sorted((out / "results").iterdir())]
    assert tables[0].column_names == field_names(Prediction)
    assert {table.schema for table in tables} == {tables[0].schema}
    found = [(row["path"], row["decision"], row["probability"], row["error"]) for table in tables for row in table.to_pylist()]
    alone = Predictor(Bundle(bundle)).predict(pictures_below(films))
    assert found == [(one.path, one.decision, one.probability, one.error) for one in alone]


def test_a_list_on_standard_input_keeps_its_order_and_odd_names(bundle: Path, films: Path, tmp_path: Path) -> None:
    odd = film(films / os.fsdecode(b"\xff odd.png"), 200)
    listed = [films / "b" / "9.png", odd, films / "a" / "0.png"]
    done = subprocess.run(
        [sys.executable, "-m", "toolkit.cli", "predict", bundle, "-", "--shards", tmp_path / "out"],
        input=b"\n".join(map(os.fsencode, listed)),
        capture_output=True,
        check=True,
    )
    assert b"3 films in 1 shards" in done.stdout
    assert [Path(row["path"]).name for row in rows(tmp_path / "out")] == ["9.png", r"\xff odd.png", "0.png"]
    assert [row["decision"] for row in rows(tmp_path / "out")] == ["PNEUMONIA", "PNEUMONIA", "NORMAL"]


def test_a_killed_run_goes_on_and_judges_no_shard_twice(bundle: Path, tmp_path: Path) -> None:
    """Killed with all that it started, as soon as the first shard is there."""
    (folder := tmp_path / "films").mkdir()
    for number in range(600):
        Image.fromarray(np.full((EDGE, EDGE), number % 250, np.uint8)).save(folder / f"{number:04d}.png")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "toolkit.cli", "predict", bundle, folder, "--shards", out, "--shard-size", "20", "--workers", "1"]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    while not (kept := list((out / "results").glob("*.csv") if (out / "results").is_dir() else [])):
        assert run.poll() is None
        time.sleep(0.01)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    kept = sorted((out / "results").glob("*.csv"))
    assert len(kept) < 30
    states = {file: file.stat().st_mtime_ns for file in kept}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert {file: file.stat().st_mtime_ns for file in kept} == states
    assert [row["path"] for row in rows(out)] == [str(folder / f"{number:04d}.png") for number in range(600)]
    assert not list(out.rglob("*.partial"))


def test_a_run_that_was_killed_while_it_listed_lists_anew(bundle: Path, films: Path, tmp_path: Path) -> None:
    (half := tmp_path / "out" / "lists").mkdir(parents=True)
    (half / "000000").write_bytes(b"gone.png\0")
    (tmp_path / "out" / "results").mkdir()
    assert call_cli("predict", bundle, films, "--shards", tmp_path / "out", *SHARD) == 3
    assert len(rows(tmp_path / "out")) == 11


def test_results_of_another_question_are_not_mixed(bundle: Path, films: Path, tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "out"
    assert call_cli("predict", bundle, films, "--shards", out, *SHARD) == 3
    before = (out / ARCHIVE).read_bytes()
    for other in (("--shard-size", "5"), (*SHARD, "--format", "parquet")):
        assert call_cli("predict", bundle, films, "--shards", out, *other) == 2
        assert "choose another folder" in capsys.readouterr().err
    assert call_cli("predict", bundle, films / "a", "--shards", out, *SHARD) == 2
    assert "holds results for another sources" in capsys.readouterr().err
    assert (out / ARCHIVE).read_bytes() == before


def test_two_runs_do_not_write_one_folder(bundle: Path, films: Path, tmp_path: Path, capsys: Captured) -> None:
    (out := tmp_path / "out").mkdir()
    place = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        assert call_cli("predict", bundle, films, "--shards", out) == 2
    finally:
        os.close(place)
    assert "is being written by another run" in capsys.readouterr().err
    assert not list(out.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("FILMS", "--engine", "ray"), "For archives alone: --engine; add --shards DIR"),
        (("FILMS", "--shard-size", "9", "--format", "parquet"), "For archives alone: --shard-size, --format; add --shards DIR"),
        (
            ("FILMS", "--shards", "OUT", "--csv", "-", "--heatmap", "maps"),
            "--shards writes files of its own, on one thread a film; leave out --csv, --heatmap",
        ),
        (("--watch", "FILMS", "--shards", "OUT"), "--shards writes files of its own, on one thread a film; leave out --watch"),
        (("FILMS", "--shards", "OUT", "--engine", "slurm"), "No engine 'slurm'; take local, ray, or ray://HOST:PORT"),
        (("FILMS", "--shards", "OUT", "--artifact", "none"), "has no artifact 'none'"),
        (("FILMS", "--shards", "OUT", "--shard-size", "0"), "0 is not in the range"),
        (("s3://key:secret@bucket/films", "--shards", "OUT"), "has settings or keys in it; put them into the environment"),
    ],
)
def test_what_cannot_be_done_is_said(
    bundle: Path, films: Path, tmp_path: Path, capsys: Captured, arguments: tuple[str, ...], said: str
) -> None:
    places = {"FILMS": str(films), "OUT": str(tmp_path / "out")}
    assert call_cli("predict", bundle, *(places.get(word, word) for word in arguments)) == 2
    printed = capsys.readouterr().err
    assert said in " ".join(printed.split())
    assert "secret" not in printed


def test_a_changed_bundle_and_an_empty_list_are_refused(bundle: Path, films: Path, tmp_path: Path, capsys: Captured) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "toolkit.cli", "predict", bundle, "-", "--shards", tmp_path / "none"],
        input="",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "There is no film in what was given" in done.stderr) == (2, True)
    (bundle / "fp32.onnx").write_bytes(b"changed")
    assert call_cli("predict", bundle, films, "--shards", tmp_path / "out") == 1
    assert "was changed" in capsys.readouterr().err
    assert not (tmp_path / "out" / ARCHIVE).exists()


def test_the_folder_that_a_worker_must_see(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert folder_of([f"{tmp_path}/a/b/1.png", f"{tmp_path}/a/2.png"]) == f"{tmp_path}/a"
    assert folder_of([f"{tmp_path}/gone/1.png"]) is None
    assert folder_of(["s3://bucket/1.png"]) is None
    assert folder_of(["1.png", f"{tmp_path}/2.png"]) is None


def peaks_mb(bundle: Path, out: Path, names: int) -> tuple[float, float]:
    """Of the command and of the process that judges, with so many names of which most are of no file."""
    code = (
        "import resource, sys; from toolkit.cli.main import run\n"
        "if __name__ == '__main__':\n"
        "    try: run(sys.argv[1:])\n"
        "    finally: print(*(resource.getrusage(who).ru_maxrss / 1e3 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))\n"
    )
    (script := out.parent / "measured.py").write_text(code, encoding="utf-8")
    listed = "".join(f"/nowhere/{number:06d}.png\n" for number in range(names))
    command = [sys.executable, script, "predict", bundle, "-", "--shards", out, "--shard-size", "500", "--workers", "1"]
    done = subprocess.run(command, input=listed, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    command_mb, judge_mb = map(float, done.stdout.splitlines()[-1].split())
    return command_mb, judge_mb


def test_memory_is_that_of_a_shard_not_of_the_archive(bundle: Path, tmp_path: Path) -> None:
    few, many = (peaks_mb(bundle, tmp_path / str(names), names) for names in (2_000, 20_000))
    assert many[0] < few[0] + 10
    assert many[1] < few[1] + 10
