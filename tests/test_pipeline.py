"""The whole flow: its results, its marks, its resumption after a kill."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest

from tests.conftest import INT8, ROOT, TINY, call_cli
from toolkit import stages
from toolkit.core.bundle import MANIFEST, Bundle
from toolkit.core.codec import read_json
from toolkit.core.evaluation import CrossValidation
from toolkit.core.files import sha256_of
from toolkit.core.recipe import STAGES, Recipe, read_recipe
from toolkit.core.reports import PruneReport, RunReport, Sensitivity
from toolkit.core.target import Target
from toolkit.data.films import prepare_films
from toolkit.data.shortcuts import contradiction
from toolkit.data.splits import split_by_patient
from toolkit.errors import StageError
from toolkit.pipeline import Mark, Run, run_stages
from toolkit.seal import seal
from toolkit.train.augment import changed_once
from toolkit.train.run import Task

OVERRIDES = [word for value in TINY for word in ("--set", value)]
DEMO = ROOT / "recipes" / "demo.yaml"
SHIPPED = ROOT / "exported" / "mobilenet-v2"


def model_digests(run: Path) -> dict[str, str]:
    """Digest of each model file of the run's bundle."""
    return {artifact.name: " ".join(file.sha256 for file in artifact.files) for artifact in Bundle(run / "bundle").manifest.artifacts}


STRUCTURED = "prune={method: structured, target: {bytes: 300000}, recovery: {epochs: 1, learning_rate: 1e-3}}"


def test_a_structured_run_exports_a_smaller_model_and_prunes_again_only_when_asked(
    copy_of_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [*OVERRIDES, "--set", STRUCTURED, "--set", "export.artifacts=[onnxruntime-fp32]"]
    assert call_cli("prune", DEMO, "--out", copy_of_run, *overrides) == 2
    assert "was made with another recipe or other films; choose another --out, or add --redo prune" in capsys.readouterr().err
    assert call_cli("prune", DEMO, "--out", copy_of_run, "--redo", *overrides) == 0
    printed = capsys.readouterr().out
    report = read_json(copy_of_run / "prune" / "prune.json", PruneReport)
    assert report.steps[-1].bytes <= 300_000
    assert f"{report.steps[-1].parameters}" in printed
    assert [row.runtime for row in report.benefits] == ["onnxruntime", "openvino"]
    assert call_cli("quantize", DEMO, "--out", copy_of_run, *overrides) == 0
    assert (copy_of_run / "quantize" / "float.onnx").stat().st_size == report.steps[-1].bytes


def test_a_budget_out_of_reach_ends_with_1_and_one_sentence(copy_of_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = [*OVERRIDES, "--set", "prune={method: structured, target: {bytes: 10}}"]
    assert call_cli("prune", DEMO, "--out", copy_of_run, "--redo", *overrides) == 1
    assert "The target of 10 bytes cannot be reached: the nearest is" in capsys.readouterr().err


def test_sensitivity_is_a_table_a_file_and_a_picture_of_one_recipe(copy_of_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = [*OVERRIDES, "--set", STRUCTURED]
    assert call_cli("prune", DEMO, "--out", copy_of_run, "--sensitivity", *overrides) == 0
    printed = capsys.readouterr().out
    rows = read_json(copy_of_run / "sensitivity" / "sensitivity.json", tuple[Sensitivity, ...])
    assert {row.layer for row in rows} == {"features.0.0", "features.1.0", "features.2.0", "head.1"}
    assert all(row.layer in printed for row in rows)
    assert (copy_of_run / "sensitivity" / "sensitivity.svg").is_file()
    assert (copy_of_run / "prune" / "checkpoint.json").is_file()  # of the other recipe, not touched
    assert call_cli("prune", DEMO, "--out", copy_of_run, "--sensitivity", *OVERRIDES) == 2
    assert "was made with another recipe" in capsys.readouterr().err
    assert call_cli("prune", DEMO, "--out", copy_of_run, "--sensitivity", "--redo", *OVERRIDES) == 0


def test_a_finished_run_leaves_bundle_and_reports(finished_run: Path) -> None:
    bundle = Bundle(finished_run / "bundle")
    bundle.verify()
    report = read_json(finished_run / "report.json", RunReport)
    assert report.synthetic
    assert report.bundle_sha256 == bundle.sha256 == sha256_of(finished_run / "bundle" / "bundle.json")
    assert bundle.names == ("onnxruntime-fp32", INT8, "openvino-fp32", "openvino-int8")
    assert set(report.recommended) | set(report.left_out) == set(bundle.names)
    said = ("is slower than", "sums of bytes would overflow")  # the second of OpenVINO's int8, on x86 without VNNI
    assert all(any(words in reason for words in said) for name, reason in report.left_out.items() if name in bundle.names)


def test_recommended_are_sorted_by_measured_latency(finished_run: Path) -> None:
    manifest = Bundle(finished_run / "bundle").manifest
    p50 = {artifact.name: artifact.p50_ms for artifact in manifest.artifacts}
    times = [p50[name] for name in manifest.recommended]
    assert None not in times
    assert times == sorted(times, key=lambda value: value or 0)


def test_each_artifact_names_its_parents(finished_run: Path) -> None:
    weights = json.loads((finished_run / "prune" / "checkpoint.json").read_text())
    dense = json.loads((finished_run / "train" / "checkpoint.json").read_text())
    manifest = Bundle(finished_run / "bundle").manifest
    assert weights["provenance"]["parent_sha256"] == dense["weights_sha256"] == sha256_of(finished_run / "train" / "weights.safetensors")
    assert manifest.provenance.parent_sha256 == weights["weights_sha256"]
    assert manifest.reference is not None
    assert manifest.reference.weights_sha256 == dense["weights_sha256"]


def test_a_second_run_of_the_same_command_makes_nothing_again(copy_of_run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy_of_run.glob("*/stage.json")}
    weights = (copy_of_run / "train" / "weights.safetensors").stat().st_mtime_ns
    assert call_cli("compress", DEMO, "--out", copy_of_run, *OVERRIDES) == 0
    assert {path: path.stat().st_mtime_ns for path in copy_of_run.glob("*/stage.json")} == before
    assert (copy_of_run / "train" / "weights.safetensors").stat().st_mtime_ns == weights


def test_results_of_another_recipe_are_not_overwritten(copy_of_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call_cli("compress", DEMO, "--out", copy_of_run, *OVERRIDES, "--set", "train.learning_rate=0.01") == 2
    error = capsys.readouterr().err
    assert "train was made with another recipe" in error
    assert "--redo train" in error
    assert (copy_of_run / "train" / "weights.safetensors").is_file()


def test_redo_makes_a_stage_and_its_followers_anew(copy_of_run: Path) -> None:
    dense = sha256_of(copy_of_run / "train" / "weights.safetensors")
    changed = [
        *OVERRIDES,
        "--set",
        "prune.sparsity=0.8",
        "--set",
        "export.artifacts=[onnxruntime-fp32]",
        "--set",
        "validate.corruption_films=0",
    ]
    assert call_cli("compress", DEMO, "--out", copy_of_run, *changed, "--redo", "prune") == 0
    assert sha256_of(copy_of_run / "train" / "weights.safetensors") == dense
    assert Bundle(copy_of_run / "bundle").manifest.sparsity == pytest.approx(0.8, abs=0.001)


@pytest.mark.parametrize("stage", ["prune", "quantize", "export"])
def test_a_stage_says_so_when_the_one_before_is_missing(stage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call_cli(stage, DEMO, "--out", tmp_path, *OVERRIDES) == 2
    assert f"'{stage}' continues from what 'train' leaves in {tmp_path / 'train'}" in capsys.readouterr().err


def test_single_stages_make_what_compress_makes(finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for stage in ("train", "prune", "quantize", "export"):
        assert call_cli(stage, DEMO, "--out", tmp_path, *OVERRIDES) == 0
        assert f"{stage}: " in capsys.readouterr().out
    for name in ("fp32.onnx", f"{Target.from_name(INT8).stem}.onnx", "int8.xml", "int8.bin"):
        assert sha256_of(tmp_path / "export" / name) == sha256_of(finished_run / "bundle" / name)


def test_progress_goes_to_a_terminal_on_stderr_and_never_to_stdout(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "toolkit.cli", "train", str(DEMO), "--out", str(tmp_path), *OVERRIDES, "--set", "train.epochs=1"]
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (30, 100))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=end)
    os.close(end)
    shown = read_terminal(terminal)
    out, _ = process.communicate()
    assert out.decode() == f"train: {tmp_path / 'train'}/checkpoint.json, weights.safetensors and history.csv\n"
    for word in ("draw train", "read train", "Epoch 0", "train: done in"):
        assert word in shown


def read_terminal(terminal: int) -> str:
    """Everything that is shown until the program at the other end closes it."""
    shown = b""
    with contextlib.suppress(OSError):  # Linux tells the end of a pseudo-terminal so
        while piece := os.read(terminal, 65536):
            shown += piece
    os.close(terminal)
    return shown.decode()


def tiny(*overrides: str) -> Recipe:
    return read_recipe(DEMO, (*TINY, *overrides))


def keys(recipe: Recipe, films: Path, out: Path) -> dict[str, str]:
    """The key of every stage, as a new process would find it."""
    run = Run(recipe, films, out)
    return {stage: run.key(stage) for stage in STAGES}


def test_other_first_weights_change_the_key_of_every_stage(phantoms: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    recipe = tiny(f"train.weights={weights}")
    weights.write_bytes(b"first")
    first = keys(recipe, phantoms, tmp_path)
    assert keys(recipe, phantoms, tmp_path) == first
    weights.write_bytes(b"other")
    assert all(key != first[stage] for stage, key in keys(recipe, phantoms, tmp_path).items())
    weights.write_bytes(b"first")
    assert keys(recipe, phantoms, tmp_path) == first


def test_another_checkpoint_as_teacher_changes_the_key_of_every_stage(finished_run: Path, phantoms: Path, tmp_path: Path) -> None:
    described = tmp_path / "teacher" / "checkpoint.json"
    described.parent.mkdir()
    described.write_bytes((finished_run / "train" / described.name).read_bytes())
    recipe = tiny(f"train.distill={{teacher: {described.parent}}}")
    first = keys(recipe, phantoms, tmp_path)
    described.write_text(f"{described.read_text()} ")
    assert all(key != first[stage] for stage, key in keys(recipe, phantoms, tmp_path).items())


@pytest.mark.parametrize(("artifact", "changes"), [("onnxruntime-fp32", True), ("openvino-int8", False)])
def test_of_a_bundle_the_graph_that_teaches_is_what_counts(artifact: str, changes: bool, phantoms: Path, tmp_path: Path) -> None:
    """Not its card, nor what else it holds."""
    manifest = json.loads((SHIPPED / MANIFEST).read_text(encoding="utf-8"))
    described = tmp_path / "teacher" / MANIFEST
    described.parent.mkdir()
    described.write_text(json.dumps(manifest), encoding="utf-8")
    recipe = tiny(f"train.distill={{teacher: {described.parent}}}")
    first = keys(recipe, phantoms, tmp_path)
    changed = next(one for one in manifest["artifacts"] if one["name"] == artifact)
    changed["files"] = [{**file, "sha256": "0" * 64} for file in changed["files"]]
    described.write_text(json.dumps(manifest), encoding="utf-8")
    assert {stage: key != first[stage] for stage, key in keys(recipe, phantoms, tmp_path).items()} == dict.fromkeys(first, changes)


@pytest.mark.parametrize(
    ("override", "file"),
    [("train.weights={}/none.pt", "none.pt"), ("train.distill={{teacher: {}/none}}", "none")],
)
def test_weights_that_are_missing_are_one_sentence(
    override: str, file: str, phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = [*OVERRIDES, "--set", override.format(tmp_path)]
    assert call_cli("train", DEMO, "--data", phantoms, "--out", tmp_path / "run", *changed) == 2
    error = capsys.readouterr().err
    assert f"No {tmp_path / file}, which the recipe's section 'train' names; set train.weights or train.distill to its place." in error
    assert "Traceback" not in error
    assert not (tmp_path / "run" / "train").exists()


def test_weights_that_changed_under_a_finished_stage_are_not_passed_over(phantoms: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"first")
    run = Run(tiny(f"train.weights={weights}"), phantoms, tmp_path / "run")
    run.begin("train")
    run.mark("train", done=True)
    assert run.is_done("train")
    weights.write_bytes(b"other")
    again = Run(run.recipe, phantoms, tmp_path / "run")
    assert not again.is_done("train")
    with pytest.raises(StageError, match="was made with another recipe or other films"):
        again.begin("train")


def test_folds_reach_the_report_and_its_page(copy_of_run: Path, tmp_path: Path) -> None:
    (films,) = copy_of_run.glob("phantoms-*")
    run = Run(tiny("train.folds=2", "train.epochs=1"), films, tmp_path / "folded")
    run_stages(run, "train", "train")
    assert (run.folder("train") / "checkpoint.json").is_file()  # the training proper follows
    found = read_json(run.folder("train") / "folds.json", CrossValidation)
    assert len(found.folds) == 2
    assert sum(fold.films for fold in found.folds) == len(run.splits.train) + len(run.splits.holdout)
    for name in ("accuracy", "recall", "specificity", "roc_auc"):
        values = [getattr(fold, name) for fold in found.folds]
        assert (getattr(found, name).mean, getattr(found, name).deviation) == pytest.approx((fmean(values), stdev(values))), name
    assert not list(run.folder("train").rglob("*.ckpt"))

    (copy_of_run / "train" / "folds.json").write_bytes((run.folder("train") / "folds.json").read_bytes())
    seal(Run(tiny(), None, copy_of_run))
    assert read_json(copy_of_run / "report.json", RunReport).cross_validation == found
    page = (copy_of_run / "report.html").read_text()
    assert "2 folds by patient, called at .5" in page
    for name in ("accuracy", "recall", "specificity", "roc_auc"):
        spread = getattr(found, name)
        assert f"<tr><td>{name}</td><td>{spread.mean:.3f}</td><td>{spread.deviation:.3f}</td></tr>" in page


def test_a_run_without_folds_reports_none(finished_run: Path) -> None:
    assert read_json(finished_run / "report.json", RunReport).cross_validation is None
    assert "folds by patient" not in (finished_run / "report.html").read_text()


def test_held_out_films_alone_are_shifted(phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tiny("data.holdout_augment={brightness: 0.3, erase: 0.9}"), phantoms, tmp_path / "run")
    given: list[Task] = []
    monkeypatch.setattr(stages, "train_network", lambda spec, task, folder: given.append(task))
    run_stages(run, "train", "train")
    (task,) = given
    plain = {
        name: prepare_films(run.source, getattr(run.splits, name), run.recipe.preprocessing, "read")
        for name in ("train", "holdout", "test")
    }
    assert np.array_equal(task.train.images, plain["train"].images)
    assert task.holdout.cases == plain["holdout"].cases
    assert task.holdout.labels.tolist() == plain["holdout"].labels.tolist()
    assert (task.holdout.images != plain["holdout"].images).any((1, 2, 3)).mean() > 0.8  # nearly every film
    assert np.array_equal(task.holdout.images, changed_once(plain["holdout"], run.recipe.data.holdout_augment).images)
    for split, films in plain.items():  # what lies in RUN/films, and what is judged, is as it was
        assert np.array_equal(run.films(split).images, films.images)


def test_films_are_held_out_by_what_contradicts_their_label(phantoms: Path, tmp_path: Path) -> None:
    run = Run(tiny("data.holdout_rule=conflict", "data.holdout=0.3"), phantoms, tmp_path / "run")
    pool = run.source.of("train", "val")
    against = contradiction(prepare_films(run.source, pool, run.recipe.preprocessing, "read"), seed=0)
    expected = split_by_patient(
        run.source, run.recipe.data, run.recipe.seed, dict(zip([case.name for case in pool], against.tolist(), strict=True))
    )
    assert run.splits == expected
    held = np.isin([case.name for case in pool], [case.name for case in run.splits.holdout])
    assert against[held].mean() > against[~held].mean()


# A file of the stage that shows that it is well under way.
UNDER_WAY = {"train": "train/last.ckpt", "prune": "prune/step-1/last.ckpt", "export": "export/fp32.onnx"}


def test_a_run_killed_in_stage_after_stage_ends_with_the_same_model_files(finished_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "toolkit.cli", "compress", str(DEMO), "--out", str(run), *OVERRIDES]
    for stage, file in UNDER_WAY.items():
        kill_when_there(command, run / file)
        assert not read_json(run / stage / "stage.json", Mark).done, f"{stage} was over before the kill"
        assert not (run / "bundle").exists()
    assert call_cli(*command[3:]) == 0
    assert model_digests(run) == model_digests(finished_run)


def kill_when_there(command: list[str], file: Path) -> None:
    """SIGKILL the command as soon as the file exists."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not file.exists():
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
