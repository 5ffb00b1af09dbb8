"""The label columns of a table: what their cells say, what kind of label set they make, and which class is the 1."""

import ast
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cxremb.cells import is_missing, plain
from cxremb.datasets.polarity import are_answers, binary_of, folded, is_unknown, one_spelling, says_yes
from cxremb.errors import DataError
from cxremb.store.readings import UNSURE, in_words
from cxremb.types import EXAMPLES, LabelSet, Note, Policy

UNCERTAIN = "-1"  # CheXpert's mark, which many tables copy
MOST_CLASSES = 100  # more different values than this are names or measurements
MOST_LISTED = 500  # of columns whose cells list findings: PadChest has 193
NUMBER = r"[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?|[+-]?inf"
TOGETHER = "labels"  # the multi-label set of all columns that say yes or no
BRACKETS, COMMA = "brackets", ","
SEPARATORS = ("|", ";", "\n")  # what no name of a class holds
ANY_SEPARATOR = re.compile(r"[|;\n,]")


@dataclass
class LabelCells:
    """What the cells of one label column say. positive: the class that is to be 1, if somebody says so."""

    column: str
    positive: str | None = None
    counts: Counter[str] = field(default_factory=Counter)
    pieces: set[str] = field(default_factory=set)
    unsure: bool = False  # whether a cell says -1

    def add(self, cell: str) -> None:
        """One more cell that says something. Raises `DataError` if there are too many different ones to be classes."""
        self.counts[cell] += 1
        if self.counts[cell] == 1:
            self.pieces.update(words_in_brackets(cell) or map(str.strip, ANY_SEPARATOR.split(cell)))
            self.check(self.pieces, MOST_LISTED)

    def check(self, words: Iterable[str], most: int) -> None:
        """Raises `DataError` for more than `most` different words."""
        words = set(words)
        if len(words) > most:
            raise DataError(
                f"column {self.column} has more than {most} different values ({', '.join(sorted(words)[:3])}, ...): "
                "not a label",
                hint="labels are yes or no, or one of a few classes; use --text for words",
            )


@dataclass(frozen=True)
class LabelColumn:
    """A column that holds labels; `task` and `names` as in `types.LabelSet`."""

    column: str
    task: str
    names: tuple[str, ...]
    means: str
    words: Mapping[str, tuple[str, ...]]  # cell -> the classes that it names, in the spelling that is kept
    ones: frozenset[str] = frozenset()  # binary: the words that mean 1
    unsure: bool = False  # yes or no: whether some cell says -1, so that its cells are readings
    notes: tuple[Note, ...] = ()

    @property
    def yes_or_no(self) -> bool:
        """Whether its cells say yes or no, and not which of two classes."""
        return self.task == "binary" and self.names == (self.column,)

    def values(self, cell: str) -> dict[str, float]:
        """Label -> 0 or 1; nothing if the cell is blank or uncertain. Zeros of a class are left out."""
        words = self.words.get(cell)
        if words is None:
            return {}
        if self.task == "multiclass":
            return dict.fromkeys(words, 1.0)
        if self.task == "binary":
            return {self.names[0]: float(words[0] in self.ones)}
        return {name: float(name in words) for name in self.names}


def says_nothing(cell: str) -> bool:
    """Whether a label is blank, or says that nobody knows."""
    return not cell or is_unknown(cell)


def label_column(cells: LabelCells) -> LabelColumn:
    """What its cells suggest: yes and no, or one of two classes, are binary; lists are multi-label; else classes.

    Raises `DataError` for a column without values, or of measurements, and if nothing tells which of two classes is 1.
    """
    if not cells.counts:
        raise DataError(f"column {cells.column} has no label in any row", hint="leave out its --label")
    separator = separator_of(cells.counts)
    listed = {cell: words_of(cell, separator) for cell in cells.counts}
    counts: Counter[str] = Counter()
    for cell, words in listed.items():
        counts.update(dict.fromkeys(words, cells.counts[cell]))
    cells.check(counts, MOST_LISTED if separator else MOST_CLASSES)
    spellings = one_spelling(counts)
    of = {cell: tuple(dict.fromkeys(spellings.of[word] for word in words)) for cell, words in listed.items()}
    if separator:
        return listed_column(cells, of, separator=separator, merged=spellings.merged)
    if cells.positive is None and are_answers(counts):
        ones = frozenset(word for its in of.values() for word in its if says_yes(word))
        means = f"1 if the column {cells.column} says yes, 0 if no"
        return LabelColumn(cells.column, "binary", (cells.column,), means, of, ones, cells.unsure)
    return class_column(cells, of, merged=spellings.merged)


def class_column(cells: LabelCells, words: Mapping[str, tuple[str, ...]], *, merged: Sequence[str]) -> LabelColumn:
    """A column of classes: two, or one against all others where `positive` names it, are binary."""
    column = cells.column
    classes = in_order(column, {word for its in words.values() for word in its})
    notes = [*spelling_note(column, merged), *comma_note(cells)]
    if cells.positive is None and len(classes) != 2:
        means = f"the class in the column {column}"
        return LabelColumn(column, "multiclass", classes, means, words, notes=tuple(notes))
    two = binary_of(classes, cells.positive, where=f"the column {column}", option=f"--label '{column}={{}}'")
    name = column if says_yes(two.one) else two.one
    means = f"1 if the column {column} says {two.one}, 0 if {' or '.join(two.zeros)}"
    return LabelColumn(column, "binary", (name,), means, words, frozenset((two.one,)), cells.unsure, tuple(notes))


def listed_column(
    cells: LabelCells, words: Mapping[str, tuple[str, ...]], *, separator: str, merged: Sequence[str]
) -> LabelColumn:
    """A column whose cells may list several classes. Raises `DataError` if one was to be the 1."""
    column = cells.column
    if cells.positive is not None:
        raise DataError(
            f"the cells of the column {column} list several classes: each is a label, and none is the 1 of all",
            hint=f"type --label {column}, and choose among its labels later",
        )
    several = [cell for cell, its in words.items() if len(its) > 1]
    note = Note(
        f"different cells of the label column {column} that list several classes",
        len(several),
        tuple(several[:EXAMPLES]),
        f"a label for each class, parted at {separator if separator == BRACKETS else repr(separator)}; "
        "a cell without a class in it says that it has none of them",
    )
    names = tuple(sorted({word for its in words.values() for word in its}))
    means = f"what the column {column} lists"
    notes = (note, *spelling_note(column, merged)) if several else ()
    return LabelColumn(column, "multilabel", names, means, words, notes=notes)


def separator_of(cells: Iterable[str]) -> str:
    """What parts the classes within the cells of a column: brackets, one of `SEPARATORS`, a comma, or "" for nothing.

    A comma parts them if a piece between commas is a cell of its own elsewhere, or comes first in one cell and later in
    another: `COVID-19` beside `COVID-19, ARDS`, but not `pneumonia, viral` beside `pneumonia, bacterial`.
    """
    cells = list(cells)
    if any(words_in_brackets(cell) is not None for cell in cells):
        return BRACKETS
    for separator in SEPARATORS:
        if any(separator in cell for cell in cells):
            return separator
    pieces = [[folded(piece) for piece in cell.split(COMMA)] for cell in cells if not is_number(cell)]
    whole = {parts[0] for parts in pieces if len(parts) == 1}
    several = [parts for parts in pieces if len(parts) > 1]
    first, later = {parts[0] for parts in several}, {piece for parts in several for piece in parts[1:]}
    return COMMA if (first | later) & whole or first & later else ""


def words_of(cell: str, separator: str) -> list[str]:
    """The classes that a cell names, each once; those that say nothing are left out."""
    words = (words_in_brackets(cell) or []) if separator == BRACKETS and cell[0] in "[{" else None
    if words is None:
        words = cell.split(separator) if separator not in ("", BRACKETS) else [cell]
    found = (plain(word.strip()) for word in words)
    return list(dict.fromkeys(word for word in found if word and not is_missing(word) and not is_unknown(word)))


def words_in_brackets(cell: str) -> list[str] | None:
    """The words of a list as Python, JSON, NumPy or PostgreSQL write it; None if the cell is no list."""
    if cell[:1] + cell[-1:] not in ("[]", "{}"):
        return None
    inner = cell[1:-1]
    quoted = [one or other for one, other in re.findall(r"'([^']*)'|\"([^\"]*)\"", inner)]
    if re.search(r"['\"]\s+['\"]", inner):  # as NumPy prints it; Python would glue the words together
        return quoted
    try:
        found = ast.literal_eval(cell)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return quoted or inner.split(COMMA)  # PostgreSQL writes no quotes, JSON a null
    return [str(word) for word in found if word is not None]


def is_number(word: str) -> bool:
    """Whether it is a number, with a point or a comma."""
    return re.fullmatch(NUMBER, word, re.IGNORECASE) is not None


def in_order(column: str, words: Iterable[str]) -> tuple[str, ...]:
    """The classes, numbers by their size, else by alphabet. Raises `DataError` for measurements."""
    words = sorted(words)
    numbers = {word: float(word.replace(",", ".")) for word in words if is_number(word)}
    fractions = [word for word, number in numbers.items() if not number.is_integer()]
    if fractions:
        raise DataError(
            f"column {column} holds measurements, such as {fractions[0]}: not a label",
            hint="cut it into classes in the table, or use it in --text-template",
        )
    return tuple(sorted(words, key=numbers.__getitem__) if len(numbers) == len(words) else words)


def spelling_note(column: str, merged: Sequence[str]) -> list[Note]:
    """That classes were written in several ways."""
    hint = "taken as one class each: they differ in case, spaces or accents alone"
    what = f"classes of the column {column} that are spelled in several ways"
    return [Note(what, len(merged), tuple(merged[:EXAMPLES]), hint)] if merged else []


def comma_note(cells: LabelCells) -> list[Note]:
    """That a comma within a class was not taken to part two."""
    found = [cell for cell in cells.counts if COMMA in cell and not is_number(cell)]
    hint = "each was taken for one class; if they are lists, write | or ; between the classes"
    what = f"classes of the column {cells.column} with a comma in them"
    return [Note(what, len(found), tuple(found[:EXAMPLES]), hint)] if found else []


def label_sets(columns: Sequence[LabelColumn]) -> list[LabelSet]:
    """A set for each column, and one of all that say yes or no if there are several."""
    asked = [it for it in columns if it.yes_or_no]
    source = readings_of(asked)
    decided = Policy(source) if source else None
    missing = "blank and -1 are missing"
    policy = in_words(decided, several=False) if decided else missing
    sets = [
        LabelSet(it.column, it.task, it.means, it.names, *((policy, decided) if it in asked else (missing, None)))
        for it in columns
    ]
    if len(asked) < 2:
        return sets
    if any(it.column == TOGETHER for it in columns):
        raise DataError(
            f"a label column is called {TOGETHER}, as the set of all of them would be", hint="rename the column"
        )
    together, means = tuple(it.column for it in asked), "the columns that say yes or no, together"
    return [*sets, LabelSet(TOGETHER, "multilabel", means, together, policy, decided)]


def readings_of(asked: Sequence[LabelColumn]) -> str:
    """The name of the readings of these columns, which say yes or no; empty where none of them is ever unsure."""
    if not any(it.unsure for it in asked):
        return ""
    return TOGETHER if len(asked) > 1 else asked[0].column


def study_labels(columns: Sequence[LabelColumn], cells: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Label set -> label -> 0 or 1 of one row, for `label_sets` of the same columns, less what readings decide."""
    asked = [it for it in columns if it.yes_or_no]
    kept = [it for it in columns if it not in asked] if readings_of(asked) else columns
    found = {it.column: it.values(cells[it.column]) for it in kept}
    if len(asked) > 1 and not readings_of(asked):
        found[TOGETHER] = {name: value for it in asked for name, value in found[it.column].items()}
    return {name: values for name, values in found.items() if values}


def study_readings(columns: Sequence[LabelColumn], cells: Mapping[str, str]) -> dict[str, dict[str, dict[str, float]]]:
    """What the columns that say yes or no say of one study, -1 too, if one of them is ever unsure; as in `Study`."""
    asked = [it for it in columns if it.yes_or_no]
    source = readings_of(asked)
    if not source:
        return {}
    unsure = {it.column: UNSURE for it in asked if plain(cells[it.column]) == UNCERTAIN}
    said = unsure | {name: value for it in asked for name, value in it.values(cells[it.column]).items()}
    return {source: {"": said}} if said else {}
