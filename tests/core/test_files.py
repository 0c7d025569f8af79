"""Writes are whole or absent, and a disk that refuses is told in one sentence."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from toolkit.core.files import (
    folder_bytes,
    folder_written_whole,
    sha256_of,
    sha256_of_bytes,
    storage_errors,
    text_written_whole,
    write_atomically,
)
from toolkit.errors import ImageError, StorageError

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
SENTENCE = "Cannot write .*: No space left on device; free some space or write elsewhere"


def everything_in(folder: Path) -> dict[str, str]:
    """Names and texts of all files below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def full_disk(*_: object) -> None:
    raise FULL


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder with one file from before."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "a.txt").write_text("old")
    return tmp_path / "kept"


def test_a_digest_is_sha256(tmp_path: Path) -> None:
    data = b"film" * 100_000
    (tmp_path / "x").write_bytes(data)
    assert sha256_of(tmp_path / "x") == sha256_of_bytes(data) == hashlib.sha256(data).hexdigest()
    assert sha256_of_bytes(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("data", ["grün", "grün".encode(), ""])
def test_a_file_is_written_with_its_folders(data: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "x.txt"
    write_atomically(path, data)
    assert path.read_bytes() == (data.encode() if isinstance(data, str) else data)
    assert list(everything_in(tmp_path)) == ["new/folder/x.txt"]


def test_a_full_disk_leaves_the_old_file_and_no_partial(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(StorageError, match=SENTENCE):
        write_atomically(old / "a.txt", "new")
    assert everything_in(old) == {"a.txt": "old"}


def test_text_that_cannot_be_encoded_leaves_the_old_file_and_no_partial(old: Path) -> None:
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        write_atomically(old / "a.txt", "name of a file that is not UTF-8: \udcff")
    assert everything_in(old) == {"a.txt": "old"}


def test_a_real_limit_of_the_disk_becomes_a_sentence(old: Path) -> None:
    program = f"""
import pathlib, resource
from toolkit.core.files import write_atomically
from toolkit.errors import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomically(pathlib.Path({str(old / "a.txt")!r}), b"x" * 100_000)
except StorageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"Cannot write {old / 'a.txt'}: File too large; free some space or write elsewhere.\n"
    assert everything_in(old) == {"a.txt": "old"}


def test_a_place_below_a_file_is_refused(old: Path) -> None:
    with pytest.raises(StorageError, match=r"Cannot write .*b\.txt: Not a directory"):
        write_atomically(old / "a.txt" / "b.txt", "new")
    assert everything_in(old) == {"a.txt": "old"}


def test_a_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    with folder_written_whole(tmp_path / "new") as place:
        (place / "sub").mkdir()
        (place / "sub" / "b.txt").write_text("b")
        assert not (tmp_path / "new").exists()
    assert everything_in(tmp_path) == {"new/sub/b.txt": "b"}


def test_a_folder_is_replaced_whole(old: Path) -> None:
    with folder_written_whole(old) as place:
        (place / "b.txt").write_text("new")
        assert everything_in(old) == {"a.txt": "old"}
    assert everything_in(old.parent) == {"kept/b.txt": "new"}


@pytest.mark.parametrize(
    ("failure", "seen", "words"),
    [
        (ImageError("is empty"), ImageError, "is empty"),
        (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
        (FULL, StorageError, SENTENCE),
    ],
)
def test_a_block_that_fails_leaves_the_old_folder_whole(failure: BaseException, seen: type[BaseException], words: str, old: Path) -> None:
    with pytest.raises(seen, match=words), folder_written_whole(old) as place:
        (place / "b.txt").write_text("half")
        raise failure
    assert everything_in(old.parent) == {"kept/a.txt": "old"}


def test_a_folder_that_cannot_be_flushed_leaves_the_old_one_whole(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(StorageError, match=SENTENCE), folder_written_whole(old) as place:
        (place / "b.txt").write_text("new")
    assert everything_in(old.parent) == {"kept/a.txt": "old"}


def test_a_folder_that_cannot_be_moved_in_leaves_the_old_one_in_its_place(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    move = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, target: full_disk() if self.suffix == ".partial" else move(self, target))
    with pytest.raises(StorageError, match=SENTENCE), folder_written_whole(old) as place:
        (place / "b.txt").write_text("new")
    assert everything_in(old.parent) == {"kept/a.txt": "old"}


def test_what_a_killed_run_left_does_not_come_into_the_folder(tmp_path: Path) -> None:
    (tmp_path / ".new.partial").mkdir()
    (tmp_path / ".new.partial" / "stale.txt").write_text("stale")
    with folder_written_whole(tmp_path / "new") as place:
        (place / "b.txt").write_text("b")
    assert everything_in(tmp_path) == {"new/b.txt": "b"}


def test_a_text_stands_when_the_block_ends(old: Path) -> None:
    with text_written_whole(old / "a.txt") as stream:
        stream.write("one\r\ntwo ä\n")
        assert (old / "a.txt").read_text() == "old"
    assert (old / "a.txt").read_bytes() == "one\r\ntwo ä\n".encode()
    assert [path.name for path in old.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(("failure", "seen", "words"), [(ValueError("stop"), ValueError, "stop"), (FULL, StorageError, SENTENCE)])
def test_a_text_that_fails_leaves_the_old_one(failure: Exception, seen: type[Exception], words: str, old: Path) -> None:
    with pytest.raises(seen, match=words), text_written_whole(old / "a.txt") as stream:
        stream.write("half")
        raise failure
    assert everything_in(old) == {"a.txt": "old"}


def test_a_reader_that_left_is_no_matter_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(BrokenPipeError, match="gone"), storage_errors(tmp_path):
        raise BrokenPipeError("gone")


def test_folder_bytes_counts_all_files(old: Path) -> None:
    (old / "sub").mkdir()
    (old / "sub" / "b").write_bytes(b"12345")
    assert folder_bytes(old) == len("old") + 5
