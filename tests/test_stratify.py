"""Figures per group equal those of a plain groupby; what is chosen on val judges test; small groups have reasons."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_runs import Desk, desk, made_run, noisy
from planted import Planted, plant, planted_tables, write_store
from predicted import within
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss, recall_score, roc_curve
from written import write_dataset

import cxremb as package
from cxremb.calibrated import AS_IS, CALIBRATED, calibration_report, store_reliability
from cxremb.cli import progress
from cxremb.cli.calibration_view import chance_in_words, temperature_in_words
from cxremb.cli.evaluate import show_thresholds
from cxremb.comparison import STEPS
from cxremb.errors import DataError, QueryError
from cxremb.evaluation.threshold import choose_threshold
from cxremb.store.dataset import Dataset
from cxremb.store.layout import LABELS, REPORTS, DatasetPaths
from cxremb.stratify import stratify
from cxremb.table import bare
from cxremb.training.runs import Run

TERMS = ("nodule", "effusion", "No Indexing")


def made_dataset(folder) -> Dataset:
    """The planted data set with sections that some studies lack, and terms of the positive ones."""
    tables, y = planted_tables(Planted(studies=300))
    studies = tables["studies"]["study_id"].to_pylist()
    reports = [
        {"study_id": study, "section": section, "role": "label source", "text": f"film {number}"}
        for number, study in enumerate(studies)
        for section in ("findings", "impression")
        if not (section == "findings" and number % 4 == 0) and not (section == "impression" and number % 10 == 0)
    ]
    terms = [
        {"study_id": study, "label_set": "problems", "label": TERMS[number % 2 if number % 25 else 2], "value": 1.0}
        for number, (study, value) in enumerate(zip(studies, y, strict=True))
        if value == 1
    ]
    labels = tables["labels"].to_pylist() + terms
    tables |= {
        "reports": pa.Table.from_pylist(reports, schema=REPORTS),
        "labels": pa.Table.from_pylist(labels, schema=LABELS),
    }
    binary = {"task": "binary", "means": "planted", "labels": ["abnormal"], "policy": "", "version": "0"}
    about = {"licence": "none", "citation": "none", "source": {}, "notes": [], "simulated": True}
    about["label_sets"] = {"normal_abnormal": binary, "problems": binary | {"task": "terms", "labels": []}}
    dataset = write_dataset(DatasetPaths(folder, "grouped"), tables, about)
    rng = np.random.default_rng(0)
    ids = tables["images"]["image_id"].to_pylist()
    write_store(dataset, "efficientnet_b1", "image", ids, rng.standard_normal((len(ids), 4)).astype(np.float32))
    write_store(dataset, "biobert", "text", studies, rng.standard_normal((300, 4)).astype(np.float32))
    return dataset


@pytest.fixture(scope="module")
def at(tmp_path_factory) -> Desk:
    return desk(made_dataset(tmp_path_factory.mktemp("strata")), modalities=("image", "text"))


@pytest.fixture(scope="module")
def run(at) -> Run:
    return made_run(at, noisy(at.features.y[:, 0], 1.2, 1) ** 2, "overconfident")  # squared: off, but ranked alike


@pytest.fixture(scope="module")
def frame(at, run) -> pd.DataFrame:
    """The test rows with what is known of them."""
    rows = run.prediction_rows.to_pandas().query("part == 'test'")
    images = at.dataset.images.to_pandas()[["image_id", "view"]]
    reports = at.dataset.reports.to_pandas().groupby("study_id")["section"].agg(set)
    terms = at.dataset.labels.to_pandas().query("label_set == 'problems'").groupby("study_id")["label"].agg(set)
    rows = rows.merge(images, left_on="item_id", right_on="image_id")
    rows["missing"] = [
        ", ".join(sorted({"findings", "impression"} - reports.get(s, set()))) or "none" for s in rows["study_id"]
    ]
    rows["terms"] = [terms.get(study, set()) for study in rows["study_id"]]
    return rows


@pytest.mark.parametrize(
    ("by", "column"),
    [
        ("view", lambda rows: rows["view"]),
        ("missing section", lambda rows: rows["missing"]),
        ("no-indexing", lambda rows: [("No Indexing" if "No Indexing" in t else "indexed") for t in rows["terms"]]),
        ("reports['findings'] is null", lambda rows: ["true" if "findings" in m else "false" for m in rows["missing"]]),
        ("study_id < 's00100'", lambda rows: ["true" if s < "s00100" else "false" for s in rows["study_id"]]),
        ("coalesce(labels['problems']['nodule'], 0)", lambda rows: [f"{float('nodule' in t)}" for t in rows["terms"]]),
    ],
)
def test_groups_are_those_of_a_plain_groupby(at, run, frame, by, column):
    found = stratify(at.dataset, run, by).strata
    grouped = frame.groupby(np.array(column(frame), dtype=str))
    assert {group.name: group.rows for group in found.groups} == grouped.size().to_dict()
    assert len(found.groups) > 1
    for group in found.groups:
        rows = grouped.get_group(group.name)
        called = rows["y_prob"] >= 0.5
        assert group.positives == rows["y_true"].sum()
        assert group.clusters == rows["patient_id"].nunique()
        assert group.metrics["accuracy"].value == pytest.approx((called == rows["y_true"]).mean())
        if rows["y_true"].nunique() == 2:
            assert group.metrics["auroc"].value == pytest.approx(within(rows["y_true"], rows["y_prob"], rows["fold"]))
            assert group.metrics["recall"].value == pytest.approx(recall_score(rows["y_true"], called))
    assert sum(group.rows for group in found.groups) == 400


def test_a_finding_is_told_from_all_negatives(at, run, frame):
    found = stratify(at.dataset, run, "finding")
    negatives = frame[frame["y_true"] == 0]
    assert {group.name for group in found.strata.groups} == set(TERMS)
    for group in found.strata.groups:
        has = frame[[group.name in terms for terms in frame["terms"]]]
        rows = pd.concat([has[has["y_true"] == 1], negatives])
        assert (group.rows, group.positives) == (len(rows), len(rows) - len(negatives))
        assert group.metrics["auroc"].value == pytest.approx(within(rows["y_true"], rows["y_prob"], rows["fold"]))
    small = next(group for group in found.strata.groups if group.name == "No Indexing")
    assert small.metrics["auroc"].low is None
    assert "positive patients: an interval needs 10 of each" in small.metrics["auroc"].reason
    assert found.strata.worst.name in {"nodule", "effusion"}
    assert f"against all {len(negatives)} negative" in found.notes[0]


@pytest.mark.parametrize(
    ("by", "error", "words"),
    [
        ("nonsense", QueryError, "nonsense"),
        ("item_id", DataError, "400 groups, more than 50"),
        ("count(*)", QueryError, "GROUP BY"),
        ("1); COPY (SELECT 1) TO 'x.csv'; SELECT (1", QueryError, "syntax error|one statement"),
        ("(select content from read_text('/etc/hostname'))", QueryError, "ermission"),
        ("unnest([1, 2])", DataError, "800 values for 400"),
    ],
)
def test_what_is_no_grouping_is_refused(at, run, by, error, words):
    with pytest.raises(error, match=words) as told:
        stratify(at.dataset, run, by)
    assert told.value.hint


def test_an_error_names_the_columns_of_a_row(at, run):
    with pytest.raises(QueryError) as caught:
        stratify(at.dataset, run, "nonsense")
    hint = caught.value.hint
    named = hint.partition("a row has ")[2].partition(";")[0].split(", ")
    assert {"view", "width", "patient_id"} <= set(named)
    for name in named:
        assert stratify(at.dataset, run, f"{name} is null").strata.groups


def test_a_study_as_unit_has_its_views_together(at):
    studies = desk(at.dataset)
    run = made_run(studies, noisy(studies.features.y[:, 0], 1.0, 2), "studies")
    found = stratify(at.dataset, run, "view").strata
    assert {group.name: group.rows for group in found.groups} == {"frontal": 200, "frontal+lateral": 100}


def test_of_several_seeds_the_first_is_judged_and_said(at):
    y = at.features.y[:, 0]
    found = stratify(at.dataset, made_run(at, noisy(y, 1.0, 3), "seeds", seeds=(0, 1)), "view")
    assert sum(group.rows for group in found.strata.groups) == 400
    assert "first of 2" in found.notes[0]


def members(run: Run) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """(val, test) rows of every fold."""
    rows = run.prediction_rows.to_pandas()
    return [(one[one["part"] == "val"], one[one["part"] == "test"]) for _, one in rows.groupby("fold")]


def test_the_temperature_is_that_of_least_loss_on_val_of_each_fold(run):
    found = calibration_report(run)
    assert found.reason is None
    cooled = []
    for (val, test), temperature in zip(members(run), found.temperatures, strict=True):

        def loss(t: float, val: pd.DataFrame = val) -> float:
            return log_loss(val["y_true"], 1 / (1 + np.exp(-val["y_logit"] / t)), labels=[0, 1])

        assert temperature == pytest.approx(minimize_scalar(loss, bounds=(0.05, 20), method="bounded").x, rel=1e-3)
        cooled.append(test.assign(after=1 / (1 + np.exp(-test["y_logit"] / temperature))))
    rows = pd.concat(cooled)
    (one,) = found.labels
    assert one.before["loss"] == pytest.approx(log_loss(rows["y_true"], rows["y_prob"]))
    assert one.after["loss"] == pytest.approx(log_loss(rows["y_true"], rows["after"]))
    assert one.before["ece"] == pytest.approx(run.metric("ece")[0])
    assert one.after["brier"] == pytest.approx(((rows["after"] - rows["y_true"]) ** 2).mean())


def test_thresholds_come_from_val_and_judge_test(run):
    thresholds = {one.rule: one for one in calibration_report(run).thresholds}
    called = {rule: [] for rule in thresholds}
    truth = []
    for number, (val, test) in enumerate(members(run)):
        fpr, tpr, _ = roc_curve(val["y_true"], val["y_prob"])
        for rule, one in thresholds.items():
            positive = val["y_prob"] >= one.thresholds[number]
            sensitivity = (positive & (val["y_true"] == 1)).sum() / (val["y_true"] == 1).sum()
            specificity = (~positive & (val["y_true"] == 0)).sum() / (val["y_true"] == 0).sum()
            if rule == "Youden":
                assert sensitivity + specificity - 1 == pytest.approx((tpr - fpr).max())
            else:  # on the validation rows of all folds but of the patients that this one judges
                every = pd.concat([val for val, _ in members(run)])
                on = every[~every["patient_id"].isin(test["patient_id"])]
                y, prob, patients = (on[name].to_numpy() for name in ("y_true", "y_prob", "patient_id"))
                expected = choose_threshold(y, prob, "sensitivity", clusters=patients)
                assert (one.thresholds[number], one.positives[number]) == (expected.threshold, expected.positives)
                assert expected.positives == on[on["y_true"] == 1]["patient_id"].nunique()
            called[rule].append(test["y_prob"] >= one.thresholds[number])
        truth.append(test["y_true"])
    y = pd.concat(truth)
    for rule, one in thresholds.items():
        answers = pd.concat(called[rule])
        assert one.figures["recall"].value == pytest.approx(recall_score(y, answers))
        assert one.figures["specificity"].value == pytest.approx(recall_score(1 - y, ~answers))
        assert one.figures["recall"].low < one.figures["recall"].value < one.figures["recall"].high


def test_the_reliability_diagram_is_stored_with_the_run(run):
    found = calibration_report(run)
    stored = pq.ParquetFile(store_reliability(run, found)).read().to_pandas()
    rows = run.prediction_rows.to_pandas().query("part == 'test'").sort_values("y_prob")
    for name in (AS_IS, CALIBRATED):
        own = stored[stored["probability"] == name]
        assert own["n"].sum() == len(rows)
        assert (own["observed"] * own["n"]).sum() == pytest.approx(rows["y_true"].sum())
        assert ((own["observed_low"] < own["observed"]) | (own["observed"] == 0)).all()
        assert ((own["observed_high"] > own["observed"]) | (own["observed"] == 1)).all()
        assert own["low"].is_monotonic_increasing
    first = stored[(stored["probability"] == AS_IS) & (stored["bin"] == 0)].iloc[0]
    assert first["predicted"] == pytest.approx(rows["y_prob"].head(int(first["n"])).mean())


def test_probabilities_that_no_temperature_mends_say_why(at):
    y = at.features.y[:, 0]
    perfect = calibration_report(made_run(at, np.where(y == 1, 0.9, 0.1), "perfect"))
    assert "no temperature fits" in perfect.reason
    assert temperature_in_words(perfect)[0].startswith("no temperature: the validation rows are all answered rightly")
    assert perfect.labels[0].after is None
    assert set(perfect.reliability["probability"].to_pylist()) == {AS_IS}


def test_folds_cancel_in_the_mean_only_where_they_are_of_either_sign(tmp_path):
    at = desk(plant(tmp_path, Planted(studies=300, kinds=1.0)), "normal_abnormal")
    y = at.features.y[:, 0]
    says = {}
    for name, prob in (("low", np.where(y == 1, 0.5, 0.1)), ("even", np.full(len(y), y.mean()))):
        report = calibration_report(made_run(at, noisy_by(prob), name))
        least, most = report.labels[0].agreement.folds_in_the_large
        (says[name],) = [line for line in chance_in_words(report) if "single folds" in line]
        assert (least < 0 < most) is says[name].endswith("; they cancel in the mean"), (least, most)
    assert [line.endswith("mean") for line in says.values()] == [False, True]


def noisy_by(prob):
    """The probabilities, each a little off, so that they rank."""
    return prob + np.linspace(-0.01, 0.01, len(prob))


def test_several_labels_share_a_temperature_and_have_thresholds_each(tmp_path):
    for label_set, thresholds in (("found", 4), ("kind", 0)):
        data = plant(tmp_path / label_set, Planted(studies=300, kinds=1.0))
        desk_of = desk(data, label_set)
        y = np.nan_to_num(desk_of.features.y)
        prob = noisy(y, 1.0, 4)
        prob = prob / prob.sum(axis=1, keepdims=True) if label_set == "kind" else prob
        found = calibration_report(run := made_run(desk_of, prob, "several"))
        assert len(found.temperatures) == 5
        assert len(found.thresholds) == thresholds
        assert [one.label for one in found.labels] == list(desk_of.features.labels)
        known = ~np.isnan(desk_of.features.y[:, 0])
        assert found.labels[0].before["loss"] == pytest.approx(log_loss(desk_of.features.y[known, 0], prob[known, 0]))
        with pytest.raises(DataError, match="labels") as told:
            stratify(data, run, "study_id < 's00100'")
        assert "--label" in told.value.hint
        groups = stratify(data, run, "study_id < 's00100'", label=desk_of.features.labels[0])
        assert sum(group.rows for group in groups.strata.groups) == known.sum()


def test_the_command_shows_everything_and_says_it_in_json(cxremb, at, run, monkeypatch):
    root = ("--root", at.dataset.paths.root)
    with monkeypatch.context() as screen:
        screen.setenv("COLUMNS", "110")
        said = cxremb("evaluate", run.run_id, *root)
    assert said.code == 0, said.err
    told = json.loads(cxremb("evaluate", run.run_id, "--format", "json", *root).out)
    assert bare(told["figures"]["abnormal"]["auroc"]["value"]) in said.out
    assert bare(told["labels"][0]["after"]["ece"]) in said.out
    assert max(map(len, said.out.splitlines()[:-1])) <= 110
    assert "reliability.parquet" in said.out
    by = cxremb("evaluate", run.run_id, "--by", "view", *root)
    groups = json.loads(cxremb("evaluate", run.run_id, "--by", "view", "--format", "json", *root).out)["strata"][
        "groups"
    ]
    for group in groups:
        line = next(line for line in by.out.splitlines() if line.split()[:1] == [group["name"]])
        assert f" {group['metrics']['auroc']['value']:.3f} [".replace(" 0.", " .") in line
    missed = json.loads(cxremb("evaluate", run.run_id, "--by", "view", "--format", "json", *root).out)["missed"]
    heading = next(place for place, line in enumerate(by.out.splitlines()) if "sensitivity" in line)
    for name, own in missed["groups"].items():
        line = next(line for line in by.out.splitlines()[heading:] if line.split()[:1] == [name])
        for rate in ("recall", "specificity"):
            assert f" {bare(own['figures'][rate]['value'])} [" in line
            assert f" {bare(own['gaps'][rate]['value'], '+')} [" in line
    assert "Missed more: no group for sure" in by.out
    csv_rows = list(
        csv.DictReader(io.StringIO(cxremb("evaluate", run.run_id, "--by", "view", "--format", "csv", *root).out))
    )
    told = {(row["group"], row["metric"]): row for row in csv_rows}
    for name, own in missed["groups"].items():
        row = told[name, "recall_at_val_threshold"]
        assert (float(row["value"]), float(row["gap"])) == (
            own["figures"]["recall"]["value"],
            own["gaps"]["recall"]["value"],
        )
    assert run.caveats
    lines = by.out.splitlines()
    for caveat in run.caveats:  # a command in it is completed with the root
        assert caveat in lines or f"{caveat.removesuffix('`')} --root {at.dataset.paths.root}`" in lines
    finding = cxremb("evaluate", run.run_id, "--by", "finding", *root).out
    assert "Not estimable in No Indexing: only" in finding
    assert cxremb("evaluate", run.run_id, "--by", "nonsense", *root).code == 1


def test_a_prevalence_shows_what_thresholds_do_there(cxremb, at, run, monkeypatch):
    words = ("evaluate", run.run_id, "--prevalence", "0.05", "--root", at.dataset.paths.root)
    with monkeypatch.context() as screen:
        screen.setenv("COLUMNS", "80")
        shown = cxremb(*words)
    assert shown.code == 0, shown.err
    assert max(len(line) for line in shown.out.splitlines() if "--root" not in line) <= 80  # of a pasted command
    assert "where 5% have it" in shown.out
    found = json.loads(cxremb(*words, "--format", "json").out)
    assert [one["rule"] for one in found["at"]] == ["0.5", "Youden", "aimed at .95"]
    y = run.predictions().y[:, 0]
    assert found["observed"] == pytest.approx(y.mean())
    first = found["at"][0]
    assert first["figures"]["recall"]["value"] == pytest.approx(run.metric("recall")[0])
    odds = 0.05 / 0.95 * run.metric("recall")[0] / (1 - run.metric("specificity")[0])
    assert first["figures"]["ppv"]["value"] == pytest.approx(odds / (1 + odds))
    assert first["risk"] == pytest.approx(1 / (1 + 19 * y.mean() / (1 - y.mean())))
    assert f"{first['figures']['ppv']['value']:.3f}".removeprefix("0") in shown.out
    assert len(found["curve"]) == 99
    rows = list(csv.DictReader(io.StringIO(cxremb(*words, "--format", "csv").out)))
    assert len(rows) == 3 * 8 + 99 * 5
    curve = [row for row in rows if row["rule"] == "decision curve" and row["metric"] == "net_benefit"]
    assert [float(row["value"]) for row in curve] == [point["model"]["value"] for point in found["curve"]]
    for wrong in (("--prevalence", "0"), ("--prevalence", "0.1", "--by", "view")):
        assert cxremb(*words[:2], *wrong, *words[4:]).code == 1


def test_one_model_has_one_temperature_and_several_have_a_span(cxremb, at, run):
    root = ("--root", at.dataset.paths.root)
    temperatures = calibration_report(run).temperatures
    several = (
        f"of {min(temperatures):.2f} to {max(temperatures):.2f}, chosen on the validation rows of each of 5 models"
    )
    assert several in cxremb("evaluate", run.run_id, *root).out
    alone = made_run(at, noisy(at.features.y[:, 0], 1.2, 7) ** 2, "alone", folds=(0,))
    said = cxremb("evaluate", alone.run_id, *root).out
    (temperature,) = calibration_report(alone).temperatures
    assert f"a temperature of {temperature:.2f}, chosen on the validation rows of the model" in said
    (line,) = (line for line in said.splitlines() if line.startswith("Youden"))
    assert line.split()[1].count(".") == 1


def test_labels_without_a_threshold_are_told_together_and_averages_explained(cxremb, tmp_path, capsys):
    data = plant(tmp_path, Planted(studies=300, kinds=1.0))
    several = desk(data, "found")
    made = made_run(several, noisy(np.nan_to_num(several.features.y), 1.0, 4), "several")
    root = ("--root", data.paths.root)
    said = cxremb("evaluate", made.run_id, *root).out
    assert "macro: the mean over 2 labels" in said
    assert "averaged" not in said
    report = calibration_report(made)
    nodule, *others = report.thresholds
    none = [replace(one, thresholds=(), figures={}, reason="one class") for one in others]
    show_thresholds(made, replace(report, thresholds=(nodule, *none)))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "no threshold (aimed at .95) for nodule, effusion: one class" in lines
    assert "no threshold (Youden) for effusion: one class" in lines
    assert sum(line.startswith(("Youden,", "aimed at .95,")) for line in lines) == 1


# How far it is


class Watched:
    """A `Progress` that remembers of each job: its words, how many there are to do, and how many were done."""

    def __init__(self) -> None:
        self.jobs: list[list[Any]] = []

    def __call__(self, items: Iterable[Any], total: int | None, what: str | Callable[[], str]) -> Iterator[Any]:
        job: list[Any] = [[], total, 0]
        self.jobs.append(job)
        for item in items:
            job[2] += 1
            job[0].append(what() if callable(what) else what)
            yield item


@pytest.mark.parametrize(
    ("options", "times"), [({}, 4), ({"by": "view"}, 1), ({"prevalence": 0.05}, 6)], ids=["all", "by", "prevalence"]
)
def test_all_resamples_are_counted_and_nothing_else_changes(at, run, options: dict[str, Any], times: int) -> None:
    watched = Watched()
    seen = package.evaluate(run, **options, root=at.dataset.paths.root, progress=watched)
    assert [job[1:] for job in watched.jobs] == [[1000 * times, 1000 * times]]
    assert seen.to_arrow().equals(package.evaluate(run, **options, root=at.dataset.paths.root).to_arrow())


def test_a_comparison_says_what_it_does(at, run) -> None:
    other = made_run(at, noisy(at.features.y[:, 0], 1.0, 9), "other for the bar")
    watched = Watched()
    seen = package.compare(run, other, root=at.dataset.paths.root, progress=watched)
    assert seen == package.compare(run, other, root=at.dataset.paths.root)
    ((words, total, done),) = watched.jobs
    assert (done, total) == (5, 5)
    assert words == [f"comparing: {step}" for step in STEPS]


def test_in_a_file_there_is_nothing_of_what_is_short(at, run, cxremb, monkeypatch: pytest.MonkeyPatch) -> None:
    root = at.dataset.paths.root
    assert cxremb("evaluate", run.run_id, "--root", root).err == ""
    monkeypatch.setattr(progress, "EVERY", 0)  # as if each block took half a minute
    lines = cxremb("evaluate", run.run_id, "--root", root).err.splitlines()
    assert any(line.startswith("thresholds for other patients: 1,000 of 4,000") for line in lines)
    assert any(line.startswith("figures of other patients: ") for line in lines)
    assert not any(line.endswith(" done") for line in lines)
