"""What sealing adds to a bundle: the screen, where films are real."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

import toolkit.screen
from tests.conftest import EDGE, ROOT, TINY
from toolkit.core.bundle import CARD, MANIFEST, Bundle, ScreenEntry
from toolkit.core.codec import read_json
from toolkit.core.recipe import read_recipe
from toolkit.infer.predictor import Predictor
from toolkit.pipeline import Run
from toolkit.seal import seal

PACKAGED = Path(toolkit.screen.__file__).parent


def seal_as_real(folder: Path) -> Path:
    """Seal a finished run again, as if its films were no drawings."""
    place = folder / "export" / MANIFEST
    exported = json.loads(place.read_text())
    exported["provenance"]["synthetic"] = False
    place.write_text(json.dumps(exported))
    seal(Run(read_recipe(ROOT / "recipes" / "demo.yaml", TINY), None, folder))
    return folder / "bundle"


def test_a_bundle_of_synthetic_films_has_no_screen_and_says_so(finished_run: Path) -> None:
    bundle = Bundle(finished_run / "bundle")
    assert bundle.manifest.screen is None
    assert not (bundle.folder / "screen.onnx").exists()
    assert "It does not recognise pictures that are no chest X-rays: a bundle of synthetic films has no screen." in (
        bundle.folder / CARD
    ).read_text(encoding="utf-8")


def test_a_bundle_of_real_films_gets_the_packaged_screen(copy_of_run: Path, tmp_path: Path) -> None:
    bundle = Bundle(seal_as_real(copy_of_run))
    bundle.verify()
    entry = read_json(PACKAGED / "screen.json", ScreenEntry)
    assert bundle.manifest.screen == entry
    assert (bundle.folder / "screen.onnx").read_bytes() == (PACKAGED / "screen.onnx").read_bytes()
    card = (bundle.folder / CARD).read_text(encoding="utf-8")
    assert f"{entry.films.rejected} of {entry.films.pictures} test films" in card
    assert "does not recognise" not in card
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (EDGE, EDGE), np.uint8)).save(tmp_path / "noise.png")
    (found,) = Predictor(bundle).predict([tmp_path / "noise.png"])
    assert (found.decision, found.probability) == ("REJECTED", None)
