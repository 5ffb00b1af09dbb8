"""What is to be judged: files, folders, tables and ids as studies with films and a text; and what of it cannot be."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cxremb import images
from cxremb.datasets.known_ids import heading
from cxremb.datasets.table.columns import FILM_NAMES, ROLE_NAMES
from cxremb.datasets.tree import image_files
from cxremb.errors import CxrembError, DataError
from cxremb.similarity.query import LONGEST, refuse_text
from cxremb.store.dataset import Dataset
from cxremb.store.pseudonyms import known_as, pseudonym_of, why_unknown
from cxremb.tablefile import open_table

TABLES = re.compile(r"\.(csv|tsv|parquet)(\.gz|\.zip)?$", re.IGNORECASE)
NAMES = {  # what a row of a table may say -> headings
    "film": (*ROLE_NAMES["path"], *FILM_NAMES, *ROLE_NAMES["id"]),
    "report": ("report", "text", "report_text", "befund"),
    "study": ("study", *ROLE_NAMES["study"]),
}
SHAPE = "give a column path, and if you like report and study: films of one study have the same word there"
BYTES = 4 * LONGEST  # of a report: a letter takes four at most
LISTED = 20  # reasons in an error; where something is judged, all stand in the result
READABLE = (
    "give films (PNG, JPEG, TIFF, DICOM or NumPy), a folder of them, a table with their paths on this machine "
    "(relative ones begin at the table), ids, or --report FILE"
)
WHAT_IT_READS = "give what the run reads, or name another with --run"


@dataclass(frozen=True)
class FilmInput:
    """A film by its file or its id."""

    words: str  # as it was given
    path: Path | None = None
    image: str | None = None  # its id, if it was named by it
    content: str = ""  # SHA-256 of the file, once it is read


@dataclass(frozen=True)
class Case:
    """One study to be judged. It has a film or a text."""

    name: str
    films: tuple[FilmInput, ...] = ()
    text: str | None = None
    study: str | None = None  # the id of the data set that it was named by: its own text is read where none is given


@dataclass(frozen=True)
class NotJudged:
    """What has no probability, and why."""

    name: str  # the file, the id, or the line of a table
    reason: str


def not_judged(name: str, reason: str) -> NotJudged:
    """What has no probability; its reason names it."""
    return NotJudged(name, reason if reason.startswith(name) else f"{name}: {reason}")


def nothing_judged(failed: Sequence[NotJudged], hint: str) -> DataError:
    """The error where nothing at all could be judged, with the reason of each."""
    reasons = [one.reason for one in failed[:LISTED]]
    reasons += [f"and {len(failed) - LISTED:,} more"] if len(failed) > LISTED else []
    return DataError(f"nothing could be judged: {'; '.join(reasons)}", hint=hint)


@dataclass
class Given:
    """All that was asked for: asked = what the cases hold + failed, counted in films, and in texts without a film."""

    cases: list[Case] = field(default_factory=list)
    failed: list[NotJudged] = field(default_factory=list)
    dataset: Dataset | None = None  # that ids are of

    def fail(self, name: str, error: CxrembError | str) -> None:
        """Count one as not judged."""
        self.failed.append(not_judged(name, str(error)))

    @property
    def asked(self) -> int:
        return sum(inputs_of(case) for case in self.cases) + len(self.failed)


def inputs_of(case: Case) -> int:
    """What a case counts for: its films, or one for a text alone."""
    return len(case.films) or 1


def read_cases(files: Sequence[str | Path], text: str | None, datasets: Sequence[Dataset]) -> Given:
    """What is to be judged. Films, by file or id, are of one study; each id of a study is one, each film of a folder,
    and each word in the column `study` of a table, or each of its rows.

    text: of the one study that the films are of. Raises `DataError` for no film and no text, and for a text beside
    several studies.
    """
    given, loose = Given(), list[FilmInput]()
    for one in files:
        read_words(given, str(one), datasets, loose=loose)
    if loose:
        given.cases.insert(0, Case("", tuple(loose)))
    if text is not None:
        give_text(given, text, alone=not files)
    if not given.cases and not given.failed:
        raise DataError("nothing to judge", hint="give a film, a folder, a table, an id, or --report FILE")
    read_films(given)
    if not given.cases:
        raise nothing_judged(given.failed, READABLE)
    return given


def read_words(given: Given, words: str, datasets: Sequence[Dataset], *, loose: list[FilmInput]) -> None:
    """A folder, a table, a film, or else an id. loose: films of the one study that they are of together."""
    path = Path(words)
    if path.is_dir():
        given.cases += [Case("", (FilmInput(str(film), film),)) for film in image_files(path)[0]]
    elif path.is_file() and TABLES.search(path.name):
        read_rows(given, path)
    elif path.exists():
        loose.append(FilmInput(words, path))
    else:
        read_id(given, words, datasets, loose=loose)


def give_text(given: Given, text: str, *, alone: bool) -> None:
    """The text to the one study; alone: to one without a film."""
    refuse_text(text, "the report")
    if alone:
        given.cases.append(Case("the report"))
    if len(given.cases) > 1:
        raise DataError(f"one report, but {len(given.cases)} studies", hint=f"give them in a table: {SHAPE}")
    given.cases = [replace(case, text=text) for case in given.cases]


def read_id(given: Given, words: str, datasets: Sequence[Dataset], *, loose: list[FilmInput]) -> None:
    """A film or a study by its id."""
    known = [one for one in datasets if given.dataset is None or one.name == given.dataset.name]
    for dataset in known:
        images_of = dict(zip(*(dataset.images[name].to_pylist() for name in ("image_id", "study_id")), strict=True))
        studies = set(dataset.studies["study_id"].to_pylist())
        words = known_as(words, studies | images_of.keys(), pseudonym_of(dataset))
        is_study = words in studies
        if words in images_of or is_study:
            given.dataset = dataset
            if words in images_of and not is_study:
                loose.append(FilmInput(words, image=words))
            else:
                films = tuple(FilmInput(image, image=image) for image, study in images_of.items() if study == words)
                given.cases.append(Case(words, films, study=words))
            return
    unknown = f"no such file, and no film or study of {', '.join(one.name for one in known) or 'a data set'}"
    given.fail(words, "; ".join(filter(None, [unknown, *(why_unknown(one).rstrip("; ") for one in known)])))


def read_rows(given: Given, path: Path) -> None:
    """The rows of a table. An empty one is a failure; two reports of one study are one too."""
    table = open_table(path)
    columns = {what: column for what, names in NAMES.items() if (column := heading(table.columns, names))}
    table.require(["path"] if not {"film", "report"} & columns.keys() else [], SHAPE)
    cases: dict[str, Case] = {}
    for number, cells in table.rows([*columns.values()]):
        film, text, study = (cells.get(columns.get(what, ""), "").strip() for what in NAMES)
        place = f"{path.name}, {table.place(number)}"
        case = cases.get(study or place, Case(study or ("" if film else place)))
        if not film and not text:
            given.fail(place, "neither a path nor a report")
            continue
        if text and case.text not in (None, text):
            given.fail(place, f"another report of study {study}: a study has one")
            continue
        if text and (wrong := wrong_text(text)):
            given.fail(place, wrong)
            continue
        films = (FilmInput(film, path.parent / film.replace("\\", "/")),) if film else ()
        cases[study or place] = replace(case, films=case.films + films, text=text or case.text)
    given.cases += cases.values()


def wrong_text(text: str) -> str:
    """Why a text is no report; nothing if it is one."""
    try:
        refuse_text(text, "the report")
    except DataError as error:
        return str(error)
    return ""


def read_films(given: Given) -> None:
    """Read each file once: what cannot be read, or has the bytes of one before it, is a failure.

    So is a study none of whose films is left, also one that has a report.
    """
    first: dict[str, str] = {}
    names = distinct(film.words for case in given.cases for film in case.films if film.path)
    cases = []
    for case in given.cases:
        films = list(readable(given, case.films, first))
        if films or not case.films:
            cases.append(replace(case, films=tuple(films), name=case.name or name_of(films, names)))
    given.cases = cases


def name_of(films: Sequence[FilmInput], names: Mapping[str, str]) -> str:
    """What a study without a name is called: its first film, and how many more there are.

    names: of files, as `distinct` gives them; an id is its own.
    """
    if not films:
        return "the report"
    name = names.get(films[0].words, films[0].words)
    return name if len(films) == 1 else f"{name} and {len(films) - 1} more"


def distinct(paths: Iterable[str]) -> dict[str, str]:
    """Path -> its name, with as many folders before it as tell it from the others."""
    tails = {
        path: ["/".join(parts[-n:]) for n in range(1, len(parts) + 1)] for path in paths if (parts := Path(path).parts)
    }
    times = Counter(tail for own in tails.values() for tail in own)
    return {path: next((tail for tail in own if times[tail] == 1), path) for path, own in tails.items()}


def readable(given: Given, films: Iterable[FilmInput], first: dict[str, str]) -> Iterator[FilmInput]:
    """The films with the digest of their bytes."""
    for film in films:
        try:
            content = images.digest_file(film.path) if film.path else f"id {film.image}"
        except CxrembError as error:
            given.fail(film.words, error)
            continue
        if content in first:
            given.fail(film.words, f"the same film as {first[content]}")
            continue
        first[content] = film.words
        yield replace(film, content=content)


def read_report(path: Path) -> str:
    """The text in a file, in UTF-8. Raises `DataError` if it is none, is empty, or is as long as no report is."""
    try:
        if path.stat().st_size > BYTES:
            raise DataError(
                f"{path} has {path.stat().st_size:,} bytes, which is no report: {LONGEST:,} letters are the most",
                hint="give its report alone",
            )
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text in UTF-8", hint="save it as UTF-8 text, not as Word or PDF") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})", hint="check the path of --report") from error
    refuse_text(text, str(path))
    return text.strip()
