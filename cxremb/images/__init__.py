"""Bytes to 8-bit grey: the only decoder. PNG, JPEG, TIFF, DICOM and NumPy arrays; every choice it makes is in a key."""

from cxremb.images.distant import Fetched, FilmFile, Stamp, film_address, film_name, folder_address, with_bytes
from cxremb.images.film import (
    RECIPE,
    Film,
    decode_bytes,
    decode_file,
    digest_file,
    facts_at_once,
    image_size,
    is_tame,
    stamp_of,
)
from cxremb.images.frame import ASPECTS, Frame, resize, squash
from cxremb.images.grey import Grey
from cxremb.images.packed import is_packed
from cxremb.images.png import load_codecs

__all__ = [
    "ASPECTS",
    "RECIPE",
    "Fetched",
    "Film",
    "FilmFile",
    "Frame",
    "Grey",
    "Stamp",
    "decode_bytes",
    "decode_file",
    "digest_file",
    "facts_at_once",
    "film_address",
    "film_name",
    "folder_address",
    "image_size",
    "is_packed",
    "is_tame",
    "load_codecs",
    "resize",
    "squash",
    "stamp_of",
    "with_bytes",
]
