"""The rows of a label set out of a table that somebody made of a data set: a row for each label, or a column."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cxremb.cells import is_missing
from cxremb.datasets.known_ids import id_columns, known_ids, row_ids
from cxremb.datasets.table.labels import LabelCells, LabelColumn, label_column, says_nothing
from cxremb.errors import DataError, name_list
from cxremb.store.dataset import Dataset
from cxremb.store.pseudonyms import pseudonym_of
from cxremb.tablefile import TableFile, open_table

COLUMNS = ("study_id", "label", "value")
SHAPE = (
    "give the columns study_id, label and value (0 or 1; leave the row out where it is missing), or one of ids and one "
    "for each label"
)
LabelCell = tuple[str | None, str | None, str | float | None]  # study, label, value; None: blank


def label_cells(path: Path, dataset: Dataset) -> list[LabelCell]:
    """(study, label, value) of a table in UTF-8, unchecked; a study that is not known stands as it was written.

    With the columns `label` and `value`, as they stand. Else each column beside those of ids is a label, whose cells
    say yes or no, or the only one holds classes, as `data add table --label` reads them. Raises `DataError` for a file
    that cannot be read so.
    """
    table = open_table(path, encoding="utf-8")
    if {"label", "value"} & set(table.columns):
        table.require(COLUMNS, SHAPE)
        return [(*(cells[name] or None for name in COLUMNS),) for _, cells in table.rows(COLUMNS)]  # type: ignore[misc]
    ids = id_columns(table.columns)
    names = [name for name in table.columns if name and name not in ids.values()]
    if not ids or not names:
        raise DataError(f"{path}: its columns are {name_list(table.columns)}", hint=SHAPE)
    return list(dict.fromkeys(cells_of_columns(table, label_columns(table, names), ids=ids, dataset=dataset)))


def label_columns(table: TableFile, names: Sequence[str]) -> list[LabelColumn]:
    """What these columns hold. Raises `DataError` for one without labels, and for classes beside other columns."""
    cells = {name: LabelCells(name) for name in names}
    for number, row in table.rows(names):
        for name, cell in row.items():
            if is_missing(cell) or (says_nothing(cell) and cell != "-1"):
                continue
            if cell in {"-1", "-1.0"}:
                raise DataError(
                    f"{table.path}: {name} is {cell} in {table.place(number)}: neither yes nor no",
                    hint="write 1 or 0, or leave the cell blank",
                )
            cells[name].add(cell)
    found = [label_column(own) for own in cells.values()]
    if len(found) > 1 and (classes := [one.column for one in found if not one.yes_or_no]):
        raise DataError(
            f"{table.path}: the column {classes[0]} does not say yes or no, beside {len(found) - 1} others",
            hint="a label set is of columns of 0 and 1, or of one column of classes: leave the others out of the table",
        )
    return found


def cells_of_columns(
    table: TableFile, columns: Sequence[LabelColumn], *, ids: Mapping[str, str], dataset: Dataset
) -> Iterator[LabelCell]:
    """The labels of each row, of all studies that it means."""
    known, own = known_ids(dataset), pseudonym_of(dataset)
    for _, cells in table.rows([*ids.values(), *(column.column for column in columns)]):
        whose = row_ids(cells, ids)
        if not any(whose):
            continue
        for study in known.studies_of(known.in_pseudonyms(whose, own)) or (whose.first,):
            for column in columns:
                said = column.values(cells[column.column])
                every = dict.fromkeys(column.names, 0.0) if said and column.task == "multiclass" else {}
                for label, value in {**every, **said}.items():
                    yield study, label, value
