"""What is done to a picture is stored with every artifact, and older ones are still read."""

from __future__ import annotations

import pytest

from toolkit.core.codec import decode, decode_json, encode_json
from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import InputError


def test_it_survives_json_and_back() -> None:
    preprocessing = Preprocessing(size_px=96, scale=1 / 127.5, offset=-1.0, channels=1, resample="bicubic")
    assert decode_json(encode_json(preprocessing), Preprocessing, "here") == preprocessing


def test_an_artifact_that_was_sealed_before_there_was_an_offset_has_none() -> None:
    old = {"size_px": 224, "colour": "grey", "resize": "squash", "resample": "bilinear", "scale": 1 / 255, "channels": 3}
    assert decode(old, Preprocessing, "here") == Preprocessing(offset=0.0)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("offset", -1000.5, "'offset': Expected `float` >= -1000"),
        ("offset", 1000.5, "'offset': Expected `float` <= 1000"),
        ("offset", "-1", "'offset': Expected `float`, got `str`"),
        ("scale", -1.0, "'scale': Expected `float` > 0"),
        ("channels", 2, "'channels': Invalid enum value 2; valid values: 1, 3"),
        ("colour", "rgb", "'colour': Invalid enum value 'rgb'; valid values: grey"),
        ("resize", "crop", "'resize': Invalid enum value 'crop'; valid values: squash"),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(key: str, value: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        decode({key: value}, Preprocessing, "here")


@pytest.mark.parametrize("offset", [-1000, -1.0, 0, 1000.0])
def test_offsets_at_the_bounds_are_taken(offset: float) -> None:
    assert decode({"offset": offset}, Preprocessing, "here").offset == offset
