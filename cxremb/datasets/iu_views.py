"""The view of a DICOM film, from its header, where no list names it."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from cxremb.datasets.dicom import read_header
from cxremb.images.dicom import INSTALL
from cxremb.types import Image, Note


def with_tagged_views(images: Sequence[Image]) -> tuple[list[Image], list[Note]]:
    """The images, DICOM films without a view with the one that their tags name; a note if pydicom is missing."""
    wanting = [image.path for image in images if lacks_view(image)]
    if wanting and find_spec("pydicom") is None:
        what, names = "DICOM files whose view was not read: pydicom is missing", [str(path) for path in wanting[:10]]
        return list(images), [Note(what, len(wanting), names, f"{INSTALL}, or give --projections")]
    return [replace(image, view=tagged(image.path)) if lacks_view(image) else image for image in images], []


def lacks_view(image: Image) -> bool:
    """Whether only the file's own tags can tell the view."""
    return image.view is None and image.path is not None and image.path.suffix.lower() == ".dcm"


def tagged(path: Path | None) -> str | None:
    """Frontal or Lateral, as the tags say; None if they do not, or cannot be read."""
    try:
        header = read_header(path) if path else None
    except Exception:  # pydicom raises anything at all on damaged bytes; the file is counted when it is hashed
        return None
    return header.view if header else None
