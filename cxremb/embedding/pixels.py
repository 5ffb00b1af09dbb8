"""Decoded films kept under `cache/`, so that a second encoder, or a network trained from pixels, decodes nothing."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cxremb.embedding.decode import Answer, Files, look
from cxremb.embedding.plan import Group
from cxremb.errors import StoreError
from cxremb.images import RECIPE, Film, FilmFile, Frame, Grey, Stamp, film_address, stamp_of
from cxremb.processes import in_order
from cxremb.store.files import replace_file, replace_table

LISTED = pa.schema(
    {
        "content": pa.string(),
        "notes": pa.list_(pa.string()),
        "stamp": pa.struct({"path": pa.string(), "size_bytes": pa.int64(), "modified_ns": pa.int64()}),
    }
)
ROWS = 2048  # films in one file: 118 MB at 240 pixels


@dataclass
class PixelCache:
    """Films in one frame, uint8, by the SHA-256 of the file they were decoded from. Read from disk as they are used."""

    folder: Path
    frame: Frame
    files: list[NDArray[np.uint8]] = field(default_factory=list)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)  # content -> (file, row)
    notes: dict[str, Sequence[str]] = field(default_factory=dict)  # content -> what decoding it noted, if anything
    stamps: dict[str, Stamp] = field(default_factory=dict)  # content -> its file when it was decoded
    waiting: dict[str, Grey] = field(default_factory=dict)

    def __contains__(self, content: str) -> bool:
        return content in self.places

    def __len__(self) -> int:
        return len(self.places)

    def film(self, content: str) -> Grey:
        """(side, side). Raises `KeyError` if it is not here."""
        file, row = self.places[content]
        film: Grey = self.files[file][row]
        return film

    def films(self, contents: Sequence[str]) -> NDArray[np.uint8]:
        """(n, side, side) in the order asked for. Raises `StoreError` with the command that makes missing ones."""
        if lost := [content for content in contents if content not in self.places]:
            raise StoreError(
                f"{len(lost)} of {len(contents)} films are not in the pixel cache of {self.frame.side} pixels",
                hint="decode them first: `cxremb embed --model MODEL --keep-pixels`",
            )
        out = np.empty((len(contents), self.frame.side, self.frame.side), np.uint8)
        for index, content in enumerate(contents):
            out[index] = self.film(content)
        return out

    def unchanged(self, content: str, paths: Iterable[str]) -> bool:
        """Whether a film is here and its file, one of `paths`, is as it was, by its stamp: no byte of it is read."""
        stamp = self.stamps.get(content)
        return stamp is not None and stamp.path in paths and stamp_of(stamp.path) == stamp

    def keep(self, film: Film) -> None:
        """Take a film in, with what is known of it. It is on disk after `ROWS` of them, or after `flush`."""
        content = film.sha256
        if content not in self.places and content not in self.waiting:
            self.waiting[content] = film.pixels
            self.notes |= {content: film.notes} if film.notes else {}
            self.stamps |= {content: film.stamp} if film.stamp else {}
            if len(self.waiting) >= ROWS:
                self.flush()

    def flush(self) -> None:
        """Write what is waiting: the list of contents first, so that a file of films is never without its list."""
        if not self.waiting:
            return
        films, contents = np.stack(list(self.waiting.values())), list(self.waiting)
        path = self.folder / f"{uuid4().hex}.npy"
        stamps = [self.stamps.get(content) for content in contents]
        columns = [
            contents,
            [list(self.notes.get(content, ())) for content in contents],
            [stamp and stamp._asdict() for stamp in stamps],
        ]
        replace_table(path.with_suffix(".parquet"), pa.table(columns, schema=LISTED))

        def write(draft: Path) -> None:
            with draft.open("wb") as file:
                np.save(file, films)

        replace_file(path, write)
        self.waiting.clear()
        self.take(path)

    def take(self, path: Path) -> None:
        """Make the films of one file known. One that is not whole is passed over, and its films decoded again."""
        try:
            films = np.load(path, mmap_mode="r").view(np.ndarray)  # a view of a memmap costs more than its pixels
            listed = pq.read_table(path.with_suffix(".parquet"))
            contents, notes, stamps = (listed[name].to_pylist() for name in LISTED.names)
        except (OSError, ValueError, KeyError, pa.ArrowException):
            return
        if films.shape == (len(contents), self.frame.side, self.frame.side) and films.dtype == np.uint8:
            self.places |= {content: (len(self.files), row) for row, content in enumerate(contents)}
            self.notes |= {content: found for content, found in zip(contents, notes, strict=True) if found}
            self.stamps |= {content: Stamp(**stamp) for content, stamp in zip(contents, stamps, strict=True) if stamp}
            self.files.append(films)


def known_films(groups: Sequence[Group], kept: PixelCache) -> Iterator[Answer]:
    """The film of each group whose pixels are kept, if one of its files is as it was: by its stamp, or else its bytes.

    Servers of films are asked by several threads: they answer slowly.
    """

    def known(group: Group) -> Answer:
        content = group[0].content
        if not kept.unchanged(content, [item.source for item in group]):
            there = look(files_of(group))
            if not isinstance(there, Film):
                return there
        return Film(kept.film(content), content, tuple(kept.notes.get(content, ())))

    if not any(film_address(group[0].source) for group in groups[:1]):
        return map(known, groups)
    return (answer for _, answer in in_order(known, groups))


def files_of(group: Group) -> Files:
    """The files of a group, each with the SHA-256 it had when it was added."""
    return tuple(FilmFile(item.source, item.content) for item in group)


def open_pixels(cache: Path, frame: Frame) -> PixelCache:
    """What is kept of this frame, under a data set's `cache` folder; empty if nothing is."""
    found = PixelCache(cache / "pixels" / frame_name(frame), frame)
    for path in sorted(found.folder.glob("*.npy")):
        found.take(path)
    return found


def frame_name(frame: Frame) -> str:
    """A folder's name that says the frame, and follows from everything that decides a pixel."""
    decides: Mapping[str, object] = {"frame": frame.recipe, "decoder": RECIPE}
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    return f"{frame.side}-{frame.aspect}-{digest[:8]}"


def bytes_needed(films: int, frame: Frame) -> int:
    """The disk that so many films take."""
    return films * frame.side**2
