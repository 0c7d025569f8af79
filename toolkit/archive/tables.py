"""A shard's results as a table: CSV, or Parquet through Arrow (extra `cluster`)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from toolkit.core.codec import field_names
from toolkit.core.prediction import Prediction
from toolkit.errors import MissingDependencyError
from toolkit.infer.results import CsvRows

DECISION = "decision"


class Table(Protocol):
    """A form that results are written in, and read again."""

    def check_available(self) -> None:
        """Raise MissingDependencyError where the form needs a package that is not installed."""
        ...

    def written(self, predictions: Sequence[Prediction]) -> bytes:
        """A file's bytes; a row a prediction, a column a key of `Prediction`."""
        ...

    def decisions(self, path: Path) -> Iterator[str]:
        """The decision of each row."""
        ...


class Csv:
    """As `predict --csv`."""

    def check_available(self) -> None:
        """Always there."""

    def written(self, predictions: Sequence[Prediction]) -> bytes:
        """As `Table` says."""
        text = io.StringIO()
        rows = CsvRows(text)
        for prediction in predictions:
            rows.add(prediction)
        return text.getvalue().encode()

    def decisions(self, path: Path) -> Iterator[str]:
        """As `Table` says."""
        with path.open(encoding="utf-8", newline="") as stream:
            yield from (row[DECISION] for row in csv.DictReader(stream))


class Parquet:
    """Typed columns, compressed."""

    def check_available(self) -> None:
        """Raise MissingDependencyError without Arrow."""
        _arrow()

    def written(self, predictions: Sequence[Prediction]) -> bytes:
        """As `Table` says."""
        pyarrow, parquet = _arrow()
        columns = {name: [getattr(one, name) for one in predictions] for name in field_names(Prediction)}
        stream = io.BytesIO()
        parquet.write_table(pyarrow.table(columns, schema=_schema(pyarrow)), stream)
        return stream.getvalue()

    def decisions(self, path: Path) -> Iterator[str]:
        """As `Table` says."""
        _, parquet = _arrow()
        yield from parquet.read_table(path, columns=[DECISION])[DECISION].to_pylist()


TABLES: Mapping[str, Table] = {"csv": Csv(), "parquet": Parquet()}


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as cause:
        raise MissingDependencyError("pyarrow", "cluster", "Writing Parquet") from cause
    return pyarrow, pyarrow.parquet


def _schema(pyarrow: Any) -> Any:
    """From the type, so that a shard without an error has the same columns as one with errors."""
    kinds = {"float": pyarrow.float64(), "str": pyarrow.string()}
    fields = msgspec.structs.fields(Prediction)
    return pyarrow.schema([(field.encode_name, kinds[_plain_name(field.type)]) for field in fields])


def _plain_name(kind: Any) -> str:
    """Of `str`, `float`, or one of them or None."""
    return str(getattr(kind, "__name__", kind)).partition(" ")[0]
