"""Files, names and folders that were made to break the clinic's command, or that break it by chance."""

from __future__ import annotations

import csv
import io
import json
import os
import socket
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from benchmarks.fuzz import judge, measured, saved
from tests.conftest import EDGE, call_cli
from tests.imaging.test_dicom import coded, film, written
from toolkit.errors import ImageError
from toolkit.imaging.decode import decode_grey, read_file
from toolkit.imaging.limits import MAX_FILE_BYTES
from toolkit.infer.files import pictures_below

Captured = pytest.CaptureFixture[str]
PATIENCE_S = 120  # guards against a hang
MOST_MB = 500
UNDEFINED = b"\xff\xff\xff\xff"


def grey(edge: int = 64) -> Image.Image:
    return Image.fromarray((np.indices((edge, edge)).sum(0) % 256).astype(np.uint8))


def good(path: Path, level: int = 200) -> Path:
    Image.fromarray(np.full((EDGE, EDGE), level, np.uint8)).save(path)
    return path


# Hostile bytes.


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(*chunks: bytes, width: int = 64, height: int = 64, data: bytes | None = None) -> bytes:
    pixels = zlib.compress(bytes(65 * 64)) if data is None else data
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def zip_bomb() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("film.png", bytes(50_000_000))
    return stream.getvalue()


def tiff(tags: Sequence[tuple[int, int, int, int]], tail: bytes = b"", following: int = 0) -> bytes:
    """Little endian; its data follow the one directory, at 8 + 2 + 12 * tags + 4."""
    rows = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + rows + struct.pack("<I", following) + tail


def tiled_bomb() -> bytes:
    """64 x 64 px in one tile of 40 000 x 40 000, all zeros."""
    tile = zlib.compress(bytes(10**6)) * 4
    tags = {256: 64, 257: 64, 258: 8, 259: 8, 262: 1, 277: 1, 322: 40_000, 323: 40_000, 324: 8 + 2 + 12 * 10 + 4, 325: len(tile)}
    return tiff([(tag, 4, 1, value) for tag, value in tags.items()], tile)


def tiff_of_many_strips() -> bytes:
    tags = {256: 64, 257: 64, 258: 8, 259: 1, 262: 1, 277: 1, 278: 1}
    rows = [*((tag, 4, 1, value) for tag, value in tags.items()), (273, 4, 1_000_000, 8 + 2 + 12 * 8 + 4)]
    return tiff(rows, bytes(4_000_000))


def big_tiff_of_many_tags() -> bytes:
    entries = b"".join(struct.pack("<HHQQ", 40_000 + number % 20_000, 3, 1, 0) for number in range(200_000))
    return b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 200_000) + entries


def chained_tiff() -> bytes:
    """A film, then 20 000 directories; the last one leads back to the first."""
    raw = saved(grey(), "TIFF")
    at = struct.unpack_from("<I", raw, 4)[0]
    count = struct.unpack_from("<H", raw, at)[0]
    chain = b"".join(struct.pack("<HHHIII", 1, 256, 4, 1, 64, len(raw) + 18 * (number + 1)) for number in range(20_000))
    end = at + 2 + 12 * count
    return raw[:end] + struct.pack("<I", len(raw)) + raw[end + 4 :] + chain[:-4] + struct.pack("<I", at)


def looping_tiff() -> bytes:
    """A film whose one directory leads back to itself."""
    raw = bytearray(saved(grey(), "TIFF"))
    at = struct.unpack_from("<I", raw, 4)[0]
    struct.pack_into("<I", raw, at + 2 + 12 * struct.unpack_from("<H", raw, at)[0], at)
    return bytes(raw)


def jpeg_of_edge(edge: int, progressive: bool = False) -> bytes:
    """A small JPEG that announces another size."""
    raw = bytearray(saved(grey(), "JPEG", progressive=progressive))
    at = raw.index(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
    raw[at : at + 4] = struct.pack(">HH", edge, edge)
    return bytes(raw)


def jpeg_of_scans(edge: int, scans: int) -> bytes:
    """Progressive, its last scan once and again."""
    raw = saved(grey(edge), "JPEG", progressive=True)
    last = raw[raw.rindex(b"\xff\xda") : -2]
    return raw[:-2] + last * (scans - raw.count(b"\xff\xda")) + raw[-2:]


def jpeg_of_segments() -> bytes:
    raw = saved(grey(), "JPEG")
    return raw[:2] + b"\xff\xfe\0\2" * 500_000 + raw[2:]


def jpeg_with_exif(*exif: bytes) -> bytes:
    """Without density, which has Pillow look for one in the EXIF entries."""
    raw = saved(grey(), "JPEG")
    at = 4 + struct.unpack_from(">H", raw, 4)[0]
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", 8 + len(one)) + b"Exif\0\0" + one for one in exif)
    return raw[:2] + segments + raw[at:]


def exif_of_many_large_entries() -> tuple[bytes, ...]:
    """Each of 20 000 entries is all of the megabyte that they lie in."""
    body = b"II*\0" + struct.pack("<IH", 8, 20_000)
    body += b"".join(struct.pack("<HHII", 1000 + number, 7, 1_000_000, 0) for number in range(20_000))
    body = body.ljust(1_000_000, b"\0")
    return tuple(body[at : at + 60_000] for at in range(0, len(body), 60_000))


def runs_bmp(edge: int = 1000) -> bytes:
    """RLE8, a run for each pixel."""
    head = struct.pack("<IiiHHIIiiII", 40, edge, edge, 1, 8, 1, 2 * edge * edge, 0, 0, 256, 0)
    offset = 14 + 40 + 1024
    return b"BM" + struct.pack("<IHHI", offset + 2 * edge * edge, 0, 0, offset) + head + bytes(1024) + b"\1\x07" * (edge * edge)


def webp_of_edge(edge: int) -> bytes:
    raw = bytearray(saved(grey().convert("RGBA"), "WEBP", lossless=True, exif=b"Exif\0\0II*\0"))
    assert raw[12:16] == b"VP8X"
    raw[24:30] = (edge - 1).to_bytes(3, "little") * 2
    return bytes(raw)


def dicom_with(element: bytes, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A film with an element, as bytes, before its size."""
    dataset = film(np.zeros((64, 64), np.uint8))
    dataset.file_meta.TransferSyntaxUID = syntax
    raw = written(dataset)
    at = raw.index(struct.pack("<HH", 0x28, 2))
    return raw[:at] + element + raw[at:]


def nested(depth: int, closed: bool = False) -> bytes:
    """Sequences in one another, of undefined length, or with lengths."""
    if not closed:
        return (struct.pack("<HH2sH", 0x28, 0x3010, b"SQ", 0) + UNDEFINED + struct.pack("<HH", 0xFFFE, 0xE000) + UNDEFINED) * depth
    data = b""
    for _ in range(depth):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(data)) + data
        data = struct.pack("<HH2sHI", 0x28, 0x3010, b"SQ", 0, len(item)) + item
    return data


def many_items() -> bytes:
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 400_000
    return struct.pack("<HH2sHI", 0x28, 0x3010, b"SQ", 0, len(items)) + items


def rle_of_single_runs(edge: int) -> bytes:
    frame = struct.pack("<16L", 1, 64, *(0,) * 14) + b"\0\7" * (edge * edge)
    return coded(film(np.zeros((edge, edge), np.uint8)), RLELossless, frame)


def j2k(width: int = 64, tile: int = 64, **options: Any) -> bytes:
    """A codestream that announces other tiles than it has."""
    raw = bytearray(saved(grey(), "JPEG2000", no_jp2=True, **options))
    struct.pack_into(">2L", raw, 8, width, width)
    struct.pack_into(">2L", raw, 24, tile, tile)
    return coded(film(np.zeros((width, width), np.uint8)), JPEG2000Lossless, bytes(raw))


def fragments() -> bytes:
    dataset = film(np.zeros((64, 64), np.uint8))
    raw = coded(dataset, JPEGBaseline8Bit, saved(grey(), "JPEG"))
    at = raw.rindex(struct.pack("<HH", 0xFFFE, 0xE0DD))
    return raw[:at] + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 500_000 + raw[at:]


NUMBERS = b"1\\" * 500_000
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "zip bomb": (zip_bomb, "is not a picture"),
    "PNG of 65 535 px": (lambda: png(width=65_535, height=65_535), "is absurdly large"),
    "PNG of 2 147 483 647 px": (lambda: png(width=2**31 - 1, height=2**31 - 1), "is absurdly large"),
    "PNG that inflates to more than its size": (lambda: png(data=zlib.compress(bytes(200_000_000))), ""),
    "PNG text bomb": (lambda: png(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000_000)))), ""),
    "PNG profile bomb": (lambda: png(chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(200_000_000)))), ""),
    "PNG of a million chunks": (lambda: png(chunk(b"tEXt", b"") * 1_000_000), "is cut into more than 100000 pieces"),
    "PNG whose data are a million empty chunks": (lambda: png(chunk(b"IDAT", b"") * 1_000_000), "is cut into more than 100000 pieces"),
    "TIFF of 65 535 px": (lambda: tiff([(256, 4, 1, 65_535), (257, 4, 1, 65_535), (262, 3, 1, 1), (273, 4, 1, 8)]), "is absurdly large"),
    "TIFF of 4 294 967 295 px": (lambda: tiff([(256, 4, 1, 2**32 - 1), (257, 4, 1, 2**32 - 1), (273, 4, 1, 8)]), ""),
    "TIFF of one huge tile": (tiled_bomb, "tiles are larger than its picture"),
    "TIFF of a million strips": (tiff_of_many_strips, "is a TIFF with 1000000 numbers in the tag 273"),
    "BigTIFF of many tags": (big_tiff_of_many_tags, "is a TIFF of 200000 tags"),
    "TIFF of many directories": (chained_tiff, ""),
    "TIFF that leads back to itself": (looping_tiff, ""),
    "TIFF in LZMA": (
        lambda: saved(grey(), "TIFF", compression="lzma"),
        "is a TIFF with a compression that is not read; expected one of none,",
    ),
    "TIFF without a directory": (lambda: b"II*\0" + struct.pack("<I", 2**32 - 1), ""),
    "JPEG of 65 500 px": (lambda: jpeg_of_edge(65_500), "is absurdly large"),
    "progressive JPEG of 7000 px": (lambda: jpeg_of_edge(7000, progressive=True), "is a JPEG of 6 scans with 49000000 pixels each"),
    "JPEG of many scans": (lambda: jpeg_of_scans(2000, 200), "is a JPEG of 200 scans with 4000000 pixels each"),
    "JPEG of very many scans": (lambda: jpeg_of_scans(64, 39_000), ""),
    "JPEG of many segments": (jpeg_of_segments, "is cut into more than 100000 pieces"),
    "JPEG with rubbish inside": (lambda: b"\xff\xd8\xff\xfe\0\2" + bytes(2_000_000), "is cut into more than 100000 pieces"),
    "JPEG with fill bytes inside": (lambda: b"\xff\xd8" + b"\xff" * 2_000_000, "is cut into more than 100000 pieces"),
    "JPEG with EXIF entries that share their bytes": (lambda: jpeg_with_exif(*exif_of_many_large_entries()), ""),
    "BMP of runs": (runs_bmp, "is a BMP with compression, which is not read"),
    "BMP of 2 147 483 647 px": (
        lambda: b"BM" + struct.pack("<IHHIIiiHHIIiiII", 60, 0, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 8, 0, 0, 0, 0, 0, 0),
        "is absurdly large",
    ),
    "WebP of 16 383 px": (lambda: webp_of_edge(16_383), ""),
    "WebP of 16 777 216 px": (lambda: webp_of_edge(2**24), ""),
    "DICOM nested without end": (lambda: dicom_with(nested(50_000)), "is a DICOM file that is damaged"),
    "DICOM nested with lengths": (lambda: dicom_with(nested(20_000, closed=True)), "is a DICOM file that is damaged"),
    "DICOM of a million items": (lambda: dicom_with(many_items()), "is a DICOM file with an element of 3200000 bytes beside its picture"),
    "DICOM of a million elements": (
        lambda: dicom_with(struct.pack("<HHI", 0x29, 1, 0) * 1_000_000, ImplicitVRLittleEndian),
        "is cut into more than 100000 pieces",
    ),
    "DICOM with an element of 4 GB": (lambda: dicom_with(struct.pack("<HH2sHI", 0x29, 0x1001, b"OB", 0, 2**32 - 2)), "is a DICOM file"),
    "DICOM with numbers of 4 GB": (
        lambda: dicom_with(struct.pack("<HHI", 0x28, 0x1050, 2**32 - 2), ImplicitVRLittleEndian),
        "is a DICOM file",
    ),
    "DICOM with a million numbers": (
        lambda: dicom_with(struct.pack("<HHI", 0x28, 0x1050, 1_000_000) + NUMBERS, ImplicitVRLittleEndian),
        "is a DICOM file with 1000000 bytes in one of its numbers",
    ),
    "DICOM with a long character set": (
        lambda: dicom_with(struct.pack("<HHI", 8, 5, 5_000_000) + b"\\" * 5_000_000, ImplicitVRLittleEndian),
        "is a DICOM file with an element of 5000000 bytes beside its picture",
    ),
    "DICOM of 65 535 px": (lambda: written(film(np.zeros((64, 64), np.uint8), Rows=65_535, Columns=65_535)), "is absurdly large"),
    "DICOM in single runs": (lambda: rle_of_single_runs(3000), ""),
    "DICOM in a million fragments": (fragments, "is cut into more than 100000 pieces"),
    "DICOM of many tiles": (lambda: j2k(4096, 1), "holds a JPEG 2000 picture of 16777216 tiles"),
    "DICOM whose tiles have no size": (lambda: j2k(64, 0), "is a DICOM file that is damaged"),
    "DICOM of tiles that are not there": (lambda: j2k(4096, 64), ""),
    "DICOM of small precincts": (lambda: j2k(precinct_size=(1, 1), codeblock_size=(4, 4)), ""),
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them in a folder; read only."""
    folder = tmp_path_factory.mktemp("hostile")
    for number, (make, _) in enumerate(HOSTILE.values()):
        (folder / f"{number:02}.png").write_bytes(make())
    return folder


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_hostile_bytes_are_read_or_refused_in_little_time(name: str, hostile: Path) -> None:
    words = HOSTILE[name][1]
    raw, started = (hostile / f"{list(HOSTILE).index(name):02}.png").read_bytes(), time.process_time()
    try:
        assert decode_grey(raw).mode == "L"
        assert not words
    except ImageError as refused:
        assert words in str(refused)
        assert str(refused).isprintable()
    assert time.process_time() - started < PATIENCE_S


def test_the_command_survives_all_of_them_in_little_memory(hostile: Path, bundle: Path) -> None:
    names = [path.name for path in hostile.iterdir()]
    done = judge(bundle, hostile, names)
    assert done.code == 0  # the one that is expected: 3
    assert set(done.outcomes) == set(names)
    assert {outcome for outcome, _ in done.outcomes.values()} == {"answered", "refused"}
    assert done.peak_mb < MOST_MB


def test_what_needs_much_memory_is_refused_before_it_is_taken() -> None:
    with pytest.raises(ImageError, match=r"is too large: \d+ MB of memory are needed to decode it, at most 380 are used"):
        decode_grey(saved(Image.new("RGBA", (5000, 5000)), "WEBP", lossless=True, quality=0, method=0))


def test_a_very_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    os.truncate(tmp_path / "a.png", 10**12)  # a sparse file
    with pytest.raises(ImageError, match=f"has 1000000000000 bytes; at most {MAX_FILE_BYTES} are read"):
        read_file(tmp_path / "a.png")
    with pytest.raises(ImageError, match=f"has {MAX_FILE_BYTES + 1} bytes"):
        decode_grey(bytes(MAX_FILE_BYTES + 1))


def test_a_file_that_grows_while_it_is_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, look = good(tmp_path / "a.png"), os.fstat

    def then_grow(place: int) -> os.stat_result:
        found = look(place)
        with path.open("ab") as stream:
            stream.write(b"more")
        return found

    monkeypatch.setattr(os, "fstat", then_grow)
    with pytest.raises(ImageError, match="was changed while it was read; give it again when it is complete"):
        read_file(path)


# Things that are no files, names that are no names.


def run(*arguments: str | Path, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """`cxr-edge` in a process of its own, which is killed when it hangs."""
    command = [sys.executable, "-m", "toolkit.cli", *map(os.fsencode, arguments)]
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}  # as in a locale of a language; that of C is lenient
    return subprocess.run(command, input=given, capture_output=True, timeout=PATIENCE_S, check=False, env=strict)


def test_pipes_devices_and_sockets_are_not_opened(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    monkeypatch.chdir(folder)  # a socket's name is short
    os.mkfifo("pipe.png")
    Path("zero.png").symlink_to("/dev/zero")
    good(Path("good.png"))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.png")
        done = run("predict", bundle, ".", "pipe.png", "/dev/zero", "/dev/random", "/dev/stdin", given=b"x")
    assert done.returncode == 3
    said = done.stderr.decode().splitlines()
    words = "is no regular file but a pipe, a device or a socket; it is not read"
    names = ("pipe.png", "socket.png", "zero.png", "pipe.png", "/dev/zero", "/dev/random", "/dev/stdin")
    assert said == [*(f"{name}: {words}" for name in names), "7 of the inputs could not be used."]
    assert len(done.stdout.splitlines()) == 8


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 300 + ".png", "a/" * 3000 + "b.png", "\ud800.png"])
def test_a_name_that_no_file_can_have_is_named(name: str) -> None:
    with pytest.raises(ImageError, match=r"cannot be opened: "):
        read_file(Path(name))
    assert list(pictures_below(Path(name))) == [Path(name)]


NAMES = {
    "newline": b"two\nlines.png",
    "return": b"a\rb.png",
    "escape": b"red\x1b[31m\x1b]0;title\x07.png",
    "no text": b"\xff\xfe\x80.png",
    "separator": "a\u2028b\u0085c.png".encode(),
    "direction": "a\u202egnp.png".encode(),
    "quotes": b"\"',;=1+1.png",
}


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """A film under each odd name."""
    folder = tmp_path / "named"
    folder.mkdir()
    raw = saved(Image.new("L", (EDGE, EDGE), 200), "PNG")
    for name in NAMES.values():
        (folder / os.fsdecode(name)).write_bytes(raw)
    return folder


def test_the_table_for_people_has_one_line_a_film_and_no_control_characters(named: Path, bundle: Path) -> None:
    done = run("predict", bundle, named)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().removesuffix("\n").split("\n")
    assert len(lines) == len(NAMES)
    assert all(line.isprintable() and line.startswith("PNEUMONIA") for line in lines)


def test_json_has_one_line_a_film_and_no_control_characters(named: Path, bundle: Path) -> None:
    done = run("predict", bundle, named, "--json", "-")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.removesuffix(b"\n").split(b"\n")
    assert len(lines) == len(NAMES)
    assert not any(byte < 0x20 or byte == 0x7F for line in lines for byte in line)
    assert f"{named}/two\nlines.png" in {json.loads(line)["path"] for line in lines}


def test_csv_has_one_row_a_film(named: Path, bundle: Path, tmp_path: Path) -> None:
    done = run("predict", bundle, named, "--csv", tmp_path / "table.csv")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(NAMES)
    assert {row["label"] for row in rows} == {"PNEUMONIA"}


def test_csv_has_one_line_a_film_and_no_control_characters(named: Path, bundle: Path) -> None:
    done = run("predict", bundle, named, "--csv", "-")
    lines = done.stdout.removesuffix(b"\n").split(b"\n")
    assert len(lines) == 1 + len(NAMES)
    assert not any(byte < 0x20 or byte == 0x7F for line in lines for byte in line)


def test_a_list_may_hold_names_that_are_no_text(named: Path, bundle: Path) -> None:
    listed = [os.fsencode(named / os.fsdecode(name)) for name in NAMES.values() if b"\n" not in name and b"\r" not in name]
    done = run("predict", bundle, "-", given=b"\n".join([*listed, b"a\0b", b""]))
    assert done.returncode == 3, done.stderr
    assert len(done.stdout.splitlines()) == len(listed) + 1


def peak_mb_of_list(bundle: Path, names: int) -> float:
    given = b"".join(b"/nowhere/film-%d.png\n" % number for number in range(names))
    ended = measured([sys.executable, "-m", "toolkit.cli", "predict", str(bundle), "-", "--workers", "1"], given)
    assert (ended.code, ended.lines) == (3, names)
    return ended.peak_mb


def test_a_long_list_takes_no_more_memory_than_a_short_one(bundle: Path) -> None:
    assert peak_mb_of_list(bundle, 100_000) < peak_mb_of_list(bundle, 1000) + 10


# Folders.


def test_links_in_a_circle_are_named_and_not_followed(tmp_path: Path, bundle: Path, capsys: Captured) -> None:
    film_of_it = good(tmp_path / "films" / "deep" / "a.png") if (tmp_path / "films" / "deep").mkdir(parents=True) is None else None
    assert film_of_it is not None
    folder = tmp_path / "films"
    (folder / "deep" / "up").symlink_to("..")
    (folder / "self.png").symlink_to("self.png")
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "linked.png").symlink_to(film_of_it)
    assert list(pictures_below(folder)) == [
        *(folder / "deep" / "a.png", folder / "deep" / "up", folder / "gone.png", folder / "linked.png", folder / "self.png")
    ]
    assert call_cli("predict", bundle, folder) == 3
    said = dict(line.split(": ", 1) for line in capsys.readouterr().err.splitlines()[:-1])
    assert said == {
        str(folder / "deep" / "up"): "is a link to a folder, which is not followed or has no pictures; give the folder itself",
        str(folder / "gone.png"): "cannot be opened: No such file or directory",
        str(folder / "self.png"): "cannot be opened: Too many levels of symbolic links",
    }


def test_a_linked_folder_that_is_given_itself_is_entered(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    good(tmp_path / "films" / "a.png")
    (tmp_path / "link").symlink_to("films")
    assert list(pictures_below(tmp_path / "link")) == [tmp_path / "link" / "a.png"]


def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "locked", "z"):
        (tmp_path / name).mkdir()
        good(tmp_path / name / "film.png")
    look, locked = os.scandir, tmp_path / "locked"

    def guarded(path: Any) -> Any:
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied")
        return look(path)

    def refused(*_: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", guarded)  # root may read everything
    assert list(pictures_below(tmp_path)) == [tmp_path / "a" / "film.png", locked, tmp_path / "z" / "film.png"]
    with pytest.raises(ImageError, match="cannot be opened: Permission denied"):
        read_file(locked)
    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(ImageError, match="cannot be opened: Permission denied"):
        read_file(tmp_path / "a" / "film.png")


def test_a_folder_may_change_while_it_is_read(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        for number in range(3):
            good(tmp_path / name / f"{number}.png")
    found = pictures_below(tmp_path)
    assert next(found) == tmp_path / "a" / "0.png"
    (tmp_path / "a" / "1.png").unlink()
    good(tmp_path / "a" / "new.png")
    for file in (tmp_path / "b").iterdir():
        file.unlink()
    (tmp_path / "b").rmdir()
    good(tmp_path / "c" / "new.png")
    rest = [path.relative_to(tmp_path).as_posix() for path in found]
    assert rest == ["a/1.png", "a/2.png", "b", "c/0.png", "c/1.png", "c/2.png", "c/new.png"]
    for gone in ("a/1.png", "b"):
        with pytest.raises(ImageError, match="cannot be opened: No such file or directory"):
            read_file(tmp_path / gone)


def test_a_folder_that_becomes_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b.png").mkdir()
    good(tmp_path / "a" / "0.png")
    found = pictures_below(tmp_path)
    next(found)
    (tmp_path / "b.png").rmdir()
    good(tmp_path / "b.png")
    assert list(found) == [tmp_path / "b.png"]


def test_a_folder_given_twice_is_read_twice_and_an_empty_one_is_named(tmp_path: Path, bundle: Path, capsys: Captured) -> None:
    for name in ("films", "empty"):
        (tmp_path / name).mkdir()
    good(tmp_path / "films" / "a.png")
    assert call_cli("predict", bundle, tmp_path / "films", tmp_path / "films", tmp_path / "empty") == 3
    out, err = capsys.readouterr()
    assert [line.rpartition("/")[2] for line in out.splitlines()] == ["a.png", "a.png", "empty"]
    assert err.splitlines()[0] == f"{tmp_path / 'empty'}: is a folder without pictures"


def test_folders_nested_deeper_than_calls_may_be(tmp_path: Path) -> None:
    folders = [tmp_path / "/".join("d" * depth) for depth in range(1, 1500)]
    try:
        for folder in folders:
            folder.mkdir()
        good(folders[-1] / "a.png")
        assert list(pictures_below(tmp_path)) == [folders[-1] / "a.png"]
        (folders[-1] / "a.png").unlink()
    finally:
        for folder in reversed(folders):
            folder.rmdir()


def test_the_order_is_that_of_the_names(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.JPG", "a.png", "a/9.png", "a b/1.tif", "B/1.dcm", "c.txt", "b/c/d.webp", "b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    expected = [path for path in sorted(tmp_path.rglob("*")) if path.is_file() and path.suffix != ".txt"]
    assert list(pictures_below(tmp_path)) == expected
