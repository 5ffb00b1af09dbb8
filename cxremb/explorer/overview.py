"""The overview: filters with their counts, the rows that they leave, and beside them the map."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from cxremb.errors import CxrembError
from cxremb.explorer.board import Board
from cxremb.explorer.pages import render, value
from cxremb.explorer.rows import FacetValue, Question, RowPage
from cxremb.explorer.selection import Selection, order

SHOWN = 10  # values of a facet; what is picked is shown always
UNLABELLED = "SELECT count(*) > 0 FROM cases WHERE truth IS NULL"
TRUTH = {"1": "yes", "0": "no", "": "not labelled"}


@dataclass(frozen=True)
class FilterChoice:
    """One thing to click on: where it leads, what it says, how many rows that would be."""

    title: str
    query: str
    count: int
    on: bool


@dataclass(frozen=True)
class ChoiceGroup:
    """Things to click on under one heading."""

    title: str
    choices: tuple[FilterChoice, ...]


@dataclass(frozen=True)
class Chip:
    """Something that narrows the rows, and the address without it."""

    words: str
    query: str


def overview_page(board: Board, chosen: Selection, *, after: str | None, before: str | None) -> str:
    """The page. A filter that is wrong is answered beside it, and the other filters stay."""
    order(board, chosen.sort)  # an unknown one is an error of the address, not of the filter
    problem: CxrembError | None = None
    with board.asking() as con:
        try:
            asked = Question(board, con, chosen)
            page = asked.page(after, before)
        except CxrembError as error:
            if not chosen.where:
                raise
            problem, asked = error, Question(board, con, replace(chosen, where=""))
            page = RowPage([], 0, 0, None, None)
        groups = list(choices(board, asked, chosen))
        unlabelled = bool(board.runs.arms) and con.execute(UNLABELLED).fetchall()[0][0]
    return render(
        "overview.jinja",
        board,
        chosen=chosen,
        page=page,
        groups=groups,
        chips=list(chips(board, chosen)),
        sorts=list(sorts(board)),
        problem=problem,
        unlabelled=unlabelled,
        here="overview",
    )


def choices(board: Board, asked: Question, chosen: Selection) -> Iterator[ChoiceGroup]:
    """What can be clicked on, with counts."""
    counted = asked.facets()
    for facet in board.facets:
        found = counted[facet.key]
        if len(found) > 1 or chosen.values(facet.key):
            words = TRUTH if facet.key == "truth" else {}
            yield ChoiceGroup(facet.title, tuple(picks(chosen, facet.key, found, words=words)))
    for arm in board.runs.arms:
        if arm.place == 0:
            judged = asked.judged()
            yield ChoiceGroup("Judged", tuple(verdicts(board, chosen, judged)))
    if findings := asked.findings():
        titles = {one.value: one.value.partition(":")[2] for one in findings}
        yield ChoiceGroup("Findings", tuple(picks(chosen, "finding", findings, words=titles)))
    if noted := asked.noted():
        yield ChoiceGroup("Notes", tuple(picks(chosen, "noted", [FacetValue("1", noted)], words={"1": "with a note"})))


def picks(chosen: Selection, key: str, found: list[FacetValue], *, words: dict[str, str]) -> Iterator[FilterChoice]:
    """The values of one facet."""
    on = chosen.values(key)
    for place, one in enumerate(found):
        if place < SHOWN or one.value in on:
            title = words.get(one.value, value(one.value))
            yield FilterChoice(title, chosen.toggled(key, one.value).query(), one.count, one.value in on)


def verdicts(board: Board, chosen: Selection, judged: dict[str, tuple[int, int]]) -> Iterator[FilterChoice]:
    """Right and wrong of each arm."""
    for arm in board.runs.arms:
        for key, count in zip(("right", "wrong"), judged[arm.name], strict=True):
            on = arm.name in chosen.values(key)
            yield FilterChoice(f"{arm.title} {key}", chosen.toggled(key, arm.name).query(), count, on)


def chips(board: Board, chosen: Selection) -> Iterator[Chip]:
    """What narrows the rows now."""
    titles = {facet.key: facet.title for facet in board.facets}
    for key, text in chosen.picks:
        words = f"{titles.get(key, '')}: {TRUTH.get(text, text) if key == 'truth' else value(text)}"
        if key in ("right", "wrong"):
            words = f"{text} {key}"
        elif key == "differ":
            words = f"{' and '.join(text.split(':'))} differ"
        elif key == "finding":
            words = text.partition(":")[2]
        elif key == "noted":
            words = "with a note"
        yield Chip(words, chosen.toggled(key, text).query())
    if chosen.where:
        yield Chip(chosen.where, replace(chosen, where="").query())
    if chosen.lasso:
        yield Chip("lasso on the map", replace(chosen, lasso=()).query())


def sorts(board: Board) -> Iterator[tuple[str, str]]:
    """(Word in the address, what it is called) of each order."""
    yield "id", "id"
    arms = board.runs.arms
    if board.far:
        yield "distance", "distance to training"
    for arm in arms:
        yield f"loss:{arm.name}", f"loss of {arm.title}"
    for place, one in enumerate(arms):
        for other in arms[place + 1 :]:
            yield f"gap:{one.name}:{other.name}", f"{one.title} against {other.title}"
