"""Damaged files of every format through the clinic's command: a small share of what `benchmarks.fuzz` does with 20 000."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fuzz import Row, damaged, films, fuzz, phantom
from toolkit.errors import ImageError
from toolkit.imaging.decode import decode_grey

FILES = 280  # ten of each kind
KINDS = 28


@pytest.mark.parametrize("kind", films())
def test_each_kind_is_read_before_it_is_damaged(kind: str) -> None:
    found = np.asarray(decode_grey(films()[kind]))
    assert found.shape == phantom().shape
    assert 60 < found.mean() < 250


def test_the_same_number_is_the_same_file() -> None:
    assert len(films()) == KINDS
    assert damaged(5, 123) == damaged(5, 123)
    assert damaged(5, 123).raw != damaged(6, 123).raw
    assert {damaged(5, number).name.rpartition("-")[0] for number in range(KINDS)} == set(films())


def test_damaged_files_are_answered_or_refused_by_the_command(bundle: Path) -> None:
    report = fuzz(bundle, FILES, seed=2)
    assert report.crashes == {}
    assert sum(row.files for row in report.rows) == FILES
    assert all(row.answered + row.refused == row.files for row in report.rows), report.rows
    assert all(row.refused for row in report.rows)
    assert any(row.answered for row in report.rows)
    assert report.peak_mb < report.limit_mb


def test_no_other_error_leaves_the_decoder() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # as the command does
        for number in range(4000):
            try:
                assert decode_grey(damaged(3, number).raw, least_px=16).mode == "L"
            except ImageError as refused:
                assert str(refused).isprintable(), number


def test_a_film_that_ends_gdcm_costs_only_itself() -> None:
    with pytest.raises(ImageError, match="holds a JPEG lossless picture that is damaged"):
        decode_grey(damaged(1, 2210).raw)  # a C++ exception that nobody catches, GDCM 3.2.6


def test_a_report_with_a_crash_or_a_file_that_is_missing_fails(bundle: Path) -> None:
    from msgspec.structs import replace

    report = fuzz(bundle, KINDS, seed=4)
    assert report.passed
    (row, *others) = report.rows
    faults = ({"crashed": 1}, {"unaccounted": 1}, {"slow": 1})
    worse: list[Row] = [replace(row, **fault) for fault in faults]
    assert not any(replace(report, rows=(one, *others)).passed for one in worse)
    assert not replace(report, peak_mb=501).passed
