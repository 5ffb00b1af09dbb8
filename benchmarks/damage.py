"""Damage by format: bits flipped at every tenth of a film, and films cut off there: what is refused, what passes.

    python benchmarks/damage.py [--out benchmarks/results/damage.json]

Each of the eight bits of the byte at one to nine tenths of a file is flipped alone: 72 damaged films of each format. A
format without checksums cannot tell a flipped bit from a pixel; a cut film is to be refused in every format.
"""

import argparse
import io
import json
import platform
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage

from cxremb.errors import ImageError
from cxremb.images import decode_bytes, png

PACKAGES = ("numpy", "pillow", "opencv-python-headless", "pywuffs", "simplejpeg", "pydicom", "pylibjpeg-openjpeg")
TENTHS = range(1, 10)
Decode = Callable[[bytes], Any]


def film(height: int = 240, width: int = 200) -> PilImage.Image:
    """A drawn film: smooth anatomy and the grain of a detector."""
    random = np.random.default_rng(0)
    coarse = PilImage.fromarray(random.integers(20, 230, (12, 10), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), PilImage.Resampling.BICUBIC)).astype(np.float32)
    return PilImage.fromarray(np.clip(smooth + random.normal(0, 2, smooth.shape), 0, 255).astype(np.uint8))


def saved(style: str, mode: str = "L", **options: Any) -> bytes:
    """The film as Pillow writes it."""
    buffer = io.BytesIO()
    picture = film()
    wide = mode == "I;16"
    (PilImage.fromarray(np.asarray(picture).astype(np.uint16) * 16) if wide else picture.convert(mode)).save(
        buffer, style, **options
    )
    return buffer.getvalue()


def arrays() -> dict[str, bytes]:
    """The film as NumPy writes it."""
    plain, zipped = io.BytesIO(), io.BytesIO()
    np.save(plain, np.asarray(film()))
    np.savez_compressed(zipped, film=np.asarray(film()))
    return {"NPY": plain.getvalue(), "NPZ": zipped.getvalue()}


def dicoms() -> dict[str, bytes]:
    """The film in each transfer syntax that can be written here."""
    import pydicom
    from pydicom import uid
    from pydicom.dataset import FileDataset, FileMetaDataset

    def made(syntax: str, kind: type = np.uint16) -> FileDataset:
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = uid.SecondaryCaptureImageStorage, "1.2.3"
        meta.TransferSyntaxUID = uid.UID(syntax)
        little, implicit = meta.TransferSyntaxUID.is_little_endian, syntax == uid.ImplicitVRLittleEndian
        file = FileDataset(
            None, {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=implicit, is_little_endian=little
        )
        file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
        file.Rows, file.Columns, file.SamplesPerPixel = 240, 200, 1
        file.PhotometricInterpretation, file.PixelRepresentation = "MONOCHROME2", 0
        bits = 12 if kind is np.uint16 else 8
        file.BitsAllocated, file.BitsStored, file.HighBit = 8 * np.dtype(kind).itemsize, bits, bits - 1
        file.WindowCenter, file.WindowWidth = 2 ** (bits - 1), 2**bits
        values = np.asarray(film()).astype(kind) * (16 if bits == 12 else 1)
        file.PixelData = values.astype(np.dtype(kind).newbyteorder("<" if little else ">")).tobytes()
        file["PixelData"].VR = "OW"
        return file

    def written(file: FileDataset) -> bytes:
        buffer = io.BytesIO()
        file.save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()

    found = {}
    for name in (
        "ImplicitVRLittleEndian",
        "ExplicitVRLittleEndian",
        "ExplicitVRBigEndian",
        "DeflatedExplicitVRLittleEndian",
    ):
        found[name] = written(made(getattr(uid, name)))
    for name, options in (
        ("RLELossless", {}),
        ("JPEGLSLossless", {}),
        ("JPEGLSNearLossless", {"jls_error": 2}),
        ("JPEG2000Lossless", {}),
        ("JPEG2000", {"j2k_cr": [8]}),
    ):
        file = made(uid.ExplicitVRLittleEndian)
        file.compress(getattr(uid, name), generate_instance_uid=False, **options)
        found[name] = written(file)
    file = made(uid.ExplicitVRLittleEndian, np.uint8)
    file.PixelData = pydicom.encaps.encapsulate([saved("JPEG", quality=92)])
    file["PixelData"].VR, file["PixelData"].is_undefined_length = "OB", True
    file.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    found["JPEGBaseline8Bit"] = written(file)
    found["JPEGLosslessSV1"] = by_gdcm(found["ExplicitVRLittleEndian"])
    return {f"DICOM {name}": content for name, content in found.items()}


def by_gdcm(content: bytes) -> bytes:
    """The same film in JPEG lossless, which pydicom does not write."""
    import gdcm

    with tempfile.TemporaryDirectory() as folder:
        source, target = f"{folder}/a.dcm", f"{folder}/b.dcm"
        Path(source).write_bytes(content)
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(source)
        reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        change.Change()
        writer.SetFileName(target)
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.Write()
        return Path(target).read_bytes()


def films() -> dict[str, tuple[bytes, Decode]]:
    """Format -> the film in it, and its decoder."""

    def usual(content: bytes) -> Any:
        return decode_bytes(content, "film")

    def by(decoder: Callable[[bytes], Any]) -> Decode:
        def decode(content: bytes) -> Any:
            """By this decoder of plain PNGs, whatever is installed."""
            chosen, png.plain_decoder = png.plain_decoder, lambda: decoder  # type: ignore[assignment]
            try:
                return decode_bytes(content, "film")
            finally:
                png.plain_decoder = chosen

        return decode

    found: dict[str, tuple[bytes, Decode]] = {}
    for name, decoder in (
        ("wuffs", png.plain_by_wuffs),
        ("OpenCV", png.plain_by_opencv),
        ("Pillow", png.plain_by_pillow),
    ):
        for mode in ("L", "RGB"):
            for level in (0, 6):
                found[f"PNG {mode} level {level}, {name}"] = saved("PNG", mode, compress_level=level), by(decoder)
    others = {
        "PNG 16 bit": saved("PNG", "I;16"),
        "PNG palette": saved("PNG", "P"),
        "PNG grey and alpha": saved("PNG", "LA"),
        "JPEG": saved("JPEG", quality=92),
        "JPEG RGB": saved("JPEG", "RGB", quality=92),
        "JPEG progressive": saved("JPEG", quality=92, progressive=True),
        **{
            f"TIFF {kind}": saved("TIFF", compression=kind)
            for kind in ("raw", "tiff_lzw", "packbits", "tiff_adobe_deflate", "lzma", "zstd", "jpeg")
        },
        "WebP": saved("WEBP", quality=90),
        "WebP lossless": saved("WEBP", lossless=True),
        "BMP": saved("BMP"),
        "GIF": saved("GIF"),
        **arrays(),
        **dicoms(),
    }
    return found | {name: (content, usual) for name, content in others.items()}


def outcome(content: bytes, decode: Decode, whole: Any) -> str:
    """refused, same pixels, or other pixels."""
    try:
        found = decode(content)
    except ImageError:
        return "refused"
    return "same pixels" if found.shape == whole.shape and (found == whole).all() else "other pixels"


def damaged(content: bytes, decode: Decode) -> dict[str, dict[str, int]]:
    """How many of each outcome, of flipped bits and of films cut off."""
    whole = decode(content)
    flips, cuts = [], []
    for tenth in TENTHS:
        at = len(content) * tenth // 10
        cuts.append(outcome(content[:at], decode, whole))
        for bit in range(8):
            changed = bytearray(content)
            changed[at] ^= 1 << bit
            flips.append(outcome(bytes(changed), decode, whole))
    kinds = ("refused", "same pixels", "other pixels")
    return {name: {kind: found.count(kind) for kind in kinds} for name, found in (("flipped", flips), ("cut", cuts))}


def main() -> None:
    """Print the table, and write it with --out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    results = {name: damaged(content, decode) for name, (content, decode) in films().items()}
    for name, found in results.items():
        print(f"{name:36}", *(f"{kind}: {counts}" for kind, counts in found.items()))
    if out:
        about = {
            "command": "python benchmarks/damage.py",
            "machine": f"{platform.machine()} {platform.system()}, Python {platform.python_version()}",
            "versions": {name: version(name) for name in PACKAGES},
            "films": results,
        }
        out.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
