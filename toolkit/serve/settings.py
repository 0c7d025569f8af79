"""What a server is told: where it listens, who may ask, how much at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple

from toolkit.errors import InputError

TOKEN_VARIABLE = "CXR_EDGE_TOKEN"
TOKEN = re.compile(r"[!-~]{16,512}")
MOST_TOKEN_BYTES = 4096

Address = IPv4Address | IPv6Address


class Limits(NamedTuple):
    """`queue`: requests whose film is being read, waits or is judged; one more is turned away. `upload_s`: for a whole request to arrive.
    `answer_s`: from then on. `decoders`: films that are decoded at once."""

    upload_bytes: int = 32_000_000
    queue: int = 16
    upload_s: float = 30.0
    answer_s: float = 60.0
    decoders: int = 2


def address(host: str) -> Address:
    """'localhost' or an IP address; raises InputError for another name, since what it stands for may change."""
    try:
        return ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError as cause:
        raise InputError(f"--host '{host}' is no IP address; give one of this machine's, such as 127.0.0.1.") from cause


def find_token(file: Path | None, environment: Mapping[str, str]) -> str | None:
    """From the file where one is named, else from the environment; None without either. Raises InputError for what is no token."""
    token = environment.get(TOKEN_VARIABLE) if file is None else _read(file)
    if token is not None and not TOKEN.fullmatch(token):
        where = TOKEN_VARIABLE if file is None else file
        raise InputError(f"{where} holds no usable token; expected 16 to 512 printable ASCII characters without spaces.")
    return token


def check_exposure(host: Address, token: str | None) -> None:
    """Raise InputError where others could reach a server that asks for no token."""
    if token is None and not host.is_loopback:
        raise InputError(
            f"On {host} other machines could send films without a token. Put one of at least 16 characters into the environment variable "
            f"{TOKEN_VARIABLE} or into a file (--token-file), or leave --host out."
        )


def _read(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return stream.read(MOST_TOKEN_BYTES).decode(errors="replace").strip()
    except OSError as cause:
        raise InputError(f"The token's file {file} cannot be read: {cause.strerror or cause}.") from cause
