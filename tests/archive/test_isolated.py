"""A film that kills its process is found, tried again, and skipped; all others have the answers that they have without it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.test_predict import film
from toolkit.archive import isolated
from toolkit.archive.isolated import Isolated, Question
from toolkit.core.bundle import Bundle
from toolkit.core.prediction import Prediction
from toolkit.infer.predictor import Predictor

LETHAL, SLOW, ONCE = "lethal", "slow", "once"


def opened_with_traps(question: Question) -> int:
    """As the child opens it, but films named so kill it, take for ever, or kill it the first time."""
    number = isolated._open(question)
    plain = isolated._asked[0]

    def judge(name: str) -> Prediction:
        if SLOW in name:
            time.sleep(3600)
        mark = question.root / "was-killed"
        if LETHAL in name or (ONCE in name and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(name)

    isolated._asked[:] = [judge]
    return number


@contextmanager
def trapped(bundle: Path, root: Path, film_s: float = 60.0) -> Iterator[Isolated]:
    found = Isolated(Question(bundle, "onnxruntime-fp32", root), film_s, opened_with_traps)
    try:
        yield found
    finally:
        found.close()


def films(folder: Path, *names: str) -> list[str]:
    return [film(folder / f"{number}-{name}.png", 60 + 20 * number).name for number, name in enumerate(names)]


def said(predictions: list[Prediction]) -> list[tuple[str, float | None]]:
    return [(one.decision, one.probability) for one in predictions]


def test_a_lethal_film_is_skipped_after_two_tries_and_the_others_have_their_answers(bundle: Path, tmp_path: Path) -> None:
    names = films(tmp_path, "a", LETHAL, "b", f"{LETHAL}-2", "c")
    with trapped(bundle, tmp_path) as judge:
        found = judge.judge(names)
    alone = list(Predictor(Bundle(bundle)).predict([tmp_path / name for name in names]))
    assert [one.path for one in found] == names
    assert [one.decision for one in found] == [alone[0].decision, "REJECTED", alone[2].decision, "REJECTED", alone[4].decision]
    assert said(found)[::2] == said(alone)[::2]
    assert found[1].error == "killed the process that read it, 2 times; it was skipped"
    assert (found[1].artifact, found[1].threshold, found[1].bundle_sha256) == (
        alone[1].artifact,
        alone[1].threshold,
        alone[1].bundle_sha256,
    )


def test_a_film_that_kills_only_once_is_judged(bundle: Path, tmp_path: Path) -> None:
    names = films(tmp_path, "a", ONCE, "b")
    with trapped(bundle, tmp_path) as judge:
        assert said(judge.judge(names)) == said(list(Predictor(Bundle(bundle)).predict([tmp_path / name for name in names])))


def test_a_film_that_takes_for_ever_is_skipped(bundle: Path, tmp_path: Path) -> None:
    names = films(tmp_path, "a", SLOW, "b")
    with trapped(bundle, tmp_path, film_s=2.0) as judge:
        found = judge.judge(names)
    assert [one.decision for one in found] == ["NORMAL", "REJECTED", "NORMAL"]
    assert found[1].error == "took more than 2 s, 2 times; it was skipped"


def test_the_child_ends_when_its_parent_is_killed(bundle: Path, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; import sys, time; from toolkit.archive.isolated import *\n"
        "if __name__ == '__main__':\n"
        "    one = Isolated(Question(Path(sys.argv[1]), 'onnxruntime-fp32', Path.cwd()))\n"
        "    print(one._child, flush=True); time.sleep(3600)\n"
    )
    (script := tmp_path / "asks.py").write_text(code, encoding="utf-8")
    parent = subprocess.Popen([sys.executable, script, bundle], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(600):
        if not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text(encoding="ascii").split(")")[1][:3]:
            return
        time.sleep(0.1)
    pytest.fail("the child lives on")
