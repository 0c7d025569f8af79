"""Every picture format that a clinic hands over, and every file that is none."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from tests.conftest import KERMANY, needs_kermany
from toolkit.errors import ImageError
from toolkit.imaging.decode import decode_grey, read_grey

GREYS = np.arange(256, dtype=np.uint8).reshape(16, 16)  # each value once
UPRIGHT = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30).astype(np.uint8)
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601


def encoded(pixels: NDArray[Any] | Image.Image, kind: str, **options: Any) -> bytes:
    """A picture file's bytes."""
    stream = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(stream, kind, **options)
    return stream.getvalue()


def decoded(raw: bytes) -> NDArray[np.uint8]:
    """Pixels as the package reads them."""
    picture = decode_grey(raw)
    assert picture.mode == "L"
    return np.asarray(picture)


def plain(mode: str, colour: int | tuple[int, ...]) -> Image.Image:
    """A picture of one colour."""
    return Image.new(mode, (24, 18), colour)


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds no pixel."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) + chunk(b"IDAT", b"")


def tiff(pixels: NDArray[np.uint16], bits: int) -> bytes:
    """An uncompressed grey TIFF with packed pixels of `bits` bits, written by hand."""
    height, width = pixels.shape
    if bits == 16:
        data = pixels.astype("<u2").tobytes()
    else:
        digits = "".join(f"{value:0{bits}b}" for value in pixels.ravel())
        data = bytes(int(digits[at : at + 8], 2) for at in range(0, len(digits), 8))
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(data)}
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + rows + bytes(4)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_grey_keeps_each_pixel(kind: str) -> None:
    assert np.array_equal(decoded(encoded(GREYS, kind)), GREYS)


def test_webp_without_loss_keeps_each_pixel() -> None:
    assert np.array_equal(decoded(encoded(GREYS, "WEBP", lossless=True)), GREYS)


def test_one_bit_becomes_black_and_white() -> None:
    board = (np.indices((16, 24)).sum(0) % 2).astype(bool)
    assert np.array_equal(decoded(encoded(board, "PNG")), np.where(board, 255, 0))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_divided_by_257(kind: str) -> None:
    assert np.array_equal(decoded(encoded(GREYS.astype(np.uint16) * 257, kind)), GREYS)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["L", "RGB", "P", "CMYK", "I;16"])
def test_tiff_without_loss_keeps_each_pixel(mode: str, compression: str) -> None:
    picture = Image.fromarray(GREYS.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(GREYS).convert(mode)
    assert np.array_equal(decoded(encoded(picture, "TIFF", compression=compression)), GREYS)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_bmp_of_each_kind(mode: str) -> None:
    board = Image.fromarray(np.where(np.indices((16, 24)).sum(0) % 2, 255, 0).astype(np.uint8))
    assert np.array_equal(decoded(encoded(board.convert(mode), "BMP")), np.asarray(board))


def test_a_jpeg_inside_a_tiff() -> None:
    assert decoded(encoded(jpeg_blocks(), "TIFF", compression="jpeg", quality=95)) == pytest.approx(jpeg_blocks().astype(float), abs=3)


@pytest.mark.parametrize("picture", ["RGBA", "LA", "CMYK", "P", "I;16"])
def test_a_large_picture_is_converted_in_strips_with_the_same_result(picture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (61, 47), np.uint8)
    drawn = Image.fromarray(noise.astype(np.uint16) * 257) if picture == "I;16" else Image.fromarray(noise).convert(picture)
    if "A" in picture:
        drawn.putalpha(Image.fromarray(noise[::-1].copy()))
    raw = encoded(drawn, "TIFF" if picture == "CMYK" else "PNG")
    whole = decoded(raw)
    for pixels in (1, 47 * 7, 10**9):
        monkeypatch.setattr("toolkit.imaging.decode.STRIP_PIXELS", pixels)
        assert np.array_equal(decoded(raw), whole)


@pytest.mark.parametrize("brightest", [255, 4095])
def test_a_dark_picture_of_sixteen_bits_stays_dark(brightest: int) -> None:
    raw = encoded(np.full((16, 16), brightest, np.uint16), "PNG")
    assert set(decoded(raw).ravel()) == {brightest // 257}


@pytest.mark.parametrize("bits", [12, 16])
def test_white_of_a_deep_tiff_is_white(bits: int) -> None:
    pixels = np.zeros((16, 16), np.uint16)
    pixels[:, 8:] = 2**bits - 1
    assert np.array_equal(decoded(tiff(pixels, bits)), np.where(pixels, 255, 0))


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(ImageError, match="has floating-point pixels; expected 8 or 16 bits a pixel"):
        decode_grey(encoded(np.ones((16, 16), np.float32), "TIFF"))


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 200, 90)])
@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_colour_becomes_luma(mode: str, colour: tuple[int, int, int]) -> None:
    picture = plain("RGB", colour)
    raw = encoded(picture.quantize(2) if mode == "P" else picture, "PNG")
    assert Image.open(io.BytesIO(raw)).mode == mode
    assert decoded(raw) == pytest.approx(np.dot(colour, LUMA), abs=1)


@pytest.mark.parametrize(
    ("mode", "colour", "shown"),
    [
        ("RGBA", (200, 200, 200, 255), 200),
        ("RGBA", (200, 200, 200, 128), 100),
        ("RGBA", (255, 255, 255, 0), 0),
        ("LA", (200, 51), 40),
        ("LA", (200, 255), 200),
    ],
)
def test_transparency_is_laid_over_black(mode: str, colour: tuple[int, ...], shown: int) -> None:
    assert decoded(encoded(plain(mode, colour), "PNG")) == pytest.approx(shown, abs=1)


def test_a_transparent_palette_colour_is_black() -> None:
    picture = plain("P", 1)
    picture.putpalette([0, 0, 0, 240, 240, 240])
    picture.paste(0, (0, 0, 12, 18))
    pixels = decoded(encoded(picture, "PNG", transparency=1))
    assert not pixels.any()


def jpeg_blocks() -> NDArray[np.uint8]:
    """Blocks of 8 x 8 equal pixels, which JPEG keeps nearly."""
    return np.kron(np.array([[0, 60, 120], [180, 220, 255]], np.uint8), np.ones((8, 8), np.uint8))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize(("progressive", "marker"), [(False, b"\xff\xc0"), (True, b"\xff\xc2")])
def test_jpeg_of_each_kind(mode: str, progressive: bool, marker: bytes) -> None:
    picture = Image.fromarray(jpeg_blocks())
    if mode == "CMYK":  # black ink alone
        empty = Image.new("L", picture.size)
        picture = Image.merge("CMYK", (empty, empty, empty, picture.point([255 - value for value in range(256)])))
    raw = encoded(picture.convert(mode), "JPEG", quality=95, progressive=progressive)
    assert marker in raw
    assert Image.open(io.BytesIO(raw)).mode == mode
    assert decoded(raw) == pytest.approx(jpeg_blocks().astype(float), abs=3)


def test_jpeg_colour_becomes_luma() -> None:
    assert decoded(encoded(plain("RGB", (200, 60, 30)), "JPEG", quality=95)) == pytest.approx(np.dot((200, 60, 30), LUMA), abs=3)


# How a picture lies in the file, by the EXIF definition of each orientation (row 0 and column 0 of the file).
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: UPRIGHT[:, ::-1].T,  # row 0 is the right side, column 0 the top
    7: UPRIGHT[::-1, ::-1].T,
    8: UPRIGHT[::-1].T,  # row 0 is the left side, column 0 the bottom
}


def orientation(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


@pytest.mark.parametrize("number", STORED)
def test_a_rotated_picture_is_turned_upright(number: int) -> None:
    raw = encoded(np.ascontiguousarray(STORED[number]), "PNG", exif=orientation(number))
    assert np.array_equal(decoded(raw), UPRIGHT)


@pytest.mark.parametrize("number", STORED)
@pytest.mark.parametrize("kind", ["TIFF", "WEBP"])
def test_other_formats_are_turned_too(kind: str, number: int) -> None:
    options = {"exif": orientation(number), **({"lossless": True} if kind == "WEBP" else {})}
    assert np.array_equal(decoded(encoded(np.ascontiguousarray(STORED[number]), kind, **options)), UPRIGHT)


def test_a_rotated_jpeg_is_turned_upright() -> None:
    raw = encoded(np.rot90(jpeg_blocks()), "JPEG", quality=95, exif=orientation(6))
    assert decoded(raw) == pytest.approx(jpeg_blocks().astype(float), abs=3)


def test_an_odd_exif_entry_beside_the_orientation_does_no_harm() -> None:
    entries = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack(">HHI4s", 0x0100, 2, 4, b"abc\0")  # a width that is a word
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 2) + entries + bytes(4)
    raw = encoded(np.rot90(jpeg_blocks()), "JPEG", quality=95, exif=exif)
    assert decoded(raw) == pytest.approx(jpeg_blocks().astype(float), abs=3)


def test_an_empty_file_is_named_so() -> None:
    with pytest.raises(ImageError, match=r"is empty \(0 bytes\)"):
        decode_grey(b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_file_is_refused(kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    raw = encoded(noise, kind)
    with pytest.raises(ImageError, match="is damaged or truncated|is not a picture"):
        decode_grey(raw[: int(share * len(raw))])


@pytest.mark.parametrize("raw", [b"Patient: NN\nFinding: none\n", b"\x00" * 1000, b"GIF89a" + bytes(50), b"%PDF-1.4\n"])
def test_a_foreign_file_is_refused(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "film.jpeg").write_bytes(raw)
    with pytest.raises(ImageError, match="is not a picture; expected one of JPEG, PNG, BMP, TIFF, WEBP"):
        read_grey(tmp_path / "film.jpeg")


@pytest.mark.parametrize(("width", "height"), [(1, 1), (15, 400), (400, 15)])
def test_a_picture_too_small_for_a_film_is_refused(width: int, height: int) -> None:
    with pytest.raises(ImageError, match=f"is {width}x{height} px; a film has at least 16 px on each edge"):
        decode_grey(encoded(Image.new("L", (width, height)), "PNG"))


def test_the_smallest_film_is_read() -> None:
    assert decoded(encoded(plain("L", 9).resize((16, 16)), "PNG")).shape == (16, 16)


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (12_000, 12_000), (8_000, 8_000), (50_000_001, 16)])
def test_an_absurdly_large_picture_is_refused_by_its_header(width: int, height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("pixels were read"))
    with pytest.raises(ImageError, match="is absurdly large.*at most 50 million pixels are read"):
        decode_grey(png_header(width, height))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be opened: No such file or directory"):
        read_grey(tmp_path / "none.png")


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder without pictures"):
        read_grey(tmp_path)


def test_a_file_is_read_as_its_bytes_are(tmp_path: Path) -> None:
    (tmp_path / "named.jpeg").write_bytes(encoded(GREYS, "PNG"))  # the content decides, not the name
    assert np.array_equal(np.asarray(read_grey(tmp_path / "named.jpeg")), GREYS)


@needs_kermany
def test_a_real_film() -> None:
    picture = read_grey(KERMANY / "test" / "NORMAL" / "IM-0011-0001-0002.jpeg")
    assert (picture.mode, picture.size) == ("L", (224, 224))


def test_two_threads_leave_the_warning_filters_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    raw, before = encoded(GREYS, "PNG"), list(warnings.filters)
    first_is_inside, second_is_inside, first_is_done = threading.Event(), threading.Event(), threading.Event()
    open_picture = Image.open

    def interleaved(*arguments: Any, **options: Any) -> Image.Image:
        if threading.current_thread() is first:
            first_is_inside.set()
            second_is_inside.wait(0.5)
        else:
            second_is_inside.set()
            first_is_done.wait(0.5)
        return open_picture(*arguments, **options)

    monkeypatch.setattr(Image, "open", interleaved)
    first, second = (threading.Thread(target=decode_grey, args=(raw,)) for _ in range(2))
    first.start()
    first_is_inside.wait(0.5)
    second.start()
    first.join()
    first_is_done.set()
    second.join()
    assert list(warnings.filters) == before
