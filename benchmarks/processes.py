"""Does SZANet learn in two processes what it learns in one, also when they are killed in the middle and one goes on?

    python -m benchmarks.processes [DATA]

Trains recipes/demo.yaml (synthetic films, or those of DATA) with one process and three seeds, whose spread is the noise; with two processes
of torchrun (gloo) and the same global batch; and with two that are killed after HALF of the epochs, where one process goes on. Prints the
curves, and keeps them in docs/results/processes.json; exit code 1 when the mean of a curve's second half lies outside of where a further
seed of one process is expected with 95 % (Student's prediction interval).
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
from scipy.stats import t

from toolkit.benchmark.host import describe_host
from toolkit.cli.options import table
from toolkit.core.codec import Frozen, encode_json
from toolkit.core.files import write_atomically
from toolkit.train.fit import read_history

OUT = Path(__file__).parent.parent / "docs" / "results" / "processes.json"
EPOCHS, HALF, SEEDS = 10, 5, (1, 2, 3)
COLUMNS = ("train_loss", "holdout_loss", "holdout_auc")


class Found(Frozen, frozen=True, kw_only=True):
    """By run and column, a value an epoch; seconds by run."""

    processor: str
    curves: Mapping[str, Mapping[str, tuple[float, ...]]]
    seconds: Mapping[str, float]


class Training:
    """Runs in a folder, on the same films."""

    def __init__(self, place: Path, data: Path | None) -> None:
        self._place, self._data = place, data

    def run(self, name: str, processes: int, seed: int = 1, stop_after: int | None = None) -> float:
        """Train; seconds. `stop_after` so many epochs all processes are killed."""
        out = self._place / name
        data = ["--data", str(self._data)] if self._data else []
        changes = [f"seed={seed}", f"train.epochs={EPOCHS}", "train.early_stopping_epochs=null", "train.keep=last", "train.precision=fp32"]
        words = ["train", "recipes/demo.yaml", "--out", str(out), *data, *(word for change in changes for word in ("--set", change))]
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
        started = time.perf_counter()
        command = subprocess.Popen([sys.executable, *launcher, "-m", "toolkit.cli", *words], stdout=subprocess.DEVNULL)
        while stop_after is not None and self._epochs(out) < stop_after:
            time.sleep(0.1)
        if stop_after is not None:
            for process in (*psutil.Process(command.pid).children(recursive=True), command):
                process.kill()
        if command.wait() and stop_after is None:
            sys.exit(f"The training '{name}' ended with {command.returncode}.")
        return time.perf_counter() - started

    def curves(self, name: str) -> dict[str, tuple[float, ...]]:
        """What a run left."""
        rows = read_history(self._place / name / "train")
        return {column: tuple(row[column] for row in rows) for column in COLUMNS}

    def _epochs(self, out: Path) -> int:
        """Whose state is on the disk too, or nearly."""
        return len(read_history(out / "train")) if (out / "train" / "last.ckpt").is_file() else 0


def second_half(curve: tuple[float, ...]) -> float:
    """Its mean."""
    return float(np.mean(curve[HALF:]))


def beyond_noise(curves: Mapping[str, Mapping[str, tuple[float, ...]]]) -> list[str]:
    """What lies further from one process than its seeds explain."""
    problems = []
    for column in COLUMNS:
        seeds = [second_half(curves[f"one, seed {seed}"][column]) for seed in SEEDS]
        middle, spread = float(np.mean(seeds)), float(np.std(seeds, ddof=1)) * (1 + 1 / len(seeds)) ** 0.5
        most = float(t.ppf(0.975, len(seeds) - 1)) * spread
        for name in ("two", "two, killed, then one"):
            gap = abs(second_half(curves[name][column]) - middle)
            if gap > most:
                problems.append(f"{name}: {column} lies {gap:.3f} from the seeds' mean, {most:.3f} are expected at most")
    return problems


def main() -> None:
    """Train, print, keep."""
    with TemporaryDirectory() as place:
        training = Training(Path(place), Path(sys.argv[1]) if len(sys.argv) > 1 else None)
        seconds = {f"one, seed {seed}": training.run(f"one, seed {seed}", 1, seed) for seed in SEEDS}
        seconds["two"] = training.run("two", 2)
        training.run("two, killed, then one", 2, stop_after=HALF)
        training.run("two, killed, then one", 1)
        names = [*seconds, "two, killed, then one"]
        curves = {name: training.curves(name) for name in names}
    write_atomically(OUT, encode_json(Found(processor=describe_host().processor, curves=curves, seconds=seconds)))
    for column in COLUMNS:
        rows = [(name, *(f"{value:.3f}" for value in curves[name][column]), f"{second_half(curves[name][column]):.3f}") for name in names]
        print(table((column, *map(str, range(1, EPOCHS + 1)), "second half"), rows), end="\n\n")
    print(", ".join(f"{name}: {taken:.0f} s" for name, taken in seconds.items()))
    if problems := beyond_noise(curves):
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
