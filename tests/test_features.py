"""Rows, vectors and labels meet by id; what is missing is counted; what cannot work says what to type."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from planted import Planted, plant, write_store

from cxremb.errors import CxrembError, DataError, StoreError
from cxremb.features import caveats, load_features
from cxremb.store.dataset import Dataset, write_dataset
from cxremb.store.layout import BEFORE_READING, LABEL_SOURCE
from cxremb.store.reader import open_store

SMALL = Planted(studies=30, image=1.0, text=1.0)
BOTH = ("image", "text")


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    return plant(tmp_path, SMALL)


def rewritten(dataset: Dataset, **tables: pa.Table) -> Dataset:
    old = {name: getattr(dataset, name) for name in ("studies", "images", "reports", "labels")}
    about = {name: dataset.descriptor[name] for name in ("licence", "citation", "source", "notes", "simulated")}
    return write_dataset(dataset.paths, old | tables, about)


def test_each_image_row_carries_its_own_vector_its_studys_text_and_label(dataset):
    features = load_features(dataset, "normal_abnormal", BOTH)
    image = dict(zip(*open_store(dataset, "efficientnet_b1").vectors(), strict=True))
    text = dict(zip(*open_store(dataset, "biobert").vectors("findings+impression"), strict=True))
    label = dict(zip(*(dataset.labels[name].to_pylist() for name in ("study_id", "value")), strict=True))
    patient = dict(zip(*(dataset.studies[name].to_pylist() for name in ("study_id", "patient_id")), strict=True))
    assert features.item_ids.tolist() == dataset.images["image_id"].to_pylist()
    assert features.left_out == {}
    for row, (item, study) in enumerate(zip(features.item_ids.tolist(), features.study_ids.tolist(), strict=True)):
        assert item.startswith(study)
        np.testing.assert_array_equal(features.blocks["image"][row], image[item])
        np.testing.assert_array_equal(features.blocks["text"][row], text[study])
        np.testing.assert_array_equal(features.matrix(BOTH)[row], np.concatenate([image[item], text[study]]))
        assert features.y[row] == label[study]
        assert features.patient_ids[row] == patient[study]
    assert features.unit == "image"
    assert features.label == "abnormal"
    assert features.stores["image"].startswith("efficientnet_b1@")


def test_without_images_a_row_is_a_study(dataset):
    features = load_features(dataset, "normal_abnormal", ("text",))
    assert features.unit == "study"
    assert features.item_ids.tolist() == dataset.studies["study_id"].to_pylist()
    assert list(features.blocks) == ["text"]


def test_every_row_left_out_is_counted_once_under_its_first_reason(tmp_path):
    dataset = plant(tmp_path, SMALL, modalities=())
    images, studies = dataset.images["image_id"].to_pylist(), dataset.studies["study_id"].to_pylist()
    unlabelled, textless, unseen = set(studies[:2]), set(studies[1:4]), set(images[-3:])
    mask = pa.array([study not in unlabelled for study in dataset.labels["study_id"].to_pylist()])
    dataset = rewritten(dataset, labels=dataset.labels.filter(mask))
    seen = [image for image in images if image not in unseen]
    told = [study for study in studies if study not in textless]
    write_store(dataset, "efficientnet_b1", "image", seen, np.ones((len(seen), 4)))
    write_store(dataset, "biobert", "text", told, np.ones((len(told), 4)))
    features = load_features(dataset, "normal_abnormal", BOTH)

    counts = {"no label": 0, "no image embedding": 0, "no findings+impression text": 0}
    kept = []
    for image, study in zip(images, dataset.images["study_id"].to_pylist(), strict=True):
        if study in unlabelled:
            counts["no label"] += 1
        elif image in unseen:
            counts["no image embedding"] += 1
        elif study in textless:
            counts["no findings+impression text"] += 1
        else:
            kept.append(image)
    assert features.left_out == counts
    assert features.item_ids.tolist() == kept


def test_newest_of_several_stores_is_taken_and_named(dataset):
    studies = dataset.studies["study_id"].to_pylist()
    newer = np.full((len(studies), 3), 7.0)
    write_store(dataset, "minilm", "text", studies, newer, created="2026-11-02T00:00:00+00:00")
    features = load_features(dataset, "normal_abnormal", ("text",))
    assert np.all(features.blocks["text"] == 7)
    assert "newest of 2 text stores: minilm@" in features.notes[0]
    chosen = load_features(dataset, "normal_abnormal", ("text",), text_model="biobert")
    assert chosen.blocks["text"].shape[1] == SMALL.dim
    assert not chosen.notes


def test_digest_follows_labels_rows_and_store_versions(dataset):
    features = load_features(dataset, "normal_abnormal", BOTH)
    assert load_features(dataset, "normal_abnormal", BOTH).digest == features.digest
    flipped = replace(features, y=1 - features.y)
    newer = replace(features, stores={**features.stores, "text": "biobert@0 v2"})
    fewer = replace(features, item_ids=features.item_ids[::-1])
    other = replace(features, text_role=BEFORE_READING)  # else a run with the wrong caveat would be re-used
    assert features.text_role == LABEL_SOURCE
    assert len({features.digest, flipped.digest, newer.digest, fewer.digest, other.digest}) == 5


@pytest.mark.parametrize(
    ("stores", "asked", "error", "says"),
    [
        ((), {"modalities": ("image",)}, StoreError, "cxremb embed --model efficientnet_b1"),
        (("image",), {"modalities": BOTH}, StoreError, "cxremb embed --model biobert"),
        (BOTH, {"modalities": BOTH, "label_set": "unheard_of"}, CxrembError, ""),
        (BOTH, {"modalities": ("text",), "text": "indication"}, StoreError, "--text"),
        (BOTH, {"modalities": ("text",), "text": "findings"}, StoreError, "cxremb embed --model biobert"),
        (BOTH, {"modalities": ("text",), "text_model": "efficientnet_b1"}, StoreError, "--text-model"),
        (BOTH, {"modalities": ("text",), "text_model": "unheard_of"}, StoreError, "cxremb embed --model unheard_of"),
    ],
)
def test_what_is_missing_says_what_to_type(tmp_path, stores, asked, error, says):
    dataset = plant(tmp_path, SMALL, modalities=stores)
    with pytest.raises(error) as caught:
        load_features(dataset, **{"label_set": "normal_abnormal", **asked})
    assert says in caught.value.hint
    assert caught.value.hint


def test_no_row_left_is_an_error(tmp_path):
    dataset = plant(tmp_path, SMALL, modalities=("text",))
    write_store(dataset, "efficientnet_b1", "image", ["gone"], np.ones((1, 4)))
    with pytest.raises(DataError, match="40 no image embedding"):
        load_features(dataset, "normal_abnormal", BOTH)


@pytest.mark.parametrize(
    ("blocks", "role", "simulated", "said"),
    [
        (BOTH, LABEL_SOURCE, True, ["simulated images", "label recovery, not diagnosis"]),
        (("text",), LABEL_SOURCE, True, ["label recovery, not diagnosis"]),
        (("text",), BEFORE_READING, True, []),
        (BOTH, BEFORE_READING, True, ["simulated images"]),
        (("image",), LABEL_SOURCE, False, []),  # the fusion beside it reads the text; this arm does not
        (("image",), None, True, ["simulated images"]),
        (("image",), None, False, []),
    ],
)
def test_caveats_follow_what_the_arm_reads(blocks, role, simulated, said):
    found = caveats(blocks, role, simulated)
    assert [line.split(":")[0] for line in found] == said
