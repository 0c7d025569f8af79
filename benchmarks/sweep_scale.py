"""A sweep on a cluster of two machines with PostgreSQL, one of which is killed in the middle: is every run made once, as on this machine?

    python -m benchmarks.sweep_scale

Eight short runs of recipes/sweep.yaml on synthetic films of 64 px: on this machine with `--engine local` and a file, and on two raylets of
one core each with PostgreSQL (Debian's package), where the second is killed when two runs are done. Prints, and keeps in
docs/results/sweep_scale.json; exit code 1 when a run is missing or made twice, ended otherwise, or has an artifact of other size or score.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.postgres import server
from tests.ray_cluster import cluster, environment
from toolkit.benchmark.host import describe_host
from toolkit.cli.options import table
from toolkit.core.codec import Frozen, encode_json, read_json
from toolkit.core.files import write_atomically
from toolkit.core.sweeps import SweepReport

OUT = Path(__file__).parent.parent / "docs" / "results" / "sweep_scale.json"
PHANTOMS = "data.phantom={train_patients: 160, test_patients: 80, size_px: 96, seed: 3}"
SHORT = ("train.epochs=3", "prune.recovery.epochs=1", "export.artifacts=[onnxruntime-fp32]", "validate.max_recall_loss_pt=100")
CHANGES = ("preprocessing.size_px=64", PHANTOMS, *SHORT, "sweep.hopeless_auc=null")  # who is given up depends on who came before
RUNS, KILLED_AFTER = 8, 2


class Found(Frozen, frozen=True, kw_only=True):
    """Seconds of both sweeps; `differing`: runs that ended otherwise than here, or with other artifacts; `passed`: those with an artifact
    that passed its gate."""

    processor: str
    local_s: float
    cluster_s: float
    runs: int
    passed: int
    differing: int


def command(out: Path, *more: str) -> list[str]:
    """`compress` with a sweep."""
    changes = [word for change in (*CHANGES, *(one for one in more if "=" in one)) for word in ("--set", change)]
    engine = [word for one in more if "=" not in one for word in ("--engine", one)]
    return [sys.executable, "-m", "toolkit.cli", "compress", "recipes/sweep.yaml", "--out", str(out), *changes, *engine]


def done(out: Path) -> SweepReport | None:
    """What is there so far."""
    return read_json(out / "sweep.json", SweepReport) if (out / "sweep.json").is_file() else None


def answers(report: SweepReport) -> dict[tuple[float, int], tuple[object, ...]]:
    """By values and seed, what came of a run, but for the time of its artifacts."""
    return {
        (trial.values["prune.target.ratio"], trial.seed): (
            trial.state,
            trial.reason,
            *((one.artifact, one.bytes, one.recall, one.roc_auc) for one in trial.points),
        )
        for trial in report.trials
    }


def on_a_cluster(out: Path) -> float:
    """Seconds, with a machine lost in the middle."""
    with server() as database, cluster(1) as machines:
        lost = machines.add_node(num_cpus=1, object_store_memory=100_000_000)
        started = time.perf_counter()
        words = command(out, f"sweep.storage={database.url}", f"ray://{machines.address}")
        run = subprocess.Popen(words, env=environment(), stdout=subprocess.DEVNULL)
        while len(report.trials if (report := done(out)) else ()) < KILLED_AFTER:
            if run.poll() is not None:
                sys.exit("The sweep ended before a machine was lost.")
            time.sleep(0.2)
        machines.remove_node(lost, allow_graceful=False)
        if run.wait():
            sys.exit(f"The sweep on the cluster ended with {run.returncode}.")
        return time.perf_counter() - started


def main() -> None:
    """Make both, compare, keep."""
    with TemporaryDirectory() as place:
        near, far = Path(place) / "near", Path(place) / "far"
        far_s = on_a_cluster(far)
        started = time.perf_counter()
        subprocess.run(command(near), check=True, stdout=subprocess.DEVNULL)
        near_s = time.perf_counter() - started
        mine, theirs = (answers(read_json(out / "sweep.json", SweepReport)) for out in (far, near))
        trials = read_json(far / "sweep.json", SweepReport).trials
    differing = sum(mine.get(key) != value for key, value in theirs.items())
    found = Found(
        processor=describe_host().processor,
        local_s=near_s,
        cluster_s=far_s,
        runs=len(trials),
        passed=sum(bool(trial.points) for trial in trials),
        differing=differing,
    )
    write_atomically(OUT, encode_json(found))
    print(table(("sweep", "seconds", "runs"), [("local", f"{near_s:.0f}", str(len(theirs))), ("cluster", f"{far_s:.0f}", str(len(mine)))]))
    if differing or len(trials) != RUNS or len(mine) != RUNS:
        sys.exit(f"{differing} runs differ; {len(mine)} of {RUNS} are done.")


if __name__ == "__main__":
    main()
