"""The rows of a selection: a page of them, how many have which value, and a bit for each on the map."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from cxremb.errors import DataError, QueryError
from cxremb.explorer.board import Board
from cxremb.explorer.lasso import rows_within
from cxremb.explorer.selection import NOTED, Selection, conditions, order, text_of
from cxremb.store.conditions import condition_error, refuse_no_condition, what_a_row_has
from cxremb.store.facts import MAPS_OF_A_STUDY, fact_columns
from cxremb.store.guard import collected, ended_in_time, reading, size_bytes
from cxremb.store.mistakes import mistakes_named
from cxremb.store.scans import quoted

PAGE = 48  # rows: divides by 2, 3, 4 and 6 columns
FINDINGS = 14  # labels to click on
SECONDS = 10.0  # for a filter in SQL: one that takes longer is a slip
LONG = "path, sha256, image_id, patient_id"  # columns that no count and no order needs
FILTERS = 4  # whose rows are held: of 400,000 some 40 MB each
MAPS = re.compile(r"(?<!from\s)(?<!join\s)\b(?:reports|labels)\b", re.IGNORECASE)  # and not the tables of that name


@dataclass(frozen=True)
class RowPlace:
    """The place of a row in an order, where a page goes on."""

    key: float
    n: int

    @property
    def words(self) -> str:
        return f"{self.key!r}~{self.n}"


@dataclass(frozen=True)
class RowPage:
    """Some rows in order, and where the pages around them begin."""

    rows: Sequence[Mapping[str, Any]]
    total: int
    first: int  # how many rows come before
    before: str | None
    after: str | None


@dataclass(frozen=True)
class FacetValue:
    """A value to click on, and how many rows have it beside what else is picked."""

    value: str
    count: int


class Question:
    """A selection on one connection: its conditions as SQL, the filter of the user asked once."""

    def __init__(self, board: Board, con: duckdb.DuckDBPyConnection, chosen: Selection) -> None:
        self.board, self.con, self.chosen = board, con, chosen
        self.source = "cases"
        if chosen.where or chosen.lasso:
            con.register("picked", picked_rows(board, con, chosen))
            self.source = "picked"

    def such(self, *more: str, but: str = "") -> str:
        """FROM and WHERE of the rows."""
        every = [*conditions(self.board, self.chosen, but=but), *more]
        return f"FROM {self.source}" + (f" WHERE {' AND '.join(every)}" if every else "")

    def total(self) -> int:
        """How many rows there are."""
        return int(self.con.execute(f"SELECT count(*) {self.such()}").fetchall()[0][0])

    def page(self, after: str | None = None, before: str | None = None) -> RowPage:
        """The rows behind, or before, a place. Raises `DataError` for what is no place."""
        key = order(self.board, self.chosen.sort)
        back = before is not None
        at = place_from(before if back else after)
        beyond = [past(key, at, back=back)] if at else []
        way = f"{key} ASC, n DESC" if back else f"{key} DESC, n ASC"
        # the whole rows of a page alone: to sort all columns of all rows would take ten times as long
        some = f"SELECT n, {key} AS key {self.such(*beyond)} ORDER BY {way} LIMIT {PAGE + 1}"
        sql = f"SELECT cases.*, key FROM cases JOIN ({some}) USING (n) ORDER BY {way.replace(key, 'key')}"
        found = self.con.sql(sql).to_arrow_table().to_pylist()
        more, rows = len(found) > PAGE, found[:PAGE]
        rows = rows[::-1] if back else rows
        total = self.total()
        if not rows:
            return RowPage(rows, total, 0, None, None)
        first, last = (RowPlace(row["key"], row["n"]) for row in (rows[0], rows[-1]))
        count = f"SELECT count(*) {self.such(past(key, first, back=True))}"
        ahead = int(self.con.execute(count).fetchall()[0][0]) if at else 0
        onward = more if not back else ahead + len(rows) < total
        return RowPage(rows, total, ahead, first.words if ahead else None, last.words if onward else None)

    @cached_property
    def counts(self) -> dict[str, Any]:
        """Every count beside the rows, by name. What counts the same rows is counted together.

        What is picked under a heading narrows the counts of the others, not its own.
        """
        asked: dict[str, list[tuple[str, str]]] = {}
        for name, but, aggregate in self.measures():
            asked.setdefault(self.such(but=but), []).append((name, aggregate))
        found: dict[str, Any] = {}
        for such, several in asked.items():
            (row,) = self.con.execute(f"SELECT {', '.join(one for _, one in several)} {such}").fetchall()
            found |= zip((name for name, _ in several), row, strict=True)
        return found

    def measures(self) -> Iterator[tuple[str, str, str]]:
        """(Name, the heading that it stands under, SQL of an aggregate) of each count."""
        for facet in self.board.facets:
            yield facet.key, facet.key, f"histogram({text_of(facet)})"
        for arm in self.board.runs.arms:
            yield f"right:{arm.name}", "right", f"count(*) FILTER (right_{arm.name})"
            yield f"wrong:{arm.name}", "right", f"count(*) FILTER (NOT right_{arm.name})"
        for bit, name in enumerate(self.board.findings):
            yield name, "finding", f"sum((found >> {bit}) & 1)"
        yield "noted", "noted", f"count(*) FILTER ({NOTED.format(dataset=quoted(self.board.dataset.name))})"

    def facets(self) -> dict[str, list[FacetValue]]:
        """Values of each facet, the most frequent first."""
        found = {}
        for facet in self.board.facets:
            picked = dict.fromkeys(self.chosen.values(facet.key), 0)
            counts = {**picked, **(self.counts[facet.key] or {})}
            found[facet.key] = [FacetValue(*one) for one in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]
        return found

    def judged(self) -> dict[str, tuple[int, int]]:
        """Arm -> (rows it has right, rows it has wrong)."""
        names = (arm.name for arm in self.board.runs.arms)
        return {name: (self.counts[f"right:{name}"], self.counts[f"wrong:{name}"]) for name in names}

    def findings(self) -> list[FacetValue]:
        """`label_set:label` of the sets in which a study may have several, the most frequent first."""
        counted = [FacetValue(name, int(self.counts[name] or 0)) for name in self.board.findings]
        shown = [one for one in counted if one.count or one.value in self.chosen.values("finding")]
        return sorted(shown, key=lambda one: (-one.count, one.value))[:FINDINGS]

    def noted(self) -> int:
        """How many rows are of studies with a note."""
        return int(self.counts["noted"])

    def mask(self) -> bytes:
        """A bit for each row of the board, in the order of `n`, the lowest bit first: whether it is among these."""
        numbers = self.con.execute(f"SELECT n {self.such()}").fetchnumpy()["n"]  # Arrow would import pandas first
        bits = np.zeros(self.board.rows, np.bool_)
        bits[numbers] = True
        return np.packbits(bits, bitorder="little").tobytes()


def picked_rows(board: Board, con: duckdb.DuckDBPyConnection, chosen: Selection) -> pa.Table:
    """The rows of a filter in SQL and a lasso, but for what else is picked. Held, since pages ask for them again.

    Raises as `held_rows`.
    """
    key = (chosen.where, chosen.lasso)
    if (before := board.held.get(key)) is not None:
        return before
    source = "cases"
    if chosen.where:
        con.register("held", held_rows(board, con, chosen.where))
        source += " SEMI JOIN held USING (n)"
    if chosen.lasso:
        con.register("circled", rows_within(con, chosen.lasso))
        source += " SEMI JOIN circled USING (n)"
    found = con.sql(f"SELECT * EXCLUDE ({LONG}) FROM {source}").to_arrow_table()
    if "notes" not in chosen.where.lower():  # which change while the board stays
        if len(board.held) >= FILTERS:
            board.held.clear()
        board.held[key] = found
    return found


def held_rows(board: Board, con: duckdb.DuckDBPyConnection, where: str) -> pa.Table:
    """Column `n`: the rows for which a condition in SQL holds. It goes through the guard of `cxremb sql`.

    Raises `QueryError` if it is wrong, is no condition on one row, or would do more than read.
    """
    hint = what_to_write(board)
    refuse_no_condition(where, hint)
    words = set(re.findall(r"\w+", where.lower()))
    facts = fact_columns(board.dataset, board.unit, where) if words & {name.lower() for name in board.facts} else ""
    maps, joins = "", ""
    if MAPS.search(where):
        maps = f"WITH {MAPS_OF_A_STUDY.format(dataset=quoted(board.dataset.name))}"
        joins = "LEFT JOIN written USING (study_id) LEFT JOIN labelled USING (study_id)"
    sql = f"{maps} SELECT n, (\n{where}\n)::BOOLEAN AS holds FROM (SELECT *{facts} FROM cases AS judged {joins})"
    try:
        with mistakes_named(con, board.dataset.paths.root, sql):
            statement, _ = reading(con, sql)
            found = ended_in_time(con, SECONDS, lambda: collected(con.sql(statement), size_bytes(con)))
    except QueryError as error:
        raise condition_error(error, hint) from error
    if found.column_names != ["n", "holds"] or found.num_rows != board.rows:
        raise QueryError(f"{where!r} is no condition on one row", hint=hint)
    return found.filter(found["holds"]).select(["n"])


def what_to_write(board: Board) -> str:
    """A hint: a condition that this board can answer, and the columns that there are."""
    example = f"p_{board.runs.arms[-1].name} > 0.9 and truth = 0" if board.runs.arms else "view = 'PA'"
    columns = (name for name in board.columns if not name.startswith("fact_"))
    return what_a_row_has(f"give a condition on one row, such as {example}", columns, board.facts)


def place_from(text: str | None) -> RowPlace | None:
    """What `RowPlace.words` gave. Raises `DataError` for anything else."""
    if not text:
        return None
    key, _, n = text.partition("~")
    try:
        place = RowPlace(float(key), int(n))
    except ValueError:
        place = RowPlace(math.nan, 0)
    if not math.isfinite(place.key):
        raise DataError("the place of this address is none", hint="begin at the first page")
    return place


def past(key: str, at: RowPlace, *, back: bool) -> str:
    """SQL that holds for the rows behind a place, or before it."""
    sign, other = (">", "<") if back else ("<", ">")
    return f"({key} {sign} {at.key!r} OR ({key} = {at.key!r} AND n {other} {at.n}))"


def map_points(board: Board, con: duckdb.DuckDBPyConnection) -> bytes:
    """The map: how many rows (uint32), x and y of each (float32, NaN without a place), its class (uint8)."""
    truth = "coalesce(truth, 2)" if board.runs.arms else "2"
    places = "coalesce(x, 'nan'::FLOAT) AS x, coalesce(y, 'nan'::FLOAT) AS y"
    found = con.execute(f"SELECT {places}, {truth}::UTINYINT AS kind FROM cases ORDER BY n").fetchnumpy()
    columns = [found["x"].astype("<f4"), found["y"].astype("<f4"), found["kind"]]
    return b"".join([np.uint32(board.rows).astype("<u4").tobytes(), *(column.tobytes() for column in columns)])
