"""Arms are read as they are written, what is no arm is refused with what is; the parts under the table are exact."""

from dataclasses import replace

import numpy as np
import pytest
from planted import Planted, plant, write_store

from cxremb.ablation import parse_arms, split_arms
from cxremb.ablation.arms import AXES, HEADS_OF
from cxremb.ablation.pairs import mean_positive, pairings_of
from cxremb.ablation.run import job_of
from cxremb.ablation.vectors import paired_features
from cxremb.errors import StoreError, TrainError
from cxremb.evaluation.calibrate import probabilities
from cxremb.features import Inputs
from cxremb.splits import choose_split
from cxremb.store.dataset import Dataset
from cxremb.store.reader import open_store
from cxremb.training import loop
from cxremb.training.fit import FitJob, fit, rows_of
from cxremb.training.heads import HEADS
from cxremb.training.parts import nested_patients
from cxremb.training.plan import Plan
from cxremb.training.presets import Options

TEXTS = ("indication", "findings", "impression", "findings+impression", "pre-read")


def names(words: str) -> list[str]:
    return [arm.name for arm in parse_arms(split_arms(words), TEXTS)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("image,text,fusion", ["image", "text", "fusion"]),
        ("image; text ,image,", ["image", "text"]),
        ("findings, pre-read, image+indication", ["findings", "pre-read", "image+indication"]),
        ("image+findings+impression", ["image+findings+impression"]),
        ("fusion[views=frontal,head=gated]", ["fusion[head=gated,views=frontal]"]),
        ("fusion[head=mlp,views=all,train-fraction=1.0]", ["fusion"]),
        ("head=gated", ["fusion[head=gated]"]),
        ("gated,linear-text", ["fusion[head=gated]", "text[head=linear]"]),
        ("train-fraction=0.10|0.5|1", ["fusion[train-fraction=0.1]", "fusion[train-fraction=0.5]", "fusion"]),
        ("text[head=mlp|linear,pooling=cls|mean]", [
            "text[pooling=cls]", "text[pooling=mean]",
            "text[head=linear,pooling=cls]", "text[head=linear,pooling=mean]",
        ]),
        ("fusion[text=indication]", ["image+indication"]),
        ("text[encoder=biobert@0123456789ab]", ["text[encoder=biobert@0123456789ab]"]),
        ("text[shots=1|016]", ["text[shots=1]", "text[shots=16]"]),
        ("image[label=uncertain-zero|uncertain-one]", ["image[label=uncertain-zero]", "image[label=uncertain-one]"]),
        ("xxxx=keep", ["fusion"]),
        ("pre-read[xxxx=keep|drop|mask]", ["pre-read", "pre-read[xxxx=drop]", "pre-read[xxxx=mask]"]),
        ("xxxx=drop", ["fusion[xxxx=drop]"]),
    ],
)  # fmt: skip
def test_arms_are_read(words, expected):
    assert names(words) == expected
    assert [arm for name in expected for arm in parse_arms([name], TEXTS)] == parse_arms(split_arms(words), TEXTS)


@pytest.mark.parametrize(
    ("word", "says", "hint"),
    [
        ("sound", "no arm called 'sound'", "image, text, fusion, indication"),
        ("fusoin", "no arm called 'fusoin'", "did you mean fusion?"),
        ("image+sound", "no text called 'sound'", "pre-read"),
        ("fusion[loudness=3]", "no 'loudness'", "train-fraction="),
        ("fusion[head=deep]", "head=deep", "mlp or linear or gated"),
        ("fusion[head=gated", "names no arm", "fusion[head=gated"),
        ("fusion[head]", "no AXIS=VALUE", "in brackets"),
        ("fusion[head=mlp,head=late]", "no AXIS=VALUE", "in brackets"),
        ("fusion[train-fraction=0]", "no share", "0.25"),
        ("fusion[train-fraction=2]", "no share", "0.25"),
        ("image[head=gated]", "no head gated", "mlp, linear, attention"),
        ("image[missing=image]", "nothing is left", "fusion[missing="),
        ("image[text=findings]", "reads no text", "image+findings"),
        ("text[views=frontal]", "no views", "image or fusion"),
        ("xxxx=blur", "xxxx=blur", "keep or drop or mask"),
        ("image[xxxx=drop]", "reads no text", "text or fusion"),
        ("", "names no arm", "an arm is"),
    ],
)
def test_what_is_no_arm_is_refused_with_what_is(word, says, hint):
    with pytest.raises(TrainError) as caught:
        parse_arms([word], TEXTS)
    assert says in str(caught.value)
    assert hint in caught.value.hint


def test_every_head_has_a_name_among_arms():
    assert {head for heads in HEADS_OF.values() for head in heads.values()} == set(HEADS)
    assert set(HEADS_OF["fusion"]) == set(AXES["head"])


def test_smaller_shares_of_the_patients_are_part_of_larger_ones():
    patients = [f"p{number // 2}" for number in range(200)]
    shares = [nested_patients(np.array(patients), fraction, (0, 0, 3)) for fraction in (0.1, 0.25, 1)]
    assert [len(share) for share in shares] == [10, 25, 100]
    assert set(shares[0]) < set(shares[1]) < set(shares[2]) == set(patients)
    assert set(shares[0]) != set(nested_patients(np.array(patients), 0.1, (0, 0, 4)))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    return plant(tmp_path_factory.mktemp("arms"), Planted(studies=120, image=1.0, text=1.0, kinds=1.0))


@pytest.mark.parametrize(("arm", "label_set"), [
    ("fusion", "normal_abnormal"), ("gated", "normal_abnormal"), ("attention", "normal_abnormal"), ("fusion", "kind"),
])  # fmt: skip
def test_all_pairings_are_what_the_head_says_one_by_one(dataset, arm, label_set):
    chosen = parse_arms([arm])[0]
    features = paired_features(dataset, [chosen], Inputs(label_set))[chosen]
    split = choose_split(dataset, label_set)
    plan = Plan("", "default", Options(epochs=3), (0,))
    job = job_of(FitJob(dataset, features, split, plan), chosen)
    weights = fit([job])[0].weights()["repeat0.fold0.seed0"]
    index = np.arange(0, 24, 2)
    pairs = pairings_of(job, weights, index)
    found = pairs.logits(np.arange(12), np.arange(12))
    rows = rows_of(features, ("image", "text"))
    a, b = np.repeat(index, 12), np.tile(index, 12)
    for name, order in (("image", a), ("text", b)):
        rows.blocks[name], rows.present[name] = features.blocks[name][order], features.present[name][order]
    tiled = type(rows)(rows.blocks, rows.present, rows.y[a], rows.task, rows.groups[a])
    expected = loop.predict(tiled, chosen.head, weights, index=np.arange(len(a)))
    np.testing.assert_allclose(found.reshape(len(a), -1), expected.logit, atol=2e-5)
    np.testing.assert_allclose(probabilities(found.reshape(len(a), -1), rows.task), expected.prob, atol=1e-5)
    assert (pairs.means is None) == (arm == "gated")
    if pairs.means:  # in closed form what the mean of all these pairings is
        some = np.array([7, 0, 3, 11, 4])
        own, of_image, of_text = pairs.means(some)
        table = found[np.ix_(some, some)]
        np.testing.assert_allclose(own, table[np.arange(5), np.arange(5)], atol=2e-5)
        np.testing.assert_allclose(of_image, table.mean(axis=1), atol=2e-5)
        np.testing.assert_allclose(of_text, table.mean(axis=0), atol=2e-5)


def test_the_mean_of_positive_parts_is_that_of_all_sums():
    rng = np.random.default_rng(0)
    a, b = np.round(rng.normal(size=(40, 3)), 1), np.round(rng.normal(size=(30, 3)), 1)  # with ties, and sums of 0
    assert mean_positive(a, b) == pytest.approx(np.maximum(a[:, None] + b, 0).mean(axis=1), abs=1e-12)
    assert mean_positive(a, np.full((4, 3), -9.0)) == pytest.approx(np.zeros((40, 3)))


def test_another_pooling_of_the_same_store_is_read(dataset):
    store = open_store(dataset, "biobert")
    image, cls = parse_arms(["image", "text[pooling=cls]"])
    features = paired_features(dataset, [image, cls], Inputs())[cls]
    assert features.pooling == {"image": "avg", "text": store.pooling}
    ids, vectors = store.vectors("findings+impression")
    place = {study: row for row, study in enumerate(ids)}
    np.testing.assert_array_equal(features.blocks["text"], vectors[[place[s] for s in features.study_ids.tolist()]])
    with pytest.raises(TrainError, match="no store has pooling max") as caught:
        paired_features(dataset, parse_arms(["text[pooling=max]"]), Inputs())
    assert "has cls" in caught.value.hint


def test_an_encoder_must_be_there_and_read_what_the_arm_reads(dataset):
    with pytest.raises(StoreError, match="no store of 'resnet50'"):
        paired_features(dataset, parse_arms(["image[encoder=resnet50]"]), Inputs())
    with pytest.raises(StoreError, match="encodes text"):
        paired_features(dataset, parse_arms(["image[encoder=biobert]"]), Inputs())


def test_arms_that_read_the_same_share_it_and_are_one_stack(dataset):
    arms = parse_arms(["fusion", "fusion[missing=image]", "fusion[train-fraction=0.5]", "image"])
    features = paired_features(dataset, arms, Inputs())
    assert len({id(found) for found in features.values()}) == 1
    split = choose_split(dataset, "normal_abnormal")
    plan = Plan("", "default", Options(epochs=2), (0, 1))
    jobs = [job_of(FitJob(dataset, features[arm], split, plan), arm) for arm in arms[:3]]
    whole, masked, half = fit(jobs)
    assert [run.record.train_fraction for run in (whole, masked, half)] == [1.0, 1.0, 0.5]
    for name, weights in whole.weights().items():
        other = masked.weights()[name]
        for parameter, values in weights.items():
            np.testing.assert_array_equal(values, other[parameter])
        assert any((values != half.weights()[name][parameter]).any() for parameter, values in weights.items())
    assert not masked.prediction_rows["y_prob"].equals(whole.prediction_rows["y_prob"])
    alone = fit([replace(jobs[2], plan=replace(plan, arm="other"))])
    np.testing.assert_allclose(alone[0].prediction_rows["y_prob"], half.prediction_rows["y_prob"], atol=1e-5)
    assert [run.reused for run in fit(jobs)] == [True] * 3


def test_arms_without_a_row_in_common_are_refused(tmp_path):
    dataset = plant(tmp_path, Planted(studies=60, text=1.0), modalities=())
    studies = dataset.studies["study_id"].to_pylist()
    for name, own in (("biobert", studies[:30]), ("minilm", studies[30:])):
        write_store(dataset, name, "text", own, np.ones((30, 2), dtype=np.float32))
    arms = parse_arms(["text[encoder=biobert]", "text[encoder=minilm]"])
    with pytest.raises(Exception, match="no row has all that the arms read"):
        paired_features(dataset, arms, Inputs())
