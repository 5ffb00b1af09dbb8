"""The table of runs: every arm and control with its figures as they are stored, and where two arms differ."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import duckdb

from cxremb.explorer.arms import ListedRun
from cxremb.explorer.board import Board
from cxremb.explorer.pages import render
from cxremb.explorer.selection import Selection
from cxremb.store.scans import quoted

METRICS = {
    "auroc": "AUROC",
    "average_precision": "AP",
    "accuracy": "accuracy",
    "f1": "F1",
    "specificity_at_sensitivity_95": "sp@.95",
    "ece": "ECE",
}
FIGURES = """
SELECT run_id, metric, value, low, high FROM metrics
WHERE part = 'test' AND label = $label AND run_id IN ({runs}) AND metric IN ({metrics})
"""


@dataclass(frozen=True)
class RunLine:
    """A line of the table."""

    run: ListedRun
    colour: int | None
    figures: tuple[tuple[float, float | None, float | None] | None, ...]


@dataclass(frozen=True)
class Differing:
    """How many rows one arm has right and the other wrong."""

    right: str
    wrong: str
    count: int
    query: str


def runs_page(board: Board, chosen: Selection) -> str:
    """The page."""
    runs = board.runs
    shown = [*((arm.run, arm.place) for arm in runs.arms), *((run, None) for run in runs.controls)]
    with board.asking() as con:
        found: dict[tuple[str, str], tuple[float, float | None, float | None]] = {}
        if shown:
            sql = FIGURES.format(
                runs=", ".join(quoted(run.run_id) for run, _ in shown), metrics=", ".join(map(quoted, METRICS))
            )
            for run_id, metric, *figure in con.execute(sql, {"label": board.label}).fetchall():
                found[run_id, metric] = (figure[0], figure[1], figure[2])
        lines = [
            RunLine(run, colour, tuple(found.get((run.run_id, name)) for name in METRICS)) for run, colour in shown
        ]
        pairs = [(one, other) for one in runs.arms for other in runs.arms if one is not other]
        counts = ", ".join(f"count(*) FILTER (right_{one.name} AND NOT right_{other.name})" for one, other in pairs)
        many = con.execute(f"SELECT {counts} FROM cases").fetchall()[0] if pairs else ()
        judged = judged_rows(con, [arm.name for arm in runs.arms])
    bare = replace(chosen.cleared, sort="id")
    differing = {
        (one.name, other.name): Differing(
            one.title,
            other.title,
            count,
            replace(
                bare, picks=(("right", one.name), ("wrong", other.name)), sort=f"gap:{one.name}:{other.name}"
            ).query(),
        )
        for (one, other), count in zip(pairs, many, strict=True)
    }
    notes = dict.fromkeys(part for arm in runs.arms for part in arm.run.note.split("; ") if part)
    return render(
        "runs.jinja",
        board,
        chosen=chosen,
        lines=lines,
        metrics=list(METRICS.values()),
        spread={
            place for line in lines for place, figure in enumerate(line.figures) if figure and figure[1] is not None
        },
        differing=differing,
        judged=judged,
        notes=list(notes),
        here="runs",
    )


def judged_rows(con: duckdb.DuckDBPyConnection, arms: Sequence[str]) -> str:
    """How many test rows the arms judge: one number, or the least and the most where they read different rows."""
    if not arms:
        return ""
    counts = ", ".join(f"count(p_{name})" for name in arms)
    found = con.execute(f"SELECT {counts} FROM cases WHERE part = 'test'").fetchall()[0]
    least, most = min(found), max(found)
    if least == most:
        return f"{most:,} test rows in all"
    return f"{least:,} to {most:,} test rows in all, so their figures are not of the same rows"
