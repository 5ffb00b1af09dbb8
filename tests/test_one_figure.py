"""One figure is one figure, wherever it stands: intervals of shuffles, the answer of several classes, macro means."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from planted import KINDS, Planted, plant
from sklearn.metrics import precision_score

from cxremb.ablation import Trial, ablate
from cxremb.ablation.controls import CONTROLS
from cxremb.cli.run_view import trained_loss
from cxremb.comparison import compare_runs
from cxremb.evaluation.bootstrap import Interval
from cxremb.evaluation.multi import likeliest, likeliest_from, multiclass_metrics
from cxremb.evaluation.significance import over_draws
from cxremb.features import Inputs, load_features
from cxremb.predictions import Predictions
from cxremb.splits import choose_split
from cxremb.table import span
from cxremb.training.data import Rows
from cxremb.training.fit import FitJob, Plan, fit_run
from cxremb.training.inputs import tensors_of
from cxremb.training.losses import figures, part_sums
from cxremb.training.options import Options
from cxremb.training.record import RunRecord
from cxremb.training.runs import Run, read_run
from cxremb.training.scores import metrics_table

BRIEF = Options(epochs=3)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return plant(tmp_path_factory.mktemp("one"), Planted(studies=300, image=0.0, text=2.0, kinds=2.0, dim=40))


@pytest.fixture(scope="module")
def table(data):
    trial = Trial(folds=(0, 1))
    return ablate(data, ["image", "text", "fusion"], Inputs("normal_abnormal"), trial=trial)


def test_the_interval_of_a_control_is_the_same_in_the_table_and_in_its_run(table):
    trained = [control for control in table.controls if control.folder]
    assert len(trained) > 2
    for control in trained:
        own = control.row.auroc
        assert read_run(Path(control.folder)).metric("auroc") == pytest.approx((own.value, own.low, own.high))
    shuffle = next(one for one in table.controls if one.name == "label-shuffle")
    assert len(table.controls) == len(CONTROLS)
    assert any(
        line.startswith(f"Controls: intervals of shuffles are over draws too (label-shuffle {len(shuffle.draws)}")
        for line in table.caption
    )


def test_over_draws_adds_the_variances():
    figure, draws = Interval(0.5, 0.44, 0.56), (0.45, 0.5, 0.55)
    found = over_draws(figure, draws)
    reach = scipy.stats.t.ppf(0.975, 2) * scipy.stats.sem(draws)
    assert found.high - 0.5 == pytest.approx((0.06**2 + reach**2) ** 0.5)
    assert over_draws(figure, (0.5,)) == figure
    for agreeing in ((0.5, 0.5), (0.4999, 0.5001)):  # nothing is uncertain but the patients
        assert over_draws(figure, agreeing).low == pytest.approx(0.44, abs=1e-4)


@pytest.mark.parametrize("spread", [0.001, 0.02, 0.1])
@pytest.mark.parametrize("draws", [2, 5])
def test_an_interval_over_draws_covers(draws: int, spread: float):
    """Planted: a figure of .5, patients who move all draws alike by .02, draws that differ by `spread`."""
    rng, inside = np.random.default_rng(0), 0
    for _ in range(4000):
        each = 0.5 + 0.02 * rng.standard_normal() + spread * rng.standard_normal(draws)
        value = float(each.mean())
        found = over_draws(Interval(value, value - 1.959964 * 0.02, value + 1.959964 * 0.02), each.tolist())
        inside += found.low <= 0.5 <= found.high
    assert 0.94 <= inside / 4000 <= 0.995


@pytest.mark.parametrize("spread", [0.001, 0.02, 0.1])
@pytest.mark.parametrize("draws", [5, 10])
def test_an_interval_over_draws_of_labels_covers(draws: int, spread: float):
    """Planted: what patients do for one draw (.04) is nothing to the next; the reach over patients is of their mean."""
    rng, inside, reaches = np.random.default_rng(0), 0, []
    patients = 1.959964 * 0.04 / draws**0.5
    for _ in range(4000):
        each = 0.5 + (0.04**2 + spread**2) ** 0.5 * rng.standard_normal(draws)
        value = float(each.mean())
        found = over_draws(Interval(value, value - patients, value + patients), each.tolist(), alone=True)
        inside += found.low <= 0.5 <= found.high
        reaches.append(found.high - value)
    assert 0.94 <= inside / 4000 <= 0.99
    assert min(reaches) >= patients - 1e-9


def test_a_modality_that_beats_its_fusion_is_named_with_what_to_try(tmp_path):
    """Of a recipe that lets a block of noise cost much; by default its blocks are scaled."""
    dataset = plant(tmp_path, Planted(studies=800, image=0.0, text=2.0, dim=300))
    trial = Trial(preset="cnn-llm/as-coded", controls=False)
    table = ablate(dataset, ["image", "text", "fusion"], Inputs("normal_abnormal"), trial=trial)
    [sentence] = table.better_alone
    assert sentence.startswith("text alone beats fusion by AUROC ")
    assert '--arms "text,fusion[head=mlp|stacked|late]"' in sentence
    assert sentence in table.caption
    row = next(row for row in table.rows if row.arm == "text")
    assert row.difference.low > 0
    assert span(row.difference.value, row.difference.low, row.difference.high) in sentence


def test_fusing_says_of_which_repeat_it_is(data):
    trial = Trial(folds=(0,), seeds=2, controls=False)
    found = ablate(data, ["image", "text", "fusion"], Inputs("normal_abnormal"), trial=trial)
    assert any("On the first of 2 repeats and seeds: AUROC" in line for line in found.caption)
    assert not any("On the first of" in line for line in replace(found, fusing=()).caption)


def test_of_several_classes_the_likeliest_is_called_in_every_table(data):
    features = load_features(data, ("text",), Inputs("kind"))
    split = choose_split(data, "kind")
    plan = Plan("text", options=BRIEF, folds=(0, 1))
    plans = (plan, replace(plan, options=replace(BRIEF, epochs=5)))
    first, second = (fit_run(FitJob(data, features, split, plan)) for plan in plans)
    test = first.predictions()
    for label in KINDS:
        alone = test.of_label(label).figures()[label]
        for metric in ("precision", "recall", "f1", "accuracy"):
            assert first.metric(metric, label=label)[0] == pytest.approx(alone[metric])
    pair = compare_runs(first, second, label=KINDS[0])
    assert pair.figures["f1"].a == pytest.approx(first.metric("f1", label=KINDS[0])[0])


def test_where_another_loss_was_trained_than_is_shown_it_is_said():
    """The first: cross entropy over eleven outputs of which two count. Of most recipes nothing is to be said."""
    sample = {"network": "medmnist-sample", "outputs": 11}
    record = RunRecord("", "medmnist-sample", "set", "label", spec=sample)
    words = "The loss shown is that of the labels; trained was cross entropy "
    assert trained_loss(Run(Path(), record)) == f"{words}over all 11 outputs, of which two count."
    assert trained_loss(Run(Path(), replace(record, task="multiclass"))) == ""
    weighted = replace(record, spec={}, options={"class_weights": True})
    assert trained_loss(Run(Path(), weighted)) == f"{words}with each class weighing the same."
    assert trained_loss(Run(Path(), replace(weighted, options={}))) == ""


def test_from_which_probability_on_a_class_is_the_likeliest():
    rng = np.random.default_rng(0)
    prob = np.round(rng.dirichlet(np.ones(4), 500), 1)  # many ties
    called = likeliest(prob)
    for column in range(4):
        assert ((prob[:, column] >= likeliest_from(prob, column)) == called[:, column]).all()


@pytest.mark.parametrize("never", [False, True])
def test_macro_precision_is_the_same_in_epochs_and_in_metrics(never):
    """scikit-learn's where every class is called; undefined in both where one is not."""
    rng = np.random.default_rng(1)
    classes, prob = rng.integers(0, 3, 200), rng.dirichlet(np.ones(3), 200)
    if never:
        prob[:, 2] = 0
        prob /= prob.sum(axis=1, keepdims=True)
    targets = tensors_of(Rows({}, {}, np.eye(3)[classes], "multiclass", np.arange(200).astype(str)))
    logits = torch.from_numpy(np.log(np.maximum(prob, 1e-9)))
    epoch = figures(part_sums(logits, targets, torch.arange(200)).numpy(), epoch=1, phase="val")
    macro = multiclass_metrics(np.eye(3)[classes], prob, ("a", "b", "c"))["macro"]
    for name in ("precision", "recall", "f1"):
        assert getattr(epoch, name) == (None if macro[name] is None else pytest.approx(macro[name]))
    wanted = None if never else pytest.approx(precision_score(classes, prob.argmax(1), average="macro"))
    assert epoch.precision == wanted


def test_a_class_that_is_never_called_is_named(data, cxremb):
    features = load_features(data, ("text",), Inputs("kind"))
    rare = replace(features, y=np.eye(3)[np.where(np.arange(len(features.y)) % 60 == 0, 2, features.y.argmax(1) % 2)])
    run = fit_run(
        FitJob(data, rare, choose_split(data, "kind"), Plan("text", options=replace(BRIEF, epochs=25), folds=(0,)))
    )
    assert run.metric("precision", label=KINDS[2])[0] is None
    shown = cxremb("evaluate", run.run_id, "--root", data.paths.root, "--dataset", data.name)
    assert shown.code == 0, shown.err
    assert "never predicted" in shown.out
    assert KINDS[2] in shown.out.split("never predicted")[1].splitlines()[0] + shown.out.split("never predicted")[1]


def test_one_shuffle_above_chance_may_be_luck_and_several_are_judged_by_their_draws(data):
    """Planted: five draws, one of which points at the truth; each alone is far above or below chance."""
    y = np.tile([0.0, 1.0], 100)
    pools = []
    for seed, sign in enumerate((1, -1, 1, -1, 1)):
        prob = 1 / (1 + np.exp(-sign * (y - 0.5) - np.random.default_rng(seed).standard_normal(200) * 0.5))
        pools.append(prob)
    n = 200
    ids = np.tile(np.arange(n).astype(str), 5)
    number = np.repeat(np.arange(5), n)
    prob = np.concatenate(pools)[:, None]
    zero = np.zeros(5 * n, dtype=np.int64)
    test = Predictions(
        "r", "d", "study", "binary", ("a",), np.full(5 * n, "test"), ids, ids, ids, number, zero, zero,
        np.tile(y, 5)[:, None], prob, np.log(prob / (1 - prob)),
    )  # fmt: skip
    plain, widened = (
        next(
            row
            for row in metrics_table(test, shuffles=what).to_pylist()
            if (row["metric"], row["part"]) == ("auroc", "test")
        )
        for what in (None, "text")
    )
    assert plain["value"] == widened["value"] > 0.5
    assert plain["low"] > 0.5 > widened["low"]
