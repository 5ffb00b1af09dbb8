"""A file into a film: which decoder its first bytes ask for, and the one place where what goes wrong is caught."""

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from PIL import UnidentifiedImageError

from cxremb.errors import ImageError, StoreError, reason
from cxremb.images import png
from cxremb.images.array import array_size, decode_array, is_array
from cxremb.images.dicom import HEAD, decode_dicom, dicom_size, is_dicom, is_named_dicom, is_uncompressed
from cxremb.images.distant import Fetched, Stamp, distant_stamp, fetch_film, film_address, film_name
from cxremb.images.frame import Frame, resize
from cxremb.images.grey import Decoded, Grey
from cxremb.images.jpeg import is_jpeg
from cxremb.images.packed import open_film, packed_bytes, packed_film
from cxremb.images.picture import decode_picture, picture_size

# Part of every image store's key: change what a pixel becomes and these words must change with it.
RECIPE = {
    "grey": "8 bits and fewer over their whole range; colour by ITU-R 601 luma; alpha dropped; upright by EXIF",
    "wide": "more than 8 bits, float, colours alike, and windowless DICOM: linear from percentile 0.5 to 99.5",
    "dicom": "bits by HighBit; padding black; palette and colours by luma; modality LUT; VOI LUT or window by its "
    "function, percentiles where these leave one grey; MONOCHROME1 or INVERSE inverted",
    "tiff": "white is zero inverted; palettes looked up",
}
REPLACE = "replace or remove the file"


def stamp_of(path: str) -> Stamp | None:
    """The stamp of a film's file; None if there is none."""
    if address := film_address(path):
        return distant_stamp(address)
    film = packed_film(Path(path))
    try:
        found = (film.file if film else Path(path)).stat()
    except OSError:
        return None
    return Stamp(path, found.st_size, found.st_mtime_ns)


class Film(NamedTuple):
    """A film as a decoder gives it."""

    pixels: Grey  # (height, width), or the square of a frame
    sha256: str  # of the file
    notes: tuple[str, ...] = ()  # what was done about a header that contradicts its pixels
    stamp: Stamp | None = None  # of its file, before it was read


def decode_file(path: Path, frame: Frame | None = None, fetched: Fetched | None = None) -> Film:
    """The film in `path`, in its frame if one is given. Whatever is wrong with it is an `ImageError`, and nothing else.

    The error names the file and the stage: read, decode or content. fetched: its bytes, where they are here already.
    Raises `StoreError` where a server of films cannot be asked.
    """
    with one_error(film_name(path)):
        content = fetched.content if fetched else read_bytes(path)
        found = decode(content, path.name, frame.least if frame else None)
        pixels = resize(found.pixels, frame) if frame else found.pixels
        return Film(pixels, hashlib.sha256(content).hexdigest(), found.notes)


def digest_file(path: Path, fetched: Fetched | None = None) -> str:
    """SHA-256 of the file, for who has its pixels already. Raises `ImageError` if it is gone, as `decode_file` does."""
    with one_error(film_name(path)):
        return hashlib.sha256(fetched.content if fetched else read_bytes(path)).hexdigest()


def decode_bytes(content: bytes, name: str, least: int | None = None) -> Grey:
    """The film in `content`, uint8 (height, width). `name` is used in errors, least: as `Frame.least`."""
    with one_error(name):
        return decode(content, name, least).pixels


@contextmanager
def one_error(name: str) -> Iterator[None]:
    """Anything that is raised inside as an `ImageError` that names the file.

    The one broad `except` of the package: decoders raise anything at all on damaged bytes, and no film stops a job.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is odd and no error is taken as it is
            yield
    except StoreError:  # not this film is to blame
        raise
    except ImageError as error:
        raise ImageError(f"{name}: {error}", error.hint, error.stage) from error
    except MemoryError as error:
        raise ImageError(f"{name}: takes more memory than there is", "use fewer --workers, or remove it") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not a readable image (no image format that is known here)", REPLACE) from error
    except Exception as error:
        raise ImageError(f"{name}: not a readable image ({reason(error)})", REPLACE) from error


def read_bytes(path: Path) -> bytes:
    """What is in the file, the row or the object. Raises `ImageError` if nothing is, or it cannot be read."""
    if address := film_address(path):
        return fetch_film(address).content
    refuse_no_file(path)
    film = packed_film(path)
    try:
        return packed_bytes(film) if film else path.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror})", "restore the file, then embed again", "read") from error
    except ValueError as error:  # a path with a zero byte
        raise ImageError(f"cannot be read ({error})", "add the data set again", "read") from error


def refuse_no_file(path: Path) -> None:
    """Raises `ImageError` for a folder, a pipe or a device: reading some of them never ends."""
    if path.exists() and not path.is_file():
        raise ImageError("not a file", "remove it, and add the data set again", "read")


def decode(content: bytes, name: str, least: int | None) -> Decoded:
    """What the decoder for these bytes makes of them. Raises `ImageError` for a film without a picture in it."""
    if not content:
        raise ImageError("the file is empty", "fetch it again, or remove it and add the data set again", "read")
    if is_dicom(content):
        found = decode_dicom(content)
    elif is_array(content):
        found = Decoded(decode_array(content))
    else:
        found = decode_other(content, name, least)
    if not found.pixels.size:
        raise ImageError("no pixel in it", "remove the file", "content")
    if found.pixels.min() == found.pixels.max():
        raise ImageError("every pixel is the same", "a blank film carries no signal: remove it", "content")
    return found


def decode_other(content: bytes, name: str, least: int | None) -> Decoded:
    """A picture; a file called .dcm that is none is read as DICOM without a preamble."""
    try:
        return Decoded(decode_picture(content, least))
    except UnidentifiedImageError:
        if not is_named_dicom(name):
            raise
    try:
        return decode_dicom(content)
    except Exception as error:
        raise ImageError(
            f"no DICOM: neither DICM at byte 128 nor a data set with an image ({reason(error)})", REPLACE
        ) from error


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels from the header alone. Raises `ImageError` if there is none."""
    with one_error(str(path)):
        refuse_no_file(path)
        with open_film(path) as file:
            return size_in(file, path.name)


def facts_at_once(path: Path) -> tuple[str, tuple[int, int] | None]:
    """SHA-256 of a film in a row or at an address, and its (width, height), None without a header: it is read once.

    Raises `ImageError` if it cannot be read.
    """
    with one_error(film_name(path)):
        content = read_bytes(path)
    try:
        with one_error(film_name(path)):
            return hashlib.sha256(content).hexdigest(), size_in(io.BytesIO(content), path.name)
    except ImageError:
        return hashlib.sha256(content).hexdigest(), None


def size_in(file: IO[bytes], name: str) -> tuple[int, int]:
    """(width, height) by the header of the film in `file`. Raises anything at all for what is none."""
    head = file.read(HEAD)
    file.seek(0)
    if is_dicom(head):
        return dicom_size(file)
    if is_array(head):
        return array_size(file)
    try:
        return picture_size(file.read())
    except UnidentifiedImageError:
        if not is_named_dicom(name):
            raise
        file.seek(0)
        return dicom_size(file)


def is_tame(path: Path, fetched: Fetched | None = None) -> bool:
    """Whether no codec reads the file that may crash on damage: it is PNG, JPEG, NumPy or DICOM without compression.

    A library of C that crashes takes its process with it, which no `except` sees. Also for what is no file at all; not
    for a film at an address before its bytes are here.
    """
    if fetched is None and film_address(path):
        return False
    with suppress(ImageError), one_error(str(path)):  # whoever decodes it says what is wrong
        refuse_no_file(path)
        with io.BytesIO(fetched.content) if fetched else open_film(path) as file:
            head = file.read(HEAD)
            file.seek(0)
            if is_dicom(head):
                return is_uncompressed(file)
        return is_array(head) or head.startswith(png.MAGIC) or is_jpeg(head)
    return not path.is_file() and packed_film(path) is None
