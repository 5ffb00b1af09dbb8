"""A table as a collection: surveyed once, then read as studies, then as images."""

from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import replace
from itertools import islice

from cxremb.cells import Cells, plain
from cxremb.datasets.films import FilmFolder
from cxremb.datasets.table.columns import PICTURE
from cxremb.datasets.table.labels import (
    TOGETHER,
    UNCERTAIN,
    label_sets,
    readings_of,
    says_nothing,
    study_labels,
    study_readings,
)
from cxremb.datasets.table.layout import CLINICAL, Layout, TableSpec, lay_out, section_options
from cxremb.datasets.table.people import PeopleNotes
from cxremb.datasets.table.survey import Counters, Survey, counters, survey
from cxremb.datasets.table.template import INFINITE
from cxremb.datasets.views import view_named, view_notes
from cxremb.errors import DataError
from cxremb.images import folder_address
from cxremb.store.facts import RESERVED
from cxremb.store.layout import BEFORE_READING
from cxremb.tablefile import open_table
from cxremb.types import EXAMPLES, Collection, Image, Note, NoteCounter, Study, notes_of, part_named

NAME = "table"
OFFICIAL = "official"  # the split that a column of parts makes
NOT_HERE = "listed images that are not on disk"
NO_BYTES = "rows that hold no bytes of a film"
TWICE = "images that name the same file as another"
NO_PATIENT = "studies without a patient"
NO_TEXT = "studies without any of the texts"
UNSURE = "labels of -1 (uncertain)"
UNKNOWN = "labels that say unknown, or a word like it"
BLANK = "labels that are blank"
NOTHING_KEPT = "columns of which nothing is kept: blank, without a heading, or of bytes or records"
BEYOND = "studies with infinite readings in the columns of --text-template"
LABEL_WORDS = ("label", "labels", "class", "target", "diagnosis", "finding labels")  # headings; none is guessed from
HINTS = {
    NOT_HERE: "they stay listed; a path is relative to --images, else to the table; a name may be anywhere in --images",
    NO_BYTES: "they stay listed, without a film",
    TWICE: "both kept: one film counts twice",
    NO_PATIENT: "each is its own: leakage through them cannot be ruled out",
    NO_TEXT: "kept: they have no text vector",
    UNSURE: "missing",
    UNKNOWN: "missing: the study has no value for that label",
    BLANK: "missing: the study has no value for that label",
    BEYOND: "outside what was measurable: left out of the text, as missing ones are",
}


def read(spec: TableSpec) -> Collection:
    """The table's studies and images, streamed: what stays in memory is ids, and studies whose rows differ.

    Without a study column each image is a study. Rows that repeat an image or a study must agree; a cell that is
    blank in one is taken from another. Roles that were not given are guessed from the names of columns, and `source`
    says so. Raises `DataError` for what cannot be read, for a column that does not exist, and for rows that
    contradict each other.
    """
    table = open_table(spec.table)
    layout = lay_out(spec, table)
    films = FilmFolder(spec.images or spec.table.parent, searched=spec.images is not None)
    films.leave_off(layout.paths)
    found = survey(replace(layout, left_off=films.left_off))
    layout = found.layout
    notes = [*open_questions(found), *found.notes]
    return Collection(
        name=spec.name,
        studies=studies(found, notes),
        images=images(found, films, notes) if layout.has_images else (),
        licence=spec.licence,
        citation=spec.citation,
        source=source(spec, layout),
        notes=notes,
        label_sets=label_sets(found.labels),
        default_label_set=TOGETHER if len(found.labels) > 1 and all(it.yes_or_no for it in found.labels) else "",
        roles=dict.fromkeys((*section_options(spec.pre_read, table.columns), CLINICAL), BEFORE_READING),
    )


def studies(found: Survey, notes: list[Note]) -> Iterator[Study]:
    """Each study at its first row, with what all of its rows say."""
    layout, counted, known = found.layout, counters({**HINTS, UNSURE: unsure_hint(found)}), set()
    own = [] if layout.facts_of_images else layout.fact_columns
    said, people = set[str](), PeopleNotes(frozenset(layout.facts) & {"sex", "age"})
    for _, row in layout.rows([*dict.fromkeys((*layout.used, *own))]):
        study, _ = layout.ids(row)
        if not study or study in known:
            continue
        known.add(study)
        cells = found.merged.get(study, row)
        texts = layout.texts(cells)
        if not texts and (layout.sections or layout.template):
            counted[NO_TEXT].add(study)
        count_gaps(layout, study, cells, counted=counted)
        part = part_named(layout.cell("part", cells))
        facts = layout.fact_cells(row) if own else {}
        said.update(facts)
        people.add(study, facts)
        yield Study(
            study_id=study,
            patient_id=layout.patient(cells) or study,
            sections=texts,
            labels=study_labels(found.labels, cells),
            parts={OFFICIAL: part} if part else {},
            facts=facts,
            readings=study_readings(found.labels, cells),
        )
    notes += notes_of(*counted.values())
    notes += [] if layout.facts_of_images else [*people.notes(), *unkept_columns(layout, said)]


def count_gaps(layout: Layout, study: str, cells: Cells, *, counted: Counters) -> None:
    """What the rows of a study leave open, into `counted`."""
    if "patient" in layout.roles and not layout.patient(cells):
        counted[NO_PATIENT].add(study)
    for column in layout.labels:
        if says_nothing(cells[column]):
            counted[gap(cells[column])].add(f"{column} of {study}")
    if layout.template and any(INFINITE.fullmatch(cells[name]) for name in layout.template.fields):
        counted[BEYOND].add(study)


def unsure_hint(found: Survey) -> str:
    """What becomes of a -1, with the name under which the columns that say yes or no have readings."""
    readings = readings_of([it for it in found.labels if it.yes_or_no])
    keep = f", and kept as readings where the column says yes or no: `cxremb data label NAME --readings {readings}`"
    return HINTS[UNSURE] + (keep if readings else "")


def gap(cell: str) -> str:
    """Which note a label without a value belongs to."""
    return BLANK if not cell else UNSURE if plain(cell) == UNCERTAIN else UNKNOWN


def images(found: Survey, films: FilmFolder, notes: list[Note]) -> Iterator[Image]:
    """Each image at its first row, with its file if it is here."""
    layout, counted, known = found.layout, counters(HINTS), set()
    views: Counter[str] = Counter()
    of_file: dict[str, tuple[str, str]] = {}  # file -> the image and patient that it is
    own = layout.fact_columns if layout.facts_of_images else []
    said, people = set[str](), PeopleNotes(frozenset(layout.facts) & {"sex", "age"})
    for number, row in layout.rows([*dict.fromkeys((*layout.of_image, *own))]):
        study, image = layout.ids(row)
        if not image or image in known:
            continue
        known.add(image)
        place = layout.path(row)
        path = layout.film(number) or films.find(place or image, is_path=bool(place))
        if path is None:
            counted[NO_BYTES if layout.picture else NOT_HERE].add(place or image)
        patient = layout.patient(found.merged.get(study, row)) or study
        first = of_file.setdefault(str(path), (image, patient)) if path else (image, patient)
        if first[1] != patient:
            raise DataError(
                f"{path}: one film is {first[0]} of patient {first[1]} and {image} of patient {patient}",
                hint="a film has one patient: correct the ids or the paths of these two rows",
            )
        if first[0] != image:
            counted[TWICE].add(f"{first[0]}, {image}")
        words = layout.cell("view", row)
        view = view_named(words)
        if view is None and "view" in layout.roles:
            views[words] += 1
        facts = layout.fact_cells(row) if own else {}
        said.update(facts)
        people.add(image, facts)
        yield Image(image, study, patient, view, path, words or None, facts)
    notes += notes_of(*counted.values())
    notes += [*people.notes(), *unkept_columns(layout, said)] if layout.facts_of_images else []
    notes += [*films.notes(), *view_notes(views, "kept without a view; what the table says is the column view_raw")]


def unkept_columns(layout: Layout, said: Set[str]) -> list[Note]:
    """A note on the columns without a role of which nothing is kept. said: the facts that some row has."""
    table = layout.table
    unread = [f"column {place} (no heading)" for place, name in enumerate(table.columns, 1) if not name]
    shown = [layout.picture.column] if layout.picture else []
    unread += sorted(table.bulky.difference(layout.used, layout.fact_columns, shown))
    made = table.shards.made if table.shards else ()
    blank = [it.column for name, it in layout.facts.items() if name not in said and it.column not in made]
    return notes_of(NoteCounter(NOTHING_KEPT, "", len(unread) + len(blank), [*blank, *unread][:EXAMPLES]))


def open_questions(found: Survey) -> list[Note]:
    """What had to be supposed about the table as a whole."""
    table, notes = found.layout.table, []
    if table.encoding not in ("", "utf-8", "utf-8-sig"):
        some = tuple(islice(foreign_words(found), EXAMPLES)) or (str(table.path),)
        hint = "look at the letters beyond ASCII; if they are wrong, save the table in UTF-8"
        notes.append(Note(f"table read as {table.encoding}, since it is not UTF-8", len(some), some, hint))
    if "patient" not in found.layout.roles:
        hint = "leakage between patients cannot be ruled out: name the column with --column patient=COLUMN"
        notes.append(Note("studies whose patient is not known: each is its own", found.studies, hint=hint))
    likely = [] if found.labels else [name for name in table.columns if name.casefold() in LABEL_WORDS]
    if likely:
        hint = "a fact, not a label, unless it is named: add the table again with --label COLUMN"
        notes.append(Note("columns that may be labels", len(likely), tuple(likely), hint))
    return notes


def foreign_words(found: Survey) -> Iterator[str]:
    """Headings, and words of labels, with letters beyond ASCII; no other cell, since notes are kept."""
    words = [*found.layout.table.columns, *(word for label in found.labels for word in label.words)]
    return (word for word in dict.fromkeys(words) if not word.isascii())


def source(spec: TableSpec, layout: Layout) -> dict[str, str]:
    """Where it came from, and which column was taken for what."""
    used = {
        "labels": ", ".join(layout.labels),
        "text": ", ".join(layout.sections.values()),
        "template": spec.template or "",
        "facts": ", ".join(it.column for name, it in layout.facts.items() if name not in RESERVED),
    }
    picture = {PICTURE: layout.picture} if layout.picture else {}
    reserved = {name: it for name, it in layout.facts.items() if name in RESERVED}
    return {
        "adapter": NAME,
        "table": str(spec.table.resolve()),
        "format": layout.table.format,
        **({"images": folder_address(spec.images) or str(spec.images.resolve())} if spec.images else {}),
        **{
            role: f"column {it.column}{' (guessed)' if it.guessed else ''}"
            for role, it in {**picture, **layout.roles, **reserved}.items()
        },
        **{what: value for what, value in used.items() if value},
    }
