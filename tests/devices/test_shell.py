"""A shell within limits: noise before, floods, hangs, input that stays open, a guard that ends what it started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from tests.devices.conftest import wait_for
from toolkit.devices.guard import LOST
from toolkit.devices.shell import Request, Shell, local, text
from toolkit.devices.text import plain, plain_tree
from toolkit.errors import DeviceError


def test_input_output_messages_and_code() -> None:
    answer = local("here").run(Request("cat; echo odd >&2; exit 7", feed=text(b"fed")))
    assert (answer.out, answer.err, answer.code, answer.started, answer.reason) == (b"fed", "odd\n", 7, True, "odd")


def test_what_a_login_shell_prints_first_is_dropped() -> None:
    noisy = Shell(("sh", "-c", 'echo Welcome to the ward; eval "$0"'), "here")
    assert noisy.run(Request("echo '{}'")).out == b"{}\n"


def test_a_flood_is_ended() -> None:
    with pytest.raises(DeviceError, match="here sent back more than 1000 bytes"):
        local("here").run(Request("exec cat /dev/zero", most_bytes=1000))


def test_a_flood_of_messages_is_dropped() -> None:
    answer = local("here").run(Request("head -c 3000000 /dev/zero | tr '\\0' x >&2; echo done"))
    assert (answer.out, answer.code) == (b"done\n", 0)
    assert len(answer.err) == 200_000


def test_a_hang_is_ended() -> None:
    with pytest.raises(DeviceError, match="here gave no answer within 0 s"):
        local("here").run(Request("exec sleep 600", limit_s=0.3))


def test_more_input_than_it_takes_is_no_error() -> None:
    assert local("here").run(Request("exit 3", feed=text(b"x" * 10_000_000))).code == 3


def test_quotes_and_newlines_survive_the_shells() -> None:
    assert local("here").run(Request("printf %s 'it'\\''s \"quoted\" $HOME \\n'")).out == b'it\'s "quoted" $HOME \\n'


def guarded(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "toolkit.devices.guard", str(folder), *words]
    return subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT)


def test_the_guard_gives_the_code_and_leaves_the_folder(tmp_path: Path) -> None:
    with guarded(tmp_path, "sh", "-c", "exit 5") as process:
        assert process.wait() == 5
    assert tmp_path.is_dir()


def test_the_guard_ends_all_and_removes_the_folder_when_its_input_ends(tmp_path: Path) -> None:
    folder, marks = tmp_path / "private", tmp_path / "marks"
    folder.mkdir()
    with guarded(folder, "sh", "-c", f"sleep 600 & echo $! > {marks}.part; mv {marks}.part {marks}; sleep 600") as process:
        wait_for(marks.is_file)
        assert process.stdin
        process.stdin.close()
        assert process.wait() == LOST
    assert not folder.exists()
    grandchild = int(marks.read_text())
    wait_for(lambda: not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE)


def test_the_guard_cleans_up_when_it_is_ended_itself(tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir()
    with guarded(folder, "sh", "-c", f"touch {tmp_path}/on; exec sleep 600") as process:
        wait_for((tmp_path / "on").is_file)
        process.terminate()
        assert process.wait() == LOST
    assert not folder.exists()


def test_text_from_a_device_is_plain() -> None:
    assert plain("a\x1b[31mb\r\n\x07\u202ec\t\u00e9") == "a?[31mb\n??c\t\u00e9"
    assert plain_tree({"\x1bk": ["a\nb", 1, None, {"x": "\x00"}]}) == {"?k": ["a b", 1, None, {"x": "?"}]}
    assert len(plain_tree("x" * 10**6)) == 4000
