"""A trained run on films and reports: what `cxremb predict` does."""

from collections.abc import Sequence
from pathlib import Path

from cxremb.api.places import remark, store_root
from cxremb.api.runs import RunName, named_run
from cxremb.errors import DataError
from cxremb.inference.cases import Given, read_cases, read_report
from cxremb.inference.choice import newest_run, ready
from cxremb.inference.judge import judge
from cxremb.inference.loaded import load_run
from cxremb.inference.results import Judgements
from cxremb.store.dataset import data_sets
from cxremb.training.runs import dataset_of
from cxremb.types import Progress, unwatched


def predict(
    files: str | Path | Sequence[str | Path] = (),
    *,
    report: str | Path | None = None,
    report_text: str | None = None,
    run: RunName | None = None,
    neighbours: int = 5,
    dataset: str | None = None,
    root: str | Path | None = None,
    progress: Progress = unwatched,
) -> Judgements:
    """What a run says of films and reports: a row for each study, film and label.

    files: films of one study, by file or id; a study's id; a folder of films; a table with columns path, report and
    study. report: the file of a report, or report_text, of the one study. run: the newest that reads what is given, if
    left out. neighbours: how many of the nearest training cases. dataset: where runs and ids are looked for.

    A film of the collection is judged by the models that tested it, a new one by the mean of all. Raises `DataError` if
    nothing could be judged, `TrainError` without such a run, `StoreError` where its store is gone, `EncoderError` where
    the encoder of its store is not here.
    """
    if report is not None and report_text is not None:
        raise DataError("a report in a file, and one as a text", hint="give one of --report and --report-text")
    text = report_text if report is None else read_report(Path(report))
    everywhere = data_sets(store_root(root), dataset)
    given = read_cases([files] if isinstance(files, str | Path) else files, text, everywhere)
    kinds = kinds_of(given)
    if run is None:
        where = [given.dataset] if given.dataset else everywhere
        chosen, why = newest_run(where, kinds or {"image"})
    else:
        chosen, why = named_run(run, dataset, root), "the run that was named"
    model = ready(load_run(chosen.folder), why)
    if given.dataset and dataset_of(model.run).name != given.dataset.name:
        raise DataError(
            f"run {model.run.run_id} is of {model.dataset.name}, and these ids are of {given.dataset.name}",
            hint="name another run with --run, or give files",
        )
    found = judge(model, given, neighbours=neighbours, progress=progress)
    remark((*found.notes, *found.caveats, found.notice), shown=True)
    return found


def kinds_of(given: Given) -> set[str]:
    """Whether there are films, texts or both. A study that is named by its id brings its report."""
    kinds = {"image"} if any(case.films for case in given.cases) else set()
    reports = {} if given.dataset is None else dict.fromkeys(given.dataset.reports["study_id"].to_pylist())
    return kinds | ({"text"} if any(case.text is not None or case.study in reports for case in given.cases) else set())
