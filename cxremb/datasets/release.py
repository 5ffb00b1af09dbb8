"""What published collections have in common: tables found by name, the films that they list, and who was examined."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cxremb.cells import is_missing
from cxremb.datasets.films import FilmFolder
from cxremb.datasets.tree import refuse_no_folder
from cxremb.datasets.views import view_named, view_notes
from cxremb.errors import DataError
from cxremb.store.facts import number_of
from cxremb.tablefile import TableFile, open_table
from cxremb.types import Note, NoteCounter, notes_of

T = TypeVar("T", str, int)
PACKED = ("", ".gz", ".zip")  # as published, or as Kaggle and mirrors pack it
OLDEST = 120  # years
SEXES = {"f": "F", "female": "F", "m": "M", "male": "M", "o": "O", "other": "O"}  # as DICOM writes them
OR_MORE = re.compile(r"(\d+)\s*(?:\+|or more|and above|or older)", re.IGNORECASE)
FETCH_AGAIN = "fetch the table again from where the collection is published"


def find_table(folder: Path, *names: str) -> Path | None:
    """The first of these files that lies in `folder`, packed or not."""
    places = (folder / (name + suffix) for name in names for suffix in PACKED)
    return next((place for place in places if place.is_file()), None)


def require_table(folder: Path, *names: str, columns: Iterable[str] = ()) -> TableFile:
    """The table of one of these names, with these columns. Raises `DataError` if it is not there or another."""
    refuse_no_folder(folder)
    path = find_table(folder, *names)
    if path is None:
        raise DataError(f"{folder}: no {' or '.join(names)} in it", hint="give the folder that holds the tables")
    table = open_table(path, remedy=FETCH_AGAIN)
    table.require(columns, f"this is no table of that release; {FETCH_AGAIN}")
    return table


class ReleaseFilms:
    """The films that a release lists, with their files where they are here, and their views."""

    def __init__(self, folder: Path) -> None:
        self.files = FilmFolder(folder, searched=True, needed=False)
        self.missing = NoteCounter(
            "listed images that are not on disk", "they stay listed; fetch the files and add again"
        )
        self.views: Counter[str] = Counter()
        self.listed: set[str] = set()
        self.twice = NoteCounter("films that the table lists twice", "kept once, where both rows say the same")

    def find(self, name: str, *, is_path: bool = False) -> Path | None:
        """The file of a film, which is counted if it is not here. Raises `DataError` if several could be meant."""
        path = self.files.find(name, is_path=is_path)
        if name in self.listed:
            self.twice.add(name)
        elif path is None:
            self.missing.add(name)
        self.listed.add(name)
        return path

    def view(self, words: str) -> str | None:
        """The view that the words name, counted if they name none."""
        view = view_named(words)
        if view is None:
            self.views[words] += 1
        return view

    def notes(self) -> list[Note]:
        """What is not here, what nobody listed, and views that are not known."""
        if self.files.by_place and self.listed and not self.files.named:
            self.missing.hint = f"none of the images below {self.files.folder} is named: are they of another release?"
        hint = "kept without a view; what the table says is the column view_raw"
        return [*notes_of(self.missing, self.twice), *self.files.notes(), *view_notes(self.views, hint)]


def refuse_strangers(source: Path | str, named: Set[T], known: Iterable[T], *, what: str = "films") -> None:
    """Raises `DataError` if a file beside the table names things, and none of those that the table has."""
    if named and named.isdisjoint(known):
        raise DataError(
            f"{source}: none of the {len(named):,} {what} that it names is in the table",
            hint=f"it is of another release or collection: remove it, or {FETCH_AGAIN}",
        )


@dataclass
class People:
    """Sex and age as facts, and a count of what cannot be, or stands for something else.

    top: the age that a collection writes for all above it; None: there is none.
    """

    top: int | None = None
    impossible: NoteCounter = field(
        default_factory=lambda: NoteCounter(f"ages that cannot be (below 0, above {OLDEST}, no number)", "left out")
    )
    newborn: NoteCounter = field(
        default_factory=lambda: NoteCounter("ages of 0", "kept: a child below one year, or nobody knew")
    )
    unknown: NoteCounter = field(default_factory=lambda: NoteCounter("studies whose patient's sex is not known"))
    highest: int = 0
    open_ended: int = 0

    def facts(self, study: str, sex: str, age: str) -> dict[str, str]:
        """The facts of one study."""
        found = {}
        if known := SEXES.get(sex.strip().lower()):
            found["sex"] = known
        else:
            self.unknown.add(study)
        if not is_missing(age):
            open_ended = OR_MORE.fullmatch(age)
            self.open_ended += open_ended is not None
            years = number_of("age", open_ended[1] if open_ended else age)
            if years is None or not 0 <= years <= OLDEST:
                self.impossible.add(f"{study}: {age}")
            else:
                found["age"] = f"{years:g}"
                if years == 0:
                    self.newborn.add(study)
                self.highest += years == self.top
        return found

    def notes(self) -> list[Note]:
        """What was counted."""
        hint = f"the collection writes {self.top} for this age and all above"
        top = [Note(f"ages of {self.top}", self.highest, hint=hint)] if self.highest else []
        what, why = "ages written as `85 or more`", "the number is kept: it stands for this age and all above"
        more = [Note(what, self.open_ended, hint=why)] if self.open_ended else []
        return [*notes_of(self.impossible, self.newborn, self.unknown), *top, *more]


def box(cells: Sequence[str]) -> str:
    """A box as a fact: four numbers in pixels, without their many digits. Raises `ValueError` if they are none."""
    if len(cells) != 4:
        raise ValueError(f"{len(cells)} numbers")
    return ",".join(f"{float(cell):.6g}" for cell in cells)


class StudiesOnce:
    """Rows of films, of which the films of a study say the same: what the first says is taken."""

    def __init__(self, what: str) -> None:
        self.what = what  # films of a study share, for the message
        self.known: dict[str, int] = {}  # study -> digest of what its first film says

    def is_new(self, table: TableFile, line: int, study: str, *, said: object) -> bool:
        """Whether this is the first row of `study`. Raises `DataError`, naming the line, if it says something else."""
        digest = hash(said)
        if study in self.known and self.known[study] != digest:
            raise DataError(
                f"{table.path}: {table.place(line)} says other things of {study} than an earlier line",
                hint=f"the films of a study have the same {self.what}; {FETCH_AGAIN}",
            )
        is_new = study not in self.known
        self.known[study] = digest
        return is_new
