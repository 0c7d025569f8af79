"""The command line: results, exit codes, one clear sentence for each wrong input."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

from tests.conftest import EDGE, ROOT, TINY, call_cli, make_bundle
from toolkit.benchmark.run import benchmark
from toolkit.cli.main import VERBS
from toolkit.core.bundle import Bundle
from toolkit.core.latency import LatencyReport
from toolkit.data.cases import Source
from toolkit.data.sources import read_source
from toolkit.validate import decode_drift

DEMO = ROOT / "recipes" / "demo.yaml"
Captured = pytest.CaptureFixture[str]


def film(path: Path, level: int = 200) -> Path:
    Image.fromarray(np.full((EDGE, EDGE), level, np.uint8)).save(path)
    return path


def phantoms_of(run: Path) -> Path:
    (folder,) = run.glob("phantoms-*")
    return folder


@pytest.mark.parametrize("verb", [*VERBS, "data check", "data phantom", "bundle verify", "bundle show"])
def test_every_verb_has_help_with_an_example(verb: str, capsys: Captured) -> None:
    assert call_cli(*verb.split(), "--help") == 0
    shown = capsys.readouterr().out
    assert "Example:  cxr-edge " in shown


def test_the_list_of_verbs_is_in_the_order_of_the_flow(capsys: Captured) -> None:
    assert call_cli("--help") == 0
    shown = capsys.readouterr().out
    assert [shown.index(f"\n  {verb} ") for verb in VERBS] == sorted(shown.index(f"\n  {verb} ") for verb in VERBS)


def test_predict_for_people_and_exit_code_3_for_a_broken_file(bundle: Path, tmp_path: Path, capsys: Captured) -> None:
    good, bad = film(tmp_path / "good.png"), tmp_path / "bad.png"
    bad.write_bytes(b"")
    assert call_cli("predict", bundle, good, bad) == 3
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"PNEUMONIA   0.999  {good}", f"REJECTED        -  {bad}"]
    assert err.splitlines() == [f"{bad}: is empty (0 bytes)", "1 of the inputs could not be used."]


def test_predict_warns_of_a_bundle_of_synthetic_films(finished_run: Path, capsys: Captured) -> None:
    (film_of_test, *_) = sorted((phantoms_of(finished_run) / "test" / "NORMAL").iterdir())
    assert call_cli("predict", finished_run / "bundle", film_of_test) == 0
    out, err = capsys.readouterr()
    assert "trained on SYNTHETIC films" in err
    assert len(out.splitlines()) == 1


def test_predict_json_lines_have_the_promised_keys(bundle: Path, tmp_path: Path, capsys: Captured) -> None:
    assert call_cli("predict", bundle, film(tmp_path / "a.png"), "--json", "-") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert set(json.loads(line)) >= {
        "path",
        "label",
        "probability",
        "threshold",
        "decision",
        "artifact",
        "ms",
        "error",
        "bundle_sha256",
        "heatmap",
    }


def test_predict_reads_a_folder_and_a_list_and_writes_csv(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    (tmp_path / "films").mkdir()
    films = [film(tmp_path / "films" / name) for name in ("a.png", "b.png")]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{films[0]}\n{films[1]}\n".encode())))
    assert call_cli("predict", bundle, tmp_path / "films", "-", "--csv", tmp_path / "out.csv") == 0
    with (tmp_path / "out.csv").open(newline="") as stream:
        assert [row["path"] for row in csv.DictReader(stream)] == [str(path) for path in films * 2]


def test_predict_into_a_closed_pipe_ends_quietly(bundle: Path, tmp_path: Path) -> None:
    films = [film(tmp_path / f"{n}.png") for n in range(3)]
    command = [sys.executable, "-m", "toolkit.cli", "predict", str(bundle), *map(str, films * 2000)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait()


def test_predict_warns_by_its_code_when_no_artifact_passed(tmp_path: Path, capsys: Captured) -> None:
    failed = make_bundle(tmp_path / "failed", verdict="fail")
    assert call_cli("predict", failed, film(tmp_path / "a.png")) == 1
    assert "has passed its recall gate" in capsys.readouterr().err


def test_names_of_a_hostile_manifest_do_not_steer_the_terminal(bundle: Path, capsys: Captured) -> None:
    manifest = bundle / "bundle.json"
    manifest.write_text(manifest.read_text().replace('"onnxruntime-fp32"', '"red\\u001b[31m\\nline"'))
    assert call_cli("predict", bundle, film(bundle.parent / "a.png"), "--artifact", "other") == 2
    said = capsys.readouterr().err
    assert r"has no artifact 'other'; it has: red\x1b[31m\nline." in said
    assert len(said.splitlines()) == 1


def test_evaluate_and_drift_repeat_what_the_report_says(finished_run: Path, tmp_path: Path, capsys: Captured) -> None:
    films, sealed = phantoms_of(finished_run), finished_run / "bundle"
    best = Bundle(sealed).manifest.recommended[0]
    assert call_cli("evaluate", sealed, "--data", films, "--json", tmp_path / "e.json") == 0
    said = capsys.readouterr().out
    assert "SYNTHETIC" in said
    assert re.search(r"^with the band: \d+ of \d+ films are UNCERTAIN", said, re.MULTILINE)
    assert json.loads((tmp_path / "e.json").read_text()) == next(
        row for row in json.loads((finished_run / "report.json").read_text())["evaluations"] if row["artifact"] == best
    )
    assert call_cli("drift", sealed, "--data", films, "--max-recall-loss", "100", "--json", tmp_path / "d.json") == 0
    rows = json.loads((tmp_path / "d.json").read_text())["rows"]
    for row in rows:
        assert row["checks"].pop()["name"] == "sealed"  # what only a sealed bundle can be asked
    assert rows == json.loads((finished_run / "report.json").read_text())["drift"]["rows"]


def test_drift_against_another_bundle(finished_run: Path, capsys: Captured) -> None:
    sealed = finished_run / "bundle"
    assert call_cli("drift", sealed, "--data", phantoms_of(finished_run), "--against", sealed, "--max-recall-loss", "100") == 0
    best = Bundle(sealed).manifest.recommended[0]
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(best))
    assert row.split()[2] == "0.00"


def test_drift_says_what_the_limits_mean_and_takes_a_table_of_groups(finished_run: Path, tmp_path: Path, capsys: Captured) -> None:
    films = phantoms_of(finished_run)
    names = sorted(path.relative_to(films).as_posix() for path in (films / "test").rglob("*.jpeg"))
    table = tmp_path / "wards.csv"
    table.write_text("path,ward\n" + "".join(f"{name},{'ab'[number % 2]}\n" for number, name in enumerate(names[1:])))
    command = ("drift", finished_run / "bundle", "--data", films, "--max-recall-loss", "100", "--groups", table)
    assert call_cli(*command, "--json", tmp_path / "d.json") == 0
    out, err = capsys.readouterr()
    assert re.search(r"limit pt +lost, net: observed +lost: proven", out)
    assert f"1 film has no row in {table}: {names[0]}." in err
    assert {"ward=a", "ward=b"} <= set(json.loads((tmp_path / "d.json").read_text())["rows"][0]["subgroups"])
    assert call_cli(*command, "--group-column", "bed") == 2
    assert "There is no group column 'bed'; there are: ward." in capsys.readouterr().err


def test_drift_says_why_an_artifact_fails_and_in_which_group(finished_run: Path, capsys: Captured) -> None:
    films = phantoms_of(finished_run)
    assert call_cli("drift", finished_run / "bundle", "--data", films, "--mode", "proven", "--max-recall-loss", "1") == 1
    shown = re.sub(r" +", " ", capsys.readouterr().out)
    assert "pneumonias, up to" in shown
    assert "worst groups positives lost gained loss pt" in shown


def test_drift_writes_films_in_other_forms(finished_run: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {file.written for file in decode_drift.FORMS.values()}
    command = ("drift", finished_run / "bundle", "--data", phantoms_of(finished_run), "--max-recall-loss", "100", "--decode")
    loose = {name: form._replace(limit=decode_drift.Limit(9, 9)) for name, form in decode_drift.FORMS.items() if name.startswith("jpeg")}
    monkeypatch.setattr(decode_drift, "FORMS", {**decode_drift.FORMS, **loose})
    assert call_cli(*command, "--json", tmp_path / "d.json") == 0
    said = capsys.readouterr().out
    assert re.search(r"\d+ films in other forms, by \S+: differences from the film as it came\n", said)
    assert re.search(r"^dicom16 +32 +0\.000 +0\.000 +0, 0 +0 +pass$", said, re.MULTILINE)
    assert {row["form"].removesuffix("-reduced") for row in json.loads((tmp_path / "d.json").read_text())["decode"]["rows"]} == files
    monkeypatch.setitem(decode_drift.FORMS, "jpeg-75", decode_drift.FORMS["jpeg-75"]._replace(limit=decode_drift.Limit(1e-9, 1e-9)))
    assert call_cli(*command) == 1
    assert re.search(r"^jpeg-75 .* fail$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize("points", ["nan", "-1", "101", "few"])
def test_a_limit_that_is_no_number_of_points_is_refused(points: str, capsys: Captured) -> None:
    assert call_cli("drift", ROOT / "exported" / "szanet", "--data", ROOT, "--max-recall-loss", points) == 2
    assert "Invalid value for '--max-recall-loss'" in capsys.readouterr().err


def test_drift_fails_with_code_1(copy_of_run: Path, tmp_path: Path, capsys: Captured) -> None:
    manifest = copy_of_run / "bundle" / "bundle.json"
    content = json.loads(manifest.read_text())
    for artifact in content["artifacts"]:
        artifact["operating"] |= {"threshold": 0.999, "band": None}  # a planted fault: every pneumonia is missed
    manifest.write_text(json.dumps(content))
    assert call_cli("drift", copy_of_run / "bundle", "--data", phantoms_of(copy_of_run)) == 1
    assert "fail" in capsys.readouterr().out


def test_films_with_damage_are_named_and_left_out(copy_of_run: Path, capsys: Captured) -> None:
    films = phantoms_of(copy_of_run)
    victim = sorted((films / "test" / "NORMAL").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:200])
    assert call_cli("evaluate", copy_of_run / "bundle", "--data", films) == 3
    assert f"test/NORMAL/{victim.name}: is damaged or truncated" in capsys.readouterr().err
    assert call_cli("compress", DEMO, "--data", films, "--out", copy_of_run / "new", *[w for v in TINY for w in ("--set", v)]) == 2
    assert f"test/NORMAL/{victim.name} is damaged or truncated" in capsys.readouterr().err
    assert [path.name for path in (copy_of_run / "new" / "train").iterdir()] == ["stage.json"]  # said before hours of training


def test_bundle_verify_and_show(finished_run: Path, copy_of_run: Path, capsys: Captured) -> None:
    assert call_cli("bundle", "verify", finished_run / "bundle") == 0
    assert "7 files are as they were sealed" in capsys.readouterr().out
    assert call_cli("bundle", "show", finished_run / "bundle") == 0
    assert "SYNTHETIC" in capsys.readouterr().out
    (copy_of_run / "bundle" / "int8.bin").unlink()
    assert call_cli("bundle", "verify", copy_of_run / "bundle") == 1
    assert "int8.bin is missing; copy the bundle again" in capsys.readouterr().err


def test_benchmark_prints_each_row(bundle: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*arguments: Any) -> LatencyReport:
        found = benchmark(*arguments)
        return replace(found, rows=tuple(replace(row, stopped="limit") for row in found.rows))

    monkeypatch.setattr("toolkit.cli.benchmark.measure", stopped)
    quick = ("--threads", "1", "--runs", "10", "--precision", "100", "--cold-starts", "1", "--energy")
    assert call_cli("benchmark", bundle, *quick, "--json", tmp_path / "l.json") == 0
    said = capsys.readouterr().out
    assert re.search(r"^onnxruntime-fp32 +single_stream +1 +1 +\d+ .*>$", said, re.MULTILINE)
    assert "> stopped by the limit of time before the median was known as well as asked" in said
    assert re.search(r"^artifact +threads +load ms +first ms +decode and resize ms +file-to-logit ms", said, re.MULTILINE)
    assert re.search(r"^Whole command on one film \(onnxruntime-fp32\): \d+\.\d\d s, at most ", said, re.MULTILINE)
    rows = json.loads((tmp_path / "l.json").read_text())["rows"]
    assert [row["stopped"] for row in rows] == ["limit", "limit"]
    assert all((row["energy_mj"] is None) == ("reports no energy" in row["energy_reason"]) for row in rows)


def test_benchmark_has_torch_as_its_base_line(finished_run: Path, capsys: Captured) -> None:
    quick = ("--artifact", "onnxruntime-fp32", "--threads", "1", "--batch", "2", "--runs", "10", "--precision", "100", "--cold-starts", "0")
    assert call_cli("benchmark", finished_run / "bundle", *quick, "--checkpoint", finished_run / "prune") == 0
    assert re.search(r"^torch-eager +offline +1 +2 ", capsys.readouterr().out, re.MULTILINE)
    assert call_cli("benchmark", finished_run / "bundle", *quick, "--checkpoint", finished_run) == 2
    assert "there is no checkpoint.json in it" in capsys.readouterr().err


def test_data_phantom_and_check(tmp_path: Path, capsys: Captured) -> None:
    assert call_cli("data", "phantom", tmp_path / "p", "--train", "12", "--test", "6", "--size", "64") == 0
    assert call_cli("data", "check", tmp_path / "p", "--json", tmp_path / "c.json") == 0
    assert "SYNTHETIC" in capsys.readouterr().out
    assert json.loads((tmp_path / "c.json").read_text())["synthetic"] is True
    assert call_cli("data", "phantom", tmp_path / "p") == 2
    assert "exists already" in capsys.readouterr().err


def test_data_check_finds_a_leak(phantoms: Path, tmp_path: Path, capsys: Captured) -> None:
    source: Source = read_source(phantoms)
    leaked = next(case for case in source.of("test") if case.label == 0)
    for case in source.cases:
        path = tmp_path / "films" / case.name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(phantoms / case.name, path)
    os.link(phantoms / leaked.name, tmp_path / "films" / leaked.name.replace("test", "train"))
    assert call_cli("data", "check", tmp_path / "films") == 1
    assert leaked.name in capsys.readouterr().out


def test_doctor_names_what_is_missing(tmp_path: Path, capsys: Captured) -> None:
    assert call_cli("doctor", "--json", tmp_path / "d.json") == 0
    shown = capsys.readouterr().out
    assert "onnxruntime" in shown
    report = json.loads((tmp_path / "d.json").read_text())
    assert report["missing"].keys().isdisjoint(report["installed"])
    for package, command in report["missing"].items():
        assert package in shown
        assert command in shown


WRONG = {
    "no recipe": (["compress", "none.yaml", "--out", "r"], "No recipe at none.yaml"),
    "unknown key": (
        ["compress", DEMO, "--out", "r", "--set", "train.epoch=3"],
        "unknown key 'train.epoch'; valid keys here: model, epochs",
    ),
    "wrong type": (["compress", DEMO, "--out", "r", "--set", "train.epochs=many"], "'train.epochs': Expected `int`, got `str`"),
    "out of range": (["train", DEMO, "--out", "r", "--set", "prune.sparsity=1.5"], "'prune.sparsity': Expected `float` < 1.0"),
    "unknown model": (
        ["train", DEMO, "--out", "r", "--set", "train.model=resnet", *[w for v in TINY for w in ("--set", v)]],
        "Unknown model 'resnet'; known models: banjo_cnn",
    ),
    "unknown artifact": (
        ["compress", DEMO, "--out", "r", "--set", "export.artifacts=[fast]"],
        "'export.artifacts[0]': Invalid enum value 'fast'; valid values: onnxruntime-fp32, onnxruntime-fp16w",
    ),
    "missing data": (["compress", DEMO, "--out", "r", "--data", "none"], "No data at none; expected train/ and test/"),
    "no films": (
        ["compress", DEMO, "--out", "r", "--set", "data.phantom=null"],
        "Recipe 'demo' has no films of its own; give a folder with --data.",
    ),
    "no bundle": (["predict", "none", "film.png"], "No bundle at none"),
    "no option": (["predict", "none", "film.png", "--fast"], "No such option '--fast'"),
    "no verb": (["shrink"], "No such command 'shrink'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_usage_ends_with_2_and_one_sentence(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    arguments, message = WRONG[case]
    monkeypatch.chdir(tmp_path)
    assert call_cli(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "r" / "bundle").exists()


def test_debug_shows_where_it_happened() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "toolkit.cli", "predict", "none", "x", "--debug"], capture_output=True, text=True, check=False
    )
    assert "Traceback" in done.stderr
    assert "InputError: No bundle at none" in done.stderr


def test_a_full_disk_while_sealing_leaves_nothing_half_written(
    copy_of_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    before = (copy_of_run / "bundle" / "bundle.json").read_bytes()

    def full(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("toolkit.seal.shutil.copyfile", full)
    assert call_cli("compress", DEMO, "--out", copy_of_run, *[w for v in TINY for w in ("--set", v)]) == 2
    assert "No space left on device; free some space" in capsys.readouterr().err
    assert (copy_of_run / "bundle" / "bundle.json").read_bytes() == before
    assert not [path for path in copy_of_run.iterdir() if path.name.startswith(".")]
    Bundle(copy_of_run / "bundle").verify()
