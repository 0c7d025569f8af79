"""Parity with torch: errors by hand, limits by precision."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.core.operating import OperatingPoint
from toolkit.core.recipe import ExportSpec
from toolkit.core.target import Precision
from toolkit.errors import ParityError
from toolkit.validate.parity import compare, refuse_departure, with_edge_cases


def where() -> str:
    return "the first layer that departs is x"


def array(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array(values, np.float32)


def test_errors_are_relative_beyond_one_and_calls_are_counted() -> None:
    found = compare(array(-10, 0.5, 0.25), array(-11, 0.75, -0.25), OperatingPoint())
    assert found.max_logit_error == pytest.approx(0.5)
    assert found.mean_logit_error == pytest.approx((0.1 + 0.25 + 0.5) / 3)
    assert found.sign_flips == 1


@pytest.mark.parametrize(
    ("precision", "error"), [("fp32", 2e-3), ("fp16w", 0.2), ("int8", 0.3), ("int8ac", 0.3), ("bf16", 0.15), ("fp16", 0.03)]
)
def test_each_precision_has_its_limit(precision: Precision, error: float) -> None:
    parity = compare(array(0, 0), array(error, error), OperatingPoint())
    with pytest.raises(ParityError, match="disagrees with torch: .*; the first layer that departs is x. Leave it out of export.artifacts"):
        refuse_departure("x", precision, parity, ExportSpec(), where)
    refuse_departure("x", precision, compare(array(0, 0), array(error / 4, 0), OperatingPoint()), ExportSpec(), where)


def test_answers_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ParityError, match="error nan"):
        refuse_departure("x", "fp32", compare(array(0.0), array(float("nan")), OperatingPoint()), ExportSpec(), where)


def test_edge_cases_are_black_white_and_noise() -> None:
    films = with_edge_cases(np.full((2, 1, 4, 4), 7, np.uint8), seed=0)
    assert films.shape == (5, 1, 4, 4)
    assert (films[2].max(), films[3].min()) == (0, 255)
    assert len(np.unique(films[4])) > 4
