"""The strict reader and writer of typed values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolkit.core.codec import Frozen, decode, decode_json, encode_json, field_names, read_json, to_plain
from toolkit.errors import BundleError, InputError


class Leaf(Frozen, frozen=True, kw_only=True):
    number: int = 1
    word: str = "a"


class Tree(Frozen, frozen=True, kw_only=True):
    leaf: Leaf = Leaf()
    maybe: Leaf | None = None
    leaves: tuple[Leaf, ...] = ()


FULL = Tree(leaf=Leaf(number=2), maybe=Leaf(word="ä"), leaves=(Leaf(), Leaf(number=-3)))


@pytest.mark.parametrize("value", [Tree(), FULL])
def test_a_value_survives_json_and_back(value: Tree) -> None:
    assert decode_json(encode_json(value), Tree, "here") == value


def test_json_is_indented_in_the_order_of_the_fields() -> None:
    assert encode_json(Leaf(number=2, word="b")) == b'{\n  "number": 2,\n  "word": "b"\n}\n'


def test_plain_values_are_what_json_reads() -> None:
    assert json.loads(json.dumps(to_plain(FULL))) == json.loads(encode_json(FULL))


def test_field_names_keep_their_order() -> None:
    assert field_names(Tree) == ["leaf", "maybe", "leaves"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"lef": {}}, "here: unknown key 'lef'; valid keys here: leaf, maybe, leaves."),
        ({"leaf": {"size": 1}}, "here: unknown key 'leaf.size'; valid keys here: number, word."),
        ({"maybe": {"size": 1}}, "here: unknown key 'maybe.size'; valid keys here: number, word."),
        ({"leaf": {"number": "two"}}, "here: 'leaf.number': Expected `int`, got `str`."),
        ({"leaf": {"number": True}}, "here: 'leaf.number': Expected `int`, got `bool`."),
        ({"leaves": [{}, {"word": 3}]}, "here: 'leaves[1].word': Expected `str`, got `int`."),
        ([], "here: Expected `object`, got `array`."),
    ],
)
def test_a_wrong_value_is_named_with_its_place(data: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        decode(data, Tree, "here")
    assert str(caught.value) == message


def test_an_unknown_key_inside_a_list_lists_the_valid_ones_too() -> None:
    with pytest.raises(InputError, match=r"unknown key .*size.*number, word"):
        decode({"leaves": [{"size": 1}]}, Tree, "here")


def test_a_missing_key_is_named() -> None:
    class Strict(Frozen, frozen=True, kw_only=True):
        needed: int

    with pytest.raises(InputError, match="missing required field `needed`"):
        decode({}, Strict, "here")


def test_the_caller_chooses_the_error() -> None:
    with pytest.raises(BundleError, match="unknown key 'x'"):
        decode({"x": 1}, Leaf, "here", BundleError)


@pytest.mark.parametrize("raw", [b"", b"{", b'{"number": 1', b"\xff\xfe", b"nonsense"])
def test_bytes_that_are_no_json_are_refused(raw: bytes) -> None:
    with pytest.raises(InputError, match="here is not valid JSON"):
        decode_json(raw, Leaf, "here")


def test_a_message_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "leaf.json"
    path.write_bytes(encode_json(Leaf(number=7)))
    assert read_json(path, Leaf) == Leaf(number=7)
    path.write_text("[")
    with pytest.raises(InputError, match="leaf.json is not valid JSON"):
        read_json(path, Leaf)


def test_a_stored_value_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="immutable type"):
        Leaf().number = 2  # type: ignore[misc]
