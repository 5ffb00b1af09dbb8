"""One page about runs: what `cxremb report` does."""

from collections.abc import Sequence
from pathlib import Path

from cxremb.ablation import Ablation
from cxremb.api.places import store_root
from cxremb.api.runs import RunName, named_run
from cxremb.reporting.chosen import ReportRuns, newest_ablation, runs_named
from cxremb.reporting.page import page_of, refuse_places, render, write_figures, write_report
from cxremb.store.dataset import data_sets
from cxremb.training.runs import dataset_of, read_run
from cxremb.types import Progress, unwatched

OUTPUT = Path("report.html")


def report(
    runs: RunName | Sequence[RunName] | Ablation = (),
    *,
    output: str | Path = OUTPUT,
    figures: str | Path | None = None,
    include_data: bool = False,
    checklist: str | None = None,
    dataset: str | None = None,
    root: str | Path | None = None,
    progress: Progress = unwatched,
) -> Path:
    """Where one HTML page about runs was written, which needs no network; what was there before is replaced.

    runs: some of them, what `ablate` gave, or nothing: the newest ablation, which is the newest run of each arm and
    control on the split, folds, seeds, preset and label of the newest arm. figures: a folder that also gets each
    figure as SVG, PNG and PDF, and the table as LaTeX. include_data: show texts and films of patients, else none.
    checklist: claim or tripod, filled from the reference, in a section of its own. dataset: where to look for runs;
    everywhere if left out. Raises `DataError` without a run, for runs of two data sets or labels, or an unknown
    checklist; `StoreError` for an unknown or damaged run, or a place that cannot be written.
    """
    folder = None if figures is None else Path(figures)
    refuse_places(Path(output), folder)
    chosen = chosen_runs(runs, dataset=dataset, root=root)
    page = page_of(chosen, include_data=include_data, checklist=checklist, progress=progress)
    path = write_report(page, Path(output), progress)
    if folder is not None:
        write_figures(page, folder, progress)
    return path


def report_html(result: Ablation, *, root: str | Path | None = None) -> str:
    """The page that `report` writes."""
    return render(page_of(chosen_runs(result, dataset=None, root=root)))


def chosen_runs(
    runs: RunName | Sequence[RunName] | Ablation, *, dataset: str | None, root: str | Path | None
) -> ReportRuns:
    """The runs that are meant."""
    if isinstance(runs, Ablation):
        arms = {row.arm: named_run(row.run_id, runs.dataset, root) for row in runs.rows}
        made = {one.name: read_run(Path(one.folder)) for one in runs.controls if one.folder}
        return ReportRuns(dataset_of(next(iter(arms.values()))), arms, made, runs)
    named = [runs] if isinstance(runs, RunName) else list(runs)
    if not named:
        return newest_ablation(data_sets(store_root(root), dataset))
    return runs_named([named_run(run, dataset, root) for run in named])
