"""How a device is named: `local`, or `ssh://[user@]host[:port]`."""

from __future__ import annotations

import re
from typing import NamedTuple

from toolkit.errors import InputError

LOCAL = "local"
# Neither part can begin with '-', which ssh would take for an option, or hold a blank or a character of a shell.
ADDRESS = re.compile(
    r"ssh://(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@)?"
    r"(?:(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]*)|\[(?P<six>[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?)\])"
    r"(?::(?P<port>\d{1,5}))?/?"
)


class Address(NamedTuple):
    """A device behind SSH. `host` may be a name of the user's own SSH configuration; None leaves user and port to that."""

    host: str
    user: str | None = None
    port: int | None = None

    @property
    def name(self) -> str:
        """Short, fit for a file's name."""
        return re.sub(r"[^\w.@-]", "-", "".join((f"{self.user}@" if self.user else "", self.host, f"-{self.port}" if self.port else "")))


def parse_address(text: str) -> Address | None:
    """The address, None for 'local'; raises InputError for anything else, a password and a smuggled option among it."""
    if text == LOCAL:
        return None
    found = ADDRESS.fullmatch(text)
    if not found or not 0 < int(found["port"] or 22) < 65536:
        secret = " A password is not taken: give the device your public key." if re.match(r"ssh://[^@/]*:[^@/]*@", text) else ""
        shown = re.sub(r"^(ssh://[^@/:]*:)[^@/]*@", r"\1...@", text)
        raise InputError(f"'{shown}' is no device; expected {LOCAL} or ssh://user@host[:port].{secret}")
    return Address(found["host"] or found["six"], found["user"], int(found["port"]) if found["port"] else None)


def name_of(text: str) -> str:
    """A short name of an address for tables and files."""
    address = parse_address(text)
    return LOCAL if address is None else address.name
