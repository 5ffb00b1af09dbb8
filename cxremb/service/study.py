"""One study as it was sent: its films as files for as long as it is judged, under names that say nothing.

The room `inference` reads films from files, since some decoders run in processes of their own. They lie in memory
where the system has a folder there, else in its temporary folder; nobody else may read them.
"""

import re
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from cxremb.datasets.tree import SUFFIXES
from cxremb.errors import DataError
from cxremb.inference.cases import Case, FilmInput, Given, NotJudged, name_of, read_films, wrong_text
from cxremb.inference.results import Judgements

MEMORY = Path("/dev/shm")  # of Linux
LONGEST_NAME = 100  # letters of a file's name that an answer repeats
MOST_FILMS = 16  # of one study
UNNAMED = "film"
NOT_PRINTED = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class SentFilm:
    """A film as it came."""

    name: str  # as its sender calls it
    content: bytes = field(repr=False)


class SentStudy:
    """A study on its way through the judge. It is to be closed, whatever became of it."""

    def __init__(self, films: Sequence[SentFilm], text: str | None) -> None:
        """Raises `DataError` for nothing, for too many films, and for a text that is no report."""
        if not films and text is None:
            raise DataError("neither a film nor a report was sent", hint="send `films`, `report_text`, or both")
        if len(films) > MOST_FILMS:
            raise DataError(f"{len(films)} films in one study", hint=f"send {MOST_FILMS} at most in one request")
        if text is not None and (wrong := wrong_text(text)):
            raise DataError(wrong, hint="send the report alone, as text")
        self.folder = tempfile.TemporaryDirectory(prefix="cxremb-", dir=MEMORY if MEMORY.is_dir() else None)
        self.names: dict[str, str] = {}  # path here -> the sender's name
        try:
            inputs = tuple(self.keep(film) for film in films)
            self.names[self.name] = name_of([FilmInput(name) for name in self.names.values()], {})
            self.given = Given([Case(self.name, inputs, text)])
            read_films(self.given)
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """That of its only case, which no other study has."""
        return f"{self.folder.name}/study"

    def keep(self, film: SentFilm) -> FilmInput:
        """A film as a file, until the study is closed."""
        name = plain_name(film.name, taken=self.names.values())
        suffix = PurePosixPath(name).suffix.lower()
        path = Path(self.folder.name) / f"{len(self.names)}{suffix if suffix in SUFFIXES else ''}"
        path.write_bytes(film.content)
        self.names[str(path)] = name
        return FilmInput(str(path), path)

    def owns(self, words: str) -> bool:
        """Whether something that was not judged is of this study."""
        return words.startswith(f"{self.folder.name}/")

    def answer(self, found: Judgements, root: Path) -> dict[str, Any]:
        """What was found, as `cxremb predict --format json` has it, in the sender's names. root: not to be named."""
        renamed: dict[str, Any] = self.renamed(asdict(found), {**self.names, str(root): "stores"})
        return renamed

    def reason(self, one: NotJudged) -> str:
        """Why something was not judged, in the sender's names."""
        return str(self.renamed(one.reason, self.names))

    def renamed(self, value: Any, names: Mapping[str, str]) -> Any:
        """A value with these names in place of paths."""
        if isinstance(value, str):
            for path, name in names.items():
                value = value.replace(path, name)
            return value
        if isinstance(value, Mapping):
            return {key: self.renamed(one, names) for key, one in value.items()}
        return [self.renamed(one, names) for one in value] if isinstance(value, list | tuple) else value

    def close(self) -> None:
        """Remove its films."""
        with suppress(OSError):
            self.folder.cleanup()


def plain_name(name: str, *, taken: Collection[str]) -> str:
    """The last part of a file's name, as it may be printed; a number more where another film has it."""
    last = NOT_PRINTED.sub("", name.replace("\\", "/").rpartition("/")[2])[-LONGEST_NAME:] or UNNAMED
    number, found = 2, last
    while found in taken:
        found, number = f"{last} ({number})", number + 1
    return found
