"""Films as a browser shows them: by the SHA-256 of the file, small or whole, decoded as an encoder would see them."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from queue import Queue

import numpy as np
from PIL import Image as PilImage

from cxremb import images
from cxremb.embedding.decode import Answer, Decoders, all_failed, first_good
from cxremb.errors import CxrembError, DataError, ImageError
from cxremb.explorer.board import Board

SIDES = {"thumb": 256, "film": 2048}  # pixels of the longer side
QUALITY = {"thumb": 82, "film": 92}  # of a JPEG
HELD = 2_000  # thumbnails in memory: some 20 MB
AT_ONCE = 2  # films that are decoded at the same time: the pages must go on
# In the rows, which are in memory; else in the table of films, where a study has several.
SHOWN = "SELECT DISTINCT path FROM cases WHERE sha256 = $sha256 AND path IS NOT NULL ORDER BY path LIMIT 9"
LISTED = "SELECT path FROM images WHERE dataset = $dataset AND sha256 = $sha256 AND path IS NOT NULL LIMIT 9"


class ShownFilms:
    """Films of one data set. What was shown small is held in memory; nothing is written."""

    def __init__(self) -> None:
        self.held: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self.lock = threading.Lock()
        self.decoders: Queue[Decoders[Answer]] = Queue()
        work = partial(first_good, read=images.decode_file)
        for _ in range(AT_ONCE):
            self.decoders.put(Decoders(work, all_failed, workers=1, processes=False))

    def jpeg(self, board: Board, sha256: str, kind: str) -> bytes:
        """A film of that digest as JPEG. kind: one of `SIDES`.

        Raises `DataError` for a digest that is of no film here, or of one that lies where the collection does not;
        `ImageError` for one that is gone, has changed or cannot be decoded.
        """
        with self.lock:
            if kept := self.held.get((sha256, kind)):
                self.held.move_to_end((sha256, kind))
                return kept
        encoded = as_jpeg(self.decoded(board, sha256), kind)
        if kind == "thumb":
            with self.lock:
                self.held[sha256, kind] = encoded
                if len(self.held) > HELD:
                    self.held.popitem(last=False)
        return encoded

    def decoded(self, board: Board, sha256: str) -> images.Grey:
        """Its pixels. Raises as `jpeg`."""
        with board.asking() as con:
            rows = con.execute(SHOWN, {"sha256": sha256}).fetchall()
            rows = rows or con.execute(LISTED, {"dataset": board.dataset.name, "sha256": sha256}).fetchall()
        own = folders(board)
        paths = [Path(whole) for (path,) in rows if (whole := board.dataset.whole_path(path))]
        inside = [path for path in paths if any(path.resolve().is_relative_to(folder) for folder in own)]
        if not inside:
            why = "lies outside the store root and the collection's folders" if paths else "is not on this machine"
            raise DataError(f"the film {why}", hint="add the data set again from where its films are")
        decoders = self.decoders.get()
        try:
            answer = next(decoders.run([[images.FilmFile(str(path), sha256) for path in inside]], 1))
        finally:
            self.decoders.put(decoders)
        if isinstance(answer, tuple) and not isinstance(answer, images.Film):
            raise without_path(answer[0], inside)
        return answer.pixels

    def close(self) -> None:
        """Stop the decoders."""
        while not self.decoders.empty():
            self.decoders.get().close()


def without_path(error: CxrembError, paths: Sequence[Path]) -> ImageError:
    """What is wrong with a film, without where it lies: it stands in the film's place."""
    said = str(error)
    for path in paths:
        said = said.removeprefix(f"{path}: ")
    return ImageError(said, error.hint)


def folders(board: Board) -> list[Path]:
    """Where films of the data set may lie: below its store root, and where its collection was read from."""
    said = board.dataset.source.values()
    source = [Path(one) for one in said if isinstance(one, str) and "/" in one]
    near = [path if path.is_dir() else path.parent for path in source if path.exists()]
    return [path.resolve() for path in (board.dataset.paths.root, *near)]


def as_jpeg(pixels: images.Grey, kind: str) -> bytes:
    """A film, no larger than its kind is."""
    film = PilImage.fromarray(np.ascontiguousarray(pixels))
    film.thumbnail((SIDES[kind], SIDES[kind]), PilImage.Resampling.BOX, reducing_gap=2.0)
    file = BytesIO()
    try:
        film.save(file, "JPEG", quality=QUALITY[kind])
    except OSError as error:
        raise ImageError(f"the film cannot be shown ({error})") from error
    return file.getvalue()
