"""Members trained together come out as each does alone."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from simulated_rows import bags, members_of, planted

from cxremb.training import stack
from cxremb.training.data import Trained
from cxremb.training.heads import HEADS, HeadSpec
from cxremb.training.inputs import tensors_of
from cxremb.training.loop import fit_members, one_thread, predict, run_epoch, shared_out
from cxremb.training.options import Options
from cxremb.training.stack import Stack

pytestmark = pytest.mark.arithmetic

FLOAT = torch.float32
SHORT = Options(epochs=25, batch_size=64, patience=2, learning_rate=2e-2, precision="fp32")
KINDS = [spec for name, spec in HEADS.items() if name in ("fusion", "image", "linear", "gated", "late", "attention")]
SPECS = [replace(spec, hidden=16, modality_dropout=0.3 * (len(spec.blocks) > 1)) for spec in KINDS]


def holed(task: str, bag: bool):
    """Rows of which some lack a label, some an image and some a text."""
    rows = planted(300, task)
    random = np.random.default_rng(5)
    rows.y[random.random(rows.y.shape) < 0.1] = np.nan
    for name, block in rows.blocks.items():
        gone = random.permutation(300)[:30] if name == "image" else np.arange(30)
        gone = gone[rows.present["image"][gone]]
        rows.present[name][gone], block[gone] = False, 0.0
    return bags(rows) if bag else rows


def same(together: Trained, alone: Trained) -> None:
    assert together.epoch == alone.epoch
    assert together.weights.keys() == alone.weights.keys()
    for name, array in together.weights.items():
        np.testing.assert_allclose(array, alone.weights[name], rtol=1e-4, atol=2e-5, err_msg=name)
    assert len(together.history) == len(alone.history)
    for one, other in zip(together.history, alone.history, strict=True):
        assert (one.epoch, one.phase) == (other.epoch, other.phase)
        assert one.loss == pytest.approx(other.loss, abs=1e-5)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.kind}-{len(spec.blocks)}")
def test_six_members_together_are_six_alone(spec: HeadSpec, task: str):
    rows = holed(task, bag=spec.kind == "attention")
    members = members_of(300)
    together = fit_members(rows, members, spec, options=SHORT)
    for member, trained in zip(members, together, strict=True):
        same(trained, fit_members(rows, [member], spec, options=SHORT)[0])
    assert all(np.isfinite(array).all() for one in together for name, array in one.weights.items() if name != "limit")
    prob = predict(rows, spec, together[0].weights, index=np.arange(300)).prob
    assert prob.shape == rows.y.shape
    if spec.kind != "linear":  # their losses turn at different times: they stopped on their own
        assert len({len(one.history) for one in together}) > 1


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.kind}-{len(spec.blocks)}")
def test_members_with_labels_of_their_own_are_alone_with_rows_of_these_labels(spec: HeadSpec, task: str):
    rows, options = holed(task, bag=spec.kind == "attention"), replace(SHORT, class_weights=True)
    members = members_of(300, 4)
    labels = [rows.y[np.random.default_rng(number).permutation(300)] for number in range(3)]
    own = [replace(one, y=y) for one, y in zip(members[:3], labels, strict=True)]
    together = fit_members(rows, [*own, members[3]], spec, options=options)
    for trained, member, y in zip(together, members, [*labels, rows.y], strict=True):
        same(trained, fit_members(replace(rows, y=y), [member], spec, options=options)[0])


def test_of_many_rows_an_epoch_is_a_share_of_a_pass(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stack, "EPOCH_ROWS", 50)
    rows, members, spec = planted(300), members_of(300), replace(HEADS["fusion"], hidden=8)
    table, head = tensors_of(rows, spec), Stack(tensors_of(rows, spec), members, spec, options=SHORT, dtype=FLOAT)
    for learner, member in zip(head.learners, members, strict=True):
        n = len(member.train)  # 150 to 235: four or five shares
        assert (learner.shares, learner.size) == (-(-n // 50), n // -(-n // 50))
        passed = [torch.cat([learner.rows_of_epoch() for _ in range(learner.shares)]) for _ in range(2)]
        for one in passed:
            assert len(one) == len(one.unique()) == learner.size * learner.shares
            assert set(one.tolist()) <= set(member.train.tolist())
        assert passed[0].tolist() != passed[1].tolist()
    assert [one.size for one in head.running] == sorted((one.size for one in head.learners), reverse=True)
    together = fit_members(rows, members, spec, options=SHORT)
    for member, trained in zip(members, together, strict=True):
        same(trained, fit_members(rows, [member], spec, options=SHORT)[0])
    whole = replace(SHORT, select="last", patience=None)  # a published recipe: an epoch is a pass, whatever its length
    assert [one.shares for one in Stack(table, members, spec, options=whole, dtype=FLOAT).learners] == [1] * 6


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.kind}-{len(spec.blocks)}")
def test_next_to_no_dropout_is_none(spec: HeadSpec):
    rows, [member] = holed("binary", bag=spec.kind == "attention"), members_of(300, 1)
    options = replace(SHORT, epochs=2, patience=None, select="last", learning_rate=1e-3)
    none, little = (
        fit_members(rows, [member], replace(spec, dropout=share, modality_dropout=0.0), options=options)[0]
        for share in (0.0, 1e-9)
    )
    same(none, little)


def test_weight_decay_and_class_weights_keep_members_apart():
    rows, members, spec = planted(300), members_of(300, 4), replace(HEADS["fusion"], hidden=8)
    options = replace(SHORT, weight_decay=0.01, patience=None, epochs=9, class_weights=True)
    together = fit_members(rows, members, spec, options=options)
    for member, trained in zip(members, together, strict=True):
        same(trained, fit_members(rows, [member], spec, options=options)[0])


def test_the_number_of_cores_changes_nothing():
    rows, members = planted(300), members_of(300, 5)
    before = torch.get_num_threads()
    try:
        results = []
        for cores in (1, 2, 3):
            torch.set_num_threads(cores)
            results.append(fit_members(rows, members, HEADS["fusion"], options=SHORT))
            assert torch.get_num_threads() == cores
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            same(one, two)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_second_thread_changes_no_bit(monkeypatch, precision: str):
    monkeypatch.setattr("cxremb.training.loop.native_bf16", lambda device: True)  # elsewhere it is emulated, to the bit
    rows, options = planted(3000), replace(SHORT, epochs=4, patience=None, precision=precision)
    wide = {name: np.tile(block, (1, 40)) for name, block in rows.blocks.items()}
    rows, [member] = replace(rows, blocks=wide), members_of(3000, 1)
    threads, seen = torch.get_num_threads(), []
    real = Stack.run_epoch

    def noted(self, epoch):
        seen.append(torch.get_num_threads())
        real(self, epoch)

    monkeypatch.setattr(Stack, "run_epoch", noted)
    monkeypatch.setattr("cxremb.training.loop.LONG", -1.0)
    monkeypatch.setattr("cxremb.training.loop.time.perf_counter", lambda: 0.0)  # no epoch is slower
    try:
        results = []
        for cores in (1, 2):
            torch.set_num_threads(cores)
            results.append(fit_members(rows, [member], HEADS["fusion"], options=options)[0].weights)
    finally:
        torch.set_num_threads(threads)
    assert seen == [1, 1, 1, 1, 1, 2, 2, 2]
    for name, array in results[0].items():
        np.testing.assert_array_equal(array, results[1][name])


@pytest.mark.parametrize(
    ("members", "cores", "sizes"),
    [
        (25, 2, [12, 13]),
        (25, 4, [6, 6, 6, 7]),
        (40, 2, [10, 10, 10, 10]),
        (1, 8, [1]),
        (3, 8, [1, 1, 1]),
        (175, 0, [175]),
        (0, 2, []),
        (0, 0, []),
    ],
)
def test_members_are_shared_out_evenly(members: int, cores: int, sizes: list[int]):
    asked = members_of(300, members)
    groups = shared_out(asked, cores)
    assert [len(group) for group in groups] == sizes
    assert [member for group in groups for member in group] == asked


def test_two_threads_give_way_when_they_are_slower(monkeypatch):
    clock, taken = [0.0], iter([1.0, 0.6, 3.0, 1.0, 1.0])
    seen = []

    class Slow:
        seconds: ClassVar[list[float]] = []

        def run_epoch(self, epoch):
            seen.append(torch.get_num_threads())
            clock[0] += next(taken)

    monkeypatch.setattr("cxremb.training.loop.time.perf_counter", lambda: clock[0])
    with one_thread():  # and all of them back in the end
        for epoch in range(1, 6):
            run_epoch(Slow(), epoch=epoch, spare=True)
    assert seen == [1, 2, 2, 1, 1]


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not():
    rows, member = planted(300), members_of(300, 1)[0]
    first, again, other = (
        fit_members(rows, [replace(member, seed=seed)], HEADS["fusion"], options=SHORT)[0].weights for seed in (1, 1, 2)
    )
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert not np.allclose(first["hidden.weight"], other["hidden.weight"])


def test_torchs_own_random_state_is_left_as_it_was():
    before = torch.random.get_rng_state()
    fit_members(planted(100), members_of(100, 2), HEADS["fusion"], options=replace(SHORT, epochs=1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_member_that_diverges_takes_no_other_with_it():
    rows, members = planted(301), members_of(300, 3)
    rows.blocks["image"][300] = 3e38  # no sum of these is a number; only this member looks at it
    members[1] = replace(members[1], watched=np.append(members[1].watched, 300))
    options = Options(epochs=3, standardise=False, select="last", patience=None)
    trained = fit_members(rows, members, HEADS["image"], options=options)
    assert [(one.epoch, one.diverged) for one in trained] == [(3, None), (0, 1), (3, None)]
    for number in (0, 2):
        same(trained[number], fit_members(rows, [members[number]], HEADS["image"], options=options)[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.kind}-{len(spec.blocks)}")
def test_a_gpu_gives_what_the_cpu_gives(spec: HeadSpec):
    rows = holed("binary", bag=spec.kind == "attention")
    quiet = replace(spec, dropout=0.0, modality_dropout=0.0)  # chance is drawn on the device: the streams differ
    members, last = members_of(300, 3), replace(SHORT, select="last", patience=None, epochs=4)
    if spec.kind == "linear":
        last = SHORT
    for one, two in zip(
        fit_members(rows, members, quiet, options=last),
        fit_members(rows, members, quiet, options=last, device="cuda"),
        strict=True,
    ):
        for name in one.weights:
            np.testing.assert_allclose(one.weights[name], two.weights[name], rtol=1e-3, atol=1e-3, err_msg=name)
