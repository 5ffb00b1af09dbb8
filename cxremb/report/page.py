"""The one-page report of some runs: `page_from_runs` gathers it as plain data, `write_report` makes the HTML file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from cxremb.ablation import REFERENCE, ArmResult, compare
from cxremb.ablation.compare import arms_by_caveat
from cxremb.errors import DataError
from cxremb.features import describe_text
from cxremb.report.curves import FIGURES, MeanEpoch, mean_history, roc_points
from cxremb.report.figures import Bar, Point, estimate, forest, loss_curves, roc_curves
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.files import replace_text
from cxremb.store.sql import query
from cxremb.store.views import quoted
from cxremb.training.runs import Run, list_runs

Cell = str | float | None

SIMULATED = (
    "The films of this data set are simulated: drawn by a program, not taken of anybody. "
    "Figures of arms that read images say nothing about real patients."
)
ARM_COLUMNS = ("arm", "rows", "patients", "AUROC", "accuracy", "F1", f"AUROC minus {REFERENCE}", "caveat")
LOUD = ("label recovery", "leaky split")  # how a caveat begins that must stand above all figures
RESEARCH = "For research on methods. Nothing here has been shown to help in the care of a patient."

PHASES = {"train": "train", "val": "validation", "test": "test"}  # test where a split has no validation part
BASELINES = {
    "prevalence": "prevalence",
    "majority_accuracy": "accuracy of always the larger class",
    "all_positive_f1": "F1 of always positive",
}
EXAMPLES = {
    "How many rows of each view does each arm get right, at a threshold of 0.5?": """
SELECT r.arm, coalesce(i.view, 'unknown') AS view, count(*) AS rows,
       avg(((p.y_prob >= 0.5) = (p.y_true = 1))::INTEGER) AS accuracy
FROM predictions p JOIN runs r USING (run_id, dataset)
JOIN images i ON i.dataset = p.dataset AND i.image_id = p.item_id
WHERE p.part = 'test' AND p.run_id IN ({runs})
GROUP BY ALL ORDER BY ALL""",
    "Which test rows is each arm most wrong about?": """
SELECT r.arm, p.item_id, p.y_true, p.y_prob
FROM predictions p JOIN runs r USING (run_id, dataset)
WHERE p.part = 'test' AND p.run_id IN ({runs})
QUALIFY row_number() OVER (PARTITION BY p.run_id ORDER BY abs(p.y_true - p.y_prob) DESC, p.item_id) <= 3
ORDER BY r.arm, abs(p.y_true - p.y_prob) DESC""",
}


@dataclass(frozen=True)
class Example:
    """A query and what it gave when the page was made."""

    question: str
    statement: str
    names: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Page:
    """Everything on the page."""

    title: str
    simulated: bool
    facts: tuple[tuple[str, str], ...]
    arms: tuple[ArmResult, ...]
    curves: Mapping[str, Sequence[Point]]  # arm -> (1 - specificity, sensitivity), from (0, 0) to (1, 1)
    baselines: tuple[tuple[str, float | None], ...]  # what needs no model
    history: tuple[MeanEpoch, ...]
    examples: tuple[Example, ...]
    caveats: tuple[str, ...]
    provenance: tuple[tuple[str, str], ...]


def write_report(page: Page, path: Path) -> Path:
    """`path`, the page as one HTML file without scripts or outside resources, replaced in one step."""
    return replace_text(path, render(page))


def render(page: Page) -> str:
    """The page as HTML. All text is escaped."""
    environment = Environment(
        loader=PackageLoader("cxremb.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = cell
    environment.globals["numeric_columns"] = numeric_columns
    arms = arms_by_caveat({row.arm: row.caveats for row in page.arms})
    loud = [f"Arms {', '.join(names)}: {caveat}." for caveat, names in arms.items() if caveat.startswith(LOUD)]
    return environment.get_template("page.html.jinja").render(
        page=page,
        banners=[*([SIMULATED] if page.simulated else []), *loud],
        arm_names=ARM_COLUMNS,
        arm_rows=[arm_row(row) for row in page.arms],
        arm_figures=arm_figures(page),
        baselines=", ".join(
            f"{name} {'undefined' if value is None else f'{value:.3f}'}" for name, value in page.baselines
        ),
        caveats=[*page.caveats, RESEARCH],
        loss_figures=loss_figures(page.history),
        epoch_names=["arm", "epoch", "phase", "folds", *FIGURES],
        epoch_rows=[
            [row.arm, str(row.epoch), row.phase, str(row.folds), *(getattr(row, name) for name in FIGURES)]
            for row in page.history
        ],
    )


def cell(value: Cell | bool) -> str:
    """A value of a table as text; floats show three digits."""
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value or "")


def numeric_columns(rows: Sequence[Sequence[Cell]]) -> set[int]:
    """Which columns hold numbers only."""
    columns = [[value for value in column if value is not None] for column in zip(*rows, strict=True)]
    return {
        index for index, values in enumerate(columns) if values and not any(isinstance(value, str) for value in values)
    }


def arm_figures(page: Page) -> list[tuple[str, str]]:
    """(drawing, caption) of the arms: AUROC with intervals, and ROC curves where there are any."""
    bars = [Bar(row.title, row.auroc.value, row.auroc.low, row.auroc.high) for row in page.arms]
    drawn = [(forest(bars, "AUROC", 0.5), "AUROC per arm with its interval. Dashed: chance.")]
    if page.curves:
        drawn.append((roc_curves(page.curves), "ROC curves on test rows. Dashed: chance."))
    return drawn


def arm_row(row: ArmResult) -> list[Cell]:
    """One arm's line of the table."""
    figures = [stacked(part.value, part.low, part.high) for part in (row.auroc, row.accuracy, row.f1)]
    gap = row.difference
    difference = "" if gap is None else stacked(gap.value, gap.low, gap.high)
    if gap is not None and gap.p is not None:
        difference += f"\np = {gap.p:.3f}"
    caveats = "; ".join(caveat.split(":")[0] for caveat in row.caveats)
    return [row.title, row.n, row.patients, *figures, difference, caveats]


def stacked(value: float | None, low: float | None, high: float | None) -> str:
    """A figure, and on a line below its interval, which must not break."""
    return estimate(Bar("", value, low, high)).replace(" (", "\n(").replace(" ", "\N{NO-BREAK SPACE}")


def loss_figures(history: Sequence[MeanEpoch]) -> list[tuple[str, str]]:
    """(drawing, caption) of each arm's loss curves, on one scale."""
    folds = {row.arm: max(other.folds for other in history if other.arm == row.arm) for row in history}
    whole = [(row, row.loss) for row in history if row.loss is not None and row.folds == folds[row.arm]]
    top = 1.25 * max((loss for _, loss in whole), default=1.0)  # leaves room for the key
    drawn = []
    for arm in folds:
        curves = {
            name: points
            for phase, name in PHASES.items()
            if (points := [(row.epoch, loss) for row, loss in whole if (row.arm, row.phase) == (arm, phase)])
        }
        drawn.append((loss_curves(arm, curves, top), f"Loss of the {arm} arm."))
    return drawn


def page_from_runs(root: Path, dataset: str, run_ids: Sequence[str], *, title: str) -> Page:
    """The page of these runs, one per arm, in this order.

    Differences to the fusion are there if it is among them and predicts the same rows. Raises `DataError` for an
    unknown run or two of one arm.
    """
    collection = open_dataset(root, dataset)
    runs = chosen_runs(collection, run_ids)
    simulated = collection.simulated and any("image" in run.record.dims for run in runs.values())
    first, arms = next(iter(runs.values())), compared(runs)
    return Page(
        title=title,
        simulated=simulated,
        facts=data_facts(root, collection),
        arms=arms,
        curves={row.title: curve for row in arms if (curve := roc_points(runs[row.arm].predictions()))},
        baselines=tuple((words, first.metric(name)[0]) for name, words in BASELINES.items()),
        history=tuple(epoch for arm, run in runs.items() for epoch in mean_history(arm, run.history)),
        examples=tuple(ask(root, question, text, run_ids=run_ids) for question, text in EXAMPLES.items()),
        caveats=caveats_of(runs),
        provenance=run_facts(runs),
    )


def chosen_runs(dataset: Dataset, run_ids: Sequence[str]) -> dict[str, Run]:
    """Arm -> run. Raises `DataError` for none, an unknown one or two of one arm."""
    known = {run.run_id: run for run in list_runs(dataset)}
    missing = [run_id for run_id in run_ids if run_id not in known]
    if missing or not run_ids:
        raise DataError(
            f"{dataset.name} has no run {missing[0]}" if missing else "a report needs a run",
            hint='list them: cxremb sql "select run_id, arm, created from runs"',
        )
    runs = {known[run_id].arm: known[run_id] for run_id in run_ids}
    if len(runs) < len(run_ids):
        raise DataError("two of the runs are of the same arm", hint="name one run per arm")
    return runs


def compared(runs: Mapping[str, Run]) -> tuple[ArmResult, ...]:
    """One row per arm, with the differences to the reference if all predict the same rows."""
    items = [sorted(run.predictions().items.tolist()) for run in runs.values()]
    paired = REFERENCE in runs and len(runs) > 1 and all(rows == items[0] for rows in items)
    return tuple(compare(runs, REFERENCE if paired else None))


def ask(root: Path, question: str, text: str, *, run_ids: Sequence[str]) -> Example:
    """The question's answer about these runs."""
    statement = text.strip().format(runs=", ".join(quoted(run_id) for run_id in run_ids))
    found = query(root, statement)
    rows = zip(*(column.to_pylist() for column in found.columns), strict=True)
    return Example(question, statement, tuple(found.schema.names), tuple(rows))


def data_facts(root: Path, dataset: Dataset) -> tuple[tuple[str, str], ...]:
    """What the data set holds, and whose it is."""
    text = f"""
    SELECT (SELECT count(*) FROM studies WHERE dataset = {quoted(dataset.name)}) AS studies,
           (SELECT count(DISTINCT patient_id) FROM studies WHERE dataset = {quoted(dataset.name)}) AS patients,
           (SELECT count(DISTINCT study_id) FROM reports WHERE dataset = {quoted(dataset.name)}) AS reports,
           count(*) AS images, count(path) AS present
    FROM images WHERE dataset = {quoted(dataset.name)}"""
    counts = query(root, text).to_pylist()[0]
    films = f"{counts['images']:,} listed, {counts['present']:,} on disk"
    notes = [f"{note['count']:,} {note['what']}" for note in dataset.descriptor.get("notes", [])]
    return (
        ("data set", dataset.name),
        ("studies", f"{counts['studies']:,} of {counts['patients']:,} patients"),
        ("films", films + (" (simulated)" if dataset.simulated else "")),
        ("reports with text", f"{counts['reports']:,}"),
        *((("noted", "; ".join(notes)),) if notes else ()),
        ("licence", str(dataset.descriptor.get("licence", ""))),
        ("citation", str(dataset.descriptor.get("citation", ""))),
    )


def caveats_of(runs: Mapping[str, Run]) -> tuple[str, ...]:
    """What must be read beside the figures: each arm's caveats, and the rows that no arm could use."""
    arms = arms_by_caveat({arm: run.caveats for arm, run in runs.items()})
    left_out = {f"{n:,} rows left out: {why}" for run in runs.values() for why, n in run.record.left_out.items()}
    return (*(f"{', '.join(names)}: {caveat}" for caveat, names in arms.items()), *sorted(left_out))


def run_facts(runs: Mapping[str, Run]) -> tuple[tuple[str, str], ...]:
    """How each run was made: enough to find it and to make it again."""
    facts = []
    for arm, run in runs.items():
        record = run.record
        stores, seeds = ", ".join(record.stores), ", ".join(map(str, record.seeds))
        versions = ", ".join(f"{name} {number}" for name, number in record.versions.items())
        text = describe_text(record.text, record.text_role)
        split = f"split {record.split} ({record.split_means})"
        about = f"run {run.run_id}, {record.created}; {split}; preset {record.preset}; "
        facts.append((arm, f"{about}seeds {seeds}; stores {stores}; {text}; {record.seconds:g} s; {versions}"))
    return tuple(facts)
