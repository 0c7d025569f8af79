"""Starting, stopping, being killed; and nothing of a film on the disk."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, call_cli
from tests.serve.conftest import WAIT_S, Server, film_bytes, finished, form, until

Start = Callable[..., Server]
Captured = pytest.CaptureFixture[str]


def refuses_connections(server: Server) -> bool:
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S).close()
    except ConnectionError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_film_that_was_taken_is_answered_before_the_server_stops(start: Start, number: signal.Signals) -> None:
    server, film = start(), film_bytes(138)
    connection = server.begin(film, 20)
    server.process.send_signal(number)
    until(lambda: refuses_connections(server))
    found = finished(connection, film[20:])
    assert (found.status, found.json["decision"]) == (200, "PNEUMONIA")
    assert server.process.wait(WAIT_S) == 0
    assert server.errors.read_text() == ""


def test_killed_and_started_again_on_the_same_port_it_answers_and_has_left_nothing(start: Start) -> None:
    killed, (content, kind) = start(), form(film_bytes(138) + bytes(3_000_000))
    answered = killed.send(film_bytes(138), "?heatmap=true")
    connection = killed.begin(content, 2_500_000, kind)
    killed.process.kill()
    killed.process.wait(WAIT_S)
    connection.close()
    assert answered.status == 200
    again = start("--port", str(killed.port))
    assert again.send(film_bytes(138)).json["probability"] == answered.json["probability"]
    assert list(killed.temporary.rglob("*")) == []


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc here")
def test_a_large_form_opens_no_file_while_it_is_read(start: Start) -> None:
    server, (content, kind) = start(), form(film_bytes(138) + bytes(6_000_000))
    assert server.send(film_bytes(138), "?heatmap=true").status == 200
    before = regular_files(server)
    connection = server.begin(content, 5_000_000, kind)
    assert regular_files(server) == before
    assert finished(connection, content[5_000_000:]).status == 200
    assert regular_files(server) == before
    assert list(server.temporary.rglob("*")) == []
    limits = Path(f"/proc/{server.process.pid}/limits").read_text()
    assert next(line for line in limits.splitlines() if line.startswith("Max core file size")).split()[4] == "0"


def regular_files(server: Server) -> set[str]:
    found = set()
    for link in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a connection that was closed meanwhile
            if stat.S_ISREG(link.stat().st_mode):
                found.add(str(link.readlink()))
    return found


def test_the_address_is_told_and_it_is_the_loopback(start: Start) -> None:
    server = start()
    assert server.said.startswith(f"brightness, onnxruntime-fp32: http://127.0.0.1:{server.port}/")
    assert start("--host", "::1").said.partition("http://")[2].startswith("[::1]:")


def failed(*arguments: str | Path) -> tuple[int, str]:
    """Exit code and standard error of a server that does not start."""
    words = [sys.executable, "-m", "toolkit.cli", "serve", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "CXR_EDGE_TOKEN"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=WAIT_S, env=environment)
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_a_port_that_is_taken_is_named(sealed: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = failed(sealed, "--port", str(port))
    assert (code, said) == (2, f"Error: Port {port} of 127.0.0.1 is taken by another program; give another one with --port.\n")


def test_what_is_no_bundle_is_named(tmp_path: Path, capsys: Captured) -> None:
    assert call_cli("serve", tmp_path) == 2
    assert capsys.readouterr().err.startswith(f"Error: No bundle at {tmp_path}")


def test_an_address_that_is_not_this_machines_is_refused(sealed: Path, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "token").write_text("a-token-of-the-tests-0123456789")
    assert call_cli("serve", sealed, "--host", "192.0.2.1", "--token-file", tmp_path / "token") == 2
    assert "of 192.0.2.1 cannot be opened" in capsys.readouterr().err
    assert call_cli("serve", sealed, "--host", "clinic.example") == 2
    assert "'clinic.example' is no IP address" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_where_others_can_reach_it_it_does_not_start_without_a_token(
    sealed: Path, host: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXR_EDGE_TOKEN", raising=False)
    assert call_cli("serve", sealed, "--host", host) == 2
    assert f"On {host} other machines could send films without a token." in capsys.readouterr().err


@pytest.mark.parametrize("token", ["", "short", "with a space in it, so none", "ümlaut-0123456789", "x" * 600])
def test_what_is_no_token_is_refused_and_not_shown(
    sealed: Path, tmp_path: Path, token: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_EDGE_TOKEN", token)
    (tmp_path / "token").write_text(token, encoding="utf-8")
    for options in ((), ("--token-file", tmp_path / "token")):
        assert call_cli("serve", sealed, *options) == 2
        said = capsys.readouterr().err
        assert "holds no usable token" in said
        assert not token or token not in said


def test_a_token_file_that_cannot_be_read_is_named(sealed: Path, tmp_path: Path, capsys: Captured) -> None:
    assert call_cli("serve", sealed, "--token-file", tmp_path / "none") == 2
    assert f"{tmp_path / 'none'} cannot be read: No such file or directory." in capsys.readouterr().err


def test_without_the_extra_its_name_is_told(sealed: Path) -> None:
    code = f"import sys; sys.modules['starlette'] = None; from toolkit.cli.main import run; run(['serve', {str(sealed)!r}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert "Serving a bundle needs the package 'starlette', which is not installed: pip install 'cxr-edge[serve]'." in done.stderr
