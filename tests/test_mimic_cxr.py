import csv
import gzip
import shutil
import tracemalloc
import zipfile
from pathlib import Path

import duckdb
import mimic
import numpy as np
import pytest

from cxremb.catalog import add_collection
from cxremb.datasets.mimic_cxr import read
from cxremb.errors import DataError
from cxremb.labels import read_labels
from cxremb.store.readings import decided_sets
from cxremb.store.sql import query


@pytest.fixture
def tree(tmp_path: Path) -> tuple[Path, list[mimic.Film]]:
    """A small MIMIC-CXR-JPG, and the films in it."""
    return tmp_path, mimic.build_tree(tmp_path)


def drain(collection):
    """All studies, all images, and what was noted: what -> (count, examples)."""
    studies, images = list(collection.studies), list(collection.images)
    assert all(note.hint for note in collection.notes)
    return studies, images, {note.what: (note.count, tuple(note.examples)) for note in collection.notes}


def table(root: Path, kind: str) -> Path:
    return root / f"mimic-cxr-2.0.0-{kind}.csv.gz"


def rewrite(path: Path, change) -> None:
    """The table with `change` applied to its list of rows, header first."""
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.reader(file))
    with gzip.open(path, "wt", newline="") as file:
        csv.writer(file).writerows(change(rows))


def labelled(root: Path, rows: dict[int, dict[str, str]], kind: str = "chexpert") -> None:
    """The table of a labeller, blank but for what `rows` says."""
    cells = [["1", str(study), *(said.get(label, "") for label in mimic.LABELS)] for study, said in rows.items()]
    with gzip.open(table(root, kind), "wt", newline="") as file:
        csv.writer(file).writerows([["subject_id", "study_id", *mimic.LABELS], *cells])


def test_what_the_tables_say_is_what_comes(tree):
    root, films = tree
    studies, images, notes = drain(read(root, root / "mimic-cxr-reports"))
    views = {"PA": "PA", "AP": "AP", "LATERAL": "Lateral", "LL": "Lateral"}
    assert [(i.image_id, i.study_id, i.patient_id, i.view, i.path) for i in images] == [
        (
            film.dicom_id,
            str(film.study),
            str(film.patient),
            views[film.view],
            root / f"files/p10/p{film.patient}/s{film.study}/{film.dicom_id}.jpg",
        )
        for film in films
    ]
    assert all(image.path.is_file() for image in images)
    assert [(s.study_id, s.patient_id) for s in studies] == list(
        dict.fromkeys((str(film.study), str(film.patient)) for film in films)
    )
    by_id = {study.study_id: study for study in studies}
    assert len(by_id) == 15
    assert by_id["50000002"].sections == {
        "examination": "CHEST (PA AND LAT)",
        "indication": "___ year old with fever",
        "technique": "Chest, PA and lateral.",
        "comparison": "___",
        "findings": "Report number 50000002. No acute process. The heart is not enlarged.",
        "impression": "No acute process.",
    }
    assert [study.parts["official"] for study in studies] == ["train"] * 6 + ["val"] * 4 + ["test"] * 5
    assert not notes


def test_it_goes_into_the_store_and_comes_out(tree):
    root, films = tree
    added = add_collection(read(root, root / "mimic-cxr-reports"), root / "store")
    assert (added.counts["studies"], added.counts["patients"], added.counts["images"]) == (15, 5, len(films))
    assert added.counts["images_present"] == len(films)
    assert not added.notes
    with duckdb.connect() as connection:
        reports, images = (added.dataset.table_path(name) for name in ("reports", "images"))
        roles = dict(connection.execute(f"select distinct section, role from '{reports}'").fetchall())
        sizes = connection.execute(f"select distinct width, height from '{images}'").fetchall()
    assert roles == {
        **dict.fromkeys(("examination", "indication", "technique", "comparison"), "before reading"),
        **dict.fromkeys(("findings", "impression"), "label source"),
    }
    assert sizes == [(16, 20)]
    chexpert = read_labels(added.dataset, "chexpert")
    assert (chexpert.task, chexpert.names) == ("multilabel", mimic.LABELS)
    for study, row in zip(chexpert.study_ids, chexpert.values, strict=True):
        told = [{"1.0": 1.0, "0.0": 0.0}.get(cell) for cell in mimic.findings(int(study))]
        assert [None if value != value else value for value in row] == told  # noqa: PLR0124 - NaN is not itself
    abnormal = read_labels(added.dataset, "normal_abnormal")
    assert dict(zip(abnormal.study_ids, abnormal.values[:, 0], strict=True)) == {
        str(film.study): film.study % 2 for film in films
    }
    assert add_collection(read(root, root / "mimic-cxr-reports"), root / "store").changes == {}


@pytest.mark.parametrize(
    ("uncertain", "edema", "abnormal"),
    [
        ("ignore", {1: 1.0, 2: 0.0}, {1: 1.0, 4: 0.0, 6: 1.0}),
        ("zero", {1: 1.0, 2: 0.0, 3: 0.0}, {1: 1.0, 4: 0.0, 6: 1.0}),
        ("one", {1: 1.0, 2: 0.0, 3: 1.0}, {1: 1.0, 3: 1.0, 4: 0.0, 6: 1.0}),
    ],
)
def test_uncertain_is_what_was_what_of_and_is_recorded(tmp_path, uncertain, edema, abnormal):
    films = [mimic.Film(f"d{study}", 10000001, study, "PA") for study in range(1, 7)]
    mimic.write_tables(tmp_path, films)
    said = {
        1: {"Edema": "1.0"},
        2: {"Edema": "0.0"},
        3: {"Edema": "-1.0"},
        4: {"No Finding": "1", "Support Devices": "1"},
        5: {"Support Devices": "1.0"},
        6: {"No Finding": "1.0", "Fracture": "1.0"},
    }
    labelled(tmp_path, said)
    labelled(tmp_path, {}, "negbio")
    collection = read(tmp_path, uncertain=uncertain)
    labels = {
        int(study.study_id): {**study.labels, **decided_sets(collection.label_sets, study.readings)}
        for study in collection.studies
    }
    assert {n: v["chexpert"]["Edema"] for n, v in labels.items() if "Edema" in v.get("chexpert", {})} == edema
    assert {n: v["normal_abnormal"]["abnormal"] for n, v in labels.items() if "normal_abnormal" in v} == abnormal
    assert labels[5] == {"chexpert": {"Support Devices": 1.0}}
    assert all("negbio" not in values for values in labels.values())
    sets = {about.name: about for about in collection.label_sets}
    assert {name: about.task for name, about in sets.items()} == {
        "chexpert": "multilabel",
        "negbio": "multilabel",
        "normal_abnormal": "binary",
    }
    policy = {"ignore": "uncertain (-1) is missing", "zero": "uncertain (-1) is 0", "one": "uncertain (-1) is 1"}
    assert {about.policy.split(";")[0] for about in sets.values()} == {policy[uncertain]}
    assert collection.source["uncertain"] == uncertain


def test_what_a_radiologist_labelled_by_hand_is_a_set_of_its_own(tree):
    root, films = tree
    first, second, third = list(dict.fromkeys(film.study for film in films))[:3]
    (root / "mimic-cxr-2.1.0-test-set-labeled.csv").write_text(
        f"study_id,Airspace Opacity,Edema,No Finding\n{first},1.0,-1.0,\n{second},,0.0,1.0\n{third},,1.0,\n",
        encoding="utf-8",
    )
    added = add_collection(read(root), root / "store")
    assert query(root / "store", "select study_id, label, value from readings where label_set = 'radiologist'")[
        "label"
    ].to_pylist() == ["Edema", "Lung Opacity", "Edema", "No Finding", "Edema"]
    found = read_labels(added.dataset, "radiologist")
    values = {
        study: dict(zip(found.names, row, strict=True))
        for study, row in zip(found.study_ids, found.values, strict=True)
    }
    assert values[str(first)]["Lung Opacity"] == 1
    assert np.isnan(values[str(first)]["Edema"])
    assert (values[str(second)]["Edema"], values[str(second)]["No Finding"]) == (0, 1)
    assert read_labels(added.dataset).label_set == "normal_abnormal"
    assert not [note.what for note in added.notes if "radiologist" in note.what]


def test_an_archive_of_reports_says_the_same_as_the_folder(tree):
    root, films = tree
    studies = list(read(root, root / "mimic-cxr-reports").studies)
    archive = mimic.write_archive(root / "reports.zip", films)
    assert list(read(root, archive).studies) == studies
    with zipfile.ZipFile(root / "nested.zip", "w") as nested:
        nested.writestr("__MACOSX/files/p10/p10000000/._s50000001.txt", b"\x00")
        for path in sorted((root / "mimic-cxr-reports").rglob("*.txt")):
            nested.write(path, path.relative_to(root))
    assert list(read(root, root / "nested.zip").studies) == studies


def test_what_does_not_pair_is_counted(tree):
    root, films = tree
    texts = root / "mimic-cxr-reports" / "files" / "p10"
    report = {n: texts / f"p{films[n].patient}" / f"s{films[n].study}.txt" for n in (0, 2, 4, 5)}
    report[0].unlink()
    report[2].write_bytes(b" IMPRESSION:  Fi\xe8vre.")
    report[4].write_text(" \n")
    report[5].write_text(" FINAL REPORT\n Clear.")
    (texts / "p10999999").mkdir()
    (texts / "p10999999" / "s59999999.txt").write_text(" IMPRESSION: Clear.")
    (texts / "p10999999" / "notes.txt").write_text("no report")
    path = [root / f"files/p10/p{film.patient}/s{film.study}/{film.dicom_id}.jpg" for film in films]
    path[0].unlink()
    path[1].rename(path[1].with_suffix(".png"))  # a user's own resized copy
    stray = [path[0].parent / "stray.jpg", root / "files/p10/p10999999/s59999998/other.jpg"]
    for place in stray:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"")
    mimic.write_tables(root, [films[0]._replace(view=""), films[1]._replace(view="LAO"), *films[2:], films[2]])
    rewrite(table(root, "chexpert"), lambda rows: [rows[0], *rows[2:-1], ["1", "7", *[""] * 14]])
    table(root, "negbio").unlink()
    studies, images, notes = drain(read(root, root / "mimic-cxr-reports"))
    assert notes == {
        "tables that are not here": (1, ("mimic-cxr-*-negbio.csv.gz",)),
        "images listed twice, alike": (1, (films[2].dicom_id,)),
        "studies of the chexpert table that have neither image nor report": (1, ("7",)),
        "studies that the chexpert table does not name": (1, (str(films[0].study),)),
        "studies without a report": (1, (str(films[0].study),)),
        "reports without text": (1, (str(films[4].study),)),
        "reports that are not UTF-8": (1, (str(films[2].study),)),
        "reports with neither findings nor impression": (1, (str(films[5].study),)),
        "reports without an image": (1, ("59999999",)),
        "listed images that are not on disk": (1, (films[0].dicom_id,)),
        "images on disk that mimic-cxr-2.0.0-metadata.csv.gz does not list": (2, tuple(map(str, stray))),
        "images whose view is not known": (1, ("blank: 1",)),
    }
    assert len(images) == len(films)
    assert [image.path for image in images[:3]] == [None, path[1].with_suffix(".png"), path[2]]
    assert [image.view for image in images[:3]] == [None, "Oblique", "AP"]
    assert (studies[-1].study_id, studies[-1].patient_id) == ("59999999", "10999999")
    assert studies[1].sections == {"impression": "Fièvre."}


def test_tables_in_any_order_give_the_same(tree):
    root, films = tree
    _, images, _ = drain(read(root))
    mimic.write_tables(root, films[::2] + films[1::2])
    studies, shuffled, notes = drain(read(root))
    assert sorted(shuffled, key=lambda image: image.image_id) == sorted(images, key=lambda image: image.image_id)
    assert len(studies) == 15
    assert list(notes) == ["studies without a report"]


def test_plain_tables_and_other_versions_are_found_and_the_newest_taken(tree):
    root, films = tree
    for kind in mimic.HEADERS:
        with gzip.open(table(root, kind)) as packed:
            (root / f"mimic-cxr-2.10.0-{kind}.csv").write_bytes(b"\xef\xbb\xbf" + packed.read())
        table(root, kind).write_bytes(b"an older version, not read")
    collection = read(root)
    assert collection.source["metadata"] == "mimic-cxr-2.10.0-metadata.csv"
    assert len(list(collection.images)) == len(films)


def test_without_tables_the_films_are_those_on_disk(tree):
    root, films = tree
    for kind in mimic.HEADERS:
        table(root, kind).unlink()
    collection = read(root)
    studies, images, notes = drain(collection)
    assert {(i.image_id, i.study_id, i.patient_id, i.view) for i in images} == {
        (film.dicom_id, str(film.study), str(film.patient), None) for film in films
    }
    assert len(studies) == 15
    assert not collection.label_sets
    assert notes["images listed as they lie on disk, for want of the metadata table"] == (len(films), ())
    assert notes["tables that are not here"][0] == 4
    assert notes["images whose view is not known"][0] == len(films)


def test_tables_alone_are_enough(tree):
    root, films = tree
    shutil.rmtree(root / "files")
    _, images, notes = drain(read(root))
    assert {image.path for image in images} == {None}
    assert notes["listed images that are not on disk"][0] == len(films)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("metadata", lambda rows: [], "empty, it has no columns"),
        ("metadata", lambda rows: rows[:1], "no image in it"),
        ("metadata", lambda rows: [r[:4] for r in rows], "no column 'ViewPosition'; it has 'dicom_id'"),
        ("metadata", lambda rows: [*rows[:2], rows[2][:-1]], "line 3 has 11 cells, the header has 12"),
        ("metadata", lambda rows: [rows[0], ["", *rows[1][1:]]], "line 2 has no dicom_id"),
        ("metadata", lambda rows: [rows[0], ["a", "p1", *rows[1][2:]]], "line 2: subject_id 'p1' is not a number"),
        ("metadata", lambda rows: [*rows[:2], [rows[1][0], *rows[3][1:]]], "line 2 and line 3 list one image"),
        ("metadata", lambda rows: [*rows[:2], ["x", "10777777", *rows[1][2:]]], "line 3: study 50000001 is of patient"),
        ("chexpert", lambda rows: [r[:-1] for r in rows], "no column 'Support Devices'"),
        ("chexpert", lambda rows: [*rows[:2], [*rows[2][:2], "2.0", *rows[2][3:]]], "line 3: Atelectasis is '2.0'"),
        ("negbio", lambda rows: [*rows, [*rows[1][:2], *rows[2][2:]]], "line 17 contradicts an earlier line on study"),
        (
            "split",
            lambda rows: [*rows[:2], [*rows[2][:3], "holdback"]],
            "line 3: no part of a split is called 'holdback'",
        ),
        ("split", lambda rows: [*rows[:2], [*rows[2][:3], "test"]], "line 3 puts an image of study 50000001 into test"),
    ],
)
def test_a_bad_table_says_which_line_and_what_to_do(tree, kind, change, message):
    root, films = tree
    assert films[0].study == films[1].study == 50000001 != films[2].study
    rewrite(table(root, kind), change)
    with pytest.raises(DataError, match=message) as caught:
        read(root)
    assert str(table(root, kind)) in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[: len(content) // 2], "damaged after line"),
        (lambda content: b"<html>", "a web page, and no table"),  # as a server sends it that wants a password
        (lambda content: b"subject_id,study_id", "damaged .Not a gzipped file"),
        (lambda content: content[:-8] + b"\x00" * 4 + content[-4:], "damaged after line"),
        (
            lambda content: gzip.compress(gzip.decompress(content).replace(b"CHEST", b"CH\xe8ST")),
            "line 2 is not text in UTF-8",
        ),
        (lambda content: gzip.compress(gzip.decompress(content) + b'"cut off'), "damaged after line"),
    ],
)
def test_a_damaged_table_is_named(tree, damage, message):
    path = table(tree[0], "metadata")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        read(tree[0])
    assert str(path) in str(caught.value)


def test_a_wrong_folder_says_what_was_looked_for(tree, tmp_path):
    root, _ = tree
    (root / "empty").mkdir()
    (root / "bad.zip").write_bytes(b"PK no archive")
    zipfile.ZipFile(root / "other.zip", "w").close()
    for given, message in (
        ({"root": root / "empty"}, "neither mimic-cxr-2.0.0-metadata.csv.gz"),
        ({"root": root / "empty"}, r"nor a folder files/p10/p10000032"),
        ({"root": root / "gone"}, "gone: no such folder"),
        ({"root": root, "reports": root / "empty"}, r"looked for p10/p10000032/s50414267\.txt"),
        ({"root": root, "reports": root / "bad.zip"}, "damaged or incomplete archive"),
        ({"root": root, "reports": root / "other.zip"}, "no report in it"),
        ({"root": root, "uncertain": "maybe"}, "cannot be 'maybe'"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            read(**given)
        assert caught.value.hint


def test_a_damaged_report_in_an_archive_is_named(tree):
    root, films = tree
    archive = mimic.write_archive(root / "reports.zip", films)
    content = bytearray(archive.read_bytes())
    content[60:90] = bytes(30)
    archive.write_bytes(content)
    with pytest.raises(DataError, match=rf"reports\.zip: files/p10/p{films[0].patient}/s{films[0].study}\.txt"):
        list(read(root, archive).studies)


def test_what_is_held_grows_with_the_ids_alone(tmp_path):
    """At 20,000 films, which come as a stream; the published collection is 19 times as large."""
    mimic.write_tables(tmp_path, mimic.films(3430))
    tracemalloc.start()
    collection = read(tmp_path)
    studies, images = sum(1 for _ in collection.studies), sum(1 for _ in collection.images)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (studies, images) == (len(collection.studies), len(collection.images))
    assert images == pytest.approx(20_000, rel=0.01)
    assert peak / images < 500  # bytes: under 200 MB for all of MIMIC-CXR


def test_a_film_in_two_formats_is_the_published_one(tree):
    root, listed = tree
    film = listed[0]
    folder = root / "files" / mimic.study_folder(film.patient, film.study)
    (folder / f"{film.dicom_id}.png").write_bytes(b"made by somebody")
    collection = read(root)
    list(collection.studies)
    paths = {image.image_id: image.path for image in collection.images}
    assert paths[film.dicom_id] == folder / f"{film.dicom_id}.jpg"
    told = {note.what: note.count for note in collection.notes}
    assert told["images that are here in several formats"] == 1
