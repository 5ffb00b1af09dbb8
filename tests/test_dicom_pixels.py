"""What a DICOM header says of its pixels, tag by tag, against the arithmetic of PS3.3 written here."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import dataset, written
from PIL import Image as PilImage
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
)

import cxremb
from cxremb.catalog import add_collection
from cxremb.datasets import dicom as dicom_folder
from cxremb.embedding.job import embed
from cxremb.encoders.base import What, load_encoder
from cxremb.errors import ImageError
from cxremb.images import decode_bytes, decode_file, image_size

Y, X = np.mgrid[0:40, 0:50]
FILM = (4095 * (0.15 + 0.7 * (X / 49) * (0.5 + 0.5 * np.exp(-((Y - 20) ** 2) / 90)))).astype(np.uint16)  # 12 bits
CENTER, WIDTH = 2000.0, 1800.0


def grey(values: np.ndarray = FILM, **tags: Any) -> np.ndarray:
    return decode_bytes(written(dataset(values, **tags)), "x.dcm").astype(int)


def notes(folder: Path, values: np.ndarray = FILM, **tags: Any) -> tuple[str, ...]:
    (folder / "x.dcm").write_bytes(written(dataset(values, **tags)))
    return decode_file(folder / "x.dcm").notes


def linear(x: np.ndarray, center: float = CENTER, width: float = WIDTH) -> np.ndarray:
    """C.11.2.1.2.1, word for word."""
    inside = ((x - (center - 0.5)) / max(width - 1, 1e-9) + 0.5) * 255
    low, high = x <= center - 0.5 - (width - 1) / 2, x > center - 0.5 + (width - 1) / 2
    return np.where(low, 0, np.where(high, 255, inside))


def stretched(values: np.ndarray, counted: np.ndarray | None = None) -> np.ndarray:
    low, high = np.percentile(values if counted is None else counted, (0.5, 99.5))
    return np.clip((values - low) / (high - low), 0, 1) * 255


def same(got: np.ndarray, expected: np.ndarray, off: float = 0.51) -> None:
    assert got.shape == expected.shape
    assert np.abs(got.astype(float) - expected).max() <= off


def table(entries: np.ndarray, descriptor: list[int], kind: str = "OW", sequence: bool = True) -> Any:
    item = Dataset()
    item.LUTDescriptor = descriptor
    item.add_new("LUTData", kind, entries.astype("<u2").tobytes() if kind == "OW" else entries.tolist())
    return Sequence([item]) if sequence else item


WINDOW = {"WindowCenter": CENTER, "WindowWidth": WIDTH}
CURVE = 4095 * (np.arange(4096) / 4095) ** 1.3


# --- PS3.3 C.7.6.3: the pixels ---


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_transfer_syntaxes_that_compress_nothing(syntax: str) -> None:
    same(grey(syntax=syntax, **WINDOW), linear(FILM))
    curve = (CURVE * 16).astype(np.uint16)
    item = table(curve, [4096, 0, 16], sequence=False)
    if syntax == ExplicitVRBigEndian:
        item["LUTData"].value = curve.astype(">u2").tobytes()
    same(grey(syntax=syntax, VOILUTSequence=Sequence([item])), curve[FILM] / 65535 * 255)


def test_bits_stored_and_high_bit() -> None:
    same(grey(FILM << 4, HighBit=15, **WINDOW), linear(FILM))
    same(grey((FILM << 2) | np.uint16(0xC003), HighBit=13, **WINDOW), linear(FILM))  # overlays in the bits around it
    same(grey(FILM | np.uint16(0xF000), **WINDOW), linear(FILM))
    same(grey((FILM >> 4).astype(np.uint8), WindowCenter=128, WindowWidth=256), linear(FILM >> 4, 128, 256))


def test_pixel_representation() -> None:
    signed = FILM.astype(np.int16) - 2048
    same(grey(signed, PixelRepresentation=1, WindowCenter=-48, WindowWidth=WIDTH), linear(signed, -48))
    packed = (signed.astype(np.uint16) & 0xFFF) << 4
    same(grey(packed, PixelRepresentation=1, HighBit=15, WindowCenter=-48, WindowWidth=WIDTH), linear(signed, -48))
    same(
        grey(signed.astype(np.uint16) & 0xFFF, PixelRepresentation=1, WindowCenter=-48, WindowWidth=1800),
        linear(signed, -48),
    )


def test_32_bits() -> None:
    wide = FILM.astype(np.uint32) << 12
    tags = {"BitsStored": 32, "WindowCenter": CENTER * 4096, "WindowWidth": WIDTH * 4096}
    same(grey(wide, **tags), linear(wide.astype(float), CENTER * 4096, WIDTH * 4096))


def test_floats() -> None:
    file = dataset(FILM, BitsStored=None, PixelRepresentation=None, BitsAllocated=32)
    del file.PixelData
    file.FloatPixelData = (FILM / 7).astype("<f4").tobytes()
    same(decode_bytes(written(file), "x"), stretched((FILM / 7).astype(np.float32)))


@pytest.mark.parametrize(
    "name", ["Rows", "Columns", "BitsAllocated", "SamplesPerPixel", "PhotometricInterpretation", "PixelRepresentation"]
)
def test_a_tag_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(ImageError, match=f"no {name}") as caught:
        grey(**{name: None})
    assert "object has no attribute" not in str(caught.value)
    assert caught.value.hint


def test_tags_with_a_value_that_follows_may_be_missing() -> None:
    same(grey(FILM, HighBit=None, **WINDOW), linear(FILM))
    same(grey(FILM, BitsStored=None, HighBit=None, **WINDOW), linear(FILM))
    file = dataset(FILM, **WINDOW)
    file.add_new("NumberOfFrames", "IS", "")
    same(decode_bytes(written(file), "x"), linear(FILM))


def test_no_pixels_and_several_frames() -> None:
    file = dataset(FILM)
    del file.PixelData
    with pytest.raises(ImageError, match="no PixelData"):
        decode_bytes(written(file), "x")
    file = dataset(np.concatenate([FILM, FILM]), Rows=40, NumberOfFrames=2)
    with pytest.raises(ImageError, match="2 frames: a film has one"):
        decode_bytes(written(file), "x")


def test_padding_is_no_picture() -> None:
    values = FILM.copy()
    values[:10] = 63000
    values[10:20, :5] = 63536
    outside = values > 4095
    tags: dict[str, Any] = {"BitsStored": 16, "PixelPaddingValue": 63000, "PixelPaddingRangeLimit": 63536}
    expected = np.where(outside, 0, stretched(values.astype(float), FILM[~outside]))
    same(grey(values, **tags), expected)
    inverted = np.where(outside, 0, 255 - stretched(values.astype(float), FILM[~outside]))
    same(grey(values, PhotometricInterpretation="MONOCHROME1", **tags), inverted)
    same(grey(values, **tags, **WINDOW), np.where(outside, 0, linear(values.astype(float))))
    signed = FILM.astype(np.int16) - 1000
    signed[:10] = -2000
    file = dataset(signed, PixelRepresentation=1, BitsStored=16)
    file.add_new("PixelPaddingValue", "US", 63536)  # -2000 by the other sign
    same(decode_bytes(written(file), "x"), np.where(signed == -2000, 0, stretched(signed, signed[10:])))
    same(grey(FILM, PixelPaddingValue=5000), stretched(FILM))  # nowhere
    same(
        grey(np.where(FILM > 2000, 3, 2).astype(np.uint16), PixelPaddingValue=2, PixelPaddingRangeLimit=3),
        np.where(FILM > 2000, 255, 0),
    )


# --- C.11.1: modality LUT ---


@pytest.mark.parametrize(
    ("tags", "slope", "intercept"),
    [
        ({"RescaleSlope": 2, "RescaleIntercept": -1024}, 2, -1024),
        ({"RescaleSlope": 0.5, "RescaleIntercept": 3}, 0.5, 3),
        ({"RescaleSlope": "", "RescaleIntercept": 0}, 1, 0),
        ({"RescaleSlope": "", "RescaleIntercept": ""}, 1, 0),
        ({"RescaleIntercept": -1024}, 1, -1024),
        ({"RescaleSlope": 2}, 2, 0),
        ({"RescaleSlope": 0, "RescaleIntercept": 7}, 1, 7),
        ({"RescaleSlope": 1, "RescaleIntercept": ""}, 1, 0),
        ({"RescaleSlope": -1, "RescaleIntercept": 4095}, -1, 4095),
        ({"ModalityLUTSequence": Sequence([]), "RescaleIntercept": -100}, 1, -100),
    ],
)
def test_slope_and_intercept(tags: dict[str, Any], slope: float, intercept: float) -> None:
    same(grey(**tags, **WINDOW), linear(FILM * float(slope) + intercept))


def test_a_modality_lut_is_looked_up() -> None:
    entries = 65535 - np.arange(4096) * 16
    expected = linear(entries[FILM].astype(float), 32768, 50000)
    tags = {"WindowCenter": 32768, "WindowWidth": 50000}
    same(grey(ModalityLUTSequence=table(entries, [4096, 0, 16]), **tags), expected)
    same(grey(ModalityLUTSequence=table(entries, [4096, 0, 16], "US"), **tags), expected)
    few = table(entries[:3000], [3000, 500, 16])
    same(
        grey(ModalityLUTSequence=few, **tags),
        linear(entries[np.clip(FILM.astype(int) - 500, 0, 2999)].astype(float), 32768, 50000),
    )


# --- C.11.2: VOI LUT and window ---


@pytest.mark.parametrize("width", [1, 1.5, 2, 16, 1800, 5000])
@pytest.mark.parametrize("center", [1000, 2000.5])
def test_linear(center: float, width: float) -> None:
    same(grey(WindowCenter=center, WindowWidth=width), linear(FILM, center, width))
    same(grey(WindowCenter=center, WindowWidth=width, VOILUTFunction="LINEAR"), linear(FILM, center, width))


@pytest.mark.parametrize(("center", "width"), [(2048, 2000), (2048, 16), (1000, 300.5), (1500, 1)])
def test_sigmoid_and_linear_exact(center: float, width: float) -> None:
    sigmoid = 255 / (1 + np.exp(np.minimum(-4 * (FILM - float(center)) / width, 700)))
    same(grey(WindowCenter=center, WindowWidth=width, VOILUTFunction="SIGMOID"), sigmoid)
    exact = np.clip((FILM - float(center)) / width + 0.5, 0, 1) * 255
    same(grey(WindowCenter=center, WindowWidth=width, VOILUTFunction="LINEAR_EXACT"), exact)
    same(grey(WindowCenter=center, WindowWidth=width, VOILUTFunction="LINEAR_EXACT "), exact)


@pytest.mark.parametrize(
    ("tags", "word"),
    [
        ({"WindowCenter": 2048, "WindowWidth": 0}, "no width"),
        ({"WindowCenter": 2048, "WindowWidth": 0.5}, "no width"),
        ({"WindowCenter": 2048, "WindowWidth": -100}, "no width"),
        ({"WindowCenter": 2048, "WindowWidth": 0, "VOILUTFunction": "SIGMOID"}, "no width"),
        ({"WindowCenter": 40000, "WindowWidth": 100}, "one grey"),
        ({"WindowCenter": -40000, "WindowWidth": 100}, "one grey"),
        ({"WindowCenter": 40000, "WindowWidth": 1}, "one grey"),
        ({"WindowCenter": 2000, "WindowWidth": 10**9}, "one grey"),
        ({"WindowCenter": 40000, "WindowWidth": 10, "VOILUTFunction": "SIGMOID"}, "one grey"),
        ({"VOILUTSequence": table(CURVE, [4096, 20000, 16])}, "one grey"),
        ({"VOILUTSequence": table(np.full(4096, 7), [4096, 0, 16])}, "one grey"),
    ],
)
def test_windows_that_show_nothing(tmp_path: Path, tags: dict[str, Any], word: str) -> None:
    same(grey(**tags), stretched(FILM))
    assert any(word in note and "percentiles" in note for note in notes(tmp_path, **tags))


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"WindowCenter": 2000},
        {"WindowWidth": 2000},
        {"WindowCenter": "", "WindowWidth": ""},
        {"WindowCenter": [], "WindowWidth": []},
        {"VOILUTSequence": Sequence([])},
        {"VOILUTSequence": Sequence([Dataset()])},
        {"VOILUTSequence": table(np.array([]), [0, 0, 16])},
        {"SharedFunctionalGroupsSequence": Sequence([])},
        {"SharedFunctionalGroupsSequence": Sequence([Dataset()])},
    ],
)
def test_no_window(tmp_path: Path, tags: dict[str, Any]) -> None:
    same(grey(**tags), stretched(FILM))
    assert notes(tmp_path, **tags) == ()


def test_the_first_of_several_windows_and_functions() -> None:
    same(grey(WindowCenter=[CENTER, 30], WindowWidth=[WIDTH, 5]), linear(FILM))
    same(grey(WindowCenter=[CENTER, 30], WindowWidth=WIDTH, VOILUTFunction="LINEAR"), linear(FILM))


def test_a_function_that_is_none(tmp_path: Path) -> None:
    same(grey(VOILUTFunction="LOG", **WINDOW), linear(FILM))
    assert "none of the standard's" in notes(tmp_path, VOILUTFunction="LOG", **WINDOW)[0]


@pytest.mark.parametrize(
    ("said", "entries", "white"),
    [
        (12, CURVE, 4095),
        (16, CURVE * 16, 65535),
        (16, CURVE, 4095),  # Agfa: the size of an entry for its depth
        (16, CURVE / 16, 255),
        (12, CURVE * 16, 65520),  # understated
        (8, CURVE, 4095),
        (0, CURVE, 4095),
        (12, CURVE * 0.7, 4095),  # a table that does not reach white is no wrong one
        (16, CURVE * 0.7, 2866),
    ],
)
@pytest.mark.parametrize("kind", ["OW", "US"])
def test_what_is_white_in_a_voi_lut(said: int, entries: np.ndarray, white: int, kind: str) -> None:
    entries = entries.astype(int)
    same(grey(VOILUTSequence=table(entries, [4096, 0, said], kind)), entries[FILM] / white * 255)


def test_a_voi_lut_of_bytes() -> None:
    entries = (255 * (np.arange(256) / 255) ** 0.7).astype(np.uint8)
    item = Dataset()
    item.LUTDescriptor = [256, 0, 8]
    item.add_new("LUTData", "OW", entries.tobytes())
    values = (FILM >> 4).astype(np.uint8)
    same(grey(values, VOILUTSequence=Sequence([item])), entries[values].astype(int))


def test_a_voi_lut_comes_before_a_window_and_the_first_counts() -> None:
    first, second = table(CURVE, [4096, 0, 12], sequence=False), table(CURVE[::-1], [4096, 0, 12], sequence=False)
    same(grey(VOILUTSequence=Sequence([first, second]), **WINDOW), CURVE.astype(int)[FILM] / 4095 * 255)


def test_the_ends_of_a_voi_lut() -> None:
    entries = np.arange(1000) * 4
    expected = entries[np.clip(FILM.astype(int) - 1500, 0, 999)] / 4095 * 255
    same(grey(VOILUTSequence=table(entries, [1000, 1500, 12])), expected)
    same(grey(VOILUTSequence=table(entries, [1200, 1500, 12])), expected)  # fewer than it says


@pytest.mark.parametrize("kind", ["US", "SS"])
@pytest.mark.parametrize("how", ["intercept", "signed", "slope"])
def test_a_voi_lut_that_begins_below_zero(kind: str, how: str) -> None:
    """64512 is -1024 by US; the sign of the first value is that of the modality LUT's output, not of the pixels."""
    item = table(CURVE, [4096, 0, 12], sequence=False)
    item["LUTDescriptor"].VR = kind
    item["LUTDescriptor"].value = [4096, 64512 if kind == "US" else -1024, 12]
    tags: dict[str, Any] = {"VOILUTSequence": Sequence([item])}
    values = FILM
    if how == "signed":
        values = FILM.astype(np.int16) - 1024
        tags |= {"PixelRepresentation": 1, "BitsStored": 16}
    else:
        tags |= {"RescaleIntercept": -1024, "RescaleSlope": 1} if how == "slope" else {"RescaleIntercept": -1024}
    same(grey(values, **tags), CURVE.astype(int)[FILM] / 4095 * 255)


@pytest.mark.parametrize("groups", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_an_enhanced_film_has_its_window_in_functional_groups(groups: str) -> None:
    voi, transformation, group = Dataset(), Dataset(), Dataset()
    voi.WindowCenter, voi.WindowWidth, voi.VOILUTFunction = 1000, 500, "LINEAR_EXACT"
    transformation.RescaleSlope, transformation.RescaleIntercept = 2, -500
    group.FrameVOILUTSequence = Sequence([voi])
    group.PixelValueTransformationSequence = Sequence([transformation])
    expected = np.clip((FILM * 2.0 - 500 - 1000) / 500 + 0.5, 0, 1) * 255
    same(grey(NumberOfFrames=1, **{groups: Sequence([group])}), expected)


# --- C.7.6.3.1.2 and C.8.11: what is white ---


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME2", None, False),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", True),
    ],
)
@pytest.mark.parametrize("way", [WINDOW, {}, {"VOILUTSequence": table(CURVE, [4096, 0, 12])}])
def test_inversion(photometric: str, shape: str | None, inverted: bool, way: dict[str, Any]) -> None:
    plain = grey(**way)
    got = grey(PhotometricInterpretation=photometric, PresentationLUTShape=shape, **way)
    np.testing.assert_array_equal(got, 255 - plain if inverted else plain)


def test_raw_values_of_a_detector_are_noted(tmp_path: Path) -> None:
    assert "FOR PROCESSING" in notes(tmp_path, PresentationIntentType="FOR PROCESSING")[0]
    assert notes(tmp_path, PresentationIntentType="FOR PRESENTATION") == ()


# --- colours ---

COLOUR = np.stack([FILM, FILM[::-1], 4095 - FILM], axis=2) << 4
LUMA = COLOUR.astype(float) @ [0.299, 0.587, 0.114]


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize(("kind", "shift"), [(np.uint8, -8), (np.uint16, 0), (np.uint32, 16)])
def test_colours_of_any_depth(kind: type, shift: int, planar: int) -> None:
    values = COLOUR.astype(np.int64) << shift if shift > 0 else COLOUR.astype(np.int64) >> -shift
    bits = 16 + shift
    luma = (values @ [0.299, 0.587, 0.114]) / (2**bits - 1) * 255
    stored = values.astype(kind)
    flat = stored if not planar else np.moveaxis(stored, 2, 0).reshape(stored.shape)
    same(grey(np.ascontiguousarray(flat), BitsStored=bits, PlanarConfiguration=planar), luma, 1)


def test_12_bit_colours_and_grey_stored_as_colour() -> None:
    same(grey(COLOUR >> 4, BitsStored=12), LUMA / 16 / 4095 * 255, 1)
    same(grey(np.repeat((FILM << 4)[..., None], 3, 2), BitsStored=16), (FILM << 4) / 65535 * 255)


def test_ybr_is_its_first_sample() -> None:
    eight = (COLOUR >> 8).astype(np.uint8)
    eight[..., 1:] = 128 + eight[..., 1:] // 16
    same(grey(eight, PhotometricInterpretation="YBR_FULL"), eight[..., 0], 2)
    same(grey(COLOUR, PhotometricInterpretation="YBR_FULL", BitsStored=16), COLOUR[..., 0] / 65535 * 255)


def test_colours_that_are_not_read() -> None:
    for name in ("HSV", "ARGB", "CMYK"):
        with pytest.raises(ImageError):
            grey((COLOUR >> 8).astype(np.uint8), PhotometricInterpretation=name)
    with pytest.raises(ImageError, match="no PlanarConfiguration"):
        grey((COLOUR >> 8).astype(np.uint8), PlanarConfiguration=None)


@pytest.mark.parametrize("depth", [8, 16])
def test_places_in_a_palette_are_looked_up(depth: int) -> None:
    places = (FILM >> 4).astype(np.uint8)
    scale = 257 if depth == 16 else 1
    tables = [np.roll(np.arange(256), turn) * scale for turn in (128, 30, 7)]
    tags: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour, entries in zip(("Red", "Green", "Blue"), tables, strict=True):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, depth]
        tags[f"{colour}PaletteColorLookupTableData"] = entries.astype("<u2" if depth == 16 else "u1").tobytes()
    luma = np.stack([entries[places] for entries in tables], 2) @ [0.299, 0.587, 0.114]
    same(grey(places, **tags), luma / scale, 1)


@pytest.mark.parametrize(
    ("said", "largest"), [(16, 65535), (16, 255), (8, 65535), (12, 4095), (16, 40000), (16, 20000)]
)
def test_what_is_white_in_a_palette(said: int, largest: int) -> None:
    """By the whole table: a dark film is dark, though it has no place of the table's bright end."""
    entries = np.round(np.arange(256) / 255 * largest).astype(int)
    tags: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour in ("Red", "Green", "Blue"):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, said]
        tags[f"{colour}PaletteColorLookupTableData"] = entries.astype("<u2").tobytes()
    places = (FILM >> 6).astype(np.uint8)
    white = 2**said - 1 if largest.bit_length() == said else largest
    same(grey(places, **tags), entries[places] / white * 255)


# --- compressed ---


def jpeg(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    PilImage.fromarray(values).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def compressed(frame: bytes, syntax: str, **tags: Any) -> bytes:
    file = dataset((FILM >> 4).astype(np.uint8), syntax, **tags)
    file.PixelData = pydicom.encaps.encapsulate([frame])
    file["PixelData"].is_undefined_length = True
    return written(file)


def test_damage_is_told_as_damage_and_a_missing_codec_as_that() -> None:
    frame = jpeg((FILM >> 4).astype(np.uint8))
    same(decode_bytes(compressed(frame, JPEGBaseline8Bit, WindowCenter=128, WindowWidth=256), "x"), FILM >> 4, 12)
    for bad in (frame[: len(frame) // 2], frame[: len(frame) * 3 // 4] + b"\xff\xd9"):
        with pytest.raises(ImageError, match="damaged JPEG Baseline") as caught:
            decode_bytes(compressed(bad, JPEGBaseline8Bit), "x")
        assert "pip" not in caught.value.hint
    with pytest.raises(ImageError, match=r"JPEG of 12 bits .*no codec here reads it") as caught:
        decode_bytes(compressed(frame, JPEGExtended12Bit, BitsAllocated=16, BitsStored=12), "x")
    assert "dcmdjpeg" in caught.value.hint
    for name in ("JPEG2000Lossless", "JPEGLSLossless", "JPEGLosslessSV1", "RLELossless"):
        with pytest.raises(ImageError, match="damaged") as caught:
            decode_bytes(compressed(b"\xff\x4f\xff\x51" * 9, getattr(pydicom.uid, name)), "x")
        assert "pip" not in caught.value.hint
    with pytest.raises(ImageError, match="a compression that is not read"):
        decode_bytes(compressed(frame, pydicom.uid.MPEG2MPML), "x")


# --- files without a preamble (PS3.10 C.7) ---


def bare(implicit: bool) -> bytes:
    buffer = io.BytesIO()
    file = dataset(FILM, ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian, **WINDOW)
    pydicom.dcmwrite(buffer, Dataset(file), implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    return buffer.getvalue()


def test_no_preamble(tmp_path: Path) -> None:
    whole = written(dataset(FILM, **WINDOW))
    bare_from_28 = bare(implicit=True)
    files = {"meta": whole[132:], "explicit": bare(implicit=False), "implicit": bare_from_28, "named.dcm": bare_from_28}
    files |= {"magic_first": whole[128:], "no_magic": b"\0" * 128 + whole[132:]}
    file = Dataset(dataset(FILM, **WINDOW))
    for tag in [element.tag for element in file if element.tag.group < 0x10]:
        del file[tag]
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, file, implicit_vr=True, little_endian=True, enforce_file_format=False)
    files["patient_first.dcm"] = buffer.getvalue()
    for name, content in files.items():
        assert content[128:132] != b"DICM"
        same(decode_bytes(content, name), linear(FILM))
        (tmp_path / name).write_bytes(content)
        assert image_size(tmp_path / name) == (50, 40)


def test_compressed_pixels_of_an_unknown_kind_are_named() -> None:
    content = compressed(jpeg((FILM >> 4).astype(np.uint8)), JPEGBaseline8Bit)
    tags = pydicom.dcmread(io.BytesIO(content))
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, Dataset(tags), implicit_vr=False, little_endian=True, enforce_file_format=False)
    with pytest.raises(ImageError, match="no TransferSyntaxUID that says how"):
        decode_bytes(buffer.getvalue(), "x.dcm")


@pytest.mark.parametrize("name", ["WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"])
def test_a_tag_that_is_no_number_says_nothing(name: str) -> None:
    content = written(
        dataset(FILM, RescaleSlope="1.00", RescaleIntercept="0.00", WindowCenter="2000", WindowWidth="1800")
    )
    value = {"WindowCenter": b"2000", "WindowWidth": b"1800", "RescaleSlope": b"1.00", "RescaleIntercept": b"0.00"}[
        name
    ]
    at = content.index(value)
    broken = content[:at] + b"2,5x" + content[at + 4 :]
    expected = stretched(FILM) if name.startswith("Window") else linear(FILM)
    same(decode_bytes(broken, "x.dcm"), expected)


def test_a_tree_without_preambles_is_added_and_embedded(tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "a").write_bytes(written(dataset(FILM, **WINDOW))[132:])
    (folder / "b.dcm").write_bytes(bare(implicit=True))
    (folder / "c.dcm").write_bytes(written(dataset(FILM.T.copy(), **WINDOW)))
    (folder / "d.dcm").write_bytes(b"no DICOM at all, whatever it is called" * 9)
    (folder / "notes.txt").write_bytes(b"hello")
    found = dicom_folder.read(folder, "tree")
    assert {note.what: note.count for note in found.notes if "left out" in note.what} == {
        "files that are not DICOM, left out": 2
    }
    added = add_collection(found, tmp_path / "root")
    assert sorted(map(str, added.dataset.images["width"].to_pylist())) == ["40", "50", "50"]
    update = embed(added.dataset, load_encoder(What("tiny")))
    assert (update.asked, update.added, len(update.failures)) == (3, 3, 0)


def test_a_note_on_films_is_told_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    for number, width in enumerate((0, 0, 1800)):
        values = np.roll(FILM, number, axis=1)
        (folder / f"{number}.dcm").write_bytes(written(dataset(values, WindowCenter=2000, WindowWidth=width)))
    add_collection(dicom_folder.read(folder, "tree"), tmp_path / "root")
    update = cxremb.embed("tiny", root=tmp_path / "root")
    assert [record.getMessage() for record in caplog.records] == list(update.notes)
    assert [note for note in update.notes if note.startswith("2 films, such as") and "no width" in note]
    noted = update.store.manifest.provenance["film_notes"]
    assert [len(items) for items in noted.values()] == [2]
