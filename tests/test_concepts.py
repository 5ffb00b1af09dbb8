"""Concepts: what shipped and own tables say of labels, whole labels only, and values in which missing stays missing."""

import gzip
import importlib.resources
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner
from written import write_dataset

from cxremb.cli.main import app
from cxremb.concepts import concept_labels, read_concepts, sources_of
from cxremb.datasets import chexpert_labels, medmnist, mimic_tables, nih, rsna
from cxremb.errors import DataError, StoreError
from cxremb.labels import read_labels
from cxremb.store.check import check_tables
from cxremb.store.concepts import VOCABULARIES, meanings_of, read_meanings, shipped_meanings, store_meanings
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.layout import DatasetPaths
from cxremb.store.sql import query

XRV = {  # torchxrayvision.datasets.default_pathologies
    *("Atelectasis", "Consolidation", "Infiltration", "Pneumothorax", "Edema", "Emphysema", "Fibrosis", "Effusion"),
    *("Pneumonia", "Pleural_Thickening", "Cardiomegaly", "Nodule", "Mass", "Hernia", "Lung Lesion", "Fracture"),
    *("Lung Opacity", "Enlarged Cardiomediastinum"),
}


def labelled(root: Path, sets: dict[str, dict[str, list[float | None]]], *, name: str = "one", **about: str) -> Dataset:
    """A data set whose studies s0, s1, ... have these values: label set -> label -> value of each study."""
    n = len(next(iter(next(iter(sets.values())).values())))
    studies = {"study_id": [f"s{i}" for i in range(n)], "patient_id": [f"p{i}" for i in range(n)]}
    rows = [
        {"study_id": f"s{i}", "label_set": set_name, "label": label, "value": value}
        for set_name, labels in sets.items()
        for label, values in labels.items()
        for i, value in enumerate(values)
        if value is not None
    ]
    definitions = {
        set_name: {"task": "multilabel", "means": "", "labels": list(labels), "policy": "", "version": "0"}
        for set_name, labels in sets.items()
    }
    tables = {"studies": pa.table(studies), "labels": pa.Table.from_pylist(rows)}
    return write_dataset(DatasetPaths(root, name), tables, {"simulated": True, "label_sets": definitions, **about})


def table(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["label_set,label,concept,relation,source", *rows]) + "\n", encoding="utf-8")
    return path


def values(dataset: Dataset, concept: str, vocabulary: str = "torchxrayvision") -> list[float | None]:
    """Of each study in order; None: missing."""
    labels = concept_labels(dataset, [concept], vocabulary)
    found = dict(zip(labels.study_ids, labels.values[:, 0].tolist(), strict=True))
    return [found.get(study) for study in dataset.studies["study_id"].to_pylist()]


def test_two_vocabularies_ship() -> None:
    of = {source: {row.concept for row in shipped_meanings() if row.source == source} for source in VOCABULARIES}
    assert of["chexpert"] == set(chexpert_labels.LABELS)
    assert of["torchxrayvision"] == XRV
    assert {row.source for row in shipped_meanings()} == {*VOCABULARIES, "cxremb"}
    once = Counter((row.label_set, row.label, row.concept, row.source) for row in shipped_meanings())
    assert once.most_common(1)[0][1] == 1, "a label has one relation to a concept"


@pytest.mark.parametrize(
    ("label_set", "labels"),
    [
        ("chexpert", chexpert_labels.LABELS),
        ("brax", chexpert_labels.LABELS),
        ("negbio", chexpert_labels.LABELS),
        (mimic_tables.BY_HAND, chexpert_labels.LABELS),
        ("findings", nih.FINDINGS),
        ("google", nih.EXPERTS),
        ("findings", medmnist.published_sets()["chestmnist"].labels),
        ("class", medmnist.published_sets()["pneumoniamnist"].labels[1:]),
        ("class", (rsna.NAMES[0], rsna.NAMES[2])),
        ("normal_abnormal", ("abnormal",)),
        ("normal_abnormal_clean", ("abnormal",)),
        ("pneumonia", ("pneumonia",)),
        ("pneumothorax", ("pneumothorax",)),
        ("kind", ("bacteria", "virus")),
    ],
)
def test_the_readers_labels_are_in_the_table(label_set: str, labels: tuple[str, ...]) -> None:
    meant = {row.label for row in shipped_meanings() if row.label_set == label_set}
    assert set(labels) <= meant


def real_words(name: str, column: str) -> set[str]:
    """Whole labels of a real table of torchxrayvision."""
    pytest.importorskip("torchxrayvision", reason="torchxrayvision, whose tables these are, is not installed")
    import csv

    path = importlib.resources.files("torchxrayvision").joinpath("data", name)
    with path.open("rb") as raw, gzip.open(raw, "rt", encoding="utf-8") as text:
        return {word.strip(" '[]") for row in csv.DictReader(text) for word in row[column].split(", ")}


def test_what_the_table_says_of_padchest_and_vindr_are_labels_of_theirs() -> None:
    padchest = real_words("PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz", "Labels")
    assert {"pseudonodule", "hiatal hernia", "loculated pleural effusion"} <= padchest
    ours = {row.label for row in shipped_meanings() if row.label_set == "findings"}
    assert "pseudonodule" not in ours
    mnist = set(medmnist.published_sets()["chestmnist"].labels)
    lower = {label for label in ours if label[0].islower() or label == "NSG tube"} - mnist
    assert lower <= padchest, lower - padchest
    vindr = real_words("vinbigdata-train.csv.gz", "class_name")
    physionet = {"Edema", "Emphysema", "Pneumonia", "Lung tumor", "Rib fracture", "Clavicle fracture"}
    assert {row.label for row in shipped_meanings() if row.label_set == "vindr"} <= vindr | physionet


def test_a_narrower_label_never_says_no_and_a_broader_one_never_yes(tmp_path: Path) -> None:
    nan = None
    hernia = labelled(tmp_path, {"findings": {"hiatal hernia": [1, 0, nan], "nodule": [0, 0, 1]}})
    assert values(hernia, "Hernia") == [1, nan, nan]
    google = labelled(tmp_path, {"google": {"Nodule or mass": [1, 0, nan], "Fracture": [1, 1, 0]}}, name="google")
    assert values(google, "Nodule") == [nan, 0, nan]
    assert values(google, "Lung Lesion") == [1, 0, nan]
    words = {"pleural effusion": [1, 0, nan, 0, nan], "loculated pleural effusion": [0, 0, 0, 1, 1]}
    assert values(labelled(tmp_path, {"findings": words}, name="padchest"), "Effusion") == [1, 0, nan, 1, 1]
    twice = {"Emphysema": [1, 0, 0, nan], "Pulmonary Emphysema": [0, 0, nan, 1]}  # both are exact: MeSH has both
    assert values(labelled(tmp_path, {"findings": twice}, name="iu"), "Emphysema") == [1, 0, nan, 1]


def test_whole_labels_never_substrings(tmp_path: Path) -> None:
    found = labelled(tmp_path, {"findings": {"pseudonodule": [1, 0], "Nodules": [1, 0], "nodule ": [0, 1]}})
    assert meanings_of(found) == []
    with pytest.raises(DataError, match="no label that means a concept"):
        concept_labels(found)


def test_a_concept_is_of_one_label_set_the_default_first(tmp_path: Path) -> None:
    sets = {"negbio": {"Edema": [1.0, 0.0]}, "chexpert": {"Edema": [0.0, 1.0]}}
    assert sources_of(labelled(tmp_path, sets))["Edema"].label_set == "negbio"
    own = labelled(tmp_path, sets, name="two", default_label_set="chexpert")
    assert sources_of(own)["Edema"].label_set == "chexpert"
    assert concept_labels(own, ["Edema"], label_set="negbio").values[:, 0].tolist() == [1, 0]
    exact = labelled(tmp_path, {"kind": {"virus": [1, 0]}, "pneumonia": {"pneumonia": [1, 0]}}, name="three")
    assert sources_of(exact)["Pneumonia"].label_set == "pneumonia"  # `kind` comes first, and only narrows
    with pytest.raises(DataError, match="no label set 'nebgio'") as problem:
        sources_of(own, label_set="nebgio")
    assert "did you mean negbio?" in problem.value.hint


def test_several_concepts_are_one_matrix_with_a_version(tmp_path: Path) -> None:
    found = labelled(tmp_path, {"findings": {"Effusion": [1, 0, None], "Edema": [None, 1, None]}})
    labels = concept_labels(found, ["Pleural Effusion", "Edema", "Fracture"])
    assert (labels.task, labels.names, labels.study_ids) == ("multilabel", ("Pleural Effusion", "Edema"), ("s0", "s1"))
    np.testing.assert_array_equal(labels.values, [[1, np.nan], [0, 1]])
    assert concept_labels(found, ["Edema"]).task == "binary"
    assert labels.version == concept_labels(found, ["Pleural Effusion", "Edema"]).version
    assert labels.version != concept_labels(found, ["Edema"]).version


def test_a_table_of_ones_own_is_kept_shown_and_replaces_what_ships(tmp_path: Path) -> None:
    found = labelled(tmp_path / "root", {"findings": {"hiatal hernia": [1, 0], "swollen": [0, 1], "nodule": [1, 1]}})
    mine = table(
        tmp_path / "mine.csv",
        "findings,hiatal hernia,Hernia,exact,Dr Roe",
        "findings,swollen,Edema,exact,Dr Roe",
        "elsewhere,nodule,Nodule,exact,Dr Roe",
    )
    shown = read_concepts(found, "torchxrayvision", file=mine)
    assert values(found, "Hernia") == [1, 0]
    assert values(found, "Edema") == [0, 1]
    assert [(one.concept, one.ones, one.zeros, one.missing) for one in shown.concepts] == [
        ("Hernia", 1, 1, 0),
        ("Edema", 1, 1, 0),
        ("Nodule", 2, 0, 0),
        ("Lung Lesion", 2, 0, 0),
    ]
    assert shown.notes[0].startswith("2 rows")
    assert shown.notes[1].startswith("labels in it that one does not have: ")
    said = query(tmp_path / "root", "select * from concepts where source = 'Dr Roe' order by label").to_pylist()
    assert said[0] == {
        "dataset": "one",
        "label_set": "findings",
        "label": "hiatal hernia",
        "concept": "Hernia",
        "relation": "exact",
        "source": "Dr Roe",
    }
    assert len(said) == 2
    ships = "select count(*) from concepts where label = 'nodule' and source in ('chexpert', 'torchxrayvision')"
    assert query(tmp_path / "root", ships).to_pylist()[0]["count_star()"] == 3


def test_the_view_has_a_row_for_each_label_that_means_something(tmp_path: Path) -> None:
    labelled(tmp_path, {"findings": {"Effusion": [1, 0], "Nodule": [0, 1], "strange": [0, 1]}}, name="nih")
    rows = query(tmp_path, "select label, concept, relation from concepts where source = 'chexpert' order by all")
    assert [tuple(row.values()) for row in rows.to_pylist()] == [
        ("Effusion", "Pleural Effusion", "exact"),
        ("Nodule", "Lung Lesion", "narrower"),
    ]


@pytest.mark.parametrize(
    ("row", "problem", "hint"),
    [
        ("findings,a,b,exakt,me", "line 2: no relation 'exakt'", "did you mean exact?"),
        ("findings,,b,exact,me", "line 2: label is empty", "fill the cell"),
        ('findings,a,"b, c",exact,me', "a comma in the concept", "write it without"),
        ("findings,nodule,b,exact,me\nfindings,nodule,b,exact,me", "line 3: the row of line 2 again", "remove one"),
        (f"findings,{'a' * 201},b,exact,me", "label is no name", "fill the cell"),
        (
            "findings,no such label,b,exact,me",
            "names no label of one; it names findings: no such label",
            "matched whole",
        ),
        ("findings,nodules,b,exact,me", "names no label of one", "did you mean findings: nodule?"),
    ],
)
def test_a_wrong_table_is_refused_and_changes_nothing(tmp_path: Path, row: str, problem: str, hint: str) -> None:
    found = labelled(tmp_path / "root", {"findings": {"nodule": [1, 0]}})
    with pytest.raises(DataError, match=problem) as error:
        store_meanings(found, table(tmp_path / "mine.csv", row))
    assert hint in error.value.hint
    assert not found.paths.concepts.exists()


def test_a_table_without_a_column_names_those_it_has(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("label,concept\na,b\n", encoding="utf-8")
    with pytest.raises(DataError, match="no column 'label_set', 'relation', 'source'; it has 'label', 'concept'"):
        read_meanings(path)


def test_a_damaged_table_is_named_by_sql_and_by_check(tmp_path: Path) -> None:
    found = labelled(tmp_path, {"findings": {"nodule": [1, 0]}})
    found.paths.concepts.write_text("nonsense\n", encoding="utf-8")
    with pytest.raises(StoreError, match=r"concepts\.csv: no column"):
        query(tmp_path, "select 1")
    assert [Path(one.where).name for one in check_tables(found)] == ["concepts.csv"]


def test_the_command_shows_them_and_what_has_none(tmp_path: Path) -> None:
    labelled(tmp_path, {"findings": {"Effusion": [1, 0], "strange": [0, 1]}})
    done = CliRunner().invoke(app, ["data", "concepts", "--root", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "Pleural Effusion" in done.output
    assert "1 label without a concept: findings: strange" in done.output
    csv_rows = CliRunner().invoke(app, ["data", "concepts", "one", "--root", str(tmp_path), "--format", "csv"])
    assert csv_rows.output.splitlines()[1] == 'Pleural Effusion,findings,"[""Effusion""]",1,1,0'


def test_without_a_name_those_of_every_data_set(tmp_path: Path, cxremb: Any) -> None:
    labelled(tmp_path, {"findings": {"Effusion": [1, 0]}})
    labelled(tmp_path, {"findings": {"Edema": [1, 1]}}, name="two")
    said = cxremb("data", "concepts", "--root", tmp_path).out
    assert re.findall(r"^(one|two): 1 concept", said, re.M) == ["one", "two"]
    told = json.loads(cxremb("data", "concepts", "--root", tmp_path, "--format", "json").out)
    assert [(one["dataset"], one["concepts"][0]["concept"]) for one in told] == [
        ("one", "Pleural Effusion"),
        ("two", "Edema"),
    ]
    rows = cxremb("data", "concepts", "--root", tmp_path, "--format", "csv").out.splitlines()
    assert rows[1:] == [
        'one,Pleural Effusion,findings,"[""Effusion""]",1,1,0',
        'two,Edema,findings,"[""Edema""]",2,0,0',
    ]
    kept = cxremb(
        "data", "concepts", "--file", table(tmp_path / "t.csv", "findings,Edema,X,exact,me"), "--root", tmp_path
    )
    assert (kept.code, "holds several data sets: one, two" in kept.err) == (1, True)


def test_labels_that_mean_nothing_yet_are_told_how_to_say_it(tmp_path: Path, cxremb: Any) -> None:
    labelled(tmp_path, {"ward": {"Infiltrat": [1, 0]}})
    done = cxremb("data", "concepts", "--root", tmp_path)
    assert "one: 0 concepts, words of chexpert\n" in done.out
    assert "cxremb data concepts --file TABLE.csv --dataset one" in " ".join(done.out.split())
    kept = cxremb(
        "data", "concepts", "--file", table(tmp_path / "t.csv", "ward,Infiltrat,X,exact,me"), "--root", tmp_path
    )
    assert "1 row of" in kept.out
    typo = table(tmp_path / "typo.csv", "ward,Infiltrat,X,exact,me", "ward,Infiltrt,X,exact,me")
    kept = cxremb("data", "concepts", "--file", typo, "--root", tmp_path)
    assert "labels in it that one does not have: ward: Infiltrt;" in " ".join(kept.out.split())


def test_concepts_become_a_label_set_like_any_other(tmp_path: Path) -> None:
    found = labelled(tmp_path, {"findings": {"Effusion": [1, 0, None], "Edema": [0, 1, 1], "strange": [0, 1, 0]}})
    done = CliRunner().invoke(app, ["data", "label", "shared", "--concepts", "chexpert", "--root", str(tmp_path)])
    assert done.exit_code == 0, done.output
    after = open_dataset(tmp_path, found.name)
    assert after.descriptor["label_sets"]["shared"]["concepts"] == "chexpert"
    labels = read_labels(after, "shared")
    assert (labels.task, labels.names) == ("multilabel", ("Edema", "Pleural Effusion"))
    np.testing.assert_array_equal(labels.values, [[0, 1], [1, 0], [1, np.nan]])
    assert sources_of(after, label_set="shared") == {}, "it is made of concepts, and no source of them"
    both = ["data", "label", "two", "--concepts", "chexpert", "--sql", "select 1", "--root", str(tmp_path)]
    assert CliRunner().invoke(app, both).exit_code == 2
