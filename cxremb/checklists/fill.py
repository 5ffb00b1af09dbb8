"""A checklist of a paper with the answers that a run can give."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa

from cxremb.checklists.facts import Subject, facts_of
from cxremb.checklists.items import CLAIM, TRIPOD, Item
from cxremb.errors import DataError, did_you_mean
from cxremb.table import Table
from cxremb.tabular import Tabular
from cxremb.training.runs import Run, dataset_of

KINDS: Mapping[str, Sequence[Item]] = {"claim": CLAIM, "tripod": TRIPOD}
TITLES = {"claim": "CLAIM, 2024 update", "tripod": "TRIPOD+AI, 2024"}
WORDING = "What each item asks is in our words; the wording that counts is that of the checklist."
TO_WRITE = "to be written"  # only people know


@dataclass(frozen=True)
class ChecklistRow:
    """One item: its number, what it asks in our words, the answer, and from where that is."""

    item: str
    section: str
    asks: str
    answer: str
    source: str  # "" where it is to be written


@dataclass(frozen=True, repr=False)
class Checklist(Tabular):
    """The items in order. The wording that counts is that of the checklist itself."""

    kind: str
    title: str
    run_id: str
    rows: tuple[ChecklistRow, ...]

    def to_arrow(self) -> pa.Table:
        """A row for each item: item, section, asks, answer, source."""
        return pa.Table.from_pylist([asdict(row) for row in self.rows])

    def heading(self) -> str:
        """Which, of which run, and how much is left to write."""
        left = sum(row.answer == TO_WRITE for row in self.rows)
        return f"{self.title}, of run {self.run_id}: {left} of {len(self.rows)} rows to be written"


def fill_checklist(run: Run, kind: str) -> Checklist:
    """The checklist of one of `KINDS`, filled from run, split, data set and last audit.

    Raises `DataError` for another kind, `StoreError` if the run or its data set cannot be read.
    """
    if kind not in KINDS:
        hint = f"{did_you_mean(kind, KINDS)}choose {' or '.join(KINDS)}"
        raise DataError(f"no checklist is called {kind!r}", hint=hint)
    facts = facts_of(Subject(run, dataset_of(run)))
    rows = tuple(
        ChecklistRow(number, section, asks, *facts.get(fact, (TO_WRITE, "")))
        for number, section, asks, fact in KINDS[kind]
    )
    return Checklist(kind, TITLES[kind], run.run_id, rows)


def checklist_table(found: Checklist) -> Table:
    """The items as they are shown."""
    cells = [(row.item, row.asks, row.answer, row.source) for row in found.rows]
    return Table(["item", "asks", "answer", "from"], cells, prose=[1, 2, 3])
