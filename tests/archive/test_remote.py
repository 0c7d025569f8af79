"""Films of an object store, through Arrow's own client: the same choice, order and answers as of a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.archive.test_shards import rows
from tests.cli.test_predict import film
from tests.imaging.test_dicom import film as dicom_film
from tests.imaging.test_dicom import written
from tests.s3 import store


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """Films as archives have them: in folders, DICOM without a suffix, and what is no film."""
    (folder := tmp_path / "store" / "films" / "1").mkdir(parents=True)
    film(folder / "b 2.png", 210)
    film(folder / "a.png", 20)
    (folder / "IM000001").write_bytes(written(dicom_film(np.full((64, 64), 900, np.uint16))))
    (folder / "DICOMDIR").write_bytes(written(dicom_film(np.full((64, 64), 900, np.uint16))))
    (folder / "notes.txt").write_text("no film", encoding="ascii")
    (folder / "README").write_text("no film", encoding="ascii")
    (folder.parent / "broken.jpeg").write_bytes(b"no film")
    return folder.parent


@pytest.fixture
def address(bucket: Path) -> Iterator[str]:
    with store(bucket.parent) as found:
        yield found


def predict(address: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hidden", "AWS_ENDPOINT_URL": address, "AWS_EC2_METADATA_DISABLED": "true"}
    command = [sys.executable, "-m", "toolkit.cli", "predict", *arguments]
    return subprocess.run(
        command, env={**os.environ, **keys, "AWS_REGION": "eu-central-1"}, capture_output=True, text=True, check=False, timeout=120
    )


def test_a_store_is_judged_as_a_folder_is(bundle: Path, bucket: Path, address: str, tmp_path: Path) -> None:
    far, near = tmp_path / "far", tmp_path / "near"
    done = predict(address, bundle, "s3://films", "--shards", far)
    assert done.returncode == 3, done.stderr
    assert predict(address, bundle, bucket, "--shards", near).returncode == 3
    assert [row["path"] for row in rows(far)] == [
        "s3://films/1/IM000001",
        "s3://films/1/a.png",
        "s3://films/1/b 2.png",
        "s3://films/broken.jpeg",
    ]
    answers = [[{key: cell for key, cell in row.items() if key != "path"} for row in rows(place)] for place in (far, near)]
    assert answers[0] == answers[1]
    assert "hidden" not in "".join(file.read_text(encoding="utf-8") for file in far.rglob("*") if file.is_file())


def test_a_film_that_is_gone_meanwhile_is_rejected_and_one_object_can_be_named(
    bundle: Path, bucket: Path, address: str, tmp_path: Path
) -> None:
    done = predict(address, bundle, "s3://films/1/a.png", "--shards", tmp_path / "one")
    assert (done.returncode, len(rows(tmp_path / "one"))) == (0, 1), done.stderr
    (tmp_path / "one" / "lists" / "000000").write_bytes(b"s3://films/gone.png\0s3://films/1/a.png\0")
    (tmp_path / "one" / "results" / "000000.csv").unlink()
    assert predict(address, bundle, "s3://films/1/a.png", "--shards", tmp_path / "one").returncode == 3
    found = rows(tmp_path / "one")
    assert [row["decision"] for row in found] == ["REJECTED", "NORMAL"]
    assert found[0]["error"].startswith("cannot be opened: ")


def test_a_store_that_does_not_answer_or_has_nothing_is_said(bundle: Path, bucket: Path, address: str, tmp_path: Path) -> None:
    done = predict(address, bundle, "s3://films/none", "--shards", tmp_path / "out")
    assert (done.returncode, "s3://films/none cannot be listed: " in done.stderr) == (2, True)
    done = predict("http://127.0.0.1:9", bundle, "s3://films", "--shards", tmp_path / "out")
    assert (done.returncode, "s3://films cannot be listed: " in done.stderr) == (2, True)
    done = predict(address, bundle, "s4://films", "--shards", tmp_path / "out")
    assert (done.returncode, "s4://films is no address of a store that can be read" in done.stderr) == (2, True)
