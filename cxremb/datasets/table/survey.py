"""The first reading of a table: every row counted and checked, and the studies found whose rows differ."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cxremb.cells import Cells, plain
from cxremb.datasets.table.labels import UNCERTAIN, LabelCells, LabelColumn, label_column, says_nothing
from cxremb.datasets.table.layout import Layout
from cxremb.errors import DataError
from cxremb.ids import clean_id, id_notes, merged_by_rounding, spellings
from cxremb.images import digest_file
from cxremb.types import Note, NoteCounter, notes_of, part_named

IdRows = dict[str, dict[str, tuple[int, int]]]  # role -> id -> its first row, and how many it has
FirstRows = dict[str, tuple[int, int]]  # id -> number of its first row, hash of what that row says


NO_ID = "rows without an id"
NO_STUDY = "rows without a study"
NO_FILM = "rows of a study without a film: neither an image id nor a path"
NO_PART = "rows whose part is neither train, val nor test"
REPEATED = "images listed more than once, with the same content"
HINTS = {
    NO_ID: "left out: give each row its id or path",
    NO_STUDY: "the image is its study",
    NO_FILM: "the study is kept, with its texts and labels",
    NO_PART: "the column that looked like a published split is not used",
    REPEATED: "kept once",
}

Counters = dict[str, NoteCounter]


def counters(hints: Mapping[str, str]) -> Counters:
    """A counter for each note that may come up, in this order."""
    return {what: NoteCounter(what, hint) for what, hint in hints.items()}


@dataclass(frozen=True)
class Survey:
    """What the first reading found. `merged`: the cells of each study whose rows differ, blanks filled."""

    studies: int
    layout: Layout  # without a guess that its cells refuted
    labels: tuple[LabelColumn, ...]
    merged: dict[str, dict[str, str]]
    notes: list[Note]


def survey(layout: Layout) -> Survey:
    """One reading of the table, and a second one of studies whose rows differ.

    Raises `DataError` for a table without rows, for rows that contradict each other (naming both), for a column that
    holds no labels, and for a part that is none.
    """
    studies: FirstRows = {}
    images: FirstRows = {}
    differing: set[str] = set()
    labels = [LabelCells(column, positive) for column, positive in layout.labels.items()]
    ids: IdRows = {role: {} for role in ("patient", "study", "id") if role in layout.roles}
    found, rows = counters(HINTS), 0
    for number, cells in layout.rows(layout.used):
        rows += 1
        count_ids(layout, cells, number, ids=ids)
        study, image = layout.ids(cells)
        if not study:
            found[NO_ID].add(layout.table.place(number))
            continue
        says = hash(tuple(clean_id(cells[column]) for column in layout.of_study))
        if studies.setdefault(study, (number, says))[1] != says:
            differing.add(study)
        if layout.has_images and not image:
            found[NO_FILM].add(f"{study} ({layout.table.place(number)})")
        if image and not first_of_image(layout, cells, number, images=images):
            found[REPEATED].add(f"{image} ({layout.table.place(number)})")
        count_cells(layout, cells, labels, found=found)
    if not rows:
        raise DataError(f"{layout.table.path}: a header and no rows", hint="check the path given to --table")
    if not studies:
        raise DataError(f"{layout.table.path}: no row has an id", hint="name the column: --column id=COLUMN")
    roles = {role: it for role, it in layout.roles.items() if role != "part" or not found[NO_PART].count}
    layout = replace(layout, roles=roles)
    notes = [note for role, known in ids.items() for note in check_ids(layout, role, known)]
    merged = merge(layout, differing) if differing else {}
    columns = tuple(map(label_column, labels))
    notes = [*notes_of(*found.values()), *notes, *(note for column in columns for note in column.notes)]
    return Survey(len(studies), layout, columns, merged, notes)


def count_ids(layout: Layout, cells: Cells, number: int, *, ids: IdRows) -> None:
    """The ids of a row, into `ids`."""
    for role, known in ids.items():
        if name := clean_id(layout.cell(role, cells)):
            first, times = known.get(name, (number, 0))
            known[name] = first, times + 1


def check_ids(layout: Layout, role: str, rows: Mapping[str, tuple[int, int]]) -> list[Note]:
    """What there is to say of the ids of a role; those of patients are looked at with every other collection's.

    Raises `DataError`, naming the rows, where a spreadsheet has made one of several: ids that it rounded, and one
    number written in several ways, of which nobody can say whether it is one patient or two.
    """
    where, column = layout.table, layout.roles[role].column
    if lost := merged_by_rounding({name: times for name, (_, times) in rows.items()}):
        first, times = rows[lost[0]]
        raise DataError(
            f"{where.path}: the column {column} has {lost[0]} in {times:,} rows (first in "
            f"{where.place(first)}): a spreadsheet has rounded it, so several ids may have become one",
            hint=f"export the table again with that column as text, or use none for it: --column {role}=",
        )
    several = spellings(rows, numbers=True) if role != "id" else []
    if several:
        pair = " and ".join(f"{name} ({where.place(rows[name][0])})" for name in several[0][:3])
        raise DataError(
            f"{where.path}: the column {column} writes one number in several ways: {pair}"
            + (f", and {len(several) - 1} more" if len(several) > 1 else ""),
            hint="one or two? Write each id in one way; put a letter before those that are others",
        )
    return id_notes({"patient": "patient", "study": "study", "id": "image"}[role], rows) if role != "patient" else []


def first_of_image(layout: Layout, cells: Cells, number: int, *, images: FirstRows) -> bool:
    """Whether this is the image's first row. Raises `DataError` if it contradicts the first."""
    study, image = layout.ids(cells)
    says = hash((study, layout.cell("view", cells), layout.path(cells)))
    first, known = images.setdefault(image, (number, says))
    if known != says:
        raise DataError(
            f"{layout.table.path}: image {image} has another study, view or path in {layout.table.place(first)} "
            f"than in {layout.table.place(number)}",
            hint="correct the table: one row an image; or name a column of unique ids with --column id=COLUMN",
        )
    if first != number:
        refuse_two_films(layout, image, first, number=number)
    return first == number


def refuse_two_films(layout: Layout, image: str, first: int, *, number: int) -> None:
    """Raises `DataError` if two rows of one image hold two films: other bytes."""
    films = [layout.film(first), layout.film(number)]
    if len({digest_file(film) if film else "" for film in films}) > 1:
        raise DataError(
            f"{layout.table.path}: image {image} has other bytes in {layout.table.place(first)} than in "
            f"{layout.table.place(number)}",
            hint="one film, one id: name a column of unique ids with --column id=COLUMN; "
            "or, for the place of each row, --column id=row",
        )


def count_cells(layout: Layout, cells: Cells, labels: list[LabelCells], *, found: Counters) -> None:
    """What a row leaves open, into `found`, and the values of its labels, into `labels`."""
    _, image = layout.ids(cells)
    if image and "study" in layout.roles and not layout.cell("study", cells):
        found[NO_STUDY].add(image)
    part = layout.cell("part", cells)
    if part and part_named(part) is None:
        if not layout.roles["part"].guessed:
            raise DataError(
                f"{layout.table.path}: {part!r} in the column {layout.roles['part'].column} is not train, val or test",
                hint="correct it, or use no column for it: --column part=",
            )
        found[NO_PART].add(part)
    for label in labels:
        if not says_nothing(cells[label.column]):
            label.add(cells[label.column])
        elif plain(cells[label.column]) == UNCERTAIN:
            label.unsure = True


def merge(layout: Layout, differing: set[str]) -> dict[str, dict[str, str]]:
    """The cells of each of these studies, a blank one filled from another of its rows.

    Raises `DataError`, naming study, column and both rows, for two that say different things.
    """
    merged: dict[str, dict[str, str]] = {}
    place = layout.table.place
    first_row: dict[tuple[str, str], int] = {}  # study and column -> the row it was taken from
    for number, cells in layout.rows(layout.used):
        study, _ = layout.ids(cells)
        if study not in differing:
            continue
        known = merged.setdefault(study, dict.fromkeys(layout.of_study, ""))
        for column in filter(cells.get, layout.of_study):
            first = first_row.setdefault((study, column), number)
            known[column] = known[column] or cells[column]
            if clean_id(known[column]) != clean_id(cells[column]):
                refuse_two_patients(layout, study, (known[column], cells[column]), rows=(first, number), column=column)
                raise DataError(
                    f"{layout.table.path}: study {study} has {column} = {short(known[column])} in {place(first)} "
                    f"and {short(cells[column])} in {place(number)}",
                    hint="the rows of a study must agree: correct the table, or name another column with "
                    "--column study=COLUMN (without one, every image is its own study)",
                )
    return merged


def refuse_two_patients(
    layout: Layout, study: str, patients: tuple[str, str], *, rows: tuple[int, int], column: str
) -> None:
    """Raises `DataError` if it is the patient in whom two rows of an image, or of a study, differ."""
    if "patient" not in layout.roles or layout.roles["patient"].column != column:
        return
    what, place = "study" if "study" in layout.roles else "image", layout.table.place
    raise DataError(
        f"{layout.table.path}: {what} {study} is of patient {patients[0]} in {place(rows[0])} and of patient "
        f"{patients[1]} in {place(rows[1])}",
        hint=f"one {what}, one patient: correct one of the two rows; or, if they are two films, name a column that "
        f"tells them apart with --column {'id' if what == 'image' else 'study'}=COLUMN",
    )


def short(cell: str) -> str:
    """A cell for a message."""
    return repr(cell if len(cell) <= 40 else f"{cell[:37]}...")
