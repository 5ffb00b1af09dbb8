"""JPEG as 8-bit grey: its luma as it is stored. Damage around the picture is mended, within it refused."""

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image as PilImage

from cxremb.errors import ImageError
from cxremb.images.grey import Grey, check_size
from cxremb.images.pillow import REPLACE, decode_by_pillow

MAGIC = b"\xff\xd8"
STRAY = b"\r\n\t \0"  # what a transfer as text puts before a file
SOI, EOI, SOS, APP0, APP14, COM = 0xD8, 0xD9, 0xDA, 0xE0, 0xEE, 0xFE
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15: where the size is
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
MARKER = re.compile(rb"\xff+([^\x00\xff])")
SCAN_END = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")  # in a scan, FF 00 is a byte and FF D0 to D7 are restarts
KEPT_APPS = {
    APP0: (b"JFIF\0", 16),
    APP14: (b"Adobe", 14),
}  # they say what the colours are: how they begin, the least size

T = TypeVar("T")


@dataclass(frozen=True)
class Segment:
    """A marker with its data; of a scan `end` is where its header ends, and `scan_end` where its picture does."""

    marker: int
    start: int  # of the data, behind the two bytes of length
    end: int
    scan_end: int = 0


def is_jpeg(content: bytes) -> bool:
    """Whether it starts as a JPEG does, white space before it or not."""
    return content[:64].lstrip(STRAY).startswith(MAGIC)


def decode_jpeg(content: bytes, least: int | None) -> Grey:
    """The film in a JPEG; where it has a luma, that as it is stored. least: as `Frame.least`.

    Raises `ImageError` for damage within the picture, for a picture that is not all there, for more than 8 bits.
    """
    content = content.lstrip(STRAY)
    check_scans(content)
    return strictly(content, lambda whole: decode_luma(whole, least))


def check_jpeg(content: bytes) -> None:
    """Raises `ImageError` for what `decode_jpeg` refuses, whatever the colours. Without simplejpeg nothing is found."""
    content = content.lstrip(STRAY)
    check_scans(content)
    strictly(content, lambda whole: read_strictly(whole) is not None)


def strictly(content: bytes, read: Callable[[bytes], T]) -> T:
    """What `read` makes of the bytes, or of their picture alone where something around it is wrong."""
    try:
        return read(content)
    except ValueError as error:
        mended = picture_alone(content)
        if mended == content:
            raise
        try:
            return read(mended)
        except ValueError:
            raise error from None


def read_strictly(content: bytes) -> Grey | None:
    """The picture with the fewest channels that it has; None without simplejpeg. Raises `ValueError` for any damage."""
    try:
        import simplejpeg
    except ImportError:
        return None
    colours = {"RGB": "RGB", "CMYK": "CMYK", "YCCK": "CMYK"}.get(simplejpeg.decode_jpeg_header(content)[2], "GRAY")
    found: Grey = simplejpeg.decode_jpeg(content, colours)
    return found


def decode_luma(content: bytes, least: int | None) -> Grey:
    """The luma. Raises `ValueError` for any damage, where simplejpeg is installed."""
    try:
        import simplejpeg
    except ImportError as error:
        if least:
            raise ImageError("--scaled-jpeg needs simplejpeg", "pip install simplejpeg") from error
        return luma_by_pillow(content)
    height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
    check_size(height * width)
    if colours not in {"Gray", "YCbCr"}:
        read_strictly(content)  # Pillow reads on where it is damaged
        return decode_by_pillow(content)
    smallest = {"min_height": least, "min_width": least, "min_factor": 1} if least else {}
    grey: Grey = simplejpeg.decode_jpeg(content, "GRAY", **smallest)[:, :, 0]
    return grey


def luma_by_pillow(content: bytes) -> Grey:
    """As `decode_luma`, with the same pixels; damage that libjpeg reads over is not found."""
    with PilImage.open(io.BytesIO(content), formats=["JPEG"]) as picture:
        check_size(picture.width * picture.height)
        if picture.mode in {"L", "RGB"} and picture.info.get("adobe_transform") != 0:
            picture.draft("L", picture.size)
            return np.asarray(picture.convert("L"))
    return decode_by_pillow(content)


def segments(content: bytes, *, scans: bool) -> Iterator[Segment]:
    """Each segment, whatever lies between them; scans: go on behind the first scan, else it is the last.

    A segment of metadata that ends behind the file, or is shorter than its own length, is passed over.
    """
    place = len(MAGIC)
    while found := MARKER.search(content, place):
        marker, place = found[1][0], found.end()
        if marker == EOI:
            return
        if marker in {SOI, 0x01, *range(0xD0, 0xD8)}:  # no data follows
            continue
        size = int.from_bytes(content[place : place + 2], "big")
        if size < 2 or place + size > len(content):
            continue
        segment = Segment(marker, place + 2, place + size)
        place += size
        if marker == SOS:
            if not scans:
                yield segment
                return
            ended = SCAN_END.search(content, place)
            place = ended.start() if ended else len(content)
            segment = Segment(marker, segment.start, segment.end, place)
        yield segment


def jpeg_size(content: bytes) -> tuple[int, int]:
    """(width, height) as it is stored. Raises `ImageError` without a frame."""
    content = content.lstrip(STRAY)
    for segment in segments(content, scans=False):
        if segment.marker in FRAMES and segment.end - segment.start >= 6:
            height, width = (
                int.from_bytes(content[segment.start + at : segment.start + at + 2], "big") for at in (1, 3)
            )
            return width, height
    raise ImageError("not a readable image (a JPEG without a picture)", REPLACE)


def check_scans(content: bytes) -> None:
    """Raises `ImageError` unless there is a frame of 8 bits, and a scan of all that its picture is made of.

    A progressive film that ends behind a scan is a blurred one, and no decoder says so.
    """
    header = {segment.marker: segment for segment in segments(content, scans=False)}
    frame = next((segment for marker, segment in header.items() if marker in FRAMES), None)
    if frame is None or SOS not in header or frame.end - frame.start < 6:
        raise ImageError("not a readable image (a JPEG without a picture)", REPLACE)
    precision, count = content[frame.start], content[frame.start + 5]
    if precision != 8:
        raise ImageError(f"JPEG of {precision} bits: not read", "save it as a PNG or TIFF of 16 bits")
    if frame.marker not in PROGRESSIVE and content[header[SOS].start] == count:
        return  # one scan holds all
    if lacks_scans(content, frame, set(content[frame.start + 6 : frame.end : 3][:count])):
        raise ImageError("not a readable image (a JPEG that lacks scans: it was cut off)", REPLACE)


def lacks_scans(content: bytes, frame: Segment, components: set[int]) -> bool:
    """Whether the last bits of some coefficient of a component are in no scan."""
    missing = {component: set(range(64)) for component in components}
    for segment in segments(content, scans=True):
        if segment.marker != SOS:
            continue
        data = content[segment.start : segment.end]
        first, last, low = (data[-3], data[-2], data[-1] & 15) if frame.marker in PROGRESSIVE else (0, 63, 0)
        for component in data[1 : 1 + 2 * data[0] : 2] if not low else b"":
            missing.get(component, set()).difference_update(range(first, last + 1))
    return any(missing.values())


def picture_alone(content: bytes) -> bytes:
    """The segments that the picture is made of, one behind the other, with an end: no metadata, no stray bytes."""
    parts = [MAGIC]
    for segment in segments(content, scans=True):
        data = content[segment.start : segment.end]
        begins, least = KEPT_APPS.get(segment.marker, (b"", 0))
        if (APP0 <= segment.marker <= 0xEF or segment.marker == COM) and not (
            least and data.startswith(begins) and len(data) + 2 >= least
        ):
            continue
        parts += [bytes((0xFF, segment.marker)), content[segment.start - 2 : max(segment.end, segment.scan_end)]]
    return b"".join((*parts, bytes((0xFF, EOI))))
