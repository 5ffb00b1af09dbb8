"""The image files of a folder, found by the path or the id that a table gives."""

from collections.abc import Sequence
from pathlib import Path

from cxremb.datasets.tree import SUFFIXES, image_files
from cxremb.errors import DataError, name_list


class Films:
    """Paths are taken relative to `folder`. With `searched`, its tree is listed once and ids are looked up in it.

    Raises `DataError` if there is no such folder, or no image in one that is searched.
    """

    def __init__(self, folder: Path, searched: bool) -> None:
        self.folder = folder
        self.by_name: dict[str, list[str]] = {}  # name without suffix -> paths below the folder
        for path in image_files(folder)[0] if searched else ():
            relative = path.relative_to(folder).as_posix()
            self.by_name.setdefault(bare(relative).rpartition("/")[2], []).append(relative)
        self.named: set[str] = set()

    def find(self, cell: str) -> Path | None:
        """The file that a path or an id means, None if it is not here.

        An id is a file's name, or the end of its path, with or without suffix. Raises `DataError`, naming them, if
        several files answer to it.
        """
        wanted = bare(cell)
        found = [
            path for path in self.by_name.get(wanted.rpartition("/")[2], ()) if f"/{bare(path)}".endswith(f"/{wanted}")
        ]
        found = nearest(found, cell)
        if len(found) > 1:
            raise DataError(
                f"several files in {self.folder} could be {cell}: {name_list(found, 10)}",
                hint="name a column of paths with --column path=COLUMN, or point --images at one of the folders",
            )
        self.named.update(found)
        if found:
            return self.folder / found[0]
        direct = self.folder / cell  # where the tree was not listed, or the path leads out of it
        return direct if cell.lower().endswith(SUFFIXES) and direct.is_file() else None

    def unnamed(self) -> list[str]:
        """The listed files that nobody asked for, sorted."""
        return sorted(path for paths in self.by_name.values() for path in paths if path not in self.named)


def nearest(found: Sequence[str], cell: str) -> list[str]:
    """The one whose path is `cell`, else those that end with it, else all."""
    if cell in found:
        return [cell]
    return [path for path in found if path.endswith(f"/{cell}")] or list(found)


def bare(name: str) -> str:
    """The name without suffixes of images: `1.dcm.png` is 1."""
    while name.lower().endswith(SUFFIXES):
        name = name.rpartition(".")[0]
    return name
