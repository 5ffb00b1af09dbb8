"""The image files of a folder, found by the path or the id that a table gives."""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

from cxremb.datasets.tree import MASK_HINT, MASK_NOTE, SUFFIXES, image_files, without_masks, without_suffix
from cxremb.errors import DataError, name_list
from cxremb.images import film_address, folder_address
from cxremb.types import EXAMPLES, Note, NoteCounter, notes_of

OTHER_SUFFIX = "images whose file has another suffix than the table says"
OUTSIDE = "listed images outside of the folder of --images"
LEFT_OFF = "folders that all paths of the table begin with, left off"


class FilmFolder:
    """The image files of a folder. Where two could be meant, none is taken.

    A path that goes through folders, or that stands in a column of paths, is taken relative to `folder` and found
    nowhere else. A bare name is looked up in the whole tree, if that is `searched`; folders of masks are left out.
    Raises `DataError` if there is no such folder, or, where one is `needed`, no image in one that is searched.
    """

    def __init__(self, folder: Path, searched: bool, needed: bool = True) -> None:
        self.folder = folder
        self.bounded = searched  # somebody has said where the films are: none lies elsewhere
        searched = searched and not folder_address(folder)  # a server lists nothing, and a bucket has too much to list
        paths, masks = without_masks(folder, image_files(folder, needed)[0]) if searched else ([], [])
        self.masks = [path.relative_to(folder).as_posix() for path in masks]
        self.by_place: dict[str, list[str]] = {}  # path below the folder, without suffix -> the paths
        self.by_name: dict[str, list[str]] = {}  # name without suffix -> the paths
        for relative in (path.relative_to(folder).as_posix() for path in paths):
            place = composed(without_suffix(relative))
            self.by_place.setdefault(place, []).append(relative)
            self.by_name.setdefault(place.rpartition("/")[2], []).append(relative)
        self.named: set[str] = set()
        self.left_off = ""  # what all paths of the table begin with, where it was written for another place
        self.outside = NoteCounter(OUTSIDE, "not taken: name a folder above them with --images, or name none")
        self.other_suffix = NoteCounter(OTHER_SUFFIX, "taken: it is the only file of that name")

    def find(self, cell: str, *, is_path: bool) -> Path | None:
        """The file that a cell means, with or without suffix; None if it is not here. An address is taken as it stands.

        is_path: the cell says where the file is, and is no id. Raises `DataError`, naming them, if several files
        answer to it.
        """
        if film_address(cell):
            return Path(cell)
        if folder_address(self.folder):
            return self.folder / cell if cell.lower().endswith(SUFFIXES) else None
        wanted = composed(self.below(cell))
        place = without_suffix(wanted)
        found = self.by_place.get(place, [])
        if not (is_path and found) and "/" not in wanted:
            found = self.by_name.get(place, [])
        exact = [path for path in found if composed(path) == wanted]
        if len(found) > 1 and not (exact and (is_path or "/" in wanted)):
            raise DataError(
                f"several files in {self.folder} could be {cell}: {name_list(found, 10)}",
                hint="name a column of paths with --column path=COLUMN, or point --images at one of the folders",
            )
        chosen = (exact or found or [""])[0]
        if not chosen:
            return self.elsewhere(cell)
        self.named.add(chosen)
        if wanted.lower().endswith(SUFFIXES) and not composed(chosen).endswith(wanted):
            self.other_suffix.add(f"{cell} is {chosen}")
        return self.folder / chosen

    def leave_off(self, paths: Callable[[], Iterable[str]]) -> None:
        """Find the folders with which all paths begin, if none is a file here as it stands, but some is without them.

        paths: those of the table, to be read more than once. The same is left off from all, and as little as does it,
        so that two paths never become one.
        """
        first = next(iter(paths()), "")
        if not self.by_place or film_address(first) or self.is_here(self.below(first)):
            return
        shared = list(PurePosixPath(self.below(first)).parent.parts)
        for path in map(PurePosixPath, paths()):
            while shared and path.parts[: len(shared)] != tuple(shared):
                shared.pop()
        for head in ["", *(str(PurePosixPath(*shared[:count])) for count in range(1, len(shared) + 1))]:
            self.left_off = head
            if any(self.is_here(self.below(path)) for path in paths()):
                return
        self.left_off = ""

    def is_here(self, wanted: str) -> bool:
        """Whether a path below the folder, or a name anywhere in it, is one of its films."""
        place = without_suffix(composed(wanted))
        return place in self.by_place or ("/" not in place and place in self.by_name)

    def elsewhere(self, cell: str) -> Path | None:
        """The file where the tree was not listed, or the path leads out of it; none outside of a folder that was named.

        Who writes the table is not always who may read the disk: another patient's film is not taken by a path to it.
        """
        direct = self.folder / cell
        if not cell.lower().endswith(SUFFIXES) or not direct.is_file():
            return None
        if self.bounded and not direct.resolve().is_relative_to(self.folder.resolve()):
            self.outside.add(cell)
            return None
        return direct

    def below(self, cell: str) -> str:
        """The cell as a path below the folder, without `./`, doubled slashes, and what is left off."""
        path = PurePosixPath(cell)
        if self.left_off and path.is_relative_to(self.left_off):
            return path.relative_to(self.left_off).as_posix()
        for folder in (self.folder, self.folder.absolute()):
            if path.is_absolute() and path.is_relative_to(folder):
                path = path.relative_to(folder)
        return path.as_posix()

    def notes(self) -> list[Note]:
        """What is here and was not named, what was left out, and what was called otherwise."""
        unnamed = sorted(path for paths in self.by_place.values() for path in paths if path not in self.named)
        found: Sequence[tuple[str, Sequence[str], str]] = (
            ("images on disk that no row names", unnamed, "not added"),
            (MASK_NOTE, self.masks, MASK_HINT),
            (LEFT_OFF, [self.left_off] if self.left_off else [], "they are not below --images: what follows them is"),
        )
        return [
            *notes_of(self.other_suffix, self.outside),
            *(Note(what, len(its), tuple(its[:EXAMPLES]), hint) for what, its, hint in found if its),
        ]


def composed(name: str) -> str:
    """The name with its letters composed (NFC): tables and file systems differ in that."""
    return unicodedata.normalize("NFC", name)
