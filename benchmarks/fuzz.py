"""Does any file break the clinic's command? Small films of every format, damaged in many ways, are judged by `cxr-edge predict` itself.

    python -m benchmarks.fuzz BUNDLE [--files 20000] [--seed 1]

Writes docs/results/fuzz.json: what became of the files of each format, the slowest one, the most memory that a process took. Exit code 1
when a process crashed, a file took more than 5 s, a process more than 500 MB, or a file is missing in the output. File NUMBER of a seed is
always the same: `damaged(seed, number)` gives it again.
"""

from __future__ import annotations

import argparse
import io
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from toolkit.core.bundle import Bundle
from toolkit.core.codec import Frozen, encode_json
from toolkit.core.files import write_atomically
from toolkit.errors import CxrEdgeError
from toolkit.imaging.encode import to_dicom

OUT = Path(__file__).parent.parent / "docs" / "results" / "fuzz.json"
MOST_MS, MOST_MB = 5000, 500
BATCH = 250
HANG_S = 300
EDGE = 48
SOME_UNUSABLE = 3
HEADER = 512  # half of the damage is done here
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
LAUNCHER = """
import resource, subprocess, sys
seconds, *command = sys.argv[1:]
try:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=float(seconds))
    code, lines = done.returncode, len(done.stdout.splitlines())
except subprocess.TimeoutExpired:
    code, lines = -9, 0
print(code, lines, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
Outcome = Literal["answered", "refused", "crashed", "unaccounted"]
Random = np.random.Generator
Grey = NDArray[np.uint8]


class Row(Frozen, frozen=True, kw_only=True):
    """What became of the files of one format. `slow`: how many took more than the limit, whatever else became of them."""

    format: str
    files: int
    answered: int
    refused: int
    crashed: int
    unaccounted: int
    slow: int
    slowest_ms: float


class Report(Frozen, frozen=True, kw_only=True):
    """One run. `crashes`: numbers of the files that a process broke down over, by its exit code."""

    bundle: str
    seed: int
    files: int
    limit_ms: int
    limit_mb: int
    peak_mb: float
    slowest_ms: float
    slowest_file: str
    crashes: Mapping[str, str]
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """True when nothing happened that must not."""
        return self.peak_mb <= self.limit_mb and not any(row.crashed or row.unaccounted or row.slow for row in self.rows)


class Film(NamedTuple):
    """A file to be judged: its name says its kind and number."""

    name: str
    raw: bytes


class Ended(NamedTuple):
    """How a command ended: exit code, negative for a signal; lines on standard output; the most memory that it took."""

    code: int
    lines: int
    peak_mb: float


class Done(NamedTuple):
    """What a process said of each file: its outcome and milliseconds; and the memory that it took."""

    outcomes: dict[str, tuple[Outcome, float]]
    peak_mb: float
    code: int


def phantom(edge: int = EDGE) -> Grey:
    """A soft shadow with some grain, uint8 `[edge, edge]`."""
    y, x = np.indices((edge, edge)) / edge
    grain = np.random.default_rng(0).integers(0, 12, (edge, edge))
    return (110 + 70 * np.sin(5 * x) + 50 * np.cos(4 * y) + grain).clip(0, 255).astype(np.uint8)


def lossless_jpeg(pixels: NDArray[Any]) -> bytes:
    """Grey uint8 or uint16 `[H, W]` as JPEG lossless, selection value 1 (ITU-T T.81 annex H): each pixel as its difference to the one on
    its left, the first of a row to the one above. Every category of difference has a code of five bits."""
    bits = 8 * pixels.itemsize
    values = pixels.astype(np.int64)
    before = np.empty_like(values)
    before[:, 1:], before[1:, 0], before[0, 0] = values[:, :-1], values[:-1, 0], 2 ** (bits - 1)
    words = []
    for difference in ((values - before + 2**15) % 2**16 - 2**15).ravel().tolist():
        size = abs(difference).bit_length() if difference != -(2**15) else 16
        extra = (difference if difference > 0 else difference + 2**size - 1) if size < 16 else 0
        words.append(f"{size:05b}" + (f"{extra:0{size}b}" if 0 < size < 16 else ""))
    digits = "".join(words)
    digits += "1" * (-len(digits) % 8)
    data = int(digits, 2).to_bytes(len(digits) // 8, "big").replace(b"\xff", b"\xff\0")
    frame = b"\xff\xc3" + struct.pack(">HBHHBBBB", 11, bits, *pixels.shape, 1, 1, 0x11, 0)
    table = b"\xff\xc4" + struct.pack(">HB", 2 + 17 + 17, 0) + bytes([0, 0, 0, 0, 17]) + bytes(11) + bytes(range(17))
    return b"\xff\xd8" + frame + table + b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 1, 0, 0) + data + b"\xff\xd9"


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """A picture file's bytes."""
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


@cache
def films() -> Mapping[str, bytes]:
    """A whole small film of each kind that is read; the word before the first dash is its format."""
    grey = phantom()
    picture, deep = Image.fromarray(grey), Image.fromarray(grey.astype(np.uint16) * 257)
    colour, turned = picture.convert("RGB"), Image.Exif()
    turned[0x0112] = 6
    alpha = Image.merge("LA", (picture, picture))
    return {
        "jpeg-grey": saved(picture, "JPEG", quality=90),
        "jpeg-colour": saved(colour, "JPEG", quality=80, exif=turned),
        "jpeg-progressive": saved(colour, "JPEG", quality=80, progressive=True),
        "jpeg-cmyk": saved(colour.convert("CMYK"), "JPEG"),
        "png-1": saved(picture.convert("1"), "PNG"),
        "png-8": saved(picture, "PNG", exif=turned),
        "png-16": saved(deep, "PNG"),
        "png-palette": saved(colour.quantize(16), "PNG", transparency=3),
        "png-alpha": saved(alpha, "PNG"),
        "tiff-raw": saved(picture, "TIFF"),
        "tiff-16": saved(deep, "TIFF"),
        **{f"tiff-{name}": saved(colour, "TIFF", compression=f"tiff_{name}") for name in ("lzw", "adobe_deflate", "jpeg")},
        "tiff-packbits": saved(picture, "TIFF", compression="packbits"),
        "bmp-grey": saved(picture, "BMP"),
        "bmp-colour": saved(colour, "BMP"),
        "webp-lossy": saved(colour, "WEBP", quality=80),
        "webp-lossless": saved(alpha.convert("RGBA"), "WEBP", lossless=True, exif=turned),
        **{f"dicom-{name}": raw for name, raw in dicom_films(grey).items()},
    }


def dicom_films(grey: Grey) -> dict[str, bytes]:
    """The same, as DICOM in each way of writing that is read."""
    from pydicom import Dataset, dcmread
    from pydicom.encaps import encapsulate
    from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, RLELossless

    deep = grey.astype(np.uint16) * 16
    plain = to_dicom(deep, "MONOCHROME1")

    def written(dataset: Dataset) -> bytes:
        stream, fresh = io.BytesIO(), Dataset(dataset)  # one that may be written in another order of bytes than it was read
        fresh.file_meta = dataset.file_meta
        fresh.save_as(stream, enforce_file_format=True)
        return stream.getvalue()

    def changed(change: Callable[[Any], object], raw: bytes = plain) -> bytes:
        dataset = dcmread(io.BytesIO(raw))
        change(dataset)
        return written(dataset)

    def coded(syntax: str, frame: bytes, raw: bytes = plain) -> bytes:
        def put(dataset: Any) -> None:
            dataset.file_meta.TransferSyntaxUID, dataset.PixelData = syntax, encapsulate([frame])
            dataset["PixelData"].is_undefined_length = True

        return changed(put, raw)

    def with_tables(dataset: Any) -> None:
        table = Dataset()
        table.add_new("LUTDescriptor", "US", [4096, 0, 8])
        table.add_new("LUTData", "US", [value // 16 for value in range(4096)])
        dataset.BitsStored, dataset.HighBit, dataset.VOILUTSequence = 12, 11, [table]
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
        dataset.add_new("PixelPaddingValue", "US", 4095)

    def windowed(dataset: Any) -> None:
        dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = [2048, 9], [4096, 9], "SIGMOID"
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian

    def turned(dataset: Any) -> None:
        dataset.file_meta.TransferSyntaxUID, dataset.PixelData = ExplicitVRBigEndian, deep.astype(">u2").tobytes()

    return {
        "8": to_dicom(grey),
        "16": plain,
        "tables": changed(with_tables),
        "implicit": changed(windowed),
        "big": changed(turned),
        "rle": changed(lambda dataset: dataset.compress(RLELossless)),
        "jpeg": coded(JPEGBaseline8Bit, films_jpeg(grey), to_dicom(grey)),
        "lossless": coded(JPEGLosslessSV1, lossless_jpeg(deep)),
        "jpeg2000": coded(JPEG2000Lossless, saved(Image.fromarray(deep), "JPEG2000", no_jp2=True)),
    }


def films_jpeg(grey: Grey) -> bytes:
    """Baseline, grey."""
    return saved(Image.fromarray(grey), "JPEG", quality=90)


def damaged(seed: int, number: int) -> Film:
    """The file of this number: a film of each kind in turn, damaged one to four times."""
    random = np.random.default_rng((seed, number))
    kinds = list(films())
    kind = kinds[number % len(kinds)]
    raw = bytearray(films()[kind])
    for _ in range(random.integers(1, 5)):
        DAMAGE[random.integers(len(DAMAGE))](raw, random)
    if kind.startswith("png") and random.random() < 0.7:
        raw = with_checksums(raw)
    return Film(f"{kind}-{number}.{kind.partition('-')[0].replace('dicom', 'dcm')}", bytes(raw))


def place(raw: bytearray, random: Random) -> int:
    """Where to do damage; near the beginning more often than not, where the headers are."""
    most = len(raw) if random.random() < 0.5 else min(len(raw), HEADER)
    return int(random.integers(max(1, most)))


def flip_bits(raw: bytearray, random: Random) -> None:
    """One to eight bits."""
    for _ in range(random.integers(1, 9)):
        if raw:
            raw[place(raw, random)] ^= 1 << int(random.integers(8))


def fill(raw: bytearray, random: Random) -> None:
    """A run of equal bytes."""
    at, length = place(raw, random), int(random.integers(1, 65))
    raw[at : at + length] = bytes([int(random.choice((0, 0xFF, random.integers(256))))]) * len(raw[at : at + length])


def scramble(raw: bytearray, random: Random) -> None:
    """A run of random bytes."""
    at, length = place(raw, random), int(random.integers(1, 33))
    raw[at : at + length] = random.bytes(len(raw[at : at + length]))


def truncate(raw: bytearray, random: Random) -> None:
    """Nothing from here on."""
    del raw[place(raw, random) :]


def insert(raw: bytearray, random: Random) -> None:
    """Bytes that do not belong there."""
    at = place(raw, random)
    raw[at:at] = random.bytes(int(random.integers(1, 65)))


def repeat(raw: bytearray, random: Random) -> None:
    """A piece once more, or many times."""
    at, length = place(raw, random), int(random.integers(1, 257))
    raw[at:at] = raw[at : at + length] * int(random.choice((1, 2, 200)))


def lie(raw: bytearray, random: Random) -> None:
    """A number that is a length, a count or an offset, perhaps."""
    at, value = place(raw, random), int(random.choice(EXTREMES))
    form = str(random.choice(("<H", ">H", "<L", ">L")))
    data = struct.pack(form, value & (0xFFFF if form.endswith("H") else 0xFFFFFFFF))
    raw[at : at + len(data)] = data


def splice(raw: bytearray, random: Random) -> None:
    """The rest of a film of another kind."""
    others = list(films().values())
    other = others[int(random.integers(len(others)))]
    raw[place(raw, random) :] = other[int(random.integers(len(other))) :]


DAMAGE: tuple[Callable[[bytearray, Random], None], ...] = (flip_bits, fill, scramble, truncate, insert, repeat, lie, lie, splice)


def with_checksums(raw: bytearray) -> bytearray:
    """A PNG's damage behind right checksums, so that it is not found at once."""
    at = 8
    while at + 12 <= len(raw):
        end = at + 8 + int.from_bytes(raw[at : at + 4], "big")
        if end + 4 > len(raw):
            break
        raw[end : end + 4] = zlib.crc32(raw[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return raw


def judge(bundle: Path, folder: Path, names: Sequence[str]) -> Done:
    """What `cxr-edge predict` says of the files of a folder, in a process of its own."""
    table = folder.with_suffix(".jsonl")
    command = [sys.executable, "-m", "toolkit.cli", "predict", str(bundle), str(folder), "--workers", "1", "--json", str(table)]
    ended = measured(command)
    said = [msgspec.json.decode(line) for line in table.read_bytes().splitlines()] if table.exists() else []
    found = Counter(Path(one["path"]).name for one in said)
    outcomes: dict[str, tuple[Outcome, float]] = {
        Path(one["path"]).name: ("answered" if one["error"] is None else "refused", one["ms"]) for one in said
    }
    expected = SOME_UNUSABLE if any(outcome == "refused" for outcome, _ in outcomes.values()) else 0
    missing: dict[str, tuple[Outcome, float]] = {name: ("unaccounted", 0.0) for name in names if found[name] != 1}
    return Done(outcomes | missing, ended.peak_mb, 0 if ended.code == expected else ended.code or 1)


def measured(command: Sequence[str], given: bytes = b"") -> Ended:
    """Run a command to its end; one that hangs is killed. By way of a small process: the system counts what a process was forked from
    towards its memory."""
    small = [sys.executable, "-c", LAUNCHER, str(HANG_S), *command]
    code, lines, peak_kb = subprocess.run(small, input=given, stdout=subprocess.PIPE, check=True).stdout.split()
    return Ended(int(code), int(lines), int(peak_kb) / 1000)


def judged(bundle: Path, batch: Sequence[Film], root: Path) -> Iterator[Done]:
    """A batch in one process; where that one broke down, each half by itself, down to the file that did it."""
    folder = Path(tempfile.mkdtemp(dir=root)) / "films"
    folder.mkdir()
    for film in batch:
        (folder / film.name).write_bytes(film.raw)
    done = judge(bundle, folder, [film.name for film in batch])
    if done.code and len(batch) > 1:
        yield from judged(bundle, batch[: len(batch) // 2], root)
        yield from judged(bundle, batch[len(batch) // 2 :], root)
    elif done.code:
        yield Done({batch[0].name: ("crashed", 0.0)}, done.peak_mb, done.code)
    else:
        yield done


def fuzz(bundle: Path, files: int, seed: int, workers: int | None = None) -> Report:
    """Judge so many files, in batches of a process each; raises BundleError for a bundle that cannot be used."""
    name = Bundle(bundle).manifest.name
    starts = range(0, files, BATCH)
    with tempfile.TemporaryDirectory() as root, ThreadPoolExecutor(workers or os.cpu_count()) as pool:

        def work(start: int) -> list[Done]:
            return list(judged(bundle, [damaged(seed, number) for number in range(start, min(start + BATCH, files))], Path(root)))

        done = [one for batch in pool.map(work, starts) for one in batch]
    outcomes = {file: outcome for one in done for file, outcome in one.outcomes.items()}
    slowest = max(outcomes, key=lambda file: outcomes[file][1])
    return Report(
        bundle=name,
        seed=seed,
        files=files,
        limit_ms=MOST_MS,
        limit_mb=MOST_MB,
        peak_mb=round(max(one.peak_mb for one in done), 1),
        slowest_ms=round(outcomes[slowest][1], 1),
        slowest_file=slowest,
        crashes={file: str(one.code) for one in done for file, (outcome, _) in one.outcomes.items() if outcome == "crashed"},
        rows=tuple(_row(kind, outcomes) for kind in dict.fromkeys(kind.partition("-")[0] for kind in films())),
    )


def _row(kind: str, outcomes: Mapping[str, tuple[Outcome, float]]) -> Row:
    mine = [outcome for file, outcome in outcomes.items() if file.startswith(f"{kind}-")]
    counts = Counter(outcome for outcome, _ in mine)
    return Row(
        format=kind,
        files=len(mine),
        answered=counts["answered"],
        refused=counts["refused"],
        crashed=counts["crashed"],
        unaccounted=counts["unaccounted"],
        slow=sum(ms > MOST_MS for _, ms in mine),
        slowest_ms=round(max((ms for _, ms in mine), default=0.0), 1),
    )


def main() -> None:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description="Damaged files of every format, judged by predict.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    try:
        report = fuzz(given.bundle, given.files, given.seed)
    except CxrEdgeError as error:
        sys.exit(f"Error: {error}")
    write_atomically(OUT, encode_json(report))
    for row in report.rows:
        print(
            f"{row.format:<6} {row.files:>6} files: {row.answered} answered, {row.refused} refused, {row.crashed} crashed, {row.slow} slow"
        )
    print(f"Slowest {report.slowest_ms:g} ms ({report.slowest_file}); {report.peak_mb:g} MB at most; crashes: {len(report.crashes)}")
    sys.exit(not report.passed)


if __name__ == "__main__":
    main()
