"""MIMIC-CXR-JPG: its films, its tables and, from MIMIC-CXR, its reports; read as a stream."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from cxremb.datasets.chexpert_labels import NORMAL_ABNORMAL, abnormal_values
from cxremb.datasets.mimic_release import (
    KINDS,
    Release,
    film_files,
    film_formats,
    open_release,
    patient_folder,
    study_folders,
)
from cxremb.datasets.mimic_reports import Reports, open_reports
from cxremb.datasets.mimic_sections import parse_report
from cxremb.datasets.mimic_tables import BY_HAND, ListedFilm, label_sets, readings_of
from cxremb.datasets.release import refuse_strangers
from cxremb.datasets.views import view_named, view_notes
from cxremb.store.readings import check_policy, decide
from cxremb.types import EXAMPLES, Collection, Image, Note, NoteCounter, Policy, Study, notes_of

NAME = "mimic_cxr"
LICENCE = "PhysioNet Credentialed Health Data License 1.5.0"
CITATION = (
    "Johnson AEW, Pollard TJ, Berkowitz SJ, et al. MIMIC-CXR, a de-identified publicly available database of chest "
    "radiographs with free-text reports. Sci Data 2019;6:317. doi:10.1038/s41597-019-0322-0; Johnson A, Lungren M, "
    "Peng Y, et al. MIMIC-CXR-JPG - chest radiographs with structured labels. PhysioNet 2019. doi:10.13026/8360-t248"
)
VIEW_HINT = "kept without a view; what ViewPosition says is the column view_raw"
SPLIT = "official"
T = TypeVar("T")


@dataclass(frozen=True)
class SizedStream(Iterable[T]):
    """What comes, and how much of it is to be expected: for a bar."""

    items: Iterator[T]
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[T]:
        return self.items


def read(root: Path, reports: Path | None = None, uncertain: str = "ignore") -> Collection:
    """Every film that the metadata table lists, and notes on what does not pair. A patient is a subject_id.

    root: holds `files` and mimic-cxr-2.0.0-metadata.csv.gz, -chexpert, -negbio and -split, of any version, gzipped or
    not. Without metadata the films are those on disk, without a view; without the others their content is missing.
    reports: mimic-cxr-reports.zip of MIMIC-CXR, or the folder it unpacks to.
    uncertain: what the labellers' -1 becomes: `ignore` (missing), `zero` or `one`.
    Tables are read at once; folders and reports as the collection is. What is held grows with the ids, not the texts.
    Raises `DataError`, naming file and line, for what cannot be read or contradicts itself.
    """
    check_policy(Policy("chexpert", uncertain))
    texts = open_reports(reports) if reports else None
    release = open_release(root)
    notes: list[Note] = []
    given = {"root": root, "reports": reports}
    return Collection(
        name=NAME,
        studies=SizedStream(studies(release, texts, uncertain, notes=notes), len(release.patients)),
        images=SizedStream(images(release, notes), len(release.ids)),
        licence=LICENCE,
        citation=CITATION,
        source={
            "adapter": NAME,
            "uncertain": uncertain,
            **{name: str(path.resolve()) for name, path in given.items() if path},
            **{kind: path.name for kind, path in release.tables.items()},
        },
        notes=notes,
        label_sets=label_sets({name: release.tables[name] for name in release.findings}, uncertain),
        default_label_set=NORMAL_ABNORMAL,
    )


def studies(release: Release, texts: Reports | None, uncertain: str, *, notes: list[Note]) -> Iterator[Study]:
    """The studies that have films, as listed, then those that have a report alone; `notes` are filled at the end."""
    reader = SectionReader(texts)
    first = next(iter(release.findings), "")

    def study(number: int, patient: int) -> Study:
        said = {name: readings_of(table[number]) for name, table in release.findings.items() if number in table}
        abnormal = abnormal_values(decide(Policy(first, uncertain), said[first])) if first in said else {}
        return Study(
            str(number),
            str(patient),
            reader.read(patient, number),
            labels={NORMAL_ABNORMAL: abnormal} if abnormal else {},
            parts={SPLIT: release.parts[number]} if number in release.parts else {},
            readings=said,
        )

    for number, patient in release.patients.items():
        yield study(number, patient)
    filmless = NoteCounter("reports without an image", "kept: their text can be encoded")
    extra = set()
    for patient, number in texts.listed() if texts else ():
        if number not in release.patients:
            filmless.add(number)
            extra.add(number)
            yield study(number, patient)
    notes += table_notes(release, extra) + notes_of(*reader.counters, filmless)


class SectionReader:
    """The sections of one report after the other, and what there is to note of them."""

    def __init__(self, texts: Reports | None) -> None:
        self.texts = texts
        given = "check that it is all of --reports" if texts else "give --reports mimic-cxr-reports.zip of MIMIC-CXR"
        self.absent = NoteCounter("studies without a report", f"kept without text; {given}")
        self.empty = NoteCounter("reports without text", "kept; fetch them again if they should have some")
        self.foreign = NoteCounter(
            "reports that are not UTF-8", "read as Latin-1; look whether their letters are right"
        )
        self.other = NoteCounter(
            "reports with neither findings nor impression",
            "kept: what stands under no heading is the section `report`; none has a vector for findings+impression",
        )
        self.counters = (self.absent, self.empty, self.foreign, self.other)

    def read(self, patient: int, study: int) -> dict[str, str]:
        """Section -> text of one study; empty without a report."""
        content = self.texts.read(patient, study) if self.texts else None
        if content is None:
            self.absent.add(study)
            return {}
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            self.foreign.add(study)
            text = content.decode("latin-1")
        sections = parse_report(text)
        if not sections:
            self.empty.add(study)
        elif not {"findings", "impression"} & sections.keys():
            self.other.add(study)
        return sections


def table_notes(release: Release, extra: Set[int]) -> list[Note]:
    """Which tables are not here, and which studies a table and the list of films do not share."""
    absent = [f"mimic-cxr-*-{kind}.csv.gz" for kind in KINDS if kind not in release.tables]
    walked = 0 if "metadata" in release.tables else len(release.ids)
    notes = [
        Note("tables that are not here", len(absent), absent, "put them beside `files` and add again"),
        Note("images listed as they lie on disk, for want of the metadata table", walked, (), "they have no view"),
        Note("images listed twice, alike", len(release.repeated), sorted(release.repeated)[:EXAMPLES], "kept once"),
    ]
    named: dict[str, Mapping[int, object]] = {**release.findings}
    if "split" in release.tables:
        named["split"] = release.parts
    for name, table in named.items():
        if name != BY_HAND:  # which is of few studies
            refuse_strangers(release.tables[name], table.keys(), {*release.patients, *extra}, what="studies")
        unknown = NoteCounter(f"studies of the {name} table that have neither image nor report", "left out")
        unnamed = NoteCounter(f"studies that the {name} table does not name", f"kept; {name} says nothing of them")
        for study in sorted(table.keys() - release.patients.keys() - extra):
            unknown.add(study)
        for study in sorted(release.patients.keys() - table.keys()) if name != BY_HAND else ():
            unnamed.add(study)
        notes += notes_of(unknown, unnamed)
    return [note for note in notes if note.count]


def images(release: Release, notes: list[Note]) -> Iterator[Image]:
    """The films as listed, each with its file if it is here; `notes` are filled at the end."""
    folders = StudyFolders(release)
    missing = NoteCounter("listed images that are not on disk", "they stay listed; fetch the files and add again")
    views: Counter[str] = Counter()
    for film in release.distinct_films():
        path = folders.find(film)
        if path is None:
            missing.add(film.dicom_id)
        view = view_named(film.view)
        if view is None:
            views[film.view] += 1
        yield Image(film.dicom_id, str(film.study), str(film.patient), view, path, film.view or None)
    folders.search_unlisted_studies()
    notes += notes_of(missing, folders.unlisted, folders.several) + view_notes(views, VIEW_HINT)


class StudyFolders:
    """Finds the files of films, and those that nobody listed.

    The folder of a study is searched once if its films follow one another, as published, and else once a film.
    """

    def __init__(self, release: Release) -> None:
        self.release = release
        self.searched: set[int] = set()
        self.unlisted = NoteCounter(f"images on disk that {release.index.name} does not list", "left out")
        self.several = NoteCounter("images that are here in several formats", "the one as published was taken")
        self.film_formats = lru_cache(maxsize=64)(film_formats)

    def find(self, film: ListedFilm) -> Path | None:
        """The film's file, if it is here."""
        folder = f"{self.release.files}/{patient_folder(film.patient)}/s{film.study}"  # a Path each is slow and large
        found = self.film_formats(folder)
        if film.study not in self.searched:
            self.searched.add(film.study)
            for stem in sorted(found.keys() - self.release.ids):
                self.unlisted.add(Path(folder, found[stem][0]))
            for names in found.values():
                if len(names) > 1:
                    self.several.add(Path(folder, f"{names[0]} rather than {', '.join(names[1:])}"))
        return Path(folder, found[film.dicom_id][0]) if film.dicom_id in found else None

    def search_unlisted_studies(self) -> None:
        """Count what lies in the folders of studies that nobody listed."""
        for _, study, folder in study_folders(self.release.files):
            if study not in self.release.patients:
                for name in film_files(folder).values():
                    self.unlisted.add(folder / name)
