"""The other process of `toolkit.imaging.lossless`: header and frame on standard input, pixels on standard output. It is run as a script and
imports nothing but GDCM, so that it starts in a tenth of a second."""

from __future__ import annotations

import resource
import struct
import sys

HEADER = struct.Struct("<5H24s")  # rows, columns, bits allocated, bits stored, signed; transfer syntax
MOST_CPU_S, MOST_BYTES = 10, 1_500_000_000  # bytes of addresses, libraries among them


def _decoded(raw: bytes) -> bytes:
    """As pydicom asks GDCM for a frame (pydicom.pixels.decoders.gdcm)."""
    import gdcm  # type: ignore[import-untyped,import-not-found,unused-ignore]

    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
    rows, columns, allocated, stored, signed, syntax = HEADER.unpack_from(raw)
    fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
    fragment.SetByteStringValue(raw[HEADER.size :])
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax.rstrip(b"\0").decode("ascii"))))
    image.SetPixelFormat(gdcm.PixelFormat(1, allocated, stored, stored - 1, signed))
    pixels: bytes = image.GetBuffer().encode("utf-8", "surrogateescape")  # GDCM gives its bytes as text
    return pixels


def _main() -> None:
    """Within limits, and without a memory dump, which would hold a patient's film."""
    for kind, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, MOST_CPU_S), (resource.RLIMIT_AS, MOST_BYTES)):
        resource.setrlimit(kind, (most, most))
    sys.stdout.buffer.write(_decoded(sys.stdin.buffer.read()))


if __name__ == "__main__":
    _main()
