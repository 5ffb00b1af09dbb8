"""A finished run answers again only where all that decided it is as it was: contents, never names or numbers."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from planted import Planted, plant, write_store
from written import write_dataset

from cxremb.caveats import SOURCED
from cxremb.embedding.convert import convert
from cxremb.embedding.plan import wanted_items
from cxremb.embedding.trained_on import TuningPatients
from cxremb.errors import TrainError
from cxremb.features import Inputs, load_features
from cxremb.splits import choose_split, fold_parts
from cxremb.store.clean import remove
from cxremb.store.dataset import Dataset
from cxremb.store.layout import IMAGES, REPORTS, VALUES
from cxremb.store.outdated import text_contents
from cxremb.store.reader import open_store
from cxremb.training.finish import key_of
from cxremb.training.fit import FitJob, Plan, fit_run
from cxremb.training.presets import Options
from cxremb.training.runs import Run
from cxremb.training.scores import IN_TRAIN

QUICK = Plan("text", options=Options(epochs=2, batch_size=64), folds=(0,))


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    return plant(tmp_path, Planted(studies=60, text=1.0, seed=1), ("text",))


def trained(dataset: Dataset) -> Run:
    features = load_features(dataset, ("text",), Inputs())
    return fit_run(FitJob(dataset, features, choose_split(dataset, None), QUICK))


def with_reports(dataset: Dataset, reports: list[dict[str, str]]) -> Dataset:
    """The data set after its texts were edited; its stores are those of before."""
    tables = {name: getattr(dataset, name) for name in ("studies", "images", "labels")}
    about = {name: dataset.descriptor[name] for name in ("licence", "citation", "simulated", "label_sets")}
    return write_dataset(dataset.paths, tables | {"reports": pa.Table.from_pylist(reports, REPORTS)}, about)


def test_versions_that_begin_anew_bring_no_old_run_back(dataset):
    """Trained, the store removed, other vectors stored: its name and its version are those of before."""
    old, before = trained(dataset), load_features(dataset, ("text",))
    assert trained(dataset).run_id == old.run_id
    remove(open_store(dataset, "biobert").folder)
    write_store(dataset, "biobert", "text", before.item_ids.tolist(), -np.asarray(before.blocks["text"]))
    assert load_features(dataset, ("text",)).stores == before.stores
    new = trained(dataset)
    assert not new.reused
    assert np.abs(new.predictions().prob - old.predictions().prob).max() > 0.01


def test_a_share_of_the_patients_and_a_modality_taken_away_are_in_the_key(dataset):
    """Whatever the arm is called."""
    job = FitJob(dataset, load_features(dataset, ("text",)), choose_split(dataset, None), QUICK)
    jobs = (job, replace(job, train_fraction=0.5), replace(job, train_fraction=0.25), replace(job, missing="text"))
    assert len({key_of(one) for one in jobs}) == 4
    assert not fit_run(replace(job, missing="text")).reused


def test_a_version_more_of_the_same_vectors_changes_no_result(dataset):
    old, before = trained(dataset), load_features(dataset, ("text",))
    write_store(dataset, "biobert", "text", before.item_ids.tolist(), np.asarray(before.blocks["text"]))
    assert load_features(dataset, ("text",)).stores != before.stores
    assert trained(dataset).run_id == old.run_id


def test_vectors_that_lie_in_another_type_change_no_result(dataset):
    run = trained(dataset)
    assert convert(open_store(dataset, "biobert"), VALUES["float16"]).version == 2
    assert (trained(dataset).run_id, trained(dataset).reused) == (run.run_id, True)


def test_a_split_is_what_its_rows_say(dataset):
    """Two studies have changed places under the same name and key, as in a file that was edited."""
    old, split = trained(dataset), choose_split(dataset, None)
    parts = split.table["part"].to_pylist()
    here = parts.index("test")
    parts[here], parts[parts.index("train")] = "train", "test"
    column = split.table.column_names.index("part")
    other = replace(split, table=split.table.set_column(column, "part", pa.array(parts, pa.string())))
    new = fit_run(FitJob(dataset, load_features(dataset, ("text",)), other, QUICK))
    assert (new.reused, old.record.split_key) == (False, new.record.split_key)


def test_vectors_of_texts_that_have_changed_since_are_said_beside_every_figure(dataset):
    """The arm reads the old text while whatever reads words reads the new one."""
    old = trained(dataset)
    assert old.caveats == (SOURCED,)
    reports = dataset.reports.to_pylist()
    reports[3]["text"] = "another film"
    del reports[7]  # a text that is gone
    later = with_reports(dataset, reports)
    features = load_features(later, ("text",))
    assert features.outdated["text"].nonzero()[0].tolist() == [3, 7]
    assert features.take(np.arange(5)).outdated["text"].sum() == 1
    new = trained(later)
    assert not new.reused
    said = "2 of 60 rows read vectors of texts that have changed since: `cxremb refresh --model biobert@"
    assert new.caveats[-1].startswith(said)
    np.testing.assert_array_equal(new.predictions().prob, old.predictions().prob)


def test_other_words_make_another_run_though_the_vectors_are_those_of_before(dataset):
    """As many texts have changed in both: first none stands in train, then all of them do."""
    old, reports = trained(dataset), dataset.reports.to_pylist()
    parts = fold_parts(choose_split(dataset, None).table, 0, 0)
    known = next(row["text"] for row in reports if parts[row["study_id"]] == "train")
    tested = [row for row in reports if parts[row["study_id"]] == "test"]
    shares = []
    for words in ("other words of {}", known, known):
        for row in tested:
            row["text"] = words.format(row["study_id"])
        run = trained(with_reports(dataset, reports))
        shares.append((run.reused, run.metric(IN_TRAIN)[0]))
        np.testing.assert_array_equal(run.predictions().prob, old.predictions().prob)
    assert shares == [(False, 0), (False, 1), (True, 1)]


def test_vectors_of_films_that_have_changed_since(tmp_path):
    """Of a study one film is enough; a film that could not be read when it was added is taken to be what it was."""
    dataset = plant(tmp_path, Planted(studies=9, image=1.0), ("image",))
    images = dataset.images.to_pylist()
    images[1]["sha256"], images[3]["sha256"] = "1", None
    tables = {name: getattr(dataset, name) for name in ("studies", "reports", "labels")}
    about = {name: dataset.descriptor[name] for name in ("licence", "citation", "simulated", "label_sets")}
    later = write_dataset(dataset.paths, tables | {"images": pa.Table.from_pylist(images, IMAGES)}, about)
    for unit in ("image", "study"):
        features = load_features(later, ("image",), Inputs(unit=unit))
        outdated = features.item_ids[features.outdated["image"]].tolist()
        assert outdated == [images[1]["image_id"] if unit == "image" else images[1]["study_id"]]


def test_a_run_whose_encoder_has_by_now_seen_a_test_patient_is_refused(dataset):
    """As after `data add` found that patient to be one whom the encoder was tuned on; vectors are as before."""
    old, features, split = trained(dataset), load_features(dataset, ("text",)), choose_split(dataset, None)
    tested = old.predictions().of_part("test").patients[0]
    for whom, refused in (("nobody here", False), (tested, True)):
        seen = TuningPatients(dataset.name, None, None, [whom], [])
        job = FitJob(dataset, replace(features, seen={"text": seen}), split, QUICK)
        if not refused:
            assert fit_run(job).run_id == old.run_id
            continue
        with pytest.raises(TrainError, match=r"1 of the .* patients in val and test .* was fine-tuned on"):
            fit_run(job)


@pytest.mark.parametrize("name", ["findings", "impression", "findings+impression", "indication", "pre-read"])
def test_a_text_is_known_by_what_embed_knows_it_by(small, name):
    expected = {item.study_id: item.content for item in wanted_items(small, "text") if item.section == name}
    assert text_contents(small.reports, name) == expected != {}
