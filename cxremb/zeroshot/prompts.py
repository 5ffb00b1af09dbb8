"""Prompts as rows: those that come with the package, and a user's own in a CSV of the same columns."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from cxremb.errors import DataError, did_you_mean, name_list
from cxremb.evaluation.arrays import MULTICLASS
from cxremb.labels import Labels
from cxremb.tablefile import open_table

HERE = Path(__file__).parent
SHIPPED, FINDINGS = HERE / "prompts.csv", HERE / "findings.csv"
COLUMNS = ("label", "class", "prompt")
EVERY, HOLE = "*", "{label}"
JOINED = "+"  # between sets of prompts that are asked as one
SHAPE = "give the columns label, class (1: has it, 0: has it not) and prompt; and prompts, the name of the set"


@dataclass(frozen=True)
class PromptRow:
    """One row of a file. Of label `*` it is for every label, and `{label}` in it is what the label is called."""

    prompts: str  # the name of the set
    label: str
    positive: bool
    template: str
    place: str = ""  # in its file, for messages


@dataclass(frozen=True)
class Prompt:
    """A sentence that an encoder reads, and whose films it should be near: 1 who has the label, 0 who has not."""

    label: str
    positive: bool
    template: str
    text: str

    @property
    def digest(self) -> str:
        """SHA-256 of the sentence."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def plain(label: str) -> str:
    """A label as prompts say it and as files may write it: Pleural_Thickening and pleural thickening are one."""
    return " ".join(re.sub(r"[_\s]+", " ", label).split()).lower()


@cache
def findings() -> Mapping[str, str]:
    """Label -> what the prompts of the package call it."""
    return {cells["label"]: cells["finding"] for _, cells in open_table(FINDINGS).rows(("label", "finding"))}


@cache
def shipped_rows() -> tuple[PromptRow, ...]:
    """Those of the package: a row of `*` stands there once for each label of `findings.csv`."""
    rows = read_prompts(SHIPPED)
    own = {(row.prompts, row.label) for row in rows}
    general = [row for row in rows if row.label == EVERY]
    expanded = [replace(row, label=label) for row in general for label in findings() if (row.prompts, label) not in own]
    return (*(row for row in rows if row.label != EVERY), *expanded)


def read_prompts(path: Path) -> list[PromptRow]:
    """The rows of a file. Without a column `prompts` they are one set, which is called as the file is.

    Raises `DataError`, naming the line, for another class than 1 and 0, a prompt without words, a name of a set that
    no arm could have, or a hole that nothing fills.
    """
    table = open_table(path)
    table.require(COLUMNS, SHAPE)
    names = (*COLUMNS, "prompts") if "prompts" in table.columns else COLUMNS
    rows = []
    for number, cells in table.rows(names):
        place = f"{path}, {table.place(number)}"
        given, template = cells["class"], cells["prompt"]
        if given not in ("0", "1"):
            raise DataError(f"{place}: class is {given!r}", hint="write 1 for who has the label, 0 for who has it not")
        if not cells["label"] or not template:
            raise DataError(f"{place}: no {'prompt' if cells['label'] else 'label'}", hint=SHAPE)
        if re.search(r"[{}]", template.replace(HOLE, "")):
            raise DataError(f"{place}: {template!r} has another hole than {HOLE}", hint=f"write {HOLE} for the label")
        name = cells.get("prompts") or path.stem
        if not re.fullmatch(r"[\w.-]+", name):
            raise DataError(f"{place}: no name of a set of prompts: {name!r}", hint="use letters, digits, _, . and -")
        label = EVERY if cells["label"] == EVERY else plain(cells["label"])
        rows.append(PromptRow(name, label, given == "1", template, place))
    if not rows:
        raise DataError(f"{path}: no prompt in it", hint=SHAPE)
    return rows


def with_shipped(own: Sequence[PromptRow]) -> list[PromptRow]:
    """Those of the package, and these. Raises `DataError` for a set that would have two meanings."""
    shipped = {row.prompts for row in shipped_rows()}
    if taken := next((row for row in own if row.prompts in shipped), None):
        raise DataError(f"{taken.place}: prompts called {taken.prompts!r} come with cxremb", hint="rename the set")
    return [*shipped_rows(), *own]


def prompts_of(labels: Labels, name: str, rows: Sequence[PromptRow]) -> list[Prompt]:
    """What is asked of a film for each label of a label set, once each, by the sets of that name, joined by `+`.

    A row of a label comes before those of `*`. Of classes that exclude each other only those prompts are asked that are
    for a class. Raises `DataError` for a set that there is not, for labels without a prompt, which it names, and for
    one sentence on both sides of a label.
    """
    known = dict.fromkeys(row.prompts for row in rows)
    wanted = name.split(JOINED)
    if unknown := [one for one in wanted if one not in known]:
        raise DataError(
            f"no prompts called {unknown[0]!r}; there is {name_list(known)}",
            hint=f"{did_you_mean(unknown[0], known)}name one of them, or give your own: --prompts FILE",
        )
    found: dict[Prompt, None] = {}
    for label in labels.names:
        for one in wanted:
            found |= dict.fromkeys(filled(label, [row for row in rows if row.prompts == one]))
    asked = [prompt for prompt in found if prompt.positive or labels.task != MULTICLASS]
    refuse_unasked(labels, name, asked)
    return asked


def filled(label: str, rows: Iterable[PromptRow]) -> Iterator[Prompt]:
    """The prompts of one set for one label: its own, or else those that are for every label."""
    own = list(rows)
    exact = [row for row in own if row.label == plain(label)]
    called = findings().get(plain(label), plain(label))
    for row in exact or [row for row in own if row.label == EVERY]:
        yield Prompt(label, row.positive, row.template, row.template.replace(HOLE, called))


def refuse_unasked(labels: Labels, name: str, asked: Sequence[Prompt]) -> None:
    """Raises `DataError` for labels that no prompt is for, and for a prompt that is on both sides of one."""
    sides = {side: {(one.label, one.text) for one in asked if one.positive is side} for side in (True, False)}
    there = {label for label, _ in sides[True]}
    if lost := [label for label in labels.names if label not in there]:
        raise DataError(
            f"no prompt of {name!r} for {name_list(lost, 5)} of {labels.label_set}",
            hint="write one for each, with the columns label, class and prompt, and name the file and its set: "
            '`cxremb ablate --prompts prompts.csv --arms "image,zero-shot[prompts=prompts]"`',
        )
    if both := sorted(sides[True] & sides[False]):
        label, text = both[0]
        raise DataError(f"{name}: {text!r} is asked for and against {label}", hint="take one of the two rows out")
