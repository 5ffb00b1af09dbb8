"""What the readers of folders have in common: the files below a folder, ids for them, and notes on what is wrong."""

import os
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path, PurePath

from cxremb.errors import DataError
from cxremb.types import EXAMPLES, Note

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".npy", ".dcm", ".dicom")
NOT_GIVEN = "not given"
# Names of folders, and ends of file names, that say: no film, but what somebody drew or computed on one.
MASKS = frozenset(
    [
        "mask",
        "masks",
        "maske",
        "masken",
        "masque",
        "masques",
        "label",
        "labels",
        "segmentation",
        "segmentations",
        "seg",
        "segs",
        "annotation",
        "annotations",
        "groundtruth",
        "gt",
        "overlay",
        "overlays",
        "heatmap",
        "heatmaps",
        "contour",
        "contours",
    ]
)
OF_WHAT = frozenset(("lung", "lungs", "heart", "left", "right", "manual", "binary", "image", "ground", "truth", "bbox"))
MASK_NOTE = "files in folders of masks or labels, or named as the mask of a film, left out"
MASK_HINT = "they are no films: add their folder by itself if they are what you want to add"


def image_files(folder: Path, needed: bool = True) -> tuple[list[Path], list[Path]]:
    """The images at and below `folder`, and all other files, both sorted; links to folders are followed.

    Hidden files and a Mac's `__MACOSX` are never images. Raises `DataError` if there is no such folder, or no image
    where one is `needed`.
    """
    files = all_files(folder)
    images = [path for path in files if path.suffix.lower() in SUFFIXES and not is_litter(path.relative_to(folder))]
    if needed and not images:
        raise DataError(
            f"{folder}: no image in it (looked for {', '.join(SUFFIXES)}, in folders below too)", hint="check the path"
        )
    taken = set(images)
    return images, [path for path in files if path not in taken]


def refuse_no_folder(folder: Path) -> None:
    """Raises `DataError` if it is a file, or not there."""
    if folder.is_file():
        raise DataError(f"{folder}: a file, and a folder is needed", hint=f"give the folder: {folder.parent}")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder", hint="check the path")


def all_files(folder: Path) -> list[Path]:
    """Every file at and below `folder`, sorted. Raises `DataError` if one cannot be reached or named in UTF-8."""
    refuse_no_folder(folder)

    def stop(error: OSError) -> None:
        raise DataError(
            f"{error.filename}: cannot be searched ({error.strerror})", hint="mend its permissions"
        ) from error

    files = []
    for parent, below, names in os.walk(folder, onerror=stop, followlinks=True):
        here = os.path.realpath(parent)
        below[:] = [name for name in below if not is_loop(os.path.realpath(Path(parent, name)), here)]
        files += [Path(parent, name) for name in names]
    for path in files:
        if not is_utf8(path):
            raise DataError(f"{str(path)!a}: its name is not UTF-8", hint="rename it; tables hold UTF-8 only")
    return sorted(files)


def is_loop(folder: str, here: str) -> bool:
    """Whether going from `here` down into `folder` comes back to where one has been."""
    return here == folder or here.startswith(folder.rstrip(os.sep) + os.sep)


def is_utf8(path: Path) -> bool:
    """Whether the name can be written as UTF-8; the file system's other bytes come as lone surrogates."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def is_litter(path: PurePath) -> bool:
    """Whether a computer, not a person, put it there: hidden files, and the copies in a Mac's zip."""
    return any(step.startswith(".") or step == "__MACOSX" for step in path.parts)


def name_images(folder: Path, paths: Sequence[Path]) -> list[str]:
    """An id for each image: its path below `folder` without suffix, or with it where two differ in nothing else."""
    bare = [path.relative_to(folder).with_suffix("").as_posix() for path in paths]
    times = Counter(bare)
    return [
        name if times[name] == 1 else path.relative_to(folder).as_posix()
        for name, path in zip(bare, paths, strict=True)
    ]


def without_masks(folder: Path, paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """(films, masks): what lies in a folder called masks, labels or segmentation, and `1_mask.png` beside a `1.png`.

    Where that would leave no film, `folder` was given for what is in it, and all are films.
    """
    stems = {path.stem for path in paths}
    masks = {path for path in paths if is_mask(path.relative_to(folder), stems)}
    if len(masks) == len(paths):
        return list(paths), []
    return [path for path in paths if path not in masks], [path for path in paths if path in masks]


def is_mask(path: PurePath, stems: Collection[str]) -> bool:
    """Whether a folder on the path is called one of `MASKS`, or the name is another's of `stems` with such an end."""
    if any(names_masks(step) for step in path.parts[:-1]):
        return True
    found = re.fullmatch(r"(.+)[_\-. ]([a-z]+)", path.stem, re.IGNORECASE)
    return found is not None and found[2].lower() in MASKS and found[1] in stems


def names_masks(step: str) -> bool:
    """Whether a folder's name says masks and nothing else: `masks`, `left mask`, `LungSegmentations`."""
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", step)}
    return bool(words & MASKS or {"ground", "truth"} <= words) and words <= MASKS | OF_WHAT


def without_suffix(name: str) -> str:
    """The name without suffixes of images: `1.dcm.png` is 1."""
    while name.lower().endswith(SUFFIXES):
        name = name.rpartition(".")[0]
    return name


def unknown_patients(count: int, what: str = "images") -> Note:
    """That nothing says which images, or studies, share a patient."""
    return Note(
        f"{what} whose patient is not known: each counts as a patient of its own",
        count,
        hint="leakage between patients cannot be ruled out: say so beside every result",
    )


def counted(*found: tuple[str, Sequence[str], str]) -> list[Note]:
    """A note for each (what, all of them, hint) that happened at all."""
    return [Note(what, len(items), tuple(items[:EXAMPLES]), hint) for what, items, hint in found if items]
