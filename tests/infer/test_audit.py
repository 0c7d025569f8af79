"""The log: no names, nothing lost but a line that was cut in two, several writers, rotation."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolkit.core.prediction import Prediction
from toolkit.errors import StorageError
from toolkit.infer.audit import KEPT, AuditLog
from toolkit.infer.predictor import Film, Judged

DIGEST = hashlib.sha256(b"a film").hexdigest()


def judged(probability: float | None = 0.75, error: str | None = None) -> Judged:
    said = Prediction(
        path="Doe^Jane/film.png",
        label=None,
        probability=probability,
        threshold=0.5,
        decision="REJECTED" if error else "PNEUMONIA",
        artifact="onnxruntime-int8",
        ms=1,
        error=error,
        bundle_sha256="b" * 64,
    )
    return Judged(Path(said.path), said, None if error else Film(np.zeros((2, 2), np.uint8), DIGEST))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def test_a_line_says_what_was_decided_and_not_of_whom(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    log.write(judged())
    log.write(judged(None, "is empty (0 bytes)"))
    first, second = lines(tmp_path / "audit.log")
    assert {key: first[key] for key in ("decision", "probability", "threshold", "artifact", "bundle_sha256", "rejected")} == {
        "decision": "PNEUMONIA",
        "probability": 0.75,
        "threshold": 0.5,
        "artifact": "onnxruntime-int8",
        "bundle_sha256": "b" * 64,
        "rejected": None,
    }
    assert (second["film"], second["rejected"]) == (None, "is empty (0 bytes)")
    assert "Doe" not in (tmp_path / "audit.log").read_text(encoding="ascii")
    assert DIGEST not in (tmp_path / "audit.log").read_text(encoding="ascii")


def test_whoever_holds_film_and_salt_finds_its_line_and_another_log_has_another_salt(tmp_path: Path) -> None:
    for name in ("one.log", "two.log"):
        AuditLog(tmp_path / name).write(judged())
    salt = (tmp_path / "one.log.salt").read_bytes()
    expected = hmac.new(salt, bytes.fromhex(DIGEST), hashlib.sha256).hexdigest()
    assert lines(tmp_path / "one.log")[0]["film"] == expected == AuditLog(tmp_path / "one.log").pseudonym(DIGEST)
    assert lines(tmp_path / "two.log")[0]["film"] != expected
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("one.log", "one.log.salt")] == [0o600, 0o600]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_that_was_cut_in_two_is_all_that_is_lost(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "audit.log"
    for _ in range(3):
        AuditLog(path).write(judged())
    path.write_bytes(path.read_bytes()[:-cut])
    AuditLog(path).write(judged(0.9))
    assert [line["probability"] for line in lines(path)] == [0.75, 0.75, 0.9]


def test_it_is_rotated_whole_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = AuditLog(path, most_bytes=1000)
    for number in range(60):
        log.write(judged(number / 100))
    assert [file.exists() for file in (path, *(path.with_name(f"audit.log.{number}") for number in range(1, KEPT + 2)))] == [
        *([True] * (KEPT + 1)),
        False,
    ]
    kept = [path.with_name(f"audit.log.{number}") for number in range(KEPT, 0, -1)] + [path]
    assert all(file.stat().st_size <= 1000 for file in kept)
    found = [line["probability"] for file in kept for line in lines(file)]
    assert found == [number / 100 for number in range(60)][-len(found) :]


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.infer.test_audit import judged; from toolkit.infer.audit import AuditLog\n"
        "log = AuditLog(Path(sys.argv[1]), most_bytes=8000)\n"
        "for number in range(100): log.write(judged(number / 1000))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "audit.log")]) for _ in range(2)]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    files = [file for file in tmp_path.iterdir() if file.suffix != ".salt"]
    assert len(files) > 2
    assert sorted(line["probability"] for file in files for line in lines(file)) == sorted([n / 1000 for n in range(100)] * 2)


def test_a_salt_that_was_changed_and_a_folder_that_cannot_be_are_said(tmp_path: Path) -> None:
    (tmp_path / "audit.log.salt").write_bytes(b"short")
    with pytest.raises(StorageError, match=r"audit\.log\.salt has not 32 bytes: it was changed"):
        AuditLog(tmp_path / "audit.log")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"Cannot write .*audit\.log"):
        AuditLog(tmp_path / "file" / "audit.log")
