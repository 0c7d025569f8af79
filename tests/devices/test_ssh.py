"""Each of ssh's complaints is one sentence that says what to do. The texts are OpenSSH's own, 8.4 to 9.6."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.devices.conftest import script
from toolkit.devices.address import Address
from toolkit.devices.shell import Answer, Request
from toolkit.devices.ssh import explain, ssh_shell
from toolkit.errors import DeviceError

CHANGED = "@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@@\nHost key verification failed."


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (CHANGED, "shows another host key"),
        ("No ED25519 host key is known for pi and you have requested strict checking.\nHost key verification failed.", "is not known yet"),
        ("@ WARNING: REVOKED HOST KEY DETECTED! @\nHost key verification failed.", "a host key that was revoked"),
        ("root@pi: Permission denied (publickey,password).", "refuses the key"),
        ("Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures", "refuses the key"),
        ("ssh: Could not resolve hostname pi.invalid: Name or service not known", "is a name that nobody knows"),
        ("ssh: connect to host 10.0.0.9 port 22: Connection timed out", "cannot be reached"),
        ("ssh: connect to host 10.0.0.9 port 22: No route to host", "cannot be reached"),
        ("ssh: connect to host 10.0.0.9 port 22: Network is unreachable", "cannot be reached"),
        ("Connection timed out during banner exchange", "cannot be reached"),
        ("/home/u/.ssh/config: terminating, 1 bad configuration options", "ssh refuses its configuration"),
        ("Bad owner or permissions on /home/u/.ssh/config", "ssh refuses its configuration"),
        ("kex_exchange_identification: read: Connection reset by peer", "ended the connection before it began"),
        ("Unable to negotiate with 10.0.0.9 port 22: no matching host key type found.", "ended the connection before it began"),
        ("", "cannot be used: it ended with code 255"),
    ],
)
def test_what_ssh_says_in_a_sentence(said: str, sentence: str) -> None:
    shown = explain("pi", Answer(255, b"", said, started=False))
    assert shown.startswith("pi ")
    assert sentence in shown
    assert "\n" not in shown


@pytest.mark.parametrize("said", ["client_loop: send disconnect: Broken pipe", "Timeout, server 10.0.0.9 not responding.", CHANGED, ""])
def test_after_the_command_began_it_is_a_connection_that_was_cut(said: str) -> None:
    assert "was lost in the middle of the work: the connection was cut" in explain("pi", Answer(255, b"", said, started=True))


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a test writes its own `ssh`, which is found first."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path / "ssh"


def test_control_characters_of_a_device_do_not_reach_the_terminal(fake_ssh: Path) -> None:
    script(fake_ssh, r"printf '\033]0;owned\007\033[2Jcannot\n' >&2; exit 255")
    with pytest.raises(DeviceError, match=r"pi cannot be used: \?\]0;owned\?\?\[2Jcannot\."):
        ssh_shell(Address("pi")).run(Request("true"))


def test_its_messages_are_in_english_whatever_the_language_here(fake_ssh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    script(fake_ssh, 'echo "$LC_ALL" >&2; exit 255')
    with pytest.raises(DeviceError, match=r"cannot be used: C\."):
        ssh_shell(Address("pi")).run(Request("true"))


def test_no_ssh_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="'ssh' is not installed here; install OpenSSH's client"):
        ssh_shell(Address("pi")).run(Request("true"))
