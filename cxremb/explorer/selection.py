"""Which rows an address asks for, and in which order; and addresses that ask for a little more or less."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from cxremb.errors import DataError
from cxremb.explorer.arms import BoardRuns
from cxremb.explorer.board import Board
from cxremb.explorer.build import Facet
from cxremb.explorer.lasso import corners
from cxremb.store.scans import quoted

LONGEST = 4_000  # letters of a filter
NOTED = "(study_id IN (SELECT study_id FROM notes WHERE dataset = {dataset}))"
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Selection:
    """What the query string of a page says."""

    of: str | None = None  # a run of the table that is shown
    label: str | None = None
    picks: Pairs = ()  # (facet, value): values of one facet are alternatives
    where: str = ""  # a condition in SQL
    lasso: tuple[float, ...] = ()  # x, y of each corner on the map
    sort: str = "id"  # id, distance, loss:ARM or gap:ARM:ARM
    show: str = "grid"  # or table

    @property
    def pairs(self) -> Pairs:
        """As the query string has it, without what is as usual."""
        usual = Selection()
        named = [(name, getattr(self, name)) for name in ("of", "label", "where", "sort", "show")]
        said = [(name, str(value)) for name, value in named if value != getattr(usual, name) and value]
        drawn = [("lasso", ",".join(f"{one:g}" for one in self.lasso))] if self.lasso else []
        return (*said, *self.picks, *drawn)

    def query(self, *more: tuple[str, str]) -> str:
        """The query string, to put behind a `?`."""
        return urlencode([*self.pairs, *more])

    def toggled(self, key: str, value: str) -> "Selection":
        """With this pick, or without it if it is there."""
        pick = (key, value)
        without = tuple(one for one in self.picks if one != pick)
        return replace(self, picks=without if pick in self.picks else (*self.picks, pick))

    def without(self, key: str) -> "Selection":
        """With no pick of this facet."""
        return replace(self, picks=tuple(one for one in self.picks if one[0] != key))

    @property
    def cleared(self) -> "Selection":
        """All rows, in the same order."""
        return replace(self, picks=(), where="", lasso=())

    def shown_as(self, show: str) -> "Selection":
        """The same rows as a grid, or as a table."""
        return replace(self, show=show)

    def values(self, key: str) -> tuple[str, ...]:
        """What is picked of a facet."""
        return tuple(value for name, value in self.picks if name == key)

    @property
    def narrowed(self) -> bool:
        return bool(self.picks or self.where or self.lasso)


KEYS = {"part", "truth", "view", "right", "wrong", "differ", "finding", "noted"}


def selection_from(pairs: Iterable[tuple[str, str]]) -> Selection:
    """The selection of a query string; what is no part of one is left alone. Raises `DataError` for a bad lasso."""
    picks, said = [], {}
    for key, value in pairs:
        if key in KEYS or key.startswith("fact."):
            picks.append((key, value))
        else:
            said[key] = value.strip()
    if len(said.get("where", "")) > LONGEST:
        raise DataError(f"a filter has at most {LONGEST:,} letters", hint="shorten it")
    return Selection(
        of=said.get("of") or None,
        label=said.get("label") or None,
        picks=tuple(dict.fromkeys(picks)),
        where=said.get("where", ""),
        lasso=corners(said.get("lasso", "")),
        sort=said.get("sort") or "id",
        show="table" if said.get("show") == "table" else "grid",
    )


def conditions(board: Board, chosen: Selection, *, but: str = "") -> list[str]:
    """SQL that holds for the rows picked, but for the facet `but`; the filter in SQL and the lasso are not among it."""
    found = [
        f"{text_of(facet)} IN ({', '.join(map(quoted, values))})"
        for facet in board.facets
        if facet.key != but and (values := chosen.values(facet.key))
    ]
    if but != "right":
        found += [f"right_{arm_name(board.runs, name)}" for name in chosen.values("right")]
        found += [f"NOT right_{arm_name(board.runs, name)}" for name in chosen.values("wrong")]
    for value in chosen.values("differ"):
        one, other = pair_of(board.runs, value)
        found.append(f"right_{one} <> right_{other}")
    if but != "finding":
        found += [finding(board, value) for value in chosen.values("finding")]
    if chosen.values("noted") and but != "noted":
        found.append(NOTED.format(dataset=quoted(board.dataset.name)))
    return found


def text_of(facet: Facet) -> str:
    """A facet's value as text; none is an empty one."""
    return f"coalesce(({facet.column})::VARCHAR, '')"


def arm_name(runs: BoardRuns, name: str) -> str:
    """The column name of an arm. Raises `DataError` for one that is not there."""
    if runs.arm(name) is None:
        known = ", ".join(arm.title for arm in runs.arms) or "none"
        raise DataError(f"no arm {name!r} is shown", hint=f"there are {known}")
    return name


def pair_of(runs: BoardRuns, value: str) -> tuple[str, str]:
    """`image:text` as two arms."""
    one, _, other = value.partition(":")
    return arm_name(runs, one), arm_name(runs, other)


def finding(board: Board, value: str) -> str:
    """SQL of `label_set:label`: the study has it. Raises `DataError` for one that no study has."""
    if value not in board.findings:
        raise DataError(f"no study has the label {value!r}", hint="click on one of those that are listed")
    return f"(found >> {board.findings.index(value)}) & 1 = 1"


def order(board: Board, sort: str) -> str:
    """SQL of a number by which rows are sorted, the largest first; rows without it come last, as -1 or by place.

    Raises `DataError` for an order that there is none of.
    """
    kind, *names = sort.split(":")
    if sort == "id":
        return "(-n)::DOUBLE"
    if sort == "distance":
        return "coalesce(distance, -1)"
    if kind == "loss" and len(names) == 1:
        return f"coalesce(loss_{arm_name(board.runs, names[0])}, -1)"
    if kind == "gap" and len(names) == 2:
        one, other = (arm_name(board.runs, name) for name in names)
        return f"coalesce(abs(p_{one} - p_{other}), -1)"
    raise DataError(f"rows cannot be sorted by {sort!r}", hint="choose an order from the list")
