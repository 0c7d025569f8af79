"""Training throughput against the usual loop: torchvision's ImageFolder, transforms and DataLoader, the same network, batch and changes.

    python benchmarks/training_speed.py TRAIN_DIR [MODEL] [ROUNDS]

TRAIN_DIR holds NORMAL/ and PNEUMONIA/. Each way trains one epoch on the same films in a process of its own, turn by turn; medians over
the rounds, and their ratio. 'usual, bf16' is the usual loop with bfloat16 autocast and channels-last memory, to tell these two apart
from the rest. The films of the toolkit are decoded once, before its first epoch: that time is printed too.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import toolkit.models.torchvision_ops  # noqa: F401  isort: skip

import torch
from torch import nn

from toolkit.core.preprocessing import Preprocessing
from toolkit.core.recipe import AugmentSpec, TrainSpec
from toolkit.data.sources import read_source
from toolkit.data.store import stored_films
from toolkit.models.registry import build
from toolkit.train.fit import Callback, fit
from toolkit.train.module import Classifier

FILMS, HELD_OUT, BATCH, WORKERS = 1280, 64, 32, 2
LOOK = Preprocessing()
SHEAR_RAD, ZOOM = 0.2, 0.2


def usual(folder: Path, model: str, bf16: bool) -> dict[str, float]:
    """Films a second of the loop that everybody writes."""
    from torch.utils.data import DataLoader, Subset
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    changes = transforms.Compose(
        [
            transforms.RandomAffine(0, shear=11.5, scale=(1 - ZOOM, 1 + ZOOM)),  # 11.5 degrees are .2 rad
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
        ]
    )
    films = ImageFolder(str(folder), changes)
    chosen = Subset(films, torch.randperm(len(films), generator=torch.Generator().manual_seed(0))[:FILMS].tolist())
    loader = DataLoader(chosen, BATCH, shuffle=True, num_workers=WORKERS)
    network = build(model, LOOK).train()
    if bf16:
        network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-5)
    loss_of = nn.BCEWithLogitsLoss()
    started = time.perf_counter()
    for images, labels in loader:
        given = images.contiguous(memory_format=torch.channels_last) if bf16 else images
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = network(given)
        loss = loss_of(logits.float(), labels.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"films_per_s": FILMS / (time.perf_counter() - started)}


class Clock(Callback):
    """The time of the train batches of an epoch."""

    seconds = 0.0

    def on_train_epoch_start(self, *_: object) -> None:
        """Start."""
        self.started = time.perf_counter()

    def on_validation_start(self, *_: object) -> None:
        """Stop: held-out films come next."""
        self.seconds = time.perf_counter() - self.started


def ours(folder: Path, model: str) -> dict[str, float]:
    """Films a second of this package, and the seconds that decoding took before."""
    source = read_source(folder)
    spec = TrainSpec(
        model=model, epochs=1, batch_size=BATCH, augment=AugmentSpec(shear_rad=SHEAR_RAD, zoom=ZOOM, flip=True), precision="bf16"
    )
    with tempfile.TemporaryDirectory() as place:
        started = time.perf_counter()
        films = stored_films(source, source.cases, LOOK, Path(place), "decode")
        decoding_s = time.perf_counter() - started
        order = torch.randperm(len(films), generator=torch.Generator().manual_seed(0)).numpy()
        clock = Clock()
        module = Classifier(build(model, LOOK), spec, LOOK, 1)
        fit(module, films.take(order[:FILMS]), films.take(order[-HELD_OUT:]), Path(place) / "run", (clock,))
    return {"films_per_s": FILMS / clock.seconds, "decoding_s": decoding_s, "decoded": len(films)}


WAYS = {
    "usual": lambda folder, model: usual(folder, model, bf16=False),
    "usual, bf16": lambda folder, model: usual(folder, model, bf16=True),
    "toolkit": ours,
}


def main() -> None:
    """One way in a child process, or all of them turn by turn."""
    if sys.argv[1] == "--way":
        print(json.dumps(WAYS[sys.argv[2]](Path(sys.argv[3]), sys.argv[4])))
        return
    folder, model = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "szanet"
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    seen: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(rounds):
        for way in WAYS:
            command = [sys.executable, __file__, "--way", way, folder, model]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
            seen[way].append(found["films_per_s"])
            print(f"round {number + 1}, {way}: {found['films_per_s']:.1f} films/s", flush=True)
    print(f"decoding {found['decoded']} films once: {found['decoding_s']:.1f} s")
    middle = {way: statistics.median(values) for way, values in seen.items()}
    print(f"{model}, medians of {rounds} in films/s: " + ", ".join(f"{way} {value:.0f}" for way, value in middle.items()))
    for way in ("usual", "usual, bf16"):
        print(f"toolkit / {way} = {middle['toolkit'] / middle[way]:.2f}")


if __name__ == "__main__":
    main()
