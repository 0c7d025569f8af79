"""A whole bundle under the gate: what it is asked, what it is given, and what it says of what it was not given."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.conftest import INT8, make_bundle, reseal
from tests.validate.test_planted_faults import LOOSE, films_of
from toolkit.core.bundle import Bundle
from toolkit.core.recipe import ValidateSpec
from toolkit.data.cases import Source
from toolkit.engine.local import Local
from toolkit.errors import BundleError, DataError, EngineError, GateError, InputError
from toolkit.validate import gate
from toolkit.validate.gate import Question, answers, judge_bundle


def only(source: Source, keep: Callable[[int], bool]) -> Source:
    """Some of the test films."""
    test = source.of("test")
    return dataclasses.replace(source, cases=tuple(case for row, case in enumerate(test) if keep(row)))


def test_films_that_are_not_there_are_counted_and_strangers_named(finished_run: Path) -> None:
    source = films_of(finished_run)
    some = only(source, lambda row: row % 2 == 0)
    stranger = dataclasses.replace(source.of("train")[0], split="test")
    mixed = dataclasses.replace(some, cases=(*some.cases, stranger))
    report = judge_bundle(Bundle(finished_run / "bundle"), mixed, LOOSE)
    assert report.n == len(some.cases)
    assert report.absent == len(source.of("test")) - len(some.cases)
    assert report.unusable == {stranger.name: "is not among the reference films"}


def test_no_negatives_one_film_and_no_positives(finished_run: Path) -> None:
    source, bundle = films_of(finished_run), Bundle(finished_run / "bundle")
    labels = [case.label for case in source.of("test")]
    sick = judge_bundle(bundle, only(source, lambda row: labels[row] == 1), LOOSE)
    assert {row.specificity_loss_pt for row in sick.rows} == {None}
    one = judge_bundle(bundle, only(source, lambda row: row == labels.index(1)), LOOSE)
    assert (one.n, one.positives) == (1, 1)
    with pytest.raises(DataError, match="There is no positive film"):
        judge_bundle(bundle, only(source, lambda row: labels[row] == 0), LOOSE)


def test_a_film_that_is_there_twice_is_said(finished_run: Path) -> None:
    source = films_of(finished_run)
    first = source.of("test")[0]
    twice = dataclasses.replace(
        source, cases=(*source.cases, dataclasses.replace(first, name="test/copy.jpeg")), raw=lambda _: source.raw(first.name)
    )
    report = judge_bundle(Bundle(finished_run / "bundle"), twice, Question(ValidateSpec(max_recall_loss_pt=100)))
    assert report.copies == {"test/copy.jpeg": first.name}


def test_an_artifact_that_gives_no_number_ends_the_judgement(copy_of_run: Path) -> None:
    folder = copy_of_run / "bundle"
    file = Bundle(folder).paths(Bundle(folder).artifact("onnxruntime-fp32"))[0]
    graph = onnx.load(file)
    weights = next(one for one in graph.graph.initializer if one.data_type == onnx.TensorProto.FLOAT and len(one.dims) == 4)
    weights.CopyFrom(numpy_helper.from_array(np.full(tuple(weights.dims), np.nan, np.float32), weights.name))
    onnx.save(graph, file)
    reseal(folder)
    with pytest.raises(GateError, match=r"onnxruntime-fp32 gives no number for .* films \(test/"):
        judge_bundle(Bundle(folder), films_of(copy_of_run), LOOSE)


def test_a_changed_model_file_is_refused(copy_of_run: Path) -> None:
    folder = copy_of_run / "bundle"
    file = Bundle(folder).paths(Bundle(folder).artifact(INT8))[0]
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(BundleError, match="was changed"):
        judge_bundle(Bundle(folder), films_of(copy_of_run), LOOSE)


def test_an_engine_that_does_not_run_here_is_skipped_with_its_reason(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(bundle: Bundle, artifact: object, threads: int) -> None:
        raise EngineError("it is for another GPU.")

    monkeypatch.setattr(gate, "open_session", refuse)
    report = judge_bundle(Bundle(finished_run / "bundle"), films_of(finished_run), LOOSE)
    assert set(report.skipped.values()) == {"it is for another GPU"}
    assert (report.rows, report.verdict) == ((), "fail")


def test_against_another_bundle_its_best_artifact_is_the_reference(finished_run: Path, tmp_path: Path) -> None:
    folder = finished_run / "bundle"
    report = judge_bundle(Bundle(folder), films_of(finished_run), Question(ValidateSpec(max_recall_loss_pt=100), against=folder))
    best = Bundle(folder).manifest.recommended[0]
    assert report.reference == f"demo {best}"
    same = next(row for row in report.rows if row.artifact == best)
    assert same.shift is not None
    assert same.shift.largest == 0
    other = make_bundle(tmp_path / "other")
    with pytest.raises(InputError, match="prepares its films otherwise"):
        judge_bundle(Bundle(folder), films_of(finished_run), Question(ValidateSpec(), against=other))


@pytest.mark.parametrize("against", [False, True])
def test_on_an_engine_the_verdict_and_every_score_are_those_of_this_process(finished_run: Path, tmp_path: Path, against: bool) -> None:
    source, bundle = films_of(finished_run), Bundle(finished_run / "bundle")
    names = [case.name for case in source.of("test")]
    broken = dataclasses.replace(source, raw=lambda name: b"no film" if name == names[3] else source.raw(name))
    question = Question(ValidateSpec(max_recall_loss_pt=100), against=bundle.folder if against else None)
    here, there = (judge_bundle(bundle, broken, question, engine) for engine in (None, Local(2)))
    assert there.unusable == here.unusable == {names[3]: "is not a picture; expected one of JPEG, PNG, BMP, TIFF, WEBP, DICOM"}
    assert [row.artifact for row in there.rows] == [row.artifact for row in here.rows]
    for mine, theirs in zip(there.rows, here.rows, strict=True):
        assert (mine.verdict, mine.recall, mine.lost_positives) == (theirs.verdict, theirs.recall, theirs.lost_positives)
        assert mine.roc_auc_loss == pytest.approx(theirs.roc_auc_loss, abs=1e-6)


def test_groups_of_a_table_and_what_it_does_not_name(finished_run: Path, tmp_path: Path) -> None:
    source = films_of(finished_run)
    names = [case.name for case in source.of("test")]
    table = tmp_path / "wards.csv"
    table.write_text(
        "name,ward\n" + "".join(f"{name},{'east' if row % 2 else 'west'}\n" for row, name in enumerate(names[:-1])) + "gone.png,east\n"
    )
    spec = ValidateSpec(max_recall_loss_pt=100)
    report = judge_bundle(Bundle(finished_run / "bundle"), source, Question(spec, table=table))
    groups = report.rows[0].subgroups
    assert groups["ward=east"].films + groups["ward=west"].films == len(names) - 1
    assert {"cause=bacteria", "cause=virus"} <= set(groups)
    assert report.notes == (
        f"1 film has no row in {table}: {names[-1]}",
        f"1 row of {table} name no film: gone.png",
    )
    with pytest.raises(DataError, match="There is no group column 'age'; there are: ward"):
        judge_bundle(Bundle(finished_run / "bundle"), source, Question(spec, table=table, columns=("age",)))


def test_films_are_scored_in_batches_and_never_all_held(finished_run: Path) -> None:
    source, sizes = films_of(finished_run), []

    class Session:
        def logits(self, images: np.ndarray) -> np.ndarray:
            sizes.append(len(images))
            return images.mean(axis=(1, 2, 3), dtype=np.float32)

        def outputs(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
            return (self.logits(images),)

    test = source.of("test")
    found = answers(source, test, Bundle(finished_run / "bundle").manifest.preprocessing, {"mean": Session()})
    assert max(sizes) == 8
    assert sum(sizes) == len(test) == len(found.logits["mean"]) == len(found.looks)
    assert found.logits["mean"] == pytest.approx([look.brightness for look in found.looks], rel=1e-5)
