"""Where compiled models are kept: only where nobody else can put one, and never too many."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from toolkit.core.bundle import Bundle
from toolkit.infer.cache import KEPT, private, usual_folder
from toolkit.infer.predictor import Predictor


def test_the_usual_folder_follows_the_standard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert usual_folder() == tmp_path / "cxr-edge"
    for unset in ("", "relative"):  # the standard: a relative path is to be ignored
        monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert usual_folder() == Path.home() / ".cache" / "cxr-edge"


def test_a_new_folder_is_its_owners_alone(tmp_path: Path) -> None:
    found = private(tmp_path / "a" / "b")
    assert found == tmp_path / "a" / "b"
    assert found.stat().st_mode & 0o777 == 0o700


def test_a_folder_into_which_others_may_write_is_not_used(tmp_path: Path) -> None:
    for mode in (0o777, 0o720, 0o702):
        (folder := tmp_path / f"{mode:o}").mkdir()
        folder.chmod(mode)
        assert private(folder) is None
    (tmp_path / "mine").mkdir(0o700)
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    assert private(tmp_path / "link") is None
    (tmp_path / "file").write_bytes(b"")
    assert private(tmp_path / "file") is None
    assert private(tmp_path / "file" / "below") is None


def test_the_oldest_models_go(tmp_path: Path) -> None:
    folder = private(tmp_path / "cache")
    assert folder
    for number in range(KEPT + 5):
        (folder / f"{number}.blob").write_bytes(b"x")
        os.utime(folder / f"{number}.blob", (number, number))
    private(folder)
    assert sorted(int(file.stem) for file in folder.iterdir()) == list(range(6, KEPT + 5))


def test_openvino_keeps_its_model_and_answers_as_before_also_when_it_was_damaged(finished_run: Path, tmp_path: Path) -> None:
    bundle = Bundle(finished_run / "bundle")
    (film, *_) = sorted(finished_run.glob("phantoms-*/test/*/*"))

    def answer(cache: Path | None) -> float | None:
        (found,) = Predictor(bundle, "openvino-int8", 1, cache).predict([film])
        return found.probability

    expected = answer(None)
    assert answer(tmp_path / "cache") == expected
    (kept, *_) = (tmp_path / "cache").glob("*.blob")
    assert answer(tmp_path / "cache") == expected
    raw = kept.read_bytes()
    for damaged in (b"", raw[: len(raw) // 2], bytes(64) + raw[64:]):
        kept.chmod(0o600)
        kept.write_bytes(damaged)
        assert answer(tmp_path / "cache") == expected
        (kept, *_) = (tmp_path / "cache").glob("*.blob")
