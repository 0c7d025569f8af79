"""Which resize makes full-size films score like the films that were already squashed to 224 pixels?

    python benchmarks/resize_twins.py BUNDLE FULLSIZE_DIR TRAIN_DIR

Both folders hold NORMAL/ and PNEUMONIA/ with the same file names. Prints, for each filter, the mean absolute difference of pixels
(0..255) and of logits between a film and its small twin.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from toolkit.core.bundle import Bundle
from toolkit.imaging.decode import read_grey
from toolkit.imaging.prepare import prepare_file
from toolkit.infer.predictor import Predictor

FILTERS = ("bilinear", "hamming", "bicubic", "box", "lanczos", "nearest")


def without_antialiasing(film: Image.Image, edge: int) -> np.ndarray:
    """Bilinear interpolation between the four nearest pixels, as many a preprocessing does."""
    pixels = torch.from_numpy(np.asarray(film).astype(np.float32))[None, None]
    small = torch.nn.functional.interpolate(pixels, size=(edge, edge), mode="bilinear", antialias=False)
    return small[0, 0].round().clamp(0, 255).numpy().astype(np.uint8)


def main(bundle: Path, full_folder: Path, small_folder: Path) -> None:
    """Print a line for each filter."""
    predictor = Predictor(Bundle(bundle), "onnxruntime-fp16w")
    edge = predictor.preprocessing.size_px
    paths = sorted(full_folder.rglob("*.jpeg"))
    small = np.stack([prepare_file(small_folder / path.parent.name / path.name, predictor.preprocessing) for path in paths])
    films = [read_grey(path) for path in paths]
    prepared = {
        name: np.stack([np.asarray(film.resize((edge, edge), Image.Resampling[name.upper()])) for film in films]) for name in FILTERS
    }
    prepared["bilinear, no antialiasing"] = np.stack([without_antialiasing(film, edge) for film in films])
    expected = predictor.session.logits(small[:, None])
    for name, images in prepared.items():
        pixels = np.abs(images.astype(int) - small).mean()
        logits = np.abs(predictor.session.logits(images[:, None]) - expected).mean()
        print(f"{name}: pixels {pixels:.2f}, logits {logits:.3f}, {len(paths)} films")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
