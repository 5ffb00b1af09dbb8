"""Rows, vectors and labels meet by id; what is missing is counted; what cannot work says what to type."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from planted import FOUND, KINDS, Planted, plant, write_store
from written import write_dataset

from cxremb.caveats import caveats
from cxremb.encoders.weights import suggested
from cxremb.errors import CxrembError, DataError, StoreError
from cxremb.features import Inputs, load_features
from cxremb.store.dataset import Dataset
from cxremb.store.files import replace_table
from cxremb.store.layout import BEFORE_READING, IMAGES, LABEL_SOURCE, STUDIES
from cxremb.store.manifest import publish
from cxremb.store.reader import open_store

SMALL = Planted(studies=30, image=1.0, text=1.0)
BOTH = ("image", "text")


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    return plant(tmp_path, SMALL)


def rewritten(dataset: Dataset, **tables: pa.Table) -> Dataset:
    old = {name: getattr(dataset, name) for name in ("studies", "images", "reports", "labels")}
    kept = ("licence", "citation", "source", "notes", "simulated", "label_sets")
    about = {name: dataset.descriptor[name] for name in kept}
    return write_dataset(dataset.paths, old | tables, about)


def test_each_image_row_carries_its_own_vector_its_studys_text_and_label(dataset):
    features = load_features(dataset, BOTH)
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
        assert features.y[row].tolist() == [label[study]]
        assert features.patient_ids[row] == patient[study]
    assert features.unit == "image"
    assert (features.labels, features.task) == (("abnormal",), "binary")
    assert all(there.all() for there in features.present.values())
    assert features.stores["image"].startswith("efficientnet_b1@")


def test_without_images_a_row_is_a_study(dataset):
    features = load_features(dataset, ("text",))
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
    features = load_features(dataset, BOTH)

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
    features = load_features(dataset, ("text",))
    assert np.all(np.asarray(features.blocks["text"]) == 7)
    assert "newest of 2 text stores: minilm@" in features.notes[0]
    chosen = load_features(dataset, ("text",), Inputs(text_model="biobert"))
    assert chosen.blocks["text"].shape[1] == SMALL.dim
    assert not chosen.notes


def test_digest_follows_all_that_decides_a_result_and_nothing_else(dataset):
    features = load_features(dataset, BOTH)
    assert load_features(dataset, BOTH).digest == features.digest
    versions = {name: title.replace(" v1", " v2") for name, title in features.stores.items()}
    assert versions != features.stores
    assert replace(features, stores=versions).digest == features.digest  # the same vectors under another version
    nudged = np.array(features.blocks["image"])
    nudged[7, 3] += np.float32(1e-3)  # one value of one vector
    told = {
        "y": 1 - features.y,
        "item_ids": features.item_ids[::-1],
        "patient_ids": features.patient_ids[::-1],
        "blocks": {**features.blocks, "image": nudged},
        "present": {**features.present, "text": ~features.present["text"]},
        "text_role": BEFORE_READING,  # else a run with the wrong caveat would be re-used
        "views": "frontal",
        "missing": "keep",
        "unit": "study",
        "task": "multilabel",
        "label_version": "1",
        "labels": ("normal",),
        "keys": {"image": "0"},
        "pooling": {"text": "mean"},
    }
    assert features.text_role == LABEL_SOURCE
    digests = {features.digest, *(replace(features, **{name: value}).digest for name, value in told.items())}
    assert len(digests) == 1 + len(told)


def test_digest_of_studies_follows_the_films_of_each(dataset):
    """Every third study has two films: one that moves to the next study leaves rows, ids and vectors as they were."""
    before = load_features(dataset, ("image",), Inputs(unit="study"))
    images = dataset.images.to_pylist()
    film = next(row for row in images if row["image_id"] == "s00000-lateral")
    film |= {"study_id": "s00001", "patient_id": "p00001"}
    corrected = rewritten(dataset, images=pa.Table.from_pylist(images, IMAGES))
    moved = load_features(corrected, ("image",), Inputs(unit="study"))
    assert moved.item_ids.tolist() == before.item_ids.tolist()
    assert moved.digest != before.digest


@pytest.mark.parametrize(
    ("stores", "asked", "error", "says"),
    [
        ((), {"modalities": ("image",)}, StoreError, f"cxremb embed --model {suggested('image')}"),
        (("image",), {"modalities": BOTH}, StoreError, f"cxremb embed --model {suggested('text')}"),
        (BOTH, {"modalities": BOTH, "label_set": "unheard_of"}, CxrembError, ""),
        (BOTH, {"modalities": ("text",), "text": "indication"}, StoreError, "--text"),
        (BOTH, {"modalities": ("text",), "text": "findings"}, StoreError, "cxremb embed --model biobert"),
        (BOTH, {"modalities": ("text",), "text_model": "efficientnet_b1"}, StoreError, "--text-model"),
        (BOTH, {"modalities": ("text",), "text_model": "unheard_of"}, StoreError, "cxremb models"),
    ],
)
def test_what_is_missing_says_what_to_type(tmp_path, stores, asked, error, says):
    dataset = plant(tmp_path, SMALL, modalities=stores)
    with pytest.raises(error) as caught:
        load_features(dataset, asked.pop("modalities"), Inputs(**asked))
    assert says in caught.value.hint
    assert caught.value.hint


def test_no_row_left_is_an_error(tmp_path):
    dataset = plant(tmp_path, SMALL, modalities=("text",))
    write_store(dataset, "efficientnet_b1", "image", ["gone"], np.ones((1, 4)))
    with pytest.raises(DataError, match="40 no image embedding"):
        load_features(dataset, BOTH)


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


LABELLED = Planted(studies=60, kinds=1.0)


@pytest.mark.parametrize(
    ("label_set", "task", "names"), [("kind", "multiclass", KINDS), ("found", "multilabel", FOUND)]
)
def test_several_labels_come_as_a_matrix_and_rows_without_any_are_counted(tmp_path, label_set, task, names):
    dataset = plant(tmp_path, LABELLED)
    features = load_features(dataset, BOTH, Inputs(label_set))
    rows = dataset.labels.filter(pc.equal(dataset.labels["label_set"], label_set)).to_pylist()
    known = {(row["study_id"], row["label"]): row["value"] for row in rows}
    assert (features.task, features.labels) == (task, names)
    assert features.y.shape == (len(features.item_ids), len(names))
    for study, values in zip(features.study_ids.tolist(), features.y.tolist(), strict=True):
        for name, value in zip(names, values, strict=True):
            assert known.get((study, name)) == (None if np.isnan(value) else value)
    labelled = {study for study, _ in known}
    without = sum(study not in labelled for study in dataset.images["study_id"].to_pylist())
    assert features.left_out == ({"no label": without} if without else {})
    assert (without > 0) == (label_set == "found")


def test_frontal_views_alone(dataset):
    features = load_features(dataset, BOTH, Inputs(views="frontal"))
    frontal = [row["image_id"] for row in dataset.images.to_pylist() if row["view"] == "frontal"]
    assert features.item_ids.tolist() == frontal
    assert features.left_out == {"not a frontal film": dataset.images.num_rows - len(frontal)}


@pytest.mark.parametrize("views", ["all", "frontal"])
def test_a_study_carries_all_its_films(tmp_path, views):
    dataset = plant(tmp_path, SMALL, modalities=("text",))
    images = dataset.images.to_pylist()
    lost = {images[0]["image_id"], images[2]["image_id"]}  # one of two films, and the only one of a study
    assert (images[0]["study_id"], images[2]["view"]) == (images[1]["study_id"], "frontal")
    vectors = {row["image_id"]: np.full(3, number + 1.0) for number, row in enumerate(images)}
    seen = [name for name in reversed(vectors) if name not in lost]  # the store's order means nothing
    write_store(dataset, "efficientnet_b1", "image", seen, np.array([vectors[name] for name in seen]))
    features = load_features(dataset, BOTH, Inputs(unit="study", views=views))
    films: dict[str, list[np.ndarray]] = {}
    for row in images:
        if row["image_id"] not in lost and views in ("all", row["view"]):
            films.setdefault(row["study_id"], []).append(vectors[row["image_id"]])
    assert features.unit == "study"
    assert features.item_ids.tolist() == [name for name in dataset.studies["study_id"].to_pylist() if name in films]
    assert features.blocks["image"].shape == (len(films), max(map(len, films.values())), 3)
    for row, study in enumerate(features.item_ids.tolist()):
        there = features.present["image"][row]
        np.testing.assert_array_equal(features.blocks["image"][row][there], films[study])
        assert not features.blocks["image"][row][~there].any()
    block = features.blocks["image"]
    assert len(block.vectors) == sum(map(len, films.values())) + 1  # however many films the largest study has
    some = features.take(np.arange(len(films))[::-2])
    np.testing.assert_array_equal(some.blocks["image"], np.asarray(block)[::-2])
    assert some.blocks["image"].vectors is block.vectors
    padded = replace(features, blocks={**features.blocks, "image": np.asarray(block)})
    assert padded.digest == features.digest  # what is trained on them is found again, however they are held
    np.testing.assert_array_equal(padded.to_torch()["image"], features.to_torch()["image"])
    assert padded.to_arrow().equals(features.to_arrow())
    assert features.left_out == {"no image embedding": SMALL.studies - len(films)}
    assert features.present["text"].all()


def test_rows_that_lack_a_modality_can_be_kept(tmp_path):
    dataset = plant(tmp_path, SMALL, modalities=())
    images, studies = dataset.images["image_id"].to_pylist(), dataset.studies["study_id"].to_pylist()
    write_store(dataset, "efficientnet_b1", "image", images[2:], np.ones((len(images) - 2, 4)))
    write_store(dataset, "biobert", "text", studies[1:], np.ones((len(studies) - 1, 4)))
    features = load_features(dataset, BOTH, Inputs(missing="keep"))
    study_of = dict(zip(images, dataset.images["study_id"].to_pylist(), strict=True))
    has_image, has_text = set(images[2:]), set(studies[1:])
    neither = [image for image in images if image not in has_image and study_of[image] not in has_text]
    assert features.left_out == {"no vector at all": len(neither)} == {"no vector at all": 2}
    assert features.present["image"].tolist() == [item in has_image for item in features.item_ids.tolist()]
    assert features.present["text"].tolist() == [study in has_text for study in features.study_ids.tolist()]
    for name, block in features.blocks.items():
        np.testing.assert_array_equal(np.asarray(block).any(axis=1), features.present[name])


def test_a_report_of_several_films_is_held_once_and_becomes_float32(tmp_path):
    dataset = plant(tmp_path, SMALL)
    features = load_features(dataset, BOTH)
    text, image = features.blocks["text"], features.blocks["image"]
    assert text.shape == (len(features.y), SMALL.dim)
    assert len(text.vectors) == len(np.unique(features.study_ids)) + 1 < len(features.y)
    assert (image.vectors.dtype, image.dtype, np.asarray(image).dtype, image[0].dtype) == ("f2", "f4", "f4", "f4")
    vectors = open_store(dataset, "biobert").load("findings+impression")
    place = dict(zip(vectors.ids.to_pylist(), vectors.vectors, strict=True))
    np.testing.assert_array_equal(text, [place[study].astype(np.float32) for study in features.study_ids.tolist()])
    assert not np.asarray(text.emptied()).any()


def test_rows_without_vectors_for_who_reads_pixels(tmp_path):
    dataset = plant(tmp_path, SMALL, modalities=())
    features = load_features(dataset, (), Inputs(unit="image"))
    assert features.item_ids.tolist() == dataset.images["image_id"].to_pylist()
    assert features.blocks == {}


@pytest.mark.parametrize("wrong", [{"views": "lateral"}, {"unit": "patient"}, {"missing": "impute"}])
def test_a_choice_that_there_is_not_lists_those_there_are(wrong):
    with pytest.raises(DataError, match=next(iter(wrong.values()))) as caught:
        Inputs(**wrong)
    assert "choose one of" in caught.value.hint


def test_whom_an_encoder_was_fine_tuned_on_is_read_and_a_lost_list_is_an_error(dataset):
    store = open_store(dataset, "efficientnet_b1")
    publish(
        replace(store.manifest, version=store.manifest.version + 1, provenance={"trained_on": "patients.parquet"}),
        store.folder,
    )
    with pytest.raises(StoreError, match=r"patients\.parquet") as caught:
        load_features(dataset, ("image",))
    assert "--finetune" in caught.value.hint
    table = pa.table({"patient_id": ["p00001", "p00002"]}).replace_schema_metadata({"split": "mine@0123"})
    replace_table(store.folder / "patients.parquet", table)
    seen = load_features(dataset, BOTH).seen
    assert list(seen) == ["image"]
    assert (seen["image"].patients, seen["image"].split) == ({"p00001", "p00002"}, "mine@0123")


def test_who_was_seen_is_known_by_the_name_of_now_too(dataset):
    """A patient of train, and one of whom only the epoch was chosen, are found to be others."""
    store = open_store(dataset, "efficientnet_b1")
    about = {"trained_on": "patients.parquet"}
    publish(replace(store.manifest, version=store.manifest.version + 1, provenance=about), store.folder)
    rows = {
        "patient_id": ["p00001", "p00001", "p00002", "p00003"],
        "part": ["train", "train", "val", "train"],
        "study_id": ["s00001", "no longer here", "s00002", None],
    }
    replace_table(store.folder / "patients.parquet", pa.table(rows))
    found = {"s00001": "p00007", "s00002": "p00008"}
    studies = [
        row | {"patient_id": found.get(row["study_id"], row["patient_id"])} for row in dataset.studies.to_pylist()
    ]
    seen = load_features(rewritten(dataset, studies=pa.Table.from_pylist(studies, STUDIES)), BOTH).seen["image"]
    assert seen.patients == {"p00001", "p00002", "p00003", "p00007", "p00008"}
    assert seen.epoch_only == {"p00002", "p00008"}


def test_where_no_film_is_frontal_the_hint_asks_for_views(dataset):
    views = pa.array([None] * dataset.images.num_rows, pa.string())
    images = dataset.images.set_column(dataset.images.schema.get_field_index("view"), "view", views)
    with pytest.raises(DataError, match=rf"\({images.num_rows} not a frontal film\)") as error:
        load_features(rewritten(dataset, images=images), BOTH, Inputs(views="frontal"))
    assert "select view, view_raw, count(*) from images" in error.value.hint
