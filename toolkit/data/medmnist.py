"""A binary MedMNIST set: `{split}_images` uint8 `[N, H, W]` and `{split}_labels` `[N, 1]`; no patients are known.

Yang et al., 'MedMNIST v2', Scientific Data 10 (2023).
"""

from __future__ import annotations

import functools
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.core.files import sha256_of_bytes
from toolkit.data.cases import SPLITS, Case, Source
from toolkit.errors import DataError
from toolkit.imaging.decode import Pixels

Arrays = dict[str, NDArray[Any]]


def read_medmnist(path: Path) -> Source:
    """Read an .npz file; raises DataError when it is damaged or holds something else."""
    arrays = _load(path)
    wanted = [f"{split}_{part}" for split in SPLITS for part in ("images", "labels")]
    needed = [key for key in wanted if not key.startswith("val") or "val_images" in arrays]
    if missing := [key for key in needed if key not in arrays]:
        raise DataError(f"{path} lacks {', '.join(missing)}; found {', '.join(arrays) or 'nothing'}. Expected a binary MedMNIST set.")
    cases: list[Case] = []
    for split in SPLITS:
        if f"{split}_images" in arrays:
            _refuse_other_kinds(path, split, arrays)
            cases.extend(_cases(arrays, split))
    return Source(str(path), tuple(cases), functools.partial(_raw, arrays))


def _load(path: Path) -> Arrays:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as cause:
        raise DataError(f"{path} is not a readable .npz file ({cause}); copy or download it again.") from cause


def _refuse_other_kinds(path: Path, split: str, arrays: Arrays) -> None:
    images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    if images.dtype != np.uint8 or images.ndim != 3:
        raise DataError(f"{path}: {split}_images are {images.dtype} of shape {images.shape}; expected grey films, uint8 [N, H, W].")
    if labels.size != len(images) or not np.isin(labels, (0, 1)).all():
        raise DataError(f"{path}: {split}_labels are {labels.size} values for {len(images)} films; expected one 0 or 1 for each.")


def _cases(arrays: Arrays, split: str) -> Iterator[Case]:
    images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"].reshape(-1)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        name = f"{split}/{index}"
        yield Case(name, split, int(label), name, "unknown", sha256_of_bytes(image.tobytes()))


def _raw(arrays: Arrays, name: str) -> Pixels:
    split, index = name.split("/")
    image: Pixels = arrays[f"{split}_images"][int(index)]
    return image
