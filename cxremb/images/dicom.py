"""A DICOM file as 8-bit grey: dark air, white bone (PS3.3 C.7.6.3). docs/pixels.md has what becomes of each tag."""

import io
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxremb.errors import ImageError, reason
from cxremb.images.dicom_deflated import check_deflated
from cxremb.images.dicom_lut import modality_values, number, padding_mask, table_entries, white_of, windowed
from cxremb.images.grey import Decoded, Grey, check_size, luma, to_grey, wide_luma
from cxremb.images.jpeg import check_jpeg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom import Dataset
    from pydicom.pixels.decoders.base import Decoder

MAGIC = b"DICM"
HEAD = 136  # bytes in which a preamble and the first tag show
FIRST_GROUPS = (2, 8)  # a data set without preamble begins with its meta information, or with its identification
INSTALL = 'pip install "cxremb[dicom]"'
EXPORT = "export it again from the archive it came from"
DECOMPRESS = "decompress it first, for instance with DCMTK: dcmdjpeg IN OUT"
NEEDED = ("Rows", "Columns", "BitsAllocated", "SamplesPerPixel", "PhotometricInterpretation")
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
COLOURS = ("Red", "Green", "Blue")
RAW = "FOR PROCESSING: values of the detector, no picture for reading"
Pixels = NDArray[Any]


def is_dicom(content: bytes) -> bool:
    """Whether bytes start as DICOM does: 128 bytes and DICM (PS3.10), or with less than that before the first tag."""
    return content[128:132] == MAGIC or first_tag(content) is not None


def first_tag(content: bytes) -> int | None:
    """Where the data set begins in a file without a whole preamble; None if it does not look like one."""
    if content.startswith(MAGIC):
        return len(MAGIC)
    start = 128 if not any(content[:128]) else 0
    tag = content[start : start + 8]
    explicit = tag[4:6].isalpha() and tag[4:6].isupper()
    little = int.from_bytes(tag[:2], "little") in FIRST_GROUPS and (explicit or tag[6:8] == b"\0\0")
    big = int.from_bytes(tag[:2], "big") in FIRST_GROUPS and explicit
    return start if len(tag) == 8 and (little or big) else None


def is_uncompressed(file: IO[bytes]) -> bool:
    """Whether a DICOM file says that its pixels are plain values. Raises anything at all for a damaged one."""
    tags = read_tags(file, ["Rows"])
    return not tags.file_meta.TransferSyntaxUID.is_compressed


def is_named_dicom(name: str) -> bool:
    """Whether a file is called as DICOM files are."""
    return name.lower().endswith((".dcm", ".dicom"))


def read_tags(file: IO[bytes], only: "Sequence[str] | None" = None) -> "Dataset":
    """The tags, with or without preamble; only: these, without the pixels. Raises `ImageError` without pydicom."""
    try:
        import pydicom
        from pydicom.dataset import FileMetaDataset
        from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
    except ImportError as error:
        raise ImageError("DICOM files need pydicom", INSTALL) from error
    head = file.read(HEAD)
    start = 0 if head[128:132] == MAGIC else first_tag(head) or 0
    file.seek(start)
    if start:  # pydicom goes back to the first byte of a file without preamble
        file = io.BytesIO(file.read())
    check_deflated(file)
    tags = pydicom.dcmread(
        file, force=True, stop_before_pixels=only is not None, specific_tags=list(only) if only else None
    )
    if not hasattr(tags, "file_meta"):
        tags.file_meta = FileMetaDataset()
    if not tags.file_meta.get(
        "TransferSyntaxUID"
    ):  # as it was found to be written; uncompressed, since nothing says how
        implicit, little = tags.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        tags.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return tags


def dicom_size(file: IO[bytes]) -> tuple[int, int]:
    """(width, height) from the header."""
    tags = read_tags(file, ("Rows", "Columns"))
    require(tags, ("Rows", "Columns"))
    return int(tags.Columns), int(tags.Rows)


def decode_dicom(content: bytes) -> Decoded:
    """The film in `content`, and what its header says that its pixels contradict.

    Raises `ImageError` for several frames, a tag that is missing, a compression without its codec, damaged pixels.
    """
    tags = read_tags(io.BytesIO(content))
    if not tags.get("Rows") and not any(name in tags for name in PIXELS):
        kind = getattr(tags.get("SOPClassUID"), "name", "of no class")
        raise ImageError(f"DICOM without an image ({kind})", "add films only", "content")
    require(tags, NEEDED)
    frames = number(tags, "NumberOfFrames") if tags.get("NumberOfFrames") else 1
    if frames is None:
        raise ImageError(f"NumberOfFrames is {tags.NumberOfFrames!r}: no number", EXPORT)
    if frames > 1:
        raise ImageError(f"{frames:g} frames: a film has one", "export the frame you mean", "content")
    tags.NumberOfFrames = 1
    check_size(int(tags.Rows) * int(tags.Columns))
    notes = [RAW] if tags.get("PresentationIntentType") == "FOR PROCESSING" else []
    stored, colours = pixel_values(tags)
    if tags.PhotometricInterpretation == "PALETTE COLOR":
        return Decoded(palette_grey(stored, tags), tuple(notes))
    if stored.ndim == 3:  # a screenshot or a scan, in colour: nothing that a window is made for
        return Decoded(colour_grey(stored, colours, tags), tuple(notes))
    padding = padding_mask(stored, tags)
    grey, noted = windowed(modality_values(stored, tags), tags, padding)
    if tags.PhotometricInterpretation == "MONOCHROME1" or tags.get("PresentationLUTShape") == "INVERSE":
        grey = 255 - grey  # once: of a MONOCHROME1 film INVERSE says the same (C.8.11.3)
    if padding is not None:
        grey = np.where(padding, np.uint8(0), grey)  # outside of the picture: as dark as air
    return Decoded(grey, (*notes, *noted))


def require(tags: "Dataset", names: "Sequence[str]") -> None:
    """Raises `ImageError` that names the tags which are missing or empty."""
    if missing := [name for name in names if tags.get(name) in (None, "", 0)]:
        raise ImageError(f"no {' and no '.join(missing)}: the header lacks what every image has", EXPORT)


def pixel_values(tags: "Dataset") -> tuple[Pixels, str]:
    """(the stored values, decompressed: (rows, columns), or (rows, columns, 3) of a colour, and its interpretation)."""
    if not any(name in tags for name in PIXELS):
        raise ImageError("no PixelData: the file holds no image, or ends before it", EXPORT)
    if "PixelData" in tags:
        require_present(tags)
    syntax, decoder = tags.file_meta.TransferSyntaxUID, decoder_of(tags)
    shift = field_shift(tags, native=not syntax.is_compressed or syntax.name.startswith("RLE"))
    bits = int(tags.get("BitsStored") or tags.BitsAllocated)
    if shift:  # pydicom takes the lowest bits: let it give all, and take the field that the header says
        tags.BitsStored, tags.HighBit = tags.BitsAllocated, tags.BitsAllocated - 1
    try:
        check_frame(tags)
        raw = tags.PhotometricInterpretation.startswith("YBR") and tags.BitsAllocated > 8  # of bytes alone it makes RGB
        values, properties = decoder.as_array(tags, index=0, raw=raw)
    except Exception as error:
        raise damage(error, tags) from error
    if shift:
        values = bit_field(values, shift, bits)
        tags.BitsStored = bits
    return values, str(properties["photometric_interpretation"])


def decoder_of(tags: "Dataset") -> "Decoder":
    """What decompresses the pixels. Raises `ImageError` if nothing does, or nobody knows what they are."""
    from pydicom.pixels import get_decoder

    syntax = tags.file_meta.TransferSyntaxUID
    if not syntax.is_compressed and "PixelData" in tags and tags["PixelData"].is_undefined_length:
        raise ImageError("compressed pixels, and no TransferSyntaxUID that says how", EXPORT)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise ImageError(f"{syntax.name}: a compression that is not read", DECOMPRESS) from error
    if not decoder.is_available:
        raise ImageError(f"no codec for {syntax.name}", INSTALL)
    return decoder


def require_present(tags: "Dataset") -> None:
    """Raises `ImageError` without PixelRepresentation; the other bits have a value that follows."""
    if tags.get("PixelRepresentation") is None:
        raise ImageError("no PixelRepresentation: signed or not is not known", EXPORT)
    if tags.get("BitsStored") in (None, 0):
        tags.BitsStored = tags.BitsAllocated
    if tags.SamplesPerPixel == 3 and tags.get("PlanarConfiguration") is None:
        raise ImageError("no PlanarConfiguration: how its colours lie is not known", EXPORT)


def field_shift(tags: "Dataset", *, native: bool) -> int:
    """How far the stored bits lie above the lowest (HighBit). A codec gives values that begin with the lowest."""
    high = tags.get("HighBit")
    if not native or high is None or not tags.BitsStored <= int(high) + 1 <= tags.BitsAllocated:
        return 0
    return int(high) + 1 - int(tags.BitsStored)


def bit_field(values: Pixels, shift: int, bits: int) -> Pixels:
    """The `bits` bits above the `shift` lowest, with their sign where the type has one."""
    size = 8 * values.dtype.itemsize
    return (values << (size - shift - bits)) >> (size - bits)  # numpy shifts a sign in where there is one


def check_frame(tags: "Dataset") -> None:
    """Raises for a JPEG frame with damage that a lenient codec would let pass."""
    from pydicom.encaps import get_frame
    from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit

    syntax = tags.file_meta.TransferSyntaxUID
    if syntax == JPEGBaseline8Bit or (syntax == JPEGExtended12Bit and tags.BitsStored == 8):
        check_jpeg(get_frame(tags.PixelData, 0, number_of_frames=1))


def damage(error: Exception, tags: "Dataset") -> ImageError:
    """What the codecs say, as an error that tells a kind that none reads from damage."""
    syntax = tags.file_meta.TransferSyntaxUID
    if syntax.name.startswith("JPEG Extended") and tags.BitsStored > 8:
        return ImageError(f"JPEG of {tags.BitsStored} bits ({syntax.name}): no codec here reads it", DECOMPRESS)
    lines = [line.strip() for line in str(error).splitlines()[1:] if "NoneType" not in line]  # what each codec says
    said = lines[0] if lines else reason(error)
    what = f"{syntax.name} data" if syntax.is_compressed else "pixel data"
    return ImageError(f"not a readable image (damaged {what}: {said})", "fetch the file again, or remove it")


def palette_grey(places: Pixels, tags: "Dataset") -> Grey:
    """The luma of the colours that the stored places stand for (C.7.6.3.1.5)."""
    from pydicom.pixels import apply_color_lut

    white = palette_white(tags)
    for name in COLOURS:
        descriptor = tags.get(f"{name}PaletteColorLookupTableDescriptor")
        if descriptor and descriptor[2] not in (8, 16):  # there is no other; pydicom goes by it
            descriptor[2] = 16
    colours = np.asarray(apply_color_lut(places, tags))[..., :3]
    return luma(colours) if colours.dtype == np.uint8 else to_grey(wide_luma(colours) / white)


def palette_white(tags: "Dataset") -> float:
    """The largest a colour can be: by the whole tables, whichever of their places the film has."""
    entries, bits = [], 16
    for name in COLOURS:
        descriptor = tags.get(f"{name}PaletteColorLookupTableDescriptor")
        data = tags.get(f"{name}PaletteColorLookupTableData")
        if descriptor and data:  # else in segments, which have the depth that they say
            little = tags.file_meta.TransferSyntaxUID.is_little_endian
            entries.append(table_entries(data, int(descriptor[0]) or 2**16, little=little))
            bits = int(descriptor[2])
    return white_of(np.concatenate(entries), bits) if entries else 2.0**bits - 1


def colour_grey(values: Pixels, colours: str, tags: "Dataset") -> Grey:
    """The luma of (rows, columns, 3), of the whole range that BitsStored gives a sample."""
    bits = int(tags.BitsStored)
    if values.shape[2] != 3 or values.dtype.kind != "u":
        raise ImageError(
            f"{values.shape[2]} samples of {values.dtype} a pixel ({colours}): not read", EXPORT, "content"
        )
    if colours.startswith("YBR_PARTIAL"):
        scaled = (values[:, :, 0].astype(np.float64) / 2 ** (bits - 8) - 16) / 219
        return to_grey(scaled)
    if colours.startswith("YBR"):  # the first sample is the luma
        return to_grey(values[:, :, 0] / (2.0**bits - 1))
    if colours not in ("RGB", "MONOCHROME1", "MONOCHROME2"):
        raise ImageError(f"colours as {colours}: not read", EXPORT, "content")
    if values.dtype == np.uint8 and bits == 8:
        return luma(values)
    return to_grey(wide_luma(values) / (2.0**bits - 1))
