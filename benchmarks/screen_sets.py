"""The sets of real pictures that the screen is fitted on and measured with, and how they are read.

Each is a folder of a public repository at one commit. Nothing of them is kept here; `git clone` brings them: CLONES/OWNER+NAME.
"""

from __future__ import annotations

import csv
import hashlib
import io
import subprocess
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from toolkit.core.preprocessing import Preprocessing
from toolkit.errors import ImageError
from toolkit.imaging.decode import Pixels
from toolkit.imaging.prepare import prepare_raw

Role = Literal["fitted", "measured", "half"]
METADATA, RADIOPAEDIA = "metadata.csv", "datasets/radiopaedia/*"
MOST_BYTES = 4 * 2**20  # so that copies that lack large files give the same sets
FRONTAL, LATERAL, SLICES = ("PA", "AP", "AP Supine"), ("L",), ("Axial", "Coronal")


class Repository(NamedTuple):
    """Where pictures come from. `licence` as the repository states it."""

    name: str
    commit: str
    licence: str


class PictureSet(NamedTuple):
    """Pictures of one kind. `role` 'half': whole groups (patients, classes) are either fitted or measured, as the digest of their name
    falls. `views`: only pictures with one of these in the repository's table. `most`: so many at most, the first by the digest of the
    name. `only` and `never`: names without suffix that alone belong to it, or do not. `frontal`: frontal chest films, which must not be
    rejected. A picture that is there twice counts once."""

    name: str
    repository: Repository
    pattern: str
    role: Role
    group: Callable[[str], str]
    frontal: bool = False
    views: tuple[str, ...] = ()
    most: int = 10_000
    only: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()


class Picture(NamedTuple):
    """A prepared picture uint8 `[size_px, size_px]`, the group it belongs to, and whether that is fitted."""

    pixels: Pixels
    group: str
    fitted: bool


def _stem(path: str) -> str:
    return PurePosixPath(path).stem


def _digits(path: str) -> str:
    """The patient's number in OAI's names, such as 9003815R: both knees are one patient's."""
    return _stem(path).rstrip("LR")


def _first_word(path: str) -> str:
    """The patient of the spine films, such as 'N134, Rt TAIS, F, 12 Yrs'."""
    return _stem(path).partition(",")[0].strip()


COVID = Repository("hida6/covid-chestxray-dataset", "584034aa7fbf06496741f11008d72fd791c8e443", "of each picture; mostly CC BY-NC-SA")
IMAGENET = Repository("EliSchwartz/imagenet-sample-images", "bc69043e2862758a1906c6a24a792bb28c6bb2ff", "none stated")
HANDS = Repository("ajayduraisamy/Bone-detection-using-x-ray-images", "54d1061b858b3189b4315ab7bed442f3c9f1c5c1", "none stated")
KNEES = Repository("Rohan-145/KneeOA_Analysis", "d403ccad31eda5800165492251f6686abbb5ca04", "none stated")
SKULLS = Repository(
    "Thiggel/Cephalometric-Landmark-Detection-Using-Contemporary-DL", "8438e22cb1312ce734bad284805e660b21020cd5", "none stated"
)
SPINES = Repository("AdamSkog/Scoliosis-Xray-Classification", "a5b5b2972851c9b97498d068b78c55ab73d9c993", "MIT")
FOOD = Repository(
    "Shyam-daniel/testing12", "4926a00e69bd7bd9828b4df02b3efa8d7b40f2c3", "none stated"
)  # its folders are named after tumours
BRAINS = Repository("MohamedAliHabib/Brain-Tumor-Detection", "30470ae8eb2e4a523df7dc45dd5323903cb98365", "Apache-2.0")
PLOTS = Repository("25maikelo/boneage-predictor", "bfb19631feff071c49642623f1c8f0e191e9caae", "none stated")
BSDS = Repository("BIDS/BSDS500", "a04b7c6c3a9f0ace74bf205c72a43d32e1c72722", "none stated; non-commercial research")
LIMBS = Repository("ewen-lbh/bone-fracture-detection", "3f31bab286f62a05dd2eaba7f3edfc7918b8feb6", "none stated; pictures of Radiopaedia")
ARMS = Repository("FangCao0510/Bone-Fracture-Detection", "890addbd9d5365000c1073b2b470c38e738672d2", "none stated")
ACTUALMED = Repository("agchung/Actualmed-COVID-chestxray-dataset", "27240dd8dec9454bc97f9f3c0c432ef434de2517", "none stated; research")
FIGURE1 = Repository("agchung/Figure1-COVID-chestxray-dataset", "95bb569e55f4110d3b734c0f355340e04e16989a", "none stated; research")
SAMPLES = Repository("mlmed/torchxrayvision", "f4087a0b0d0cdc6a5877fb5456965b6d29adb1e5", "Apache-2.0")

CHESTS_AMONG_LIMBS = frozenset(
    (
        "anterior-shoulder-dislocation-with-hill-sachs-and-bony-bankart-lesions",
        "anterior-shoulder-fracture-dislocation-4",
        "apical-capping-due-to-thoracic-fractures-pelvic-trauma",
        "aspirated-tooth-3",
        "bilateral-posterior-shoulder-dislocation-1",
        "bilateral-shoulder-dislocation-1",
        "birth-trauma-left-clavicle-fracture-1",
        "birth-trauma-right-clavicle-fracture-2",
        "blunt-thoracic-trauma",
        "bronchogenic-cyst-mediastinal-3",
        "chest-x-ray-after-trauma",
        "clavicle-fracture-17",
        "clavicle-greenstick-fracture-1",
        "clavicular-fracture-8",
        "congenital-bochdalek-hernia-with-intrathoracic-stomach",
        "deep-sulcus-sign-12",
        "deep-sulcus-sign-of-supine-pneumothorax-2",
        "deep-sulcus-sign-pneumothorax-2",
        "descending-thoracic-aortic-aneurysm",
        "diaphragmatic-rupture-4",
    )
)
"""Frontal chest films among Radiopaedia's shoulders and limbs, found by looking at all of them before anything was measured."""

SETS = (
    PictureSet("frontal films of adults, COVID collection", COVID, "images/*", "half", _stem, frontal=True, views=FRONTAL),
    PictureSet("frontal films of adults, Actualmed", ACTUALMED, "images/*", "measured", _stem, frontal=True),
    PictureSet("frontal films of adults, Figure 1", FIGURE1, "images/*", "measured", _stem, frontal=True),
    PictureSet("frontal films of adults, NIH and TBX11K samples", SAMPLES, "tests/*.png", "measured", _stem, frontal=True),
    PictureSet("lateral chest films", COVID, "images/*", "half", _stem, views=LATERAL),
    PictureSet("CT slices", COVID, "images/*", "measured", _stem, views=SLICES),
    PictureSet("photographs, ImageNet samples", IMAGENET, "*.JPEG", "half", _stem),
    PictureSet("photographs, BSDS500", BSDS, "BSDS500/data/images/*/*.jpg", "measured", _stem),
    PictureSet("hands", HANDS, "images/*.png", "half", _stem),
    PictureSet("frontal chest films, Radiopaedia", LIMBS, RADIOPAEDIA, "measured", _stem, frontal=True, only=CHESTS_AMONG_LIMBS),
    PictureSet("limbs, shoulders, spines, skulls, Radiopaedia", LIMBS, RADIOPAEDIA, "measured", _stem, never=CHESTS_AMONG_LIMBS),
    PictureSet("arms, wrists, hands, another collection", ARMS, "WebChanDoanGayTay/Uploads/*", "measured", _stem),
    PictureSet("knees", KNEES, "ClaheDataset224/*/*/*", "half", _digits, most=1600),
    PictureSet("skulls from the side", SKULLS, "dataset/benchmark/images/*", "half", _stem),
    PictureSet("spines", SPINES, "data/*/*", "half", _first_word),
    PictureSet("MR slices of brains", BRAINS, "[yn]*/*", "measured", _stem),
    PictureSet("photographs of food", FOOD, "T*ing/*/*.jpg", "fitted", _stem),
    PictureSet("plots", PLOTS, "experiments/*/*/*.png", "fitted", _stem, most=150),
)


def pictures(chosen: PictureSet, clones: Path, preprocessing: Preprocessing) -> Iterator[Picture]:
    """The pictures of a set, in the order of their names; one that is large, cannot be decoded or is not in the clone is passed over.
    Raises CalledProcessError where the commit is not there."""
    git = _git(clones / chosen.repository.name.replace("/", "+"))
    views = _table(git(f"{chosen.repository.commit}:{METADATA}")) if chosen.views else {}
    seen: set[bytes] = set()
    for path in sorted(_paths(chosen, git)):
        if chosen.views and views.get(PurePosixPath(path).name, ("", ""))[0] not in chosen.views:
            continue
        group = views[PurePosixPath(path).name][1] if chosen.views else chosen.group(path)
        fitted = chosen.role == "fitted" or (chosen.role == "half" and _digest(f"{chosen.repository.name} {group}") % 2 == 0)
        try:
            raw = git(f"{chosen.repository.commit}:{path}")
            if len(raw) < MOST_BYTES and (digest := hashlib.sha256(raw).digest()) not in seen:
                seen.add(digest)
                yield Picture(prepare_raw(raw, preprocessing), group, fitted)
        except (ImageError, subprocess.CalledProcessError):
            continue


def _paths(chosen: PictureSet, git: Callable[[str], bytes]) -> list[str]:
    listed = _walk(git, chosen.repository.commit, _fixed_part(chosen.pattern))
    depth = chosen.pattern.count("/")
    fitting = [path for path in listed if path.count("/") == depth and fnmatchcase(path, chosen.pattern) and _belongs(chosen, _stem(path))]
    return sorted(fitting, key=_digest)[: chosen.most]


def _belongs(chosen: PictureSet, name: str) -> bool:
    return name not in chosen.never and (not chosen.only or name in chosen.only)


def _fixed_part(pattern: str) -> str:
    """The folders before the first star, such as 'BSDS500/data/images/'."""
    return "/".join(pattern.partition("*")[0].split("/")[:-1])


def _walk(git: Callable[[str], bytes], commit: str, folder: str) -> Iterator[str]:
    """`git show COMMIT:FOLDER` lists a folder."""
    for name in git(f"{commit}:{folder}").decode().splitlines()[2:]:  # after a title and an empty line
        path = f"{folder}/{name}".lstrip("/")
        if name.endswith("/"):
            yield from _walk(git, commit, path.rstrip("/"))
        else:
            yield path


def _table(raw: bytes) -> dict[str, tuple[str, str]]:
    """(view, patient) by file name; a picture without a patient is its own."""
    rows = csv.DictReader(io.StringIO(raw.decode()))
    return {row["filename"]: (row["view"], row["patientid"] or row["filename"]) for row in rows}


def _git(place: Path) -> Callable[[str], bytes]:
    """`git show` in a clone, bare or not."""
    found = next((folder for folder in (place / ".git", place / "repo" / ".git", place / "repo") if (folder / "objects").is_dir()), place)

    def show(what: str) -> bytes:
        return subprocess.run(["git", "--git-dir", str(found), "show", what], check=True, capture_output=True).stdout

    return show


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
