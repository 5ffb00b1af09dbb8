"""Which column of a table is what: the roles that were given, those that their names suggest, and the labels."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cxremb.datasets.folder import class_labels
from cxremb.errors import DataError
from cxremb.tablefile import TableFile, plain
from cxremb.types import LabelSet

# Role -> the names that suggest it, in snake case, the surest first.
ROLE_NAMES = {
    "id": ("image_id", "dicom_id", "image_index", "sop_instance_uid"),
    "path": ("path", "file_path", "filepath", "image_path", "filename", "file_name", "file"),
    "patient": ("patient_id", "patientid", "subject_id", "patient", "pid"),
    "study": ("study_id", "studyid", "study_instance_uid"),
    "view": ("view", "view_position", "viewposition", "projection"),
    "part": ("split", "part", "fold"),
}
YES = ("1", "yes", "y", "true", "pos", "positive")
NO = ("0", "no", "n", "false", "neg", "negative")
UNCERTAIN = "-1"  # CheXpert's mark, which many tables copy
MOST_CLASSES = 100  # more different values than this are names or measurements
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf"
TOGETHER = "labels"  # the multi-label set of all columns that say yes or no


@dataclass(frozen=True)
class Role:
    """A column, and whether somebody said so."""

    column: str
    guessed: bool


def find_roles(table: TableFile, given: Mapping[str, str], taken: Sequence[str]) -> dict[str, Role]:
    """Role -> column: as given (`part=` with no column: none), else the column whose name suggests it.

    taken: columns that hold labels or text, which are not guessed. Raises `DataError` for a role or a column that
    does not exist.
    """
    unknown = [role for role in given if role not in ROLE_NAMES]
    if unknown:
        raise DataError(f"no role is called {unknown[0]!r}", hint=f"--column takes {', '.join(ROLE_NAMES)}")
    table.require(column for column in given.values() if column)
    roles = {role: Role(column, guessed=False) for role, column in given.items() if column}
    used = {*taken, *given.values()}
    names = {snake(column): column for column in reversed(table.columns) if column and column not in used}
    for role, suggestive in ROLE_NAMES.items():
        found = next((names[name] for name in suggestive if name in names), None)
        if found and role not in given:
            roles[role] = Role(found, guessed=True)
    return roles


def snake(name: str) -> str:
    """`ViewPosition` and `View Position` as view_position."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"\W+|_+", "_", parted).strip("_").lower()


@dataclass
class LabelCells:
    """What the cells of one label column say."""

    column: str
    cells: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    listed: bool = False  # a cell holds several, with pipes between

    def add(self, cell: str) -> None:
        """One more cell that says something. Raises `DataError` if there are too many different ones to be classes."""
        if cell in self.cells:
            return
        self.cells.add(cell)
        self.listed |= "|" in cell
        self.words.update(words_of(cell))
        if len(self.words) > MOST_CLASSES:
            some = ", ".join(sorted(self.words)[:3])
            raise DataError(
                f"column {self.column} has more than {MOST_CLASSES} different values ({some}, ...): not a label",
                hint="labels are yes or no, or one of a few classes; use --text for words",
            )


@dataclass(frozen=True)
class LabelColumn:
    """A column that holds labels; `task` and `names` as in `types.LabelSet`."""

    column: str
    task: str
    names: tuple[str, ...]
    means: str

    @property
    def yes_or_no(self) -> bool:
        """Whether its cells say yes or no, and not which of two classes."""
        return self.task == "binary" and self.names == (self.column,)

    def values(self, cell: str) -> dict[str, float]:
        """Label -> 0 or 1; nothing if the cell is blank or uncertain. Zeros of a class are left out."""
        if says_nothing(cell):
            return {}
        words = words_of(cell)
        if self.task == "multiclass":
            return dict.fromkeys(words, 1.0)
        if self.yes_or_no and words[0].lower() in (*YES, *NO):
            return {self.column: float(words[0].lower() in YES)}
        return {name: float(name in words) for name in self.names}


def says_nothing(cell: str) -> bool:
    """Whether a label is blank or uncertain."""
    return plain(cell) in ("", UNCERTAIN)


def words_of(cell: str) -> list[str]:
    """The values in a cell: one, or several with pipes between."""
    return [plain(word.strip()) for word in cell.split("|") if word.strip()]


def label_column(cells: LabelCells) -> LabelColumn:
    """What its cells suggest: yes and no, or one of two classes, are binary; a list is multi-label; else classes.

    Of two classes, the one not called normal (or a word like it) is 1. Raises `DataError` for a column without
    values, or of measurements.
    """
    column, words = cells.column, cells.words
    if not words:
        raise DataError(f"column {column} has no label in any row", hint="leave out its --label")
    if cells.listed:
        return LabelColumn(column, "multilabel", tuple(sorted(words)), f"what the column {column} lists")
    if {word.lower() for word in words} <= {*YES, *NO}:
        return LabelColumn(column, "binary", (column,), f"1 if the column {column} says yes, 0 if no")
    classes = in_order(column, words)
    if len(classes) > 2 or len(classes) == 1:
        return LabelColumn(column, "multiclass", classes, f"the class in the column {column}")
    two = class_labels(classes)
    one = two.labels[0] if two else classes[1]
    zero = classes[1 - classes.index(one)]
    return LabelColumn(column, "binary", (one,), f"1 if the column {column} says {one}, 0 if {zero}")


def in_order(column: str, words: Iterable[str]) -> tuple[str, ...]:
    """The classes, numbers by their size, else by alphabet. Raises `DataError` for measurements."""
    words = sorted(words)
    numbers = {word: float(word) for word in words if re.fullmatch(NUMBER, word, re.IGNORECASE)}
    fractions = [word for word, number in numbers.items() if not number.is_integer()]
    if fractions:
        raise DataError(
            f"column {column} holds measurements, such as {fractions[0]}: not a label",
            hint="cut it into classes in the table, or use it in --text-template",
        )
    return tuple(sorted(words, key=numbers.__getitem__) if len(numbers) == len(words) else words)


def label_sets(columns: Sequence[LabelColumn]) -> list[LabelSet]:
    """A set for each column, and one of all that say yes or no if there are several."""
    policy = "blank and -1 are missing"
    sets = [LabelSet(it.column, it.task, it.means, it.names, policy) for it in columns]
    together = tuple(it.column for it in columns if it.yes_or_no)
    if len(together) < 2:
        return sets
    if any(it.column == TOGETHER for it in columns):
        raise DataError(
            f"a label column is called {TOGETHER}, as the set of all of them would be", hint="rename the column"
        )
    return [*sets, LabelSet(TOGETHER, "multilabel", "the columns that say yes or no, together", together, policy)]


def study_labels(columns: Sequence[LabelColumn], cells: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Label set -> label -> 0 or 1 of one row, for `label_sets` of the same columns."""
    found = {it.column: it.values(cells[it.column]) for it in columns}
    together = [it.column for it in columns if it.yes_or_no]
    if len(together) > 1:
        found[TOGETHER] = {name: value for column in together for name, value in found[column].items()}
    return {name: values for name, values in found.items() if values}
