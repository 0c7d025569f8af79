"""A bundle that was damaged, forged or is of another version is refused before it is used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import make_bundle
from toolkit.core.artifacts import FileEntry
from toolkit.core.bundle import MANIFEST, MAX_MANIFEST_BYTES, Bundle, write_manifest
from toolkit.core.codec import to_plain
from toolkit.core.files import sha256_of, sha256_of_bytes
from toolkit.errors import BundleError, GateError, InputError

MODEL = "fp32.onnx"


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest's JSON."""
    data = json.loads((folder / MANIFEST).read_text())
    change(data)
    (folder / MANIFEST).write_text(json.dumps(data))


def name_file(folder: Path, path: str) -> None:
    """Let the artifact's file lie elsewhere, with the digest that it has."""
    edit(folder, lambda data: data["artifacts"][0]["files"][0].update(path=path))


def test_a_whole_bundle_verifies(opened: Callable[[], Bundle]) -> None:
    bundle = opened()
    bundle.verify()
    bundle.verify(bundle.artifact("onnxruntime-fp32"))
    assert bundle.names == ("onnxruntime-fp32",)
    assert [artifact.name for artifact in bundle.candidates("x86")] == ["onnxruntime-fp32"]


def test_the_digest_of_a_bundle_is_that_of_its_manifest(opened: Callable[[], Bundle]) -> None:
    bundle = opened()
    assert bundle.sha256 == sha256_of_bytes((bundle.folder / MANIFEST).read_bytes())


def test_a_manifest_survives_writing_and_reading(opened: Callable[[], Bundle]) -> None:
    first = opened()
    write_manifest(first.folder, first.manifest)
    assert (opened().manifest, opened().sha256) == (first.manifest, first.sha256)


def test_sizes_and_places_of_an_artifact(opened: Callable[[], Bundle]) -> None:
    bundle = opened()
    artifact = bundle.artifact("onnxruntime-fp32")
    path = bundle.folder / MODEL
    assert bundle.paths(artifact) == (path,)
    assert artifact.bytes == path.stat().st_size
    assert artifact.files[0].sha256 == sha256_of(path)
    assert artifact.passed


def test_one_changed_byte_is_found(bundle: Path) -> None:
    raw = bytearray((bundle / MODEL).read_bytes())
    raw[len(raw) // 2] ^= 1
    (bundle / MODEL).write_bytes(raw)
    with pytest.raises(BundleError, match=r"fp32\.onnx was changed: its digest is not the sealed one"):
        Bundle(bundle).verify()


def test_a_truncated_file_is_found(bundle: Path) -> None:
    (bundle / MODEL).write_bytes((bundle / MODEL).read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"fp32\.onnx was changed"):
        Bundle(bundle).verify()


def test_a_missing_file_is_named(bundle: Path) -> None:
    (bundle / MODEL).unlink()
    with pytest.raises(BundleError, match=r"fp32\.onnx is missing; copy the bundle again"):
        Bundle(bundle).verify()


def test_the_files_beside_the_models_are_verified_too(bundle: Path) -> None:
    edit(bundle, lambda data: data.update(files=[{"path": "README.md", "sha256": "0" * 64, "bytes": 3}]))
    (bundle / "README.md").write_text("abc")
    opened = Bundle(bundle)
    opened.verify(opened.artifact("onnxruntime-fp32"))
    with pytest.raises(BundleError, match=r"README\.md was changed"):
        opened.verify()


@pytest.mark.parametrize("place", ["../stolen.onnx", "sub/../../stolen.onnx", "{parent}/stolen.onnx"])
def test_a_path_out_of_the_bundle_is_not_used(place: str, bundle: Path) -> None:
    shutil.copy(bundle / MODEL, bundle.parent / "stolen.onnx")
    name_file(bundle, place.format(parent=bundle.parent))
    with pytest.raises(BundleError, match=r"names '.*stolen\.onnx', which lies outside the bundle; it is not used"):
        Bundle(bundle).verify()


def test_a_link_out_of_the_bundle_is_not_used(bundle: Path) -> None:
    (bundle / MODEL).rename(bundle.parent / "stolen.onnx")
    (bundle / MODEL).symlink_to(bundle.parent / "stolen.onnx")
    with pytest.raises(BundleError, match=r"fp32\.onnx is a link out of the bundle; it is not used"):
        Bundle(bundle).verify()


def test_a_linked_folder_out_of_the_bundle_is_not_used(bundle: Path) -> None:
    (bundle.parent / "outside").mkdir()
    (bundle / MODEL).rename(bundle.parent / "outside" / MODEL)
    (bundle / "sub").symlink_to(bundle.parent / "outside")
    name_file(bundle, f"sub/{MODEL}")
    with pytest.raises(BundleError, match="is a link out of the bundle"):
        Bundle(bundle).verify()


def test_a_bundle_may_itself_be_reached_by_a_link(bundle: Path) -> None:
    (bundle.parent / "link").symlink_to(bundle)
    linked = Bundle(bundle.parent / "link")
    linked.verify()
    assert linked.sha256 == Bundle(bundle).sha256


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_schema_version_is_refused(version: object, bundle: Path) -> None:
    edit(bundle, lambda data: data.update(schema_version=version))
    with pytest.raises(BundleError, match=f"has schema version {version}; this program reads version 1"):
        Bundle(bundle)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b'{"schema_version": 1,', b"\xff\xfe\x00", b"[" * 100_000], ids=["empty", "brace", "cut", "binary", "deep"]
)
def test_a_damaged_manifest_is_refused(raw: bytes, bundle: Path) -> None:
    (bundle / MANIFEST).write_bytes(raw)
    with pytest.raises(BundleError, match=r"bundle\.json is damaged(?i:.*copy the bundle again)"):
        Bundle(bundle)


@pytest.mark.parametrize("raw", [b"[]", b"null", b"3", b"{}"])
def test_a_manifest_that_is_no_manifest_is_refused(raw: bytes, bundle: Path) -> None:
    (bundle / MANIFEST).write_bytes(raw)
    with pytest.raises(BundleError, match="has schema version None"):
        Bundle(bundle)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data.update(telemetry="https://x"), "unknown key 'telemetry'; valid keys here: schema_version, name, model"),
        (lambda data: data["preprocessing"].update(mean=0.5), "unknown key 'preprocessing.mean'; valid keys here: size_px, colour"),
        (lambda data: data["preprocessing"].update(resize="crop"), "'preprocessing.resize': Invalid enum value 'crop'"),
        (
            lambda data: data["artifacts"][0]["operating"].update(threshold=2),
            r"'artifacts\[0\].operating.threshold': Expected `float` < 1",
        ),
        (lambda data: data.pop("labels"), "missing required field `labels`"),
        (lambda data: data["artifacts"][0].pop("requires"), "missing required field `requires`"),
    ],
)
def test_nothing_unknown_or_missing_is_filled_in(change: Callable[[dict[str, Any]], object], words: str, bundle: Path) -> None:
    edit(bundle, change)
    with pytest.raises(BundleError, match=words):
        Bundle(bundle)


def test_an_oversized_manifest_is_not_read(bundle: Path) -> None:
    with (bundle / MANIFEST).open("r+b") as stream:
        stream.truncate(MAX_MANIFEST_BYTES + 1)
    with pytest.raises(BundleError, match=r"has 4000001 bytes, more than any manifest \(4000000\)"):
        Bundle(bundle)


@pytest.mark.parametrize("place", ["", "nowhere", MODEL])
def test_a_place_without_manifest_is_no_bundle(place: str, bundle: Path) -> None:
    (bundle / MANIFEST).unlink()
    with pytest.raises(InputError, match=r"No bundle at .*: there is no bundle\.json in it"):
        Bundle(bundle / place)


def test_an_unknown_artifact_name_lists_the_known_ones(opened: Callable[[], Bundle]) -> None:
    with pytest.raises(InputError, match="has no artifact 'onnxruntime-int8'; it has: onnxruntime-fp32"):
        opened().artifact("onnxruntime-int8")


def test_without_an_artifact_that_passed_there_is_no_candidate(tmp_path: Path) -> None:
    failed = Bundle(make_bundle(tmp_path / "failed", verdict="fail"))
    assert not failed.artifact("onnxruntime-fp32").passed
    with pytest.raises(GateError, match="No artifact of .* has passed its recall gate; name one with --artifact"):
        failed.candidates("x86")


def test_an_artifact_that_was_not_judged_has_not_passed(bundle: Path) -> None:
    edit(bundle, lambda data: data["artifacts"][0].update(drift=None))
    assert not Bundle(bundle).artifact("onnxruntime-fp32").passed


def test_candidates_come_in_the_recommended_order(bundle: Path) -> None:
    def add_second(data: dict[str, Any]) -> None:
        data["artifacts"].append({**data["artifacts"][0], "name": "openvino-fp32"})
        data["recommended"] = ["openvino-fp32", "onnxruntime-fp32"]

    edit(bundle, add_second)
    opened = Bundle(bundle)
    assert [artifact.name for artifact in opened.candidates("x86")] == ["openvino-fp32", "onnxruntime-fp32"]
    assert [file.path for file in opened.manifest.all_files()] == [MODEL]  # shared, counted once


def add_screen(folder: Path, **changes: object) -> None:
    """Name a file of three bytes as the bundle's screen."""
    (folder / "screen.onnx").write_bytes(b"abc")
    limits = {"contrast_least": 3, "clipped_most": 0.9, "bright_least": 40, "dark_most": 215, "usable_least": 0.5, "inverted_most": 1}
    count = {"pictures": 2, "rejected": 1}
    entry = {"file": to_plain(FileEntry.of(folder, "screen.onnx")), "size_px": 96, "limits": limits, "films": count, "others": count}
    edit(folder, lambda data: data.update(screen={**entry, **changes}))


def test_a_bundle_sealed_without_screen_has_none(bundle: Path) -> None:
    edit(bundle, lambda data: data.pop("screen"))
    opened = Bundle(bundle)
    assert opened.manifest.screen is None
    assert opened.verified_screen() is None


def test_the_screen_belongs_to_the_bundle_and_is_verified(bundle: Path) -> None:
    add_screen(bundle)
    opened = Bundle(bundle)
    assert {file.path for file in opened.manifest.all_files()} == {MODEL, "screen.onnx"}
    opened.verify()
    assert opened.verified_screen() == bundle / "screen.onnx"
    (bundle / "screen.onnx").write_bytes(b"abd")
    for check in (opened.verify, opened.verified_screen):
        with pytest.raises(BundleError, match=r"screen\.onnx was changed"):
            check()


@pytest.mark.parametrize(
    ("changes", "words"), [({"size_px": 4}, "'screen.size_px': Expected `int` >= 16"), ({"hint": 1}, "unknown key 'screen.hint'")]
)
def test_a_screen_of_another_form_is_refused(changes: dict[str, object], words: str, bundle: Path) -> None:
    add_screen(bundle, **changes)
    with pytest.raises(BundleError, match=words):
        Bundle(bundle)
