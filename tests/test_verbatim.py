"""Which test rows have a text that stands word for word in train, counted slowly; where that and the rest are said."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from planted import Planted, plant, planted_tables
from predicted import within
from written import write_dataset

import cxremb
from cxremb.ablation import Trial, ablate
from cxremb.comparison import compare_runs
from cxremb.features import Features, Inputs, load_features
from cxremb.splits import StoredSplit, choose_split, fold_parts, normalised
from cxremb.store.dataset import Dataset
from cxremb.store.layout import LABEL_SOURCE, REPORTS
from cxremb.table import span
from cxremb.training.fit import FitJob, Plan, fit_run
from cxremb.training.presets import Options
from cxremb.training.runs import Run
from cxremb.training.scores import IN_TRAIN, NEW_TEXT

QUICK = Options(epochs=3, batch_size=64)
STOCK = ("Normal chest.", " NORMAL  chest ", "No change", "No change, XXXX")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """400 studies; four in ten reports are one of three lines, one written in two ways; every tenth has none."""
    plan = Planted(studies=400, image=1.0, text=1.5)
    found = plant(tmp_path_factory.mktemp("verbatim"), plan)
    tables, rng = planted_tables(plan)[0], np.random.default_rng(0)
    rows = [
        {
            "study_id": study,
            "section": "findings",
            "role": LABEL_SOURCE,
            "text": str(rng.choice(STOCK)) if rng.random() < 0.4 else f"film of {study}",
        }
        for number, study in enumerate(tables["studies"]["study_id"].to_pylist())
        if number % 10
    ]
    tables["reports"] = pa.Table.from_pylist(rows, schema=REPORTS)
    return write_dataset(found.paths, tables, {**found.descriptor})


@pytest.fixture(scope="module")
def run(dataset: Dataset) -> Run:
    return fit_run(job(dataset, "text"))


def job(dataset: Dataset, arm: str, text: str = "findings+impression", **plan: object) -> FitJob:
    features, split = inputs(dataset, text)
    return FitJob(dataset, features, split, replace(Plan(arm, options=QUICK), **plan))


def inputs(dataset: Dataset, text: str) -> tuple[Features, StoredSplit]:
    return load_features(dataset, ("image", "text"), Inputs(text=text)), choose_split(dataset, None)


def slow_rows(dataset: Dataset, run: Run) -> list[tuple[bool, float, float]]:
    """(whether train has the text, label, probability) of each test row."""
    table = choose_split(dataset, None).table
    texts = {row["study_id"]: normalised(row["text"]) for row in dataset.reports.to_pylist()}
    found = []
    for row in run.prediction_rows.to_pylist():
        if row["part"] == "test":
            place = fold_parts(table, row["repeat"], row["fold"])
            known = {texts.get(study) for study, part in place.items() if part == "train"} - {None, ""}
            found.append((texts.get(row["study_id"]) in known, row["y_true"], row["y_prob"], row["fold"]))
    return found


def test_the_share_and_the_figure_of_the_others_are_those_counted_slowly(dataset: Dataset, run: Run) -> None:
    rows = slow_rows(dataset, run)
    seen, y, prob, fold = (np.array(column) for column in zip(*rows, strict=True))
    assert 0.3 < seen.mean() < 0.45
    assert run.metric(IN_TRAIN)[0] == seen.mean()
    value, low, high = run.metric("auroc", NEW_TEXT)
    assert value == pytest.approx(within(y[~seen], prob[~seen], fold[~seen]))
    assert low < value < high
    assert run.verbatim == (
        f"text: {seen.mean():.1%} of the test rows have one that stands word for word in train; "
        f"AUROC on the others {span(value, low, high)}"
    )


def test_fewer_training_rows_hold_fewer_texts(dataset: Dataset, run: Run) -> None:
    small = fit_run(replace(job(dataset, "text"), train_fraction=0.2))
    assert not small.reused
    assert 0 < small.metric(IN_TRAIN)[0] <= run.metric(IN_TRAIN)[0]
    assert small.metric("auroc", NEW_TEXT)[0] is not None


def test_what_reads_no_text_has_no_share(dataset: Dataset) -> None:
    for arm in (job(dataset, "image"), replace(job(dataset, "fusion"), shuffles="text")):
        run = fit_run(arm)
        assert run.metric(IN_TRAIN) == (None, None, None)
        assert run.verbatim is None
        assert NEW_TEXT not in run.metrics["part"].to_pylist()


def test_the_same_line_under_every_table(dataset: Dataset, run: Run) -> None:
    table = ablate(dataset, ["image", "text", "fusion"], trial=Trial(controls=False))
    arms = {row.arm: row for row in table.rows}
    assert arms["image"].in_train is None
    assert arms["text"].in_train == arms["fusion"].in_train == run.metric(IN_TRAIN)[0]
    [line] = [line for line in table.caption if "word for word" in line]
    found = arms["text"].auroc_new_text
    assert f"text {arms['text'].in_train:.1%} ({span(found.value, found.low, found.high)})" in line
    assert "image" not in line
    rows = {row["arm"]: row for row in table.to_arrow().to_pylist()}
    assert rows["text"]["auroc_new_text"] == found.value
    assert rows["image"]["verbatim_in_train"] is None
    assert f"A: {run.verbatim}" in compare_runs(run, run).caveats
    assert f"stands nowhere in train: {run.metric('auroc', NEW_TEXT)[0]:.4f}" in (run.folder / "README.md").read_text()


def test_train_and_evaluate_say_it(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    from cxremb.cli.evaluate import show_whole
    from cxremb.cli.run_view import figures_of, show_run

    run = cxremb.train("text", epochs=2, dataset=dataset.name, root=dataset.paths.folder.parent)
    show_run(run)
    found = cxremb.evaluate(run, dataset=dataset.name, root=dataset.paths.folder.parent)
    show_whole(run, found.calibration, found.stored)
    said = capsys.readouterr().out
    assert said.count(str(run.verbatim)) == 2
    first = [line.split()[0] for line in said.splitlines() if line.strip()]
    places = [first.index(name) for name in ("accuracy", "auroc", "average_precision", IN_TRAIN)]
    assert places == sorted(places)
    assert list(figures_of(run))[-1] == IN_TRAIN
