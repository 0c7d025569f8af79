"""Peak memory of training on many full-size films: each of the given films is copied under many names (a few bytes are added behind the
picture, so that no two are equal), and one epoch is trained on all of them.

    python benchmarks/training_memory.py FULLSIZE_DIR WORK_DIR [FILMS] [RECIPE]

FULLSIZE_DIR holds NORMAL/ and PNEUMONIA/; WORK_DIR needs 10 GB for 20 000 films and is emptied at the end. Prints the peak resident memory
of the command `cxr-edge train`, mapped pages included.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = {"NORMAL": "IM-{number:05d}-0001.jpeg", "PNEUMONIA": "person{number}_bacteria_1.jpeg"}
TESTED = 10  # films of each class


def main() -> None:
    """Copy, train, measure, remove."""
    given, work = Path(sys.argv[1]), Path(sys.argv[2])
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 20_000
    recipe = sys.argv[4] if len(sys.argv) > 4 else "recipes/reports/szanet.yaml"
    try:
        for label, name in NAMES.items():
            films = [file.read_bytes() for file in sorted((given / label).iterdir())]
            for split, number_of in (("train", count // 2), ("test", TESTED)):
                folder = work / "films" / split / label
                folder.mkdir(parents=True)
                for number in range(number_of):
                    raw = films[number % len(films)]
                    unique = number + (count if split == "test" else 0)
                    (folder / name.format(number=unique)).write_bytes(raw + f"{label}{unique}".encode())
        command = [
            "-m",
            "toolkit.cli",
            "train",
            recipe,
            "--data",
            str(work / "films"),
            "--out",
            str(work / "run"),
            "--set",
            "train.epochs=1",
        ]
        subprocess.run([sys.executable, *command], check=True)
        peak_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        pixels_gb = sum(file.stat().st_size for file in (work / "run" / "films").rglob("*.npy")) / 1e9
        print(f"{count} full-size films, {recipe}: peak {peak_gb:.2f} GB resident; {pixels_gb:.2f} GB of prepared pixels on disk")
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
