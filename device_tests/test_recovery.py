"""A killed `predict` leaves nothing half-written, and the next one gives what an undisturbed one gives."""

from __future__ import annotations

import csv
import hashlib
import signal
import subprocess
from pathlib import Path

from device_tests.device import Device, command, environment, run
from toolkit.cli.options import SOME_UNUSABLE
from toolkit.core.bundle import Bundle

OLD = "the results of yesterday\n"


def predict(bundle: Bundle, target: Path) -> list[str]:
    """Judge the films that are listed on standard input."""
    return command("toolkit.cli", "predict", bundle.folder, "-", "--csv", target)


def rows(path: Path) -> list[dict[str, str]]:
    """All but the times."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [{key: value for key, value in row.items() if key != "ms"} for row in csv.DictReader(stream)]


def kill_in_the_middle(words: list[str], films: list[Path]) -> int:
    """Give it half of the films, kill it when it has answered all of these, and wait; its return code."""
    half = films[: len(films) // 2]
    pipe = subprocess.PIPE
    with subprocess.Popen([*words, "--json", "-"], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment()) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write("".join(f"{film}\n" for film in half).encode())
        process.stdin.flush()
        answered = [process.stdout.readline() for _ in half]
        assert all(answered), "it ended before it was killed"
        process.kill()
    return process.returncode


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir()) if path.is_file()}


def test_a_killed_predict_is_made_good_by_the_next(bundle: Bundle, device: Device, tmp_path: Path) -> None:
    films, sealed = device.films, digests(bundle.folder)
    listed = "".join(f"{film}\n" for film in films).encode()
    undisturbed, target = tmp_path / "undisturbed.csv", tmp_path / "results.csv"
    done = run(predict(bundle, undisturbed), listed)
    expected = done.returncode
    assert expected in (0, SOME_UNUSABLE), done.stderr.decode()  # a screen rejects some of the drawn films

    target.write_text(OLD, encoding="utf-8")
    assert kill_in_the_middle(predict(bundle, target), films) == -signal.SIGKILL
    assert target.read_text(encoding="utf-8") == OLD
    assert digests(bundle.folder) == sealed

    done = run(predict(bundle, target), listed)
    assert done.returncode == expected, done.stderr.decode()
    assert rows(target) == rows(undisturbed)
    assert len(rows(target)) == len(films)
    assert {path.name for path in tmp_path.iterdir()} == {undisturbed.name, target.name}
