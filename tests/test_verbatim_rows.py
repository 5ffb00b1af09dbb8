"""The verbatim figures beside an AUROC are of the rows, unit and label of that AUROC, counted slowly."""

from collections.abc import Iterable

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planted import FOUND, Planted, plant, planted_tables
from predicted import within
from written import write_dataset

import cxremb
from cxremb.ablation import Ablation, Trial, ablate
from cxremb.comparison import compare_runs
from cxremb.splits import choose_split, fold_parts
from cxremb.store.dataset import Dataset
from cxremb.store.layout import LABEL_SOURCE, REPORTS
from cxremb.store.sql import query
from cxremb.stratify import stratify
from cxremb.table import bare
from cxremb.training.runs import UNCOUNTED, Run, open_run
from cxremb.training.scores import IN_TRAIN, NEW_TEXT

ARMS = ("fusion", "fusion[views=frontal]", "text")  # every third study has a lateral film


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """300 studies with labels of three sets; half the studies with two films and a quarter of the rest share a text."""
    plan = Planted(studies=300, image=0.5, text=0.6, kinds=1.2)
    found = plant(tmp_path_factory.mktemp("rows"), plan)
    tables = planted_tables(plan)[0]
    rows = [
        {"study_id": study, "section": "findings", "role": LABEL_SOURCE, "text": "Normal chest" if stock else study}
        for number, study in enumerate(tables["studies"]["study_id"].to_pylist())
        for stock in [number % 6 == 0 or number % 4 == 1]
    ]
    tables["reports"] = pa.Table.from_pylist(rows, schema=REPORTS)
    return write_dataset(found.paths, tables, found.descriptor)


@pytest.fixture(scope="module")
def table(dataset: Dataset) -> Ablation:
    return ablate(dataset, ARMS, trial=Trial(controls=False))


@pytest.fixture(scope="module")
def several(dataset: Dataset) -> Run:
    """Of a label set in which a study may lack the answer to one label."""
    root = dataset.paths.folder.parent
    return cxremb.train("text", epochs=4, label_set="found", dataset=dataset.name, root=root)


def slow_rows(dataset: Dataset, run: Run) -> pd.DataFrame:
    """The test rows of one repeat and seed with whether their text is one of train, row by row."""
    split = choose_split(dataset, run.record.label_set).table
    texts = {row["study_id"]: row["text"].lower() for row in dataset.reports.to_pylist()}
    rows = run.prediction_rows.to_pandas()
    rows = rows[(rows["part"] == "test") & rows["y_true"].notna()].copy()
    known = {}
    for fold in rows["fold"].unique().tolist():
        place = fold_parts(split, 0, fold)
        known[fold] = {texts[study] for study, part in place.items() if part == "train"}
    pairs = zip(rows["study_id"], rows["fold"], strict=True)
    return rows.assign(seen=[texts[study] in known[fold] for study, fold in pairs])


def slow_figures(rows: pd.DataFrame) -> tuple[float, float]:
    others = rows[~rows["seen"]]
    return float(rows["seen"].mean()), within(others["y_true"], others["y_prob"], others["fold"])


def runs_of(dataset: Dataset, table: Ablation) -> dict[str, Run]:
    return {row.arm: open_run(row.run_id, dataset) for row in table.rows}


def shared_items(frames: Iterable[pd.DataFrame]) -> set[str]:
    return set.intersection(*(set(frame["item_id"]) for frame in frames))


def assert_of_table(dataset: Dataset, table: Ablation) -> None:
    """Share and figure of each arm are those of the rows that all arms have."""
    rows = {arm: slow_rows(dataset, run) for arm, run in runs_of(dataset, table).items()}
    shared, flat = shared_items(rows.values()), {row["arm"]: row for row in table.to_arrow().to_pylist()}
    for row in table.rows:
        own = rows[row.arm]
        share, auroc = slow_figures(own[own["item_id"].isin(shared)])
        assert row.n == len(shared)
        assert row.in_train == flat[row.arm]["verbatim_in_train"] == pytest.approx(share)
        assert row.auroc_new_text.value == flat[row.arm]["auroc_new_text"] == pytest.approx(auroc)
        assert row.auroc_new_text.low < auroc < row.auroc_new_text.high
        assert f"{row.arm} {share:.1%} ({bare(auroc)} [" in table.verbatim


def test_an_ablation_counts_the_rows_of_its_table(dataset: Dataset, table: Ablation) -> None:
    assert_of_table(dataset, table)
    rows, run = {row.arm: row for row in table.rows}, runs_of(dataset, table)["fusion"]
    assert len(run.predictions().items) > rows["fusion"].n
    assert abs(run.metric(IN_TRAIN)[0] - rows["fusion"].in_train) > 0.01  # the run's own are others


def test_an_ablation_by_study_counts_studies(dataset: Dataset) -> None:
    table = ablate(dataset, ["fusion", "attention"], trial=Trial(controls=False))
    run, row = runs_of(dataset, table)["fusion"], next(row for row in table.rows if row.arm == "fusion")
    assert (table.unit, run.record.unit) == ("study", "image")
    columns = {"y_true": "first", "y_prob": "mean", "seen": "first", "fold": "first"}
    share, auroc = slow_figures(slow_rows(dataset, run).groupby("study_id").agg(columns))
    assert row.in_train == pytest.approx(share)
    assert row.auroc_new_text.value == pytest.approx(auroc)
    assert abs(run.metric(IN_TRAIN)[0] - share) > 0.01


def test_two_runs_on_shared_rows_say_those_of_the_shared_rows(dataset: Dataset, table: Ablation) -> None:
    runs = runs_of(dataset, table)
    pair = [runs[arm] for arm in ARMS[:2]]
    rows = [slow_rows(dataset, run) for run in pair]
    shared, found = shared_items(rows), compare_runs(*pair, shared=True)
    for name, own in zip("AB", rows, strict=True):
        share, auroc = slow_figures(own[own["item_id"].isin(shared)])
        [line] = [line for line in found.caveats if line.startswith(f"{name}: text: ")]
        assert f"{share:.1%} of the test rows" in line
        assert f"AUROC on the others {bare(auroc)} [" in line


@pytest.mark.parametrize("label", FOUND)
def test_one_label_of_several_has_its_own(dataset: Dataset, several: Run, label: str) -> None:
    rows = slow_rows(dataset, several)
    share, auroc = slow_figures(rows[rows["label"] == label])
    assert auroc == pytest.approx(several.metric("auroc", NEW_TEXT, label)[0])
    words = f"text: {share:.1%} of the test rows have one that stands word for word in train; "
    words += f"AUROC on the others {bare(auroc)}"
    assert not str(several.verbatim).startswith(words)  # which is macro
    assert [line for line in compare_runs(several, several, label=label).caveats if line.startswith(f"A: {words}")]
    assert [note for note in stratify(dataset, several, "view", label=label).notes if note.startswith(words)]
    assert f"A: {several.verbatim}" in compare_runs(several, several).caveats


def test_an_arm_whose_texts_are_taken_away_knows_none_by_heart(dataset: Dataset) -> None:
    table = ablate(dataset, ["fusion", "fusion[missing=text]", "fusion[missing=image]"], trial=Trial(controls=False))
    rows = {row.arm: row for row in table.rows}
    runs = runs_of(dataset, table)
    assert rows["fusion[missing=text]"].in_train is None
    assert runs["fusion[missing=text]"].verbatim is None
    assert rows["fusion[missing=image]"].in_train == rows["fusion"].in_train == runs["fusion"].metric(IN_TRAIN)[0]


def test_runs_of_before_say_that_they_were_not_counted(dataset: Dataset, table: Ablation, several: Run) -> None:
    for run in (*runs_of(dataset, table).values(), several):
        path = run.folder / "predictions.parquet"
        pq.write_table(pq.ParquetFile(path).read().drop_columns(["text_in_train"]), path)
    again = ablate(dataset, ARMS, trial=Trial(controls=False))
    assert all(row.reused for row in again.rows)
    assert all(row.in_train is None for row in again.rows)
    assert f"A: {several.verbatim}" in compare_runs(several, several).caveats
    assert f"A: {UNCOUNTED}" in compare_runs(several, several, label=FOUND[0]).caveats
    text = f"SELECT count(*) AS n, count(text_in_train) AS known FROM predictions WHERE run_id = '{several.run_id}'"
    assert query(dataset.paths.folder.parent, text).to_pylist() == [{"n": several.prediction_rows.num_rows, "known": 0}]
