"""What the headers of DICOM films say of the machine and the picture, without reading a pixel."""

import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cxremb.processes import in_order
from cxremb.types import Progress

TAGS = ("PhotometricInterpretation", "BitsStored", "Manufacturer", "Modality", "BodyPartExamined", "Rows", "Columns")
NO_HEADER = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".npy")  # the others may be DICOM: many have no suffix
MAGIC_AT, MAGIC = 128, b"DICM"

Header = dict[str, str]  # tag -> value; only what is there


def read_headers(images: pa.Table, progress: Progress) -> dict[str, Header] | str:
    """Image id -> header, of the DICOM files among the images that are here; or why there is none."""
    here = images.filter(pc.is_valid(images["path"])).select(["image_id", "path"])
    paths = {image: path for image, path in zip(*here.to_pydict().values(), strict=True) if may_be_dicom(path)}
    if not paths:
        return "no DICOM file among the films" if here.num_rows else "no film is on this machine"
    try:
        import pydicom  # noqa: F401
    except ImportError:
        return 'DICOM headers need pydicom: pip install "cxremb[dicom]"'
    read = progress(in_order(read_header, paths.items()), len(paths), "reading DICOM headers")
    headers = {image: header for (image, _), header in read if header is not None}
    return headers or "no DICOM file among the films"


def may_be_dicom(path: str) -> bool:
    """Whether the name leaves it open."""
    return Path(path).suffix.lower() not in NO_HEADER


def read_header(file: tuple[str, str]) -> Header | None:
    """The tags of one file; None if it is no DICOM file or cannot be read, which the pixel checks count."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    path = Path(file[1])
    try:
        with path.open("rb") as head:
            head.seek(MAGIC_AT)
            if head.read(len(MAGIC)) != MAGIC:
                return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # values that break the standard's rules are still facts
            tags = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
            return {name: text for name in TAGS if (text := words(tags.get(name)))}
    except (OSError, InvalidDicomError, ValueError, KeyError, EOFError):
        return None


def words(value: Any) -> str:
    """A tag's value as text; "" for none."""
    return "" if value is None else str(value).strip()
