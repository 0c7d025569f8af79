"""What every engine promises: each item once, whatever it is done by; the work's own error comes through."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from toolkit.engine.choose import chosen
from toolkit.engine.local import Local
from toolkit.engine.place import difference, here
from toolkit.errors import GateError, InputError, MissingDependencyError


@dataclass(frozen=True)
class Squares:
    """Leaves a file for each place that was opened; the item `lethal` kills the process that has it, once."""

    places: Path
    bad: int = -1
    lethal: int = -1
    key: str = "squares"
    cores: int = 1

    @contextmanager
    def open(self) -> Iterator[Callable[[int], int]]:
        (self.places / f"{os.getpid()}-{threading.get_ident()}").touch()
        yield self.square

    def square(self, item: int) -> int:
        if item == self.bad:
            raise GateError(f"{item} does not pass.")
        if item == self.lethal and not (mark := self.places / "killed").exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return item * item


def test_local_does_each_item_once_and_opens_once_a_place(tmp_path: Path) -> None:
    found = sorted(Local(2).run(Squares(tmp_path), range(20)))
    assert found == [(number, number * number) for number in range(20)]
    assert 1 <= len(list(tmp_path.iterdir())) <= 2


def test_local_reads_no_further_than_places_are_free(tmp_path: Path) -> None:
    read: list[int] = []

    def endless() -> Iterable[int]:
        number = 0
        while True:
            read.append(number)
            yield number
            number += 1

    running = Local(2).run(Squares(tmp_path), endless())
    for _ in range(5):
        next(running)
    running.close()  # type: ignore[attr-defined]
    assert len(read) <= 5 + 2 * 2


def test_the_works_error_ends_a_local_run(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="3 does not pass"):
        list(Local(2).run(Squares(tmp_path, bad=3), range(10)))


@pytest.mark.parametrize("word", ["spark", "ray://", "local://here", ""])
def test_an_unknown_engine_is_refused_with_the_known_ones(word: str) -> None:
    with pytest.raises(InputError, match="take local, ray, or ray://HOST:PORT"):
        chosen(word)


def test_without_ray_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"needs the package 'ray'.*cxr-edge\[cluster\]"):
        chosen("ray")


def test_a_missing_dependency_keeps_its_words_on_the_way_between_processes() -> None:
    import pickle

    error = MissingDependencyError("ray", "cluster", "The engine 'ray'")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_another_place_is_told_by_what_decides_about_answers() -> None:
    this = here()
    assert difference(this, this) is None
    assert difference(this, this._replace(libraries={**this.libraries, "more": "1"})) is None
    other = this._replace(libraries={**this.libraries, "numpy": "1.0"})
    assert difference(this, other) == f"has numpy 1.0, not {this.libraries['numpy']}"
    assert "another cxr-edge" in str(difference(this, this._replace(package_sha256="0" * 64)))
    assert "has Python 3.9.1" in str(difference(this, this._replace(python="3.9.1")))
    missing = {name: version for name, version in this.libraries.items() if name != "pillow"}
    assert "pillow missing" in str(difference(this, this._replace(libraries=missing)))
