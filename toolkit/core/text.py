"""Text that came from outside, for people."""

from __future__ import annotations


def printable(text: str) -> str:
    """One line that a terminal shows as it is: control characters, line breaks and what is no text are escaped."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
