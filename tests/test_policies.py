"""Arms of policies learn other labels and are judged on the same certain rows: by a slow version, and by a plant."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted import Planted, plant, write_store

from cxremb.ablation import ablate
from cxremb.ablation.run import jobs_of
from cxremb.ablation.trial import Trial
from cxremb.catalog import add_collection
from cxremb.errors import DataError, TrainError
from cxremb.features import Inputs
from cxremb.labels import label_from_readings
from cxremb.store.dataset import Dataset
from cxremb.store.readings import in_words
from cxremb.training import loop
from cxremb.training.data import Member, Rows
from cxremb.training.fit import fit
from cxremb.training.parts import parts_of_job
from cxremb.types import Collection, LabelSet, Policy, Study

DIM, STUDIES = 40, 500
ARMS = ["text[label=uncertain-zero|uncertain-ignore|uncertain-one]"]
ALONE = Trial(alone=True, controls=False)


def stored(root: Path, studies: list[Study], about: LabelSet, sick: np.ndarray) -> Dataset:
    """Studies with a vector each; those of the sick lie 2 standard deviations off in a dimension for each label."""
    made = {"made": "here"}
    dataset = add_collection(Collection("read", studies, [], "none", "me", made, label_sets=[about]), root).dataset
    X = np.random.default_rng(1).standard_normal((len(studies), DIM)).astype(np.float32)
    X[:, : sick.shape[1]] += 2 * sick
    write_store(dataset, "biobert", "text", [study.study_id for study in studies], X)
    return dataset


def planted(root: Path, *, labels: tuple[str, ...] = ("sick",), policy: str = "ignore") -> Dataset:
    """Readings of which three quarters of the sick are unsure and nobody else; every patient has two studies.

    The vectors of the sick lie 2 standard deviations off in one of 40 dimensions.
    """
    rng = np.random.default_rng(0)
    sick = rng.random((STUDIES, len(labels))) < 0.5
    unsure = sick & (rng.random(sick.shape) < 0.75)
    readings = np.where(unsure, -1, sick.astype(int))
    names = [f"s{n:03d}" for n in range(STUDIES)]
    task = "binary" if len(labels) == 1 else "multilabel"
    studies = [
        Study(
            name,
            f"p{n // 2:03d}",
            {"findings": f"Text {n}."},
            readings={"found": {"": dict(zip(labels, readings[n].tolist(), strict=True))}},
        )
        for n, name in enumerate(names)
    ]
    return stored(root, studies, LabelSet("found", task, "read", labels, "as given", Policy("found", policy)), sick)


def read_by_three(root: Path) -> Dataset:
    """Three readers each see half of the sick, and nobody else."""
    rng = np.random.default_rng(0)
    sick = rng.random((STUDIES, 1)) < 0.5
    seen = sick & (rng.random((STUDIES, 3)) < 0.5)
    studies = [
        Study(
            f"s{n:03d}",
            f"p{n // 2:03d}",
            {"findings": f"Text {n}."},
            readings={"found": {f"R{k}": {"sick": float(seen[n, k])} for k in range(3)}},
        )
        for n in range(STUDIES)
    ]
    about = LabelSet("found", "binary", "read", ("sick",), in_words(Policy("found"), several=True), Policy("found"))
    return stored(root, studies, about, sick)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return planted(tmp_path_factory.mktemp("policies"))


def readings_of(dataset: Dataset) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for row in dataset.readings.to_pylist():
        found.setdefault(row["study_id"], {})[row["label"]] = row["value"]
    return found


def test_who_is_unsure_and_sick_is_best_taken_for_sick(dataset: Dataset) -> None:
    result = ablate(dataset, ARMS, trial=ALONE)
    rows = {row.arm.removeprefix("text[label=uncertain-").rstrip("]"): row for row in result.rows}
    certain = [study for study, said in readings_of(dataset).items() if said["sick"] != -1]
    assert {row.n for row in rows.values()} == {len(certain)}
    assert rows["zero"].auroc.value < rows["ignore"].auroc.value < rows["one"].auroc.value
    assert rows["one"].difference.low > 0  # the reference is the first, zero
    unsure = STUDIES - len(certain)
    assert f"{unsure} of {STUDIES} rows have a label that is not the same under every policy" in " ".join(result.notes)
    assert result.prevalence == pytest.approx(np.mean([readings_of(dataset)[one]["sick"] for one in certain]))


def test_who_is_seen_by_one_of_several_readers_is_best_taken_for_sick(tmp_path: Path) -> None:
    dataset = read_by_three(tmp_path)
    result = ablate(dataset, ["text[label=readers-majority|readers-any|readers-all]", "text"], trial=ALONE)
    majority, any_of, all_of, own = result.rows
    votes: dict[str, int] = {}
    for row in dataset.readings.to_pylist():
        votes[row["study_id"]] = votes.get(row["study_id"], 0) + row["value"]
    assert {row.n for row in result.rows} == {sum(count in (0, 3) for count in votes.values())}
    assert all_of.auroc.value < majority.auroc.value < any_of.auroc.value
    assert own.auroc.value == majority.auroc.value
    jobs, _, _ = jobs_of(dataset, ["text[label=readers-any|readers-all]"], Inputs(), trial=ALONE)
    for job, least in zip(jobs, (1, 3), strict=True):
        taught = dict(zip(job.features.study_ids.tolist(), job.features.taught[:, 0].tolist(), strict=True))
        assert taught == {study: float(count >= least) for study, count in votes.items()}


def test_one_reader_has_no_majority(dataset: Dataset) -> None:
    with pytest.raises(TrainError, match="found has one reader of each study, so label=readers-any changes nothing"):
        ablate(dataset, ["text[label=readers-any]"], trial=ALONE)


def test_a_policy_learns_what_a_plain_training_of_these_labels_learns(dataset: Dataset) -> None:
    said = readings_of(dataset)
    trial = replace(ALONE, preset="default")
    jobs, _, _ = jobs_of(dataset, ["text[head=linear,label=uncertain-zero|uncertain-one]"], Inputs(), trial=trial)
    for job, value in zip(jobs, (0.0, 1.0), strict=True):
        test = fit([job])[0].predictions()
        for (_, fold), parts in parts_of_job(job).items():
            studies = job.features.study_ids
            y = np.array([[value if said[study]["sick"] == -1 else said[study]["sick"]] for study in studies], float)
            certain = np.array([said[study]["sick"] != -1 for study in studies])
            assert certain[(parts == "val") | (parts == "test")].all()
            assert (parts == "train")[~certain].sum() > 80
            judged = set(job.features.patient_ids[(parts == "val") | (parts == "test")].tolist())
            assert not judged & set(job.features.patient_ids[parts == "train"].tolist())
            plain = Rows(job.features.blocks, job.features.present, y, "binary", job.features.patient_ids)
            member = Member(np.flatnonzero(parts == "train"), np.flatnonzero(parts == "val"), 0)
            (trained,) = loop.fit_members(plain, [member], job.head, options=job.plan.options)
            rows = np.flatnonzero(parts == "test")
            expected = loop.predict(plain, job.head, trained.weights, index=rows).prob[:, 0]
            own = test.take(test.fold == fold)
            assert own.items.tolist() == studies[rows].tolist()
            np.testing.assert_allclose(own.prob[:, 0], expected, atol=1e-6)


def test_an_arm_without_a_policy_learns_the_label_set_and_is_judged_alike(dataset: Dataset) -> None:
    result = ablate(dataset, ["text", "text[label=uncertain-ignore]", "text[label=uncertain-one]"], trial=ALONE)
    own, same, other = result.rows
    assert own.auroc.value == same.auroc.value
    assert own.n == other.n
    after = label_from_readings(dataset, LabelSet("all", "", ""), Policy("found", "one"))
    again = ablate(after, ["text", "text[label=uncertain-one]"], Inputs("all"), trial=ALONE)
    assert again.rows[0].n == own.n  # its own policy says 1 of the unsure: they are learnt, and not judged
    assert again.rows[0].auroc.value == again.rows[1].auroc.value


def test_each_of_several_labels_is_judged_where_it_is_certain(tmp_path: Path) -> None:
    dataset = planted(tmp_path, labels=("sick", "old"))
    said = readings_of(dataset)
    (job, *_), _, _ = jobs_of(dataset, ARMS, Inputs(), trial=ALONE)
    run = fit([job])[0]
    test = run.predictions()
    for column, label in enumerate(test.labels):
        own = {item for item, y in zip(test.items.tolist(), test.y[:, column].tolist(), strict=True) if not np.isnan(y)}
        assert own == {study for study, values in said.items() if values[label] != -1}
        for item, y in zip(test.items.tolist(), test.y[:, column].tolist(), strict=True):
            assert np.isnan(y) or y == said[item][label]


def test_controls_learn_and_answer_certain_rows(dataset: Dataset) -> None:
    result = ablate(dataset, ARMS, trial=Trial(alone=True))
    made = {one.name: one.row.n for one in result.controls if one.row}
    assert {"majority", "labels shuffled", "length"} <= set(made) or len(made) > 2
    assert set(made.values()) == {result.n}


def test_what_has_no_policy_says_so(dataset: Dataset, tmp_path: Path, cxremb) -> None:
    with pytest.raises(TrainError, match="label=maybe is not possible") as caught:
        ablate(dataset, ["text[label=maybe]"], trial=ALONE)
    assert "uncertain-zero" in caught.value.hint
    label_rows = [(f"s{n:03d}", "odd", float(n % 2)) for n in range(100)]
    table = tmp_path / "odd.csv"
    table.write_text("study_id,label,value\n" + "".join(f"{s},{a},{v}\n" for s, a, v in label_rows))
    root = ("--root", dataset.paths.root)
    assert cxremb("data", "label", "odd", "--file", table, *root).code == 0
    with pytest.raises(DataError, match="odd is not made of readings") as told:
        ablate(reopened(dataset), ARMS, Inputs("odd"))
    assert "--label-set found" in told.value.hint
    none = plant(tmp_path / "none", Planted(studies=60, image=1.0))
    with pytest.raises(DataError, match="is not made of readings") as told:
        ablate(none, ["image[label=uncertain-one]"], trial=ALONE)
    assert "nothing is unsure" in told.value.hint
    shown = cxremb("ablate", "--arms", ARMS[0], "--alone", "--label-set", "found", *root)
    assert shown.code == 0, shown.err
    assert "text[label=uncertain-one]" in shown.out.replace("\n", "")


def reopened(dataset: Dataset) -> Dataset:
    from cxremb.store.dataset import read_dataset

    return read_dataset(dataset.paths.descriptor)
