"""Addresses: what is one, and what would be an option of ssh."""

from __future__ import annotations

import pytest

from toolkit.devices.address import Address, name_of, parse_address
from toolkit.devices.ssh import CONFIG, OPTIONS, command
from toolkit.errors import InputError


@pytest.mark.parametrize(
    ("text", "address", "name"),
    [
        ("local", None, "local"),
        ("ssh://pi", Address("pi"), "pi"),
        ("ssh://clinic@192.168.1.20", Address("192.168.1.20", "clinic"), "clinic@192.168.1.20"),
        ("ssh://a.b-c@host.example:2222/", Address("host.example", "a.b-c", 2222), "a.b-c@host.example-2222"),
        ("ssh://root@[fe80::1%eth0]:22", Address("fe80::1%eth0", "root", 22), "root@fe80--1-eth0-22"),
    ],
)
def test_an_address(text: str, address: Address | None, name: str) -> None:
    assert parse_address(text) == address
    assert name_of(text) == name


@pytest.mark.parametrize(
    "text",
    [
        *("", "pi", "http://pi", "ssh://", "ssh://@pi", "ssh://pi:0", "ssh://pi:65536", "ssh://pi:", "ssh://pi/folder", "ssh://pi pi"),
        *(
            "ssh://-oProxyCommand=touch",
            "ssh://-oProxyCommand=x@pi",
            "ssh://x@-oProxyCommand=x",
            "ssh://$(id)@pi",
            "ssh://a;b",
            "ssh://pi\n",
        ),
        *("ssh://[::1", "ssh://[-oX]", "ssh://`id`", "LOCAL"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"is no device; expected local or ssh://user@host\[:port\]"):
        parse_address(text)


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(InputError, match="A password is not taken") as caught:
        parse_address("ssh://clinic:secret@pi")
    assert "secret" not in str(caught.value)


def test_the_command_of_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONFIG, raising=False)
    words = command(Address("pi", "clinic", 2222))
    assert words[:2] == ("ssh", "-T")
    assert words[-6:] == ("-p", "2222", "-l", "clinic", "--", "pi")
    given = set(words[3:-6:2])
    assert given == {f"{name}={value}" for name, value in OPTIONS.items()}
    assert {"BatchMode=yes", "StrictHostKeyChecking=yes", "ForwardAgent=no"} <= given
    monkeypatch.setenv(CONFIG, "/some/config")
    assert command(Address("pi"))[2:4] == ("-F", "/some/config")
