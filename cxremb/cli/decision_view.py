"""How `cxremb evaluate --prevalence` is shown: figures under each threshold, and a few points of the decision curve."""

from typing import TYPE_CHECKING

from cxremb.cli.pasted import completed
from cxremb.cli.screen import say, show_table
from cxremb.table import Table, bare

if TYPE_CHECKING:
    from cxremb.calibrated import Decisions
    from cxremb.evaluation.bootstrap import Interval
    from cxremb.evaluation.decision import CurvePoint

NAMES = {
    "recall": "sensitivity",
    "specificity": "specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "lr_positive": "LR+",
    "lr_negative": "LR-",
    "flags_per_true_positive": "flags per true positive",
    "net_benefit": "net benefit",
}
SHOWN = (0.25, 0.5, 1.0, 2.0, 4.0)  # risks of the curve on the screen, as parts of the prevalence
BRACKETS = "brackets: 95% over patients, thresholds chosen again in each draw"


def show_decisions(found: "Decisions") -> None:
    """Both tables, and what they rest on."""
    say(f"run {found.run_id}, test rows, label {found.label}, where {percent(found.prevalence)} have it", style="bold")
    show_table(figure_table(found))
    say()
    show_table(curve_table(found, some(found)))
    for note in (*notes_of(found), *found.reasons, *found.caveats):
        say(f"  {completed(note)}")


def tables_of(found: "Decisions") -> list[Table]:
    """The tables of a paper; the curve at some risks, all of it is in CSV and JSON."""
    return [figure_table(found), curve_table(found, some(found))]


def notes_of(found: "Decisions") -> list[str]:
    """What a reader must know."""
    test = f"sensitivity and specificity are those of the test rows, where {percent(found.observed)} have it"
    return [
        f"{test}; risks are moved to the prevalence by the odds",
        f"net benefit: true positives a patient; {BRACKETS}",
    ]


def figure_table(found: "Decisions") -> Table:
    """A column for each threshold."""
    rows = [["stands for a risk of", *(percent(one.risk) for one in found.at)]]
    rows += [[words, *(figure(one.figures.get(name)) for one in found.at)] for name, words in NAMES.items()]
    return Table(
        ["threshold", *(one.rule for one in found.at)],
        rows,
        title=f"Thresholds of run {found.run_id}, label {found.label}, at a prevalence of {percent(found.prevalence)}",
        label=f"decisions-{found.run_id}",
        notes=[*notes_of(found), *found.reasons, *found.caveats],
    )


def curve_table(found: "Decisions", points: "list[CurvePoint]") -> Table:
    """A line for each risk threshold."""
    rows = [[percent(one.risk), figure(one.model), decimals(one.treat_all), figure(one.gain)] for one in points]
    return Table(
        ["act from a risk of", "net benefit", "treat all", "gain over all or none"],
        rows,
        title=f"Decision curve of run {found.run_id}, label {found.label}, at a prevalence of "
        f"{percent(found.prevalence)}; to treat none has a net benefit of 0",
        label=f"curve-{found.run_id}",
        notes=found.caveats,
    )


def some(found: "Decisions") -> "list[CurvePoint]":
    """The points of the curve that lie nearest to `SHOWN`."""
    wanted = [part * found.prevalence for part in SHOWN if part * found.prevalence < 1]
    near = {min(range(len(found.curve)), key=lambda at: abs(found.curve[at].risk - risk)) for risk in wanted}
    return [found.curve[place] for place in sorted(near)]


def figure(found: "Interval | None") -> str:
    """A figure with its interval, to three digits where it is below 10; or a dash."""
    if found is None or found.value is None:
        return "-"
    if found.low is None:
        return decimals(found.value)
    high = "" if found.high is None else decimals(found.high)
    return f"{decimals(found.value)} [{decimals(found.low)}, {high}]"


def decimals(value: float) -> str:
    """Three decimals of a share, two of a small number, one of a larger one; no zero before the point."""
    places = 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    return bare(value, places=places)


def percent(share: float) -> str:
    """To two digits."""
    return f"{float(f'{share * 100:.2g}'):g}%" if share < 0.99 else f"{share * 100:.4g}%"
