"""How much each block of a fusion counts: leave-one-out ridge regression against leaving out one by one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from cxremb.errors import TrainError
from cxremb.training import inputs
from cxremb.training.data import Member, Rows
from cxremb.training.heads import HEADS
from cxremb.training.inputs import measure_scaling, tensors_of
from cxremb.training.loop import fit_members, predict
from cxremb.training.options import Options
from cxremb.training.presets import PRESETS
from cxremb.training.record import RunRecord
from cxremb.training.scales import PENALTIES, block_scales, column_scales, inner_products, one_of_each, press

DEFAULT = replace(PRESETS["default"].options, precision="fp32")
FUSION = HEADS["fusion"]


def planted(image: float, text: float, n: int = 160, dims=(40, 24), seed: int = 0) -> Rows:
    """Two blocks of noise, whose first column tells the classes as many standard deviations apart."""
    rng = np.random.default_rng(seed)
    y = (np.arange(n) % 2).astype(float)
    blocks = {}
    for name, dim, distance in (("image", dims[0], image), ("text", dims[1], text)):
        blocks[name] = rng.standard_normal((n, dim)).astype(np.float32)
        blocks[name][:, 0] += distance * y
    present = {name: np.ones(n, dtype=bool) for name in blocks}
    return Rows(blocks, present, y[:, None], "binary", np.arange(n).astype(str))


def scales_of(rows: Rows, seed: int = 0) -> dict[str, float]:
    table, every = tensors_of(rows, FUSION), torch.arange(len(rows.y))
    return block_scales(table, every, measure_scaling(table, every, standardise=True), seed=seed)


def test_moments_are_those_of_what_is_there_however_many_rows_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    y, films = (np.arange(50) % 2).astype(float)[:, None], rng.normal(3, 2, (50, 3, 8)).astype(np.float32)
    films[..., 2] = 7.0
    there = rng.random((50, 3)) < 0.6
    texts, told = rng.normal(-1, 0.1, (50, 5)).astype(np.float32), rng.random(50) < 0.9
    blocks, present = {"image": films, "text": texts}, {"image": there, "text": told}
    rows = Rows(blocks, present, y, "binary", np.arange(50).astype(str))
    head = HEADS["attention"]
    train = rng.permutation(50)[:30]
    for chunk in (65_536, 7):
        monkeypatch.setattr(inputs, "CHUNK", chunk)
        found = measure_scaling(tensors_of(rows, head), torch.from_numpy(train), standardise=True)
        values = [blocks[name][train][present[name][train]].astype(float) for name in head.blocks]
        mean, scale = (np.concatenate([getattr(one, what)(axis=0) for one in values]) for what in ("mean", "std"))
        np.testing.assert_allclose(found["mean"], mean, rtol=1e-6)
        np.testing.assert_allclose(found["scale"], np.where(scale > 1e-6, scale, 1), rtol=1e-6)
        broken = films.copy()
        broken[[3, 30, 49], 1, 1] = np.nan, np.inf, np.nan
        with pytest.raises(TrainError, match=r"3 of 50 rows"):
            tensors_of(replace(rows, blocks={**blocks, "image": broken}), head)


def test_press_is_leaving_out_one_by_one():
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((20, 50)).astype(np.float32), rng.standard_normal((20, 2))
    y -= y.mean(axis=0)
    unit = float(((X - X.mean(0)) ** 2).sum() / len(X))  # penalties are in units of the mean eigenvalue
    errors = []
    for penalty in PENALTIES:
        error = 0.0
        for out in range(len(X)):
            kept = np.arange(len(X)) != out
            ridge = Ridge(penalty * unit).fit(X[kept].astype(float), y[kept])
            error += float(((ridge.predict(X[[out]]) - y[out]) ** 2).sum())
        errors.append(error)
    assert press(inner_products(torch.from_numpy(X)), torch.from_numpy(y)) == pytest.approx(min(errors), rel=1e-3)


@pytest.mark.parametrize(
    ("image", "text", "wanted"),
    [(2.5, 0, {"text": 0.0}), (0, 2.5, {"image": 0.0}), (2, 2, {"image": 1.0, "text": 1.0})],
)
def test_noise_is_left_out_and_what_adds_is_kept(image, text, wanted):
    found = [scales_of(planted(image, text, n=320, seed=seed, dims=(400, 300))) for seed in range(5)]
    for name, scale in wanted.items():
        assert np.median([one[name] for one in found]) == pytest.approx(scale, abs=0.3), found


def test_copies_within_a_patient_do_not_answer_for_one_another():
    """Every row three times, the text of noise: of whole rows it would tell all, of whole patients it tells nothing."""
    rows = planted(2.5, 0, n=90, dims=(300, 300))
    three = np.repeat(np.arange(90), 3)
    copied = replace(
        rows,
        blocks={name: block[three] for name, block in rows.blocks.items()},
        present={name: there[three] for name, there in rows.present.items()},
        y=rows.y[three],
        groups=rows.groups[three],
    )
    alone, together = scales_of(rows), scales_of(copied)
    assert together["text"] <= 0.3
    assert alone["text"] <= 0.3
    drawn = one_of_each(copied.groups, 0).numpy()
    assert sorted(copied.groups[drawn].tolist()) == sorted(rows.groups.tolist())


def test_blocks_of_one_scale_weigh_the_same_in_sum():
    table = tensors_of(planted(1, 1), FUSION)
    squares = column_scales({"image": 1.0, "text": 1.0}, table).square()
    assert float(squares[:40].sum()) == pytest.approx(float(squares[40:].sum()))
    assert float(squares.max()) == 1
    assert column_scales({"image": 0.0, "text": 1.0}, table).tolist() == [0.0] * 40 + [1.0] * 24


def test_a_saved_head_takes_blocks_as_they_are():
    """The scales are in its first layer: its loss on the watched rows is that of the epoch that was kept."""
    rows = planted(2, 0.5, n=200)
    member = Member(np.arange(120), np.arange(120, 160), seed=1)
    [trained] = fit_members(rows, [member], FUSION, options=DEFAULT)
    assert trained.scales["text"] < 1
    prob = predict(rows, FUSION, trained.weights, index=member.watched).prob[:, 0]
    right = np.where(rows.y[member.watched, 0] == 1, prob, 1 - prob)
    kept = next(one for one in trained.history if one.epoch == trained.epoch and one.phase == "val")
    assert -np.log(right).mean() == pytest.approx(kept.loss, rel=1e-4)


def test_noise_costs_the_default_fusion_nothing_and_cost_the_one_before_much():
    """A strong text of 24 columns beside 600 columns of noise, 128 training rows: the mean over seeds."""
    gaps: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(4):
        rows = planted(0, 2, n=600, dims=(600, 24), seed=seed)
        member, tested = Member(np.arange(128), np.arange(128, 160), seed), np.arange(160, 600)
        y = rows.y[tested, 0] == 1

        def area(head, options, rows=rows, member=member, tested=tested, y=y):
            [trained] = fit_members(rows, [member], HEADS[head], options=options)
            found = predict(rows, HEADS[head], trained.weights, index=tested).logit[:, 0]
            return (found[y][:, None] > found[~y]).mean()

        alone = area("text", DEFAULT)
        for scaled, own in gaps.items():
            own.append(area("fusion", replace(DEFAULT, scale_blocks=scaled)) - alone)
    assert np.mean(gaps[True]) > -0.03  # the luck of a start is 0.02 from seed to seed
    assert np.mean(gaps[False]) < -0.06


def test_only_the_default_scales_and_only_where_both_blocks_must_be_there():
    rows, member = planted(2, 0), Member(np.arange(100), np.arange(100, 160), 0)
    brief = replace(DEFAULT, epochs=1)
    for head, options in (("fusion", Options(epochs=1)), ("either", brief), ("late", brief), ("text", brief)):
        assert fit_members(rows, [member], HEADS[head], options=options)[0].scales == {}
    scaling = [name for name, preset in PRESETS.items() if preset.options.scale_blocks]
    assert scaling == ["default"]


def test_test_rows_do_not_decide():
    """Where there is no validation part the watched rows are test rows."""
    rows = planted(2.5, 0, dims=(300, 200))
    last = replace(DEFAULT, select="last", patience=None, epochs=1)
    other = replace(rows, y=np.where(np.arange(160)[:, None] < 100, rows.y, 1 - rows.y))
    members = [Member(np.arange(100), np.arange(100, 160), 0, "test")]
    [first], [second] = (fit_members(one, members, FUSION, options=last) for one in (rows, other))
    assert first.scales == second.scales


def test_scales_in_words():
    record = RunRecord("", "fusion", "set", "label", scales=({"image": 1.0, "text": 0.3}, {"image": 1.0, "text": 0.0}))
    assert record.scales_in_words == "image 1, text 0 to 0.3"
    assert RunRecord("", "text", "set", "label", scales=({}, {})).scales_in_words == ""
