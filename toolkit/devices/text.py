"""What a device says is not trusted: no control character of it reaches a terminal or a file."""

from __future__ import annotations

import re
from typing import Any

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
LONGEST = 4000


def plain(text: str) -> str:
    """The text with carriage returns gone and other control characters replaced by '?'; newlines and tabs stay."""
    return CONTROL.sub("?", text.replace("\r", ""))


def plain_tree(value: Any) -> Any:
    """Plain dicts, lists and strings with every string cleaned, on one line, and shortened to LONGEST characters."""
    if isinstance(value, str):
        return plain(value).replace("\n", " ")[:LONGEST]
    if isinstance(value, list):
        return [plain_tree(item) for item in value]
    if isinstance(value, dict):
        return {plain_tree(key): plain_tree(item) for key, item in value.items()}
    return value
