"""What comes from outside does not steer a terminal."""

from __future__ import annotations

import pytest

from toolkit.core.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ward\x1b[2J\r\n 3", r"ward\x1b[2J\r\n 3"),
        ("Übersicht 北", "Übersicht 北"),
        ("right\u202eleft", r"right\u202eleft"),
        ("no text \udcff", r"no text \udcff"),
        ("", ""),
    ],
)
def test_control_characters_are_escaped_and_the_rest_is_kept(text: str, shown: str) -> None:
    assert printable(text) == shown
