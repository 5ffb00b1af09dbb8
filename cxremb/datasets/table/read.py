"""A table as a collection: surveyed once, then read as studies, then as images."""

from collections.abc import Iterator

from cxremb.datasets.dicom import view_in
from cxremb.datasets.table.columns import PARTS, label_sets, says_nothing, snake, study_labels
from cxremb.datasets.table.films import Films
from cxremb.datasets.table.layout import CLINICAL, Cells, Layout, TableSpec, lay_out
from cxremb.datasets.table.rows import open_table
from cxremb.datasets.table.survey import Survey, Tally, survey
from cxremb.datasets.table.text import INFINITE
from cxremb.datasets.tree import EXAMPLES
from cxremb.store.layout import BEFORE_READING
from cxremb.types import Collection, Image, Note, Study

NAME = "table"
OFFICIAL = "official"  # the split that a column of parts makes
NOT_HERE = "listed images that are not on disk"
NO_PATIENT = "studies without a patient"
NO_TEXT = "studies without any of the texts"
UNCERTAIN = "labels of -1 (uncertain)"
BLANK = "labels that are blank"
BEYOND = "studies with infinite readings in the columns of --text-template"
HINTS = {
    NOT_HERE: "they stay listed; paths are looked for under --images, else beside the table",
    NO_PATIENT: "each is its own: leakage through them cannot be ruled out",
    NO_TEXT: "kept: they have no text vector",
    UNCERTAIN: "missing: the study has no value for that label",
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
    found = survey(lay_out(spec, table))
    layout = found.layout
    notes = [*open_questions(found), *found.notes]
    films = Films(spec.images or spec.table.parent, searched=spec.images is not None)
    return Collection(
        name=spec.name,
        studies=studies(found, notes),
        images=images(found, films, notes) if layout.has_images else (),
        licence=spec.licence,
        citation=spec.citation,
        source=source(spec, layout),
        notes=notes,
        label_sets=label_sets(found.labels),
        roles=dict.fromkeys((*map(snake, spec.pre_read), CLINICAL), BEFORE_READING),
    )


def studies(found: Survey, notes: list[Note]) -> Iterator[Study]:
    """Each study at its first row, with what all of its rows say."""
    layout, tally, seen = found.layout, Tally(), set()
    for _, row in layout.table.rows(layout.used):
        study, _ = layout.ids(row)
        if not study or study in seen:
            continue
        seen.add(study)
        cells = found.merged.get(study, row)
        texts = layout.texts(cells)
        if not texts and (layout.sections or layout.template):
            tally.add(NO_TEXT, study)
        count_gaps(layout, study, cells, tally)
        part = PARTS.get(layout.cell("part", cells).lower())
        yield Study(
            study_id=study,
            patient_id=layout.cell("patient", cells) or study,
            sections=texts,
            labels=study_labels(found.labels, cells),
            parts={OFFICIAL: part} if part else {},
        )
    notes += tally.notes(HINTS)


def count_gaps(layout: Layout, study: str, cells: Cells, tally: Tally) -> None:
    """What the rows of a study leave open, into `tally`."""
    if "patient" in layout.roles and not layout.cell("patient", cells):
        tally.add(NO_PATIENT, study)
    for column in layout.labels:
        if says_nothing(cells[column]):
            tally.add(UNCERTAIN if cells[column] else BLANK, f"{column} of {study}")
    if layout.template and any(INFINITE.fullmatch(cells[name]) for name in layout.template.fields):
        tally.add(BEYOND, study)


def images(found: Survey, films: Films, notes: list[Note]) -> Iterator[Image]:
    """Each image at its first row, with its file if it is here."""
    layout, tally, seen = found.layout, Tally(), set()
    for _, row in layout.table.rows(layout.of_image):
        study, image = layout.ids(row)
        if not image or image in seen:
            continue
        seen.add(image)
        path = films.find(layout.path(row) or image)
        if path is None:
            tally.add(NOT_HERE, layout.path(row) or image)
        patient = layout.cell("patient", found.merged.get(study, row)) or study
        view = layout.cell("view", row)
        yield Image(image, study, patient, view_in(view) or view or None, path)
    notes += tally.notes(HINTS)
    unnamed = films.unnamed()
    if unnamed:
        notes.append(Note("images on disk that no row names", len(unnamed), unnamed[:EXAMPLES], "not added"))


def open_questions(found: Survey) -> list[Note]:
    """What had to be supposed about the table as a whole."""
    table, notes = found.layout.table, []
    if table.encoding not in ("", "utf-8", "utf-8-sig"):
        hint = "look at the letters beyond ASCII; if they are wrong, save the table in UTF-8"
        notes.append(Note(f"table read as {table.encoding}, since it is not UTF-8", 1, (str(table.path),), hint))
    if "patient" not in found.layout.roles:
        hint = "leakage between patients cannot be ruled out: name the column with --column patient=COLUMN"
        notes.append(Note("studies whose patient is not known: each is its own", found.studies, hint=hint))
    return notes


def source(spec: TableSpec, layout: Layout) -> dict[str, str]:
    """Where it came from, and which column was taken for what."""
    said = {
        "labels": ", ".join(layout.labels),
        "text": ", ".join(layout.sections.values()),
        "template": spec.template or "",
    }
    return {
        "adapter": NAME,
        "table": str(spec.table.resolve()),
        "format": layout.table.format,
        **({"images": str(spec.images.resolve())} if spec.images else {}),
        **{role: f"column {it.column}{' (guessed)' if it.guessed else ''}" for role, it in layout.roles.items()},
        **{what: value for what, value in said.items() if value},
    }
