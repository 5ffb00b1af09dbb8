"""The loop against a plain one, its options, its figures against scikit-learn, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from simulated_rows import bags, members_of, noise, planted, rows_of
from sklearn.metrics import accuracy_score, log_loss, precision_recall_fscore_support, roc_auc_score
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from cxremb.errors import TrainError
from cxremb.training.data import Member
from cxremb.training.heads import HEADS, HeadSpec
from cxremb.training.inputs import LIMIT, tensors_of
from cxremb.training.loop import fit_members, predict
from cxremb.training.losses import balanced_weights, cell_losses, summed_loss
from cxremb.training.options import Options
from cxremb.training.stack import Stack, sample

pytestmark = pytest.mark.arithmetic

SMALL = HeadSpec(("image", "text"), hidden=16)
LAST = Options(epochs=5, batch_size=64, select="last", patience=None, precision="fp32")


def scaled(rows, member: Member) -> np.ndarray:
    """The inputs as they should be: standardised by the training rows, cut off at the limit."""
    X = np.hstack([rows.blocks["image"], rows.blocks["text"]]).astype(np.float64)
    train = X[member.train]
    spread = train.std(axis=0)
    return np.clip((X - train.mean(axis=0)) / np.where(spread > 0, spread, 1), -LIMIT, LIMIT).astype(np.float32)


def plain_loop(rows, member: Member, options: Options) -> list[np.ndarray]:
    """What a tutorial would write: nn.Linear, torch.optim, one batch after the other."""
    torch.manual_seed(member.seed)
    first, second = nn.Linear(19, 16), nn.Linear(16, 4 if rows.task == "multiclass" else 2)
    parameters = [*first.parameters(), *second.parameters()]
    optimiser = torch.optim.Adam(parameters, options.learning_rate, weight_decay=options.weight_decay)
    classes = rows.y.argmax(axis=1) if rows.task == "multiclass" else rows.y[:, 0]
    X, y = torch.from_numpy(scaled(rows, member)), torch.from_numpy(classes.astype(np.int64))
    weight = None
    if options.class_weights:
        told = y[member.train].numpy()
        weight = torch.from_numpy(compute_class_weight("balanced", classes=np.unique(told), y=told)).float()
    order, draws = (torch.Generator().manual_seed(member.seed) for _ in range(2))
    train = torch.from_numpy(member.train)
    for _ in range(options.epochs):
        for batch in torch.split(train[torch.randperm(len(train), generator=order)], options.batch_size):
            optimiser.zero_grad()
            hidden = torch.relu(first(X[batch]))
            bits = torch.empty(4 * len(batch), dtype=torch.int64).random_(-(2**63), None, generator=draws)
            chance = (bits.view(torch.int16).view(16, len(batch)).T.double() + 2**15) / 2**16
            kept = (chance >= 0.3).float() / 0.7
            nn.functional.cross_entropy(second(hidden * kept), y[batch], weight=weight).backward()
            optimiser.step()
    return [parameter.detach().numpy() for parameter in parameters]


@pytest.mark.parametrize(
    "options",
    [LAST, replace(LAST, class_weights=True, weight_decay=0.1), replace(LAST, learning_rate=0.05)],
    ids=["as it is", "weights", "fast"],
)
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_the_weights_are_those_of_a_plain_loop(task: str, options: Options):
    rows = planted(300, task)
    keep = np.flatnonzero(np.random.default_rng(0).random(300) < np.where(rows.y[:, 0] == 1, 0.4, 1))  # unbalanced
    member = Member(keep[:180], keep[180:], seed=3)
    weights = fit_members(rows, [member], SMALL, options=options)[0].weights
    names = ("hidden.weight", "hidden.bias", "out.weight", "out.bias")
    for name, expected in zip(names, plain_loop(rows, member, options), strict=True):
        np.testing.assert_allclose(weights[name], expected, rtol=1e-3, atol=1e-4, err_msg=name)


def test_the_history_is_what_scikit_learn_computes_from_the_predictions():
    for task in ("binary", "multiclass", "multilabel"):
        rows, member = planted(300, task), members_of(300, 1)[0]
        if task == "multilabel":
            rows.y[np.random.default_rng(1).random(rows.y.shape) < 0.2] = np.nan
        trained = fit_members(rows, [member], SMALL, options=LAST)[0]
        train, watched = (part[~np.isnan(rows.y[part]).all(axis=1)] for part in (member.train, member.watched))
        seen = sample(torch.from_numpy(train), len(watched), member.seed).numpy()
        assert len(seen) == len(set(seen)) == len(watched) < len(train)
        assert set(seen) < set(member.train)
        for told, index in zip(trained.history[-2:], (seen, member.watched), strict=True):
            prob, y = predict(rows, SMALL, trained.weights, index=index).prob, rows.y[index]
            if task == "multiclass":
                true, called = y.argmax(axis=1), prob.argmax(axis=1)
                loss, right = log_loss(true, prob, labels=range(4)), accuracy_score(true, called)
                three = precision_recall_fscore_support(true, called, average="macro")[:3]
            else:
                known = ~np.isnan(y)
                loss, right = log_loss(y[known], prob[known]), accuracy_score(y[known], prob[known] >= 0.5)
                each = [(y[k, c], prob[k, c] >= 0.5) for c, k in enumerate(known.T)]
                three = np.mean([precision_recall_fscore_support(*one, average="binary")[:3] for one in each], axis=0)
            assert told.loss == pytest.approx(loss, abs=1e-5)
            assert (told.accuracy, told.precision, told.recall, told.f1) == pytest.approx((right, *three))


def test_the_best_epoch_is_kept_and_patience_ends_the_rest():
    rows, member = rows_of(np.random.default_rng(0).integers(0, 2, 200), "binary", noise(200)), members_of(200, 1)[0]
    options = Options(epochs=30, batch_size=32, patience=4, learning_rate=5e-3)
    trained = fit_members(rows, [member], SMALL, options=options)[0]
    losses = [one.loss for one in trained.history if one.phase == "val"]
    assert trained.epoch == int(np.argmin(losses)) + 1
    assert len(losses) == trained.epoch + 4 < 30  # noise overfits at once
    prob = predict(rows, SMALL, trained.weights, index=member.watched).prob
    assert log_loss(rows.y[member.watched], prob) == pytest.approx(min(losses), abs=1e-5)
    shorter = replace(options, epochs=trained.epoch, select="last", patience=None)
    until = fit_members(rows, [member], SMALL, options=shorter)[0]
    for name, array in trained.weights.items():
        np.testing.assert_array_equal(array, until.weights[name])


@pytest.mark.parametrize("head", ["fusion", "linear"])
@pytest.mark.parametrize(
    ("wrong", "known"),
    [({"optimiser": "sgd"}, "adam"), ({"optimiser": "adamw"}, "adam"), ({"schedule": "cosine"}, "constant"),
     ({"schedule": "plateau"}, "constant")],
)  # fmt: skip
def test_what_only_networks_have_is_refused_with_what_heads_have(head: str, wrong: dict, known: str):
    [(name, given)] = wrong.items()
    says = f"the {name} of a head is {known}, not '{given}'"
    assert says in str(refused(planted(200), members_of(200, 1)[0], HEADS[head], replace(LAST, **wrong)))


def test_inputs_are_scaled_by_training_rows_only_and_one_outlier_cannot_decide():
    rows, member = planted(300), members_of(300, 1)[0]
    rows.blocks["text"][:, 2] = 3.0  # constant
    rows.blocks["image"][member.watched[0], 0] = 1e6
    weights = fit_members(rows, [member], SMALL, options=LAST)[0].weights
    X = np.hstack([rows.blocks["image"], rows.blocks["text"]])[member.train].astype(np.float64)
    np.testing.assert_allclose(weights["mean"], X.mean(axis=0), rtol=1e-5, atol=1e-6)
    spread = X.std(axis=0)
    np.testing.assert_allclose(weights["scale"], np.where(spread > 0, spread, 1), rtol=1e-5)
    assert weights["scale"][14] == 1
    far = predict(rows, SMALL, weights, index=member.watched[:1]).logit
    rows.blocks["image"][member.watched[0], 0] = 1e9
    np.testing.assert_array_equal(predict(rows, SMALL, weights, index=member.watched[:1]).logit, far)


def test_a_column_whose_spread_float32_cannot_hold_is_left_alone():
    rows, member = planted(200), members_of(200, 1)[0]
    rows.blocks["text"][:, 2] = np.where(np.arange(200) % 2, 1e-30, 0)
    rows.blocks["text"][:, 3] = np.where(np.arange(200) % 2, 3, np.nextafter(np.float32(3), np.float32(4)))
    scale = fit_members(rows, [member], SMALL, options=LAST)[0].weights["scale"]
    assert scale[14] == 1
    assert scale[15] == pytest.approx(rows.blocks["text"][member.train, 3].astype(np.float64).std(), rel=1e-5)


def test_raw_inputs_go_in_as_they_are():
    rows, member = planted(200), members_of(200, 1)[0]
    weights = fit_members(rows, [member], SMALL, options=replace(LAST, standardise=False))[0].weights
    assert (weights["mean"] == 0).all()
    assert (weights["scale"] == 1).all()
    assert np.isinf(weights["limit"])


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_balanced_weights_are_scikit_learns(task: str):
    rows = planted(200, task)
    rows.y[np.random.default_rng(0).permutation(200)[:20]] = np.nan
    targets = tensors_of(rows)
    found = balanced_weights(targets, torch.arange(200)).numpy()
    for cell, weights in enumerate(found):
        told = targets.classes[targets.known[:, cell], cell].numpy()
        np.testing.assert_allclose(
            weights, compute_class_weight("balanced", classes=np.arange(len(weights)), y=told), rtol=1e-6
        )


def test_class_weights_find_the_rare_class():
    rows = planted(3000)
    rare = np.flatnonzero((rows.y[:, 0] == 0) | (np.random.default_rng(0).random(3000) < 0.08))
    member = Member(rare[:1000], rare[1000:1200], seed=0)
    recall = [
        fit_members(rows, [member], SMALL, options=replace(LAST, class_weights=weighted))[0].history[-1].recall
        for weighted in (False, True)
    ]
    assert recall[1] > recall[0] + 0.15


def test_rows_without_a_label_are_as_if_they_were_not_there():
    for task in ("binary", "multiclass", "multilabel"):
        rows, member = planted(200, task), members_of(200, 1)[0]
        gone = member.train[::3]
        rows.y[gone] = np.nan
        masked = fit_members(rows, [member], SMALL, options=LAST)[0]
        left = replace(member, train=np.setdiff1d(member.train, gone, assume_unique=True))
        dropped = fit_members(rows, [left], SMALL, options=LAST)[0]
        for name, array in masked.weights.items():
            np.testing.assert_array_equal(array, dropped.weights[name])


def test_a_missing_label_pulls_at_nothing():
    rows = planted(60, "multilabel")
    rows.y[np.random.default_rng(2).random(rows.y.shape) < 0.4] = np.nan
    targets = tensors_of(rows)
    logits = torch.randn(1, 60, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weights = targets.known[None].float() / targets.known.sum()
    loss = summed_loss(logits, targets.classes[None], targets.task, weights=weights)
    loss.backward()
    total = 0.0
    for label in range(3):
        known = np.flatnonzero(~np.isnan(rows.y[:, label]))
        alone = logits[0, known, label].detach().requires_grad_()
        part = nn.functional.binary_cross_entropy_with_logits(
            alone, torch.from_numpy(rows.y[known, label]).float(), reduction="sum"
        ) / int((~np.isnan(rows.y)).sum())
        part.backward()
        total += float(part.detach())
        torch.testing.assert_close(logits.grad[0, known, label], alone.grad)
        assert not logits.grad[0, np.isnan(rows.y[:, label]), label].any()
    assert float(loss.detach()) == pytest.approx(total, abs=1e-6)
    assert cell_losses(logits[0], targets.classes, targets.task).shape == (60, 3)


def separable(n: int, shift: float, seed: int = 0):
    """Two normal clouds, so that no score beats the projection on the line between them; and that score."""
    random, blocks = np.random.default_rng(seed), noise(n, seed)
    y = random.integers(0, 2, n)
    for block in blocks.values():
        block[:, :4] += shift * y[:, None] / np.sqrt(8)
    best = sum(block[:, :4].sum(axis=1) for block in blocks.values())
    return rows_of(y, "binary", blocks), best


@pytest.mark.parametrize("head", ["fusion", "linear", "gated", "late", "either"])
@pytest.mark.parametrize("shift", [1.0, 2.0])
def test_a_planted_signal_is_found_to_its_best_auroc(head: str, shift: float):
    rows, best = separable(9000, shift)
    index = np.arange(9000)
    member = Member(index[:3500], index[3500:5000], seed=0)
    trained = fit_members(rows, [member], HEADS[head], options=Options(epochs=12, patience=3))[0]
    test = index[5000:]
    found = roc_auc_score(rows.y[test, 0], predict(rows, HEADS[head], trained.weights, index=test).prob[:, 0])
    assert found == pytest.approx(roc_auc_score(rows.y[test, 0], best[test]), abs=0.01)


@pytest.mark.parametrize("head", ["fusion", "linear", "gated", "late"])
def test_of_noise_nothing_is_learnt(head: str):
    rows = rows_of(np.random.default_rng(1).integers(0, 2, 3000), "binary", noise(3000, 7))
    index = np.arange(3000)
    trained = fit_members(
        rows, [Member(index[:1200], index[1200:1500], seed=0)], HEADS[head], options=Options(epochs=8)
    )[0]
    test = index[1500:]
    found = roc_auc_score(rows.y[test, 0], predict(rows, HEADS[head], trained.weights, index=test).prob[:, 0])
    positive = rows.y[test].sum()
    spread = np.sqrt((1500 + 1) / (12 * positive * (1500 - positive)))  # of the statistic when nothing is to be found
    assert abs(found - 0.5) < 1.96 * spread


def test_bfloat16_is_close_where_the_hardware_has_it_and_refused_elsewhere(monkeypatch):
    rows, _ = separable(2000, 2.0)
    index = np.arange(2000)
    member = Member(index[:1000], index[1000:1300], seed=0)
    half = Options(epochs=8, precision="bf16")
    monkeypatch.setattr("cxremb.training.loop.native_bf16", lambda device: False)
    with pytest.raises(TrainError, match="bfloat16"):
        fit_members(rows, [member], SMALL, options=half)
    monkeypatch.setattr("cxremb.training.loop.native_bf16", lambda device: True)  # where it is not, torch emulates it
    losses = [
        fit_members(rows, [member], SMALL, options=options)[0].history[-1].loss
        for options in (half, replace(half, precision="fp32"))
    ]
    assert losses[0] == pytest.approx(losses[1], abs=0.01)
    assert losses[0] != losses[1]


@pytest.mark.parametrize("kind", ["fusion", "gated", "late", "attention"])
def test_rounding_to_bfloat16_costs_no_auroc(monkeypatch, kind: str):
    monkeypatch.setattr("cxremb.training.loop.native_bf16", lambda device: True)
    rows, _ = separable(4000, 2.0, seed=3)
    rows, index = bags(rows) if kind == "attention" else rows, np.arange(4000)
    member = Member(index[:1500], index[1500:2000], seed=0)
    found = []
    for precision in ("fp32", "bf16"):
        weights = fit_members(rows, [member], HEADS[kind], options=Options(epochs=6, precision=precision))[0].weights
        prob = predict(rows, HEADS[kind], weights, index=index[2000:]).prob
        found.append(roc_auc_score(rows.y[2000:], prob))
    assert found[0] > 0.85
    assert found[1] == pytest.approx(found[0], abs=0.003)


def refused(rows, member: Member, spec: HeadSpec = SMALL, options: Options = LAST) -> TrainError:
    with pytest.raises(TrainError) as caught:
        fit_members(rows, [member], spec, options=options)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("head", ["fusion", "linear"])
def test_what_cannot_be_learnt_from_is_refused(head: str):
    spec, member = HEADS[head], members_of(200, 1)[0]
    one = planted(200)
    one.y[member.train] = 1
    assert f"{member.name}: all 100 training rows are of one class" in str(refused(one, member, spec))
    broken = planted(200)
    broken.blocks["text"][3, 2] = np.nan
    assert "1 of 200 rows hold a value that is no number" in str(refused(broken, member, spec))
    bare = planted(200)
    bare.present["text"][:] = False
    bare.blocks["text"][:] = 0
    assert "no training row has text" in str(refused(bare, member, spec))
    assert "holds no row" in str(refused(planted(200), replace(member, watched=member.watched[:0]), spec))
    silent = planted(200)
    silent.y[:] = np.nan
    assert "no row with a label (train)" in str(refused(silent, member, spec))
    untold = replace(planted(200), blocks={"image": planted(200).blocks["image"]})
    assert "the rows have no text block" in str(refused(untold, member, spec))
    testing = replace(member, watched_name="test")
    assert "must not be chosen on test rows" in str(refused(planted(200), testing, spec, Options()))
    odd = planted(200)
    odd.y[5] = 2
    assert "do not fit a binary task" in str(refused(odd, member, spec))
    assert "of no class or of several" in str(
        refused(replace(planted(200, "multilabel"), task="multiclass"), member, spec)
    )
    assert "no task called 'guess'" in str(refused(replace(planted(200), task="guess"), member, spec))


@pytest.mark.parametrize("share", [1e-6, 0.01, 0.3, 0.9, 0.999, 0.9999, 1 - 1e-9])
def test_dropout_leaves_the_mean_as_it_is(share: float):
    spec, rows = replace(SMALL, hidden=1024, dropout=share), planted(60)
    stack = Stack(tensors_of(rows, spec), members_of(60, 1), spec, options=LAST, dtype=torch.float32)
    kept = stack.kept_units(stack.learners, [4096]).double()
    scale = kept.max()
    assert set(kept.unique().tolist()) <= {0.0, float(scale)}
    chance = 1 / float(scale)  # of being kept: the mean is 1 if it is the share that is
    assert float((kept > 0).double().mean()) == pytest.approx(chance, abs=5 * (chance * (1 - chance) / 2**22) ** 0.5)
    assert chance == pytest.approx(1 - share, abs=2**-16)


def test_fewer_rows_than_a_batch_are_one_batch():
    rows = planted(60)
    member = Member(np.arange(30), np.arange(30, 60), seed=0)
    weights = [
        fit_members(rows, [member], SMALL, options=replace(LAST, batch_size=size))[0].weights for size in (30, 4000)
    ]
    for name, array in weights[0].items():
        np.testing.assert_array_equal(array, weights[1][name])


def test_a_rate_that_diverges_at_once_leaves_nothing_to_keep():
    rows, member = planted(200), members_of(200, 1)[0]
    trained = fit_members(rows, [member], SMALL, options=replace(LAST, learning_rate=1e30))[0]
    assert (trained.epoch, trained.diverged, trained.history) == (0, 1, [])


@pytest.mark.parametrize("select", ["best", "last"])
def test_a_member_that_diverges_later_keeps_what_it_had(select: str):
    """The rate is such that logits come near the largest float32, and pass it after some epochs."""
    rows, member = planted(200), members_of(200, 1)[0]
    options = replace(LAST, learning_rate=1e18, epochs=60, select=select)
    trained = fit_members(rows, [member], SMALL, options=options)[0]
    assert trained.diverged
    assert trained.epoch
    losses = [one.loss for one in trained.history if one.phase == "val"]
    assert np.isfinite(losses).all()
    assert len(losses) == trained.diverged - 1
    assert trained.epoch == (len(losses) if select == "last" else int(np.argmin(losses)) + 1)
    prob = predict(rows, SMALL, trained.weights, index=member.watched).prob
    assert np.isfinite(prob).all()


def test_weights_of_other_inputs_are_refused():
    rows, member = planted(200), members_of(200, 1)[0]
    weights = fit_members(rows, [member], SMALL, options=LAST)[0].weights
    for spec, says in ((HEADS["image"], "takes 19 inputs"), (replace(SMALL, kind="gated"), "not those of a gated")):
        with pytest.raises(TrainError, match=says):
            predict(rows, spec, weights, index=member.watched)


def test_read_only_vectors_and_weights_will_do():
    rows, member = planted(200), members_of(200, 1)[0]
    for array in (*rows.blocks.values(), *rows.present.values(), rows.y):
        array.flags.writeable = False  # as a memory-mapped store is
    weights = fit_members(rows, [member], SMALL, options=LAST)[0].weights
    for array in weights.values():
        array.flags.writeable = False
    assert predict(rows, SMALL, weights, index=member.watched).prob.shape == (40, 1)
    assert fit_members(rows, [], SMALL, options=LAST) == []
