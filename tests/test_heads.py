"""What each kind of head computes, finds, cannot find, and does about a block that is missing."""

from dataclasses import replace
from math import prod

import numpy as np
import pytest
import torch
from simulated_rows import DIMS, bags, members_of, noise, planted, rows_of
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from torch import nn

from cxremb.errors import TrainError
from cxremb.store.stored_rows import StoredRows
from cxremb.training.data import Member
from cxremb.training.heads import HEADS, HeadSpec, find_head
from cxremb.training.linear import PATH
from cxremb.training.loop import fit_members, predict
from cxremb.training.modules import Batch, forward, unchanged
from cxremb.training.options import Options

pytestmark = pytest.mark.arithmetic

FULL = {"image": 1280, "text": 768}
BOTH = ("image", "text")


def test_the_table_has_the_published_parameter_count():
    assert HEADS["fusion"].parameters(FULL) == 525_058
    assert HEADS["image"].parameters(FULL) == 1281 * 256 + 514
    assert HEADS["linear"].parameters(FULL) == 2049
    assert HEADS["linear"].parameters(FULL, "multiclass", 11) == 2049 * 11
    assert HEADS["late"].parameters(FULL) == (1281 + 769) * 256 + 2 * 514
    assert HEADS["gated"].parameters(FULL) == (1281 + 769 + 2049) * 256 + 514
    assert HEADS["attention"].parameters(FULL) == 2 * 1281 * 128 + 128 + 525_058
    assert HEADS["fusion"].parameters(FULL, "multilabel", 14) == 2049 * 256 + 257 * 14


@pytest.mark.parametrize("name", ["attention", "attention-image"])
def test_films_that_are_padded_as_they_are_read_train_the_same_head(name: str):
    rows = bags(planted(200), views=4)
    image, there = rows.blocks["image"] * rows.present["image"][..., None], rows.present["image"]
    image = image.astype(np.float16).astype(np.float32)
    films = np.vstack([image[there], np.zeros((1, image.shape[2]), np.float32)]).astype(np.float16)
    places = np.full(there.shape, there.sum())
    places[there] = np.arange(there.sum())
    held = replace(rows, blocks={**rows.blocks, "image": StoredRows(films, places)})
    padded = replace(rows, blocks={**rows.blocks, "image": image})
    of_array, of_bags = (
        fit_members(one, members_of(200, 2), HEADS[name], options=Options(epochs=3)) for one in (padded, held)
    )
    for a, b in zip(of_array, of_bags, strict=True):
        assert a.history == b.history
        for key, value in a.weights.items():
            np.testing.assert_array_equal(value, b.weights[key])
    index = np.arange(50)
    said = [predict(one, HEADS[name], of_bags[0].weights, index=index).logit for one in (padded, held)]
    np.testing.assert_array_equal(*said)
    films[7, 0] = np.nan
    with pytest.raises(TrainError, match="1 of 200 rows hold a value that is no number"):
        fit_members(held, members_of(200, 1), HEADS[name], options=Options(epochs=1))


@pytest.mark.parametrize("name", HEADS)
def test_the_saved_weights_are_the_counted_ones(name: str):
    spec, rows = HEADS[name], planted(100)
    rows = bags(rows) if spec.kind == "attention" else rows
    trained = fit_members(rows, members_of(100, 1), spec, options=Options(epochs=1))[0].weights
    saved = {key: array.shape for key, array in trained.items() if key not in ("mean", "scale", "limit")}
    assert saved == spec.shapes(DIMS, spec.outputs())
    assert sum(map(prod, saved.values())) == spec.parameters(DIMS)
    assert trained["mean"].shape == (spec.dim(DIMS),)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "guess"},
        {"kind": "gated", "blocks": ("image",)},
        {"blocks": ()},
        {"hidden": 0},
        {"dropout": 1.0},
        {"modality_dropout": 1.5},
    ],
)
def test_what_is_no_head_is_refused(wrong: dict):
    with pytest.raises(TrainError) as caught:
        replace(HEADS["fusion"], **wrong)
    assert caught.value.hint
    with pytest.raises(TrainError, match="no head called"):
        find_head("unheard-of")


def drawn(spec: HeadSpec, outputs: int = 2) -> dict[str, torch.Tensor]:
    """Random parameters of one member."""
    random = torch.Generator().manual_seed(0)
    shapes = spec.shapes(DIMS, outputs)
    return {name: torch.randn(1, *shape, generator=random) for name, shape in shapes.items()}


def batch_of(rows: int, views: int = 0) -> Batch:
    random = torch.Generator().manual_seed(1)
    shape = (1, rows, views) if views else (1, rows)
    blocks = {
        "image": torch.randn(*shape, DIMS["image"], generator=random),
        "text": torch.randn(1, rows, DIMS["text"], generator=random),
    }
    values = torch.cat([block.flatten(2) for block in blocks.values()], dim=-1)
    return Batch(values, blocks, {"image": torch.ones(shape), "text": torch.ones(1, rows)})


def layer(parameters: dict[str, torch.Tensor], name: str, x: torch.Tensor) -> torch.Tensor:
    return nn.functional.linear(x, parameters[f"{name}weight"][0], parameters[f"{name}bias"][0])


def test_a_gated_head_is_the_published_unit():
    spec = HeadSpec(BOTH, "gated", hidden=6)
    parameters, batch = drawn(spec), batch_of(5)
    image, text = batch.blocks["image"][0], batch.blocks["text"][0]
    gate = torch.sigmoid(layer(parameters, "gate.", torch.cat([image, text], dim=1)))
    mixed = gate * torch.tanh(layer(parameters, "image.", image)) + (1 - gate) * torch.tanh(
        layer(parameters, "text.", text)
    )
    torch.testing.assert_close(
        forward(spec, parameters, batch, drop=unchanged)[0], layer(parameters, "out.", mixed), rtol=1e-4, atol=1e-4
    )
    batch.present["image"][0, 2] = 0
    alone = torch.tanh(layer(parameters, "text.", text[2]))
    torch.testing.assert_close(
        forward(spec, parameters, batch, drop=unchanged)[0, 2], layer(parameters, "out.", alone), rtol=1e-4, atol=1e-4
    )


def test_attention_weighs_the_views_that_are_there_as_published():
    spec = HeadSpec(("image",), "attention", hidden=6)
    parameters, batch = drawn(spec), batch_of(4, views=3)
    batch.present["image"][0, 1, 1:] = 0
    expected = []
    for row in range(4):
        views = batch.blocks["image"][0, row][batch.present["image"][0, row] > 0]
        hidden = torch.tanh(layer(parameters, "tanh.", views)) * torch.sigmoid(layer(parameters, "sigmoid.", views))
        weights = torch.softmax(hidden @ parameters["score.weight"][0, 0], dim=0)
        pooled = (weights[:, None] * views).sum(dim=0)
        expected.append(layer(parameters, "out.", torch.relu(layer(parameters, "hidden.", pooled))))
    torch.testing.assert_close(
        forward(spec, parameters, batch, drop=unchanged)[0], torch.stack(expected), rtol=1e-4, atol=1e-4
    )
    order = [2, 0, 1]  # the order of the views says nothing
    films, there = batch.blocks["image"][:, :, order], batch.present["image"][:, :, order]
    turned = Batch(films.flatten(2), {"image": films}, {"image": there})
    torch.testing.assert_close(
        forward(spec, parameters, turned, drop=unchanged)[0], torch.stack(expected), rtol=1e-4, atol=1e-4
    )


def test_a_late_head_averages_those_who_are_there():
    spec = HeadSpec(BOTH, "late", hidden=6)
    parameters, batch = drawn(spec), batch_of(3)
    voices = [
        layer(parameters, f"{name}.out.", torch.relu(layer(parameters, f"{name}.hidden.", batch.blocks[name][0])))
        for name in BOTH
    ]
    batch.present["text"][0, 1] = 0
    expected = (voices[0] + voices[1]) / 2
    expected[1] = voices[0][1]
    torch.testing.assert_close(forward(spec, parameters, batch, drop=unchanged)[0], expected, rtol=1e-4, atol=1e-4)


def exclusive(n: int):
    """The label is whether the two blocks disagree: neither alone, nor any sum of them, says anything."""
    blocks = noise(n, 3)
    for block in blocks.values():
        block[:, 0] = np.sign(block[:, 0]) + 0.2 * block[:, 1]
    return rows_of((blocks["image"][:, 0] * blocks["text"][:, 0] < 0).astype(float), "binary", blocks)


@pytest.mark.parametrize(
    ("head", "low", "high"),
    [("fusion", 0.95, 1), ("gated", 0.95, 1), ("late", 0.44, 0.56), ("linear", 0.44, 0.56)],
)
def test_an_interaction_of_the_modalities_is_found_by_those_that_mix_them(head: str, low: float, high: float):
    rows, index = exclusive(3000), np.arange(3000)
    options = Options(epochs=30, patience=None, learning_rate=3e-3)
    trained = fit_members(rows, [Member(index[:1800], index[1800:2200], seed=0)], HEADS[head], options=options)[0]
    found = roc_auc_score(rows.y[2200:, 0], predict(rows, HEADS[head], trained.weights, index=index[2200:]).prob[:, 0])
    assert low <= found <= high


@pytest.mark.parametrize("name", ["fusion", "gated", "late", "attention", "linear", "either"])
def test_what_lies_in_a_missing_block_is_never_read(name: str):
    spec, rows = HEADS[name], planted(200)
    rows = bags(rows) if spec.kind == "attention" else rows
    rows.present["image"][::4] = False
    member = members_of(200, 1)[0]
    dirty = replace(rows, blocks={key: block.copy() for key, block in rows.blocks.items()})
    dirty.blocks["image"][~rows.present["image"]] = 7e3
    clean, other = (fit_members(r, [member], spec, options=Options(epochs=2))[0].weights for r in (rows, dirty))
    for key, array in clean.items():
        np.testing.assert_array_equal(array, other[key])
    every = np.arange(200)
    np.testing.assert_array_equal(
        predict(rows, spec, clean, index=every).logit, predict(dirty, spec, clean, index=every).logit
    )


def test_modality_dropout_lets_a_row_be_scored_by_what_it_has():
    random, blocks = np.random.default_rng(0), noise(4000, 2)
    y = random.integers(0, 2, 4000)
    blocks["image"][:, 0] += 1.5 * y
    blocks["text"][:, 0] += 6.0 * y  # so strong that a head which always has it need not look at the image
    rows, index = rows_of(y, "binary", blocks), np.arange(4000)
    member = Member(index[:2000], index[2000:2500], seed=0)
    gone = replace(rows, present=rows.present | {"text": np.zeros(4000, dtype=bool)})
    found = {}
    for name in ("fusion", "either", "image"):
        weights = fit_members(rows, [member], HEADS[name], options=Options(epochs=25))[0].weights
        prob = predict(gone, HEADS[name], weights, index=index[2500:]).prob[:, 0]
        found[name] = log_loss(y[2500:], prob), roc_auc_score(y[2500:], prob)
        both = predict(rows, HEADS[name], weights, index=index[2500:]).prob[:, 0]
        assert name == "image" or roc_auc_score(y[2500:], both) > 0.99
    for number in (0, 1):  # loss, AUROC: as good as a head that was made for the image alone
        assert found["either"][number] == pytest.approx(found["image"][number], abs=0.015)
    assert found["either"][0] < found["fusion"][0] - 0.01


def test_modality_dropout_takes_its_share_and_never_the_last_block():
    from cxremb.training.inputs import tensors_of
    from cxremb.training.stack import Stack

    rows = planted(4000)
    rows.present["text"][:1000] = False
    spec = replace(HEADS["fusion"], modality_dropout=0.4)
    stack = Stack(tensors_of(rows, spec), members_of(4000, 2), spec, options=Options(), dtype=torch.float32)
    lost = stack.lost_blocks(stack.learners, [torch.arange(4000), torch.arange(3000)])
    image, text = (lost[name][0].numpy() for name in BOTH)
    assert not image[:1000].any()
    assert not text[:1000].any()
    assert not (image * text).any()
    assert image[1000:].mean() == pytest.approx(0.2, abs=0.03)
    assert text[1000:].mean() == pytest.approx(0.2, abs=0.03)


def test_a_head_that_reads_vectors_refuses_a_bag_and_the_reverse():
    rows, member = planted(100), members_of(100, 1)
    with pytest.raises(TrainError, match="image has shape"):
        fit_members(bags(rows), member, HEADS["fusion"], options=Options(epochs=1))
    with pytest.raises(TrainError, match="image has shape"):
        fit_members(rows, member, HEADS["attention"], options=Options(epochs=1))


def test_attention_finds_the_one_view_that_shows_it():
    rows = bags(planted(3000), views=4, seed=3)
    index = np.arange(3000)
    member, options = Member(index[:2000], index[2000:2400], seed=0), Options(epochs=25, learning_rate=3e-3)
    marked = replace(rows, blocks=dict(rows.blocks))
    marked.blocks["image"] = rows.blocks["image"].copy()
    signal = np.abs(rows.blocks["image"] - planted(3000).blocks["image"][:, None]).sum(axis=2) == 0
    assert (signal.sum(axis=1) == 1).all()
    marked.blocks["image"][..., 5] += 5 * marked.blocks["image"][..., 5].std() * signal  # a view that can be told
    spec = replace(HEADS["attention-image"], hidden=32)
    weights = fit_members(marked, [member], spec, options=options)[0].weights
    found = roc_auc_score(rows.y[2400:, 0], predict(marked, spec, weights, index=index[2400:]).prob[:, 0])
    assert found > 0.82  # of 0.856, were the view known; the mean of the views reaches less
    plain = np.stack([v[t].mean(axis=0) for v, t in zip(marked.blocks["image"], rows.present["image"], strict=True)])
    mean = rows_of(rows.y, "binary", {"image": plain, "text": rows.blocks["text"]})
    weights = fit_members(mean, [member], HEADS["image"], options=options)[0].weights
    assert found > 0.02 + roc_auc_score(
        rows.y[2400:, 0], predict(mean, HEADS["image"], weights, index=index[2400:]).prob[:, 0]
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_a_linear_head_is_scikit_learns_at_the_best_penalty(task: str, weighted: bool):
    rows, member = planted(400, task), members_of(400, 1)[0]
    if task == "multilabel":
        rows.y[np.random.default_rng(0).random(rows.y.shape) < 0.2] = np.nan
    trained = fit_members(rows, [member], HEADS["linear"], options=Options(class_weights=weighted))[0]
    X = np.hstack([rows.blocks["image"], rows.blocks["text"]])
    X = np.clip((X - trained.weights["mean"]) / trained.weights["scale"], -10, 10).astype(np.float64)
    balance = "balanced" if weighted else None
    y = rows.y.argmax(axis=1)[:, None] if task == "multiclass" else rows.y
    losses, found = [], []
    for strength in PATH:
        models, parts = [], []
        for column in y.T:
            train, watched = (part[~np.isnan(column[part])] for part in (member.train, member.watched))
            model = LogisticRegression(C=strength, class_weight=balance, max_iter=5000, tol=1e-6)
            models.append(model.fit(X[train], column[train]))
            parts.append((log_loss(column[watched], model.predict_proba(X[watched]), normalize=False), len(watched)))
        losses.append(sum(loss for loss, _ in parts) / sum(size for _, size in parts))
        found.append(models)
    assert trained.epoch == int(np.argmin(losses)) + 1
    np.testing.assert_allclose([one.loss for one in trained.history if one.phase == "val"], losses, rtol=1e-2)
    best = found[trained.epoch - 1]
    np.testing.assert_allclose(trained.weights["weight"], np.vstack([m.coef_ for m in best]), atol=5e-3)
    told = predict(rows, HEADS["linear"], trained.weights, index=member.watched).prob
    probs = best[0].predict_proba(X[member.watched]) if task == "multiclass" else np.column_stack(
        [model.predict_proba(X[member.watched])[:, 1] for model in best]
    )  # fmt: skip
    np.testing.assert_allclose(told, probs, atol=2e-3)


def test_where_nothing_may_be_chosen_a_linear_head_takes_the_usual_penalty():
    rows, member = planted(300), replace(members_of(300, 1)[0], watched_name="test")
    last = Options(select="last", patience=None)
    trained = fit_members(rows, [member], HEADS["linear-image"], options=last)[0]
    assert [(one.epoch, one.phase) for one in trained.history] == [(1, "train"), (1, "test")]
    X = (rows.blocks["image"] - trained.weights["mean"]) / trained.weights["scale"]
    model = LogisticRegression().fit(X[member.train], rows.y[member.train, 0])
    np.testing.assert_allclose(trained.weights["weight"], model.coef_, atol=2e-3)


def test_a_class_that_training_lacks_is_scored_as_unlikely():
    rows, member = planted(400, "multiclass"), members_of(400, 1)[0]
    for lacking in ([3], [1, 3]):
        seen = member.train[~rows.y[member.train][:, lacking].any(axis=1)]
        weights = fit_members(rows, [replace(member, train=seen)], HEADS["linear"], options=Options())[0].weights
        prob = predict(rows, HEADS["linear"], weights, index=member.watched).prob
        np.testing.assert_allclose(prob.sum(axis=1), 1, atol=1e-6)
        assert prob[:, lacking].max() < 0.05
        assert (prob > 0).all()


def test_a_label_that_is_always_the_same_gets_its_share():
    rows, member = planted(300, "multilabel"), members_of(300, 1)[0]
    rows.y[member.train, 1] = 0
    weights = fit_members(rows, [member], HEADS["linear"], options=Options())[0].weights
    assert not weights["weight"][1].any()
    prob = predict(rows, HEADS["linear"], weights, index=member.watched).prob
    np.testing.assert_allclose(prob[:, 1], 0.5 / (len(member.train) + 1), rtol=1e-4)
