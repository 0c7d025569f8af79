"""Archives on a cluster of two machines: the local answers, also when one of them is lost in the middle."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.archive.test_shards import rows
from tests.conftest import EDGE, make_bundle
from tests.ray_cluster import cluster, environment

FILMS, SHARD = 3000, 50


@pytest.fixture(scope="module")
def machines() -> Iterator[Any]:
    with cluster(2) as found:
        yield found


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle, and films of which each tenth is none."""
    (folder := tmp_path_factory.mktemp("archive") / "films").mkdir()
    for number in range(FILMS):
        path = folder / f"{number:04d}.png"
        if number % 10:
            Image.fromarray(np.full((EDGE, EDGE), number % 250, np.uint8)).save(path)
        else:
            path.write_bytes(b"no film")
    return make_bundle(folder.parent / "bundle"), folder


def command(archive: tuple[Path, Path], out: Path, engine: str) -> list[str | Path]:
    bundle, films = archive
    return [
        sys.executable,
        "-m",
        "toolkit.cli",
        "predict",
        bundle,
        films,
        *("--shards", out, "--shard-size", str(SHARD), "--engine", engine),
    ]


def test_a_lost_machine_costs_no_film_and_changes_no_answer(machines: Any, archive: tuple[Path, Path], tmp_path: Path) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    assert subprocess.run(command(archive, near, "local"), capture_output=True, check=False).returncode == 3
    lost = machines.add_node(num_cpus=1, object_store_memory=100_000_000)
    run = subprocess.Popen(command(archive, far, f"ray://{machines.address}"), env=environment(), stdout=subprocess.DEVNULL)
    while len(list(far.glob("results/*.csv"))) < 5:
        assert run.poll() is None
        time.sleep(0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        machines.remove_node(lost, allow_graceful=False)
    assert len(list(far.glob("results/*.csv"))) < FILMS // SHARD
    assert run.wait() == 3
    assert rows(far) == rows(near)
    assert len(rows(far)) == FILMS


def test_a_worker_with_another_package_is_refused_by_name(machines: Any, archive: tuple[Path, Path], tmp_path: Path) -> None:
    code = (
        "import toolkit.engine.on_ray as on_ray; from toolkit.cli.main import run; true = on_ray.here()\n"
        "on_ray.here = lambda: true._replace(package_sha256='0' * 64)\n"
        f"run({[str(word) for word in command(archive, tmp_path / 'out', f'ray://{machines.address}')[3:]]!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "has another cxr-edge (files" in done.stderr
    assert "install there what is installed here" in done.stderr


def test_no_cluster_at_the_address_is_said(archive: tuple[Path, Path], tmp_path: Path) -> None:
    done = subprocess.run(
        command(archive, tmp_path / "out", "ray://127.0.0.1:9"), env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Error: No Ray cluster answers at 127.0.0.1:9" in done.stderr
    assert "ray start --head" in done.stderr


def test_rays_own_reports_stay_off_and_errors_of_the_work_come_through(machines: Any, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from toolkit.engine.choose import chosen; from tests.engine.test_engines import Squares\n"
        "engine = chosen(sys.argv[1])\n"
        "from ray._common.usage.usage_lib import usage_stats_enabled\n"
        "found = sorted(engine.run(Squares(Path(sys.argv[2]), lethal=4), range(9)))\n"
        "try: list(engine.run(Squares(Path(sys.argv[2]), bad=3, key='bad'), range(9)))\n"
        "except Exception as error: said = repr(error)\n"
        "engine.close(); print(usage_stats_enabled(), said, found)\n"
    )
    names = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code, f"ray://{machines.address}", tmp_path],
        env={**environment(), **names},
        capture_output=True,
        text=True,
        check=False,
    )
    squares = [(number, number * number) for number in range(9)]
    assert done.stdout == f"False GateError('3 does not pass.') {squares}\n", done.stderr
    assert (tmp_path / "killed").exists()


def test_drift_on_a_cluster_is_drift_here(machines: Any, phantoms: Path, tmp_path: Path) -> None:
    bundle, found = make_bundle(tmp_path / "bundle"), []
    for engine in ("local", f"ray://{machines.address}"):
        words = ("drift", bundle, "--data", phantoms, "--against", bundle, "--max-recall-loss", "100", "--json", "-", "--engine", engine)
        command = [sys.executable, "-m", "toolkit.cli", *words]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stderr
        found.append(done.stdout)
    assert found[0] == found[1]
    assert '"artifact": "onnxruntime-fp32"' in found[0]


def test_a_ray_of_this_machine_alone_gives_the_local_answers_and_leaves_nothing(archive: tuple[Path, Path], tmp_path: Path) -> None:
    before = set(Path(tempfile.gettempdir()).glob("cxr-ray-*"))
    bundle, films = archive
    some = "\n".join(str(film) for film in sorted(films.iterdir())[:60])
    for engine in ("local", "ray"):
        words = command((bundle, films), tmp_path / engine, engine)
        words[words.index(films)] = "-"
        done = subprocess.run(words, input=some, env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 3, done.stderr
    assert rows(tmp_path / "ray") == rows(tmp_path / "local")
    assert set(Path(tempfile.gettempdir()).glob("cxr-ray-*")) == before
