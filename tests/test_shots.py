"""Few training rows of each class: which they are, that fewer are part of more, and what a model makes of them."""

from dataclasses import replace

import numpy as np
import pytest
from planted import Planted, known_auc, plant

from cxremb.ablation import ablate, parse_arms
from cxremb.ablation.run import jobs_of
from cxremb.ablation.trial import Trial
from cxremb.errors import TrainError
from cxremb.features import Inputs
from cxremb.reporting.canvas import page_svg
from cxremb.reporting.chosen import runs_named
from cxremb.reporting.epochs import learning_drawing
from cxremb.reporting.subject import subject_of
from cxremb.store.dataset import Dataset
from cxremb.table import bare
from cxremb.training import loop
from cxremb.training.data import Member
from cxremb.training.fit import few_of, fit, member, rows_of
from cxremb.training.parts import parts_of_job
from cxremb.training.runs import read_run
from cxremb.training.shots import few_rows

ALONE = Trial(alone=True, controls=False)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return plant(tmp_path_factory.mktemp("shots"), Planted(studies=500, image=1.5, text=1.5, kinds=2.0))


def test_one_row_of_each_of_so_many_patients_of_each_class() -> None:
    rng = np.random.default_rng(0)
    patients = np.array([f"p{n}" for n in rng.integers(0, 40, 200)])
    y = (rng.random(200) < 0.3).astype(float)[:, None]
    before: set[int] = set()
    for shots in (1, 2, 5, 10):
        kept = few_rows(y, "binary", patients, shots=shots, seed=(0, 1, 2), where="here")
        assert len(kept) == 2 * shots
        for number in (0, 1):
            own = kept[y[kept, 0] == number]
            assert len(own) == len(set(patients[own])) == shots
        assert before <= set(kept.tolist())
        before = set(kept.tolist())
    other = few_rows(y, "binary", patients, shots=10, seed=(1, 1, 2), where="here")
    assert set(other.tolist()) != before
    three = np.eye(3)[np.arange(200) % 3]
    kept = few_rows(three, "multiclass", patients, shots=4, seed=(0,), where="here")
    assert three[kept].sum(axis=0).tolist() == [4, 4, 4]


def test_every_row_is_drawn_as_often_as_the_others() -> None:
    y, patients = (np.arange(20) < 10).astype(float)[:, None], np.array([f"p{n}" for n in range(20)])
    times = np.zeros(20)
    for seed in range(2000):
        times[few_rows(y, "binary", patients, shots=2, seed=(seed, 0, 0), where="here")] += 1
    assert abs(times / 2000 - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / 2000)


def test_a_model_is_that_of_these_rows_alone(dataset: Dataset) -> None:
    trial = replace(ALONE, seeds=2)
    jobs, _, _ = jobs_of(dataset, ["text[head=linear,shots=4|16]"], Inputs(), trial=trial)
    for job in jobs:
        test = fit([job])[0].predictions()
        assert (job.shots, len(job.plan.seeds)) == (int(job.plan.arm.partition("shots=")[2].rstrip("]")), 2)
        rows = rows_of(job.features, job.head.blocks)
        drawn = {}
        for place in job.plan.places:
            parts = parts_of_job(job)[place.repeat, place.fold]
            one = few_of(job, member(parts, place, job.features), place)
            drawn[place] = set(one.train.tolist())
            assert (parts[one.train] == "train").all()
            assert job.features.y[one.train, 0].sum() == len(one.train) / 2 == job.shots
            plain = Member(np.sort(one.train), one.watched, place.seed)
            (trained,) = loop.fit_members(rows, [plain], job.head, options=job.plan.options)
            index = np.flatnonzero(parts == "test")
            expected = loop.predict(rows, job.head, trained.weights, index=index).prob[:, 0]
            own = test.take((test.fold == place.fold) & (test.seed == place.seed))
            np.testing.assert_allclose(own.prob[:, 0], expected, atol=1e-6)
        assert len({frozenset(rows) for rows in drawn.values()}) == 10  # each model has a draw of its own


def test_more_shots_reach_more_of_a_planted_signal(dataset: Dataset) -> None:
    result = ablate(dataset, ["text[shots=1|4|16|64]", "text"], trial=replace(ALONE, seeds=3))
    values = [row.auroc.value for row in result.rows]
    assert values[0] < values[2] < values[3] + 0.02
    assert values[-1] == pytest.approx(known_auc(1.5), abs=0.05)
    assert 0.5 < values[0] < values[-1] - 0.05
    several = ablate(dataset, ["text[shots=8]"], Inputs("kind"), trial=ALONE)
    assert several.rows[0].auroc.value > 0.7


def test_a_report_draws_the_curve(dataset: Dataset) -> None:
    result = ablate(dataset, ["text[shots=2|8|32]", "text"], trial=ALONE)
    subject = subject_of(runs_named([read_run(dataset.paths.runs / row.run_id) for row in result.rows]))
    curve = learning_drawing(subject, "shots")
    assert curve.spoken == "text: " + ", ".join(
        f"{shots} {bare(row.auroc.value)}" for shots, row in zip((2, 8, 32), result.rows, strict=False)
    )
    assert "rows of each class" in curve.caption
    assert "training rows of each class" in page_svg(curve)
    assert learning_drawing(subject) is None  # nobody was trained on a share


def test_what_is_no_number_of_shots_is_refused(dataset: Dataset) -> None:
    for word, told in (
        ("text[shots=0]", "shots=0 is no number of rows"),
        ("text[shots=2.5]", "shots=2.5 is no number of rows"),
        ("text[shots=2,train-fraction=0.5]", "a share of the patients and a number of rows"),
    ):
        with pytest.raises(TrainError, match=told) as caught:
            parse_arms([word])
        assert caught.value.hint
    with pytest.raises(TrainError, match="fewer than shots=400"):
        ablate(dataset, ["text[shots=400]"], trial=ALONE)
    with pytest.raises(TrainError, match="shots are of one label"):
        ablate(dataset, ["text[shots=4]"], Inputs("found"), trial=ALONE)
