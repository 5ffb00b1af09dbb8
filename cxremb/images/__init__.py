"""Bytes to 8-bit grey: the only decoder. PNG, JPEG, TIFF, DICOM and NumPy arrays; every choice it makes is in a key."""

from cxremb.images.film import (
    RECIPE,
    Film,
    Stamp,
    decode_bytes,
    decode_file,
    digest_file,
    image_size,
    is_tame,
    packed_facts,
    stamp_of,
)
from cxremb.images.frame import ASPECTS, Frame, resize, squash
from cxremb.images.grey import Grey
from cxremb.images.packed import is_packed
from cxremb.images.png import load_codecs

__all__ = [
    "ASPECTS",
    "RECIPE",
    "Film",
    "Frame",
    "Grey",
    "Stamp",
    "decode_bytes",
    "decode_file",
    "digest_file",
    "image_size",
    "is_packed",
    "is_tame",
    "load_codecs",
    "packed_facts",
    "resize",
    "squash",
    "stamp_of",
]
