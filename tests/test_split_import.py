"""Splits by name: published ones read from what people publish, the reference systems' leaky one, and the gate."""

import csv
import gzip
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner
from written import write_dataset

import cxremb
from cxremb.cli.split import split as command
from cxremb.datasets.known_ids import KnownIds, RowIds
from cxremb.errors import CxrembError, DataError, SplitError
from cxremb.ids import clean_id
from cxremb.splits import (
    SplitSpec,
    StoredSplit,
    choose_split,
    fold_parts,
    import_split,
    new_split,
    read_published,
    shared_patients,
    store_published,
    stored_split,
)
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.layout import IMAGES, LABELS, REPORTS, STUDIES, DatasetPaths

Shown = dict[str, tuple[str, list[str]]]  # study -> patient, images


def dataset_of(root: Path, shown: Shown, values: dict[str, float], name: str = "shown") -> Dataset:
    """Studies with images that are listed and not there, and one binary label."""
    images = [
        {"image_id": image, "study_id": study, "patient_id": patient}
        for study, (patient, names) in shown.items()
        for image in names
    ]
    tables = {
        "studies": pa.Table.from_pylist([{"study_id": s, "patient_id": p} for s, (p, _) in shown.items()], STUDIES),
        "images": pa.Table.from_pylist(images, IMAGES),
        "reports": REPORTS.empty_table(),
        "labels": pa.Table.from_pylist(
            [{"study_id": s, "label_set": "ill", "label": "ill", "value": v} for s, v in values.items()], LABELS
        ),
    }
    about = {"task": "binary", "labels": ["ill"], "means": "", "policy": "", "version": "0"}
    return write_dataset(DatasetPaths(root, name), tables, {"simulated": True, "label_sets": {"ill": about}})


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """60 studies of 30 patients, named as MIMIC-CXR names them, two images each; every third is ill."""
    shown = {f"s{50 + n}": (f"p{10 + n // 2}", [f"i{n}a", f"i{n}b"]) for n in range(60)}
    return dataset_of(tmp_path, shown, {study: float(n % 3 == 0) for n, study in enumerate(shown)})


def by_patient(dataset: Dataset) -> dict[str, str]:
    """A sound split: patients dealt in turn."""
    parts = ("train", "train", "val", "test")
    return {f"s{50 + n}": parts[n // 2 % 4] for n in range(60)}


def written(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def table(header: str, rows: list[tuple[str, ...]], delimiter: str = ",") -> str:
    return "\n".join(delimiter.join(row) for row in (header.split(","), *rows)) + "\n"


def publications(folder: Path) -> dict[str, Path]:
    """The same split as people publish it."""
    parts = by_patient(None)
    images = [(f"i{int(study[1:]) - 50}{side}", study, part) for study, part in parts.items() for side in "ab"]
    mimic = [(image, study[1:], str((int(study[1:]) - 50) // 2 + 10), part) for image, study, part in images]
    long = {"val": "validate"}
    annotation = defaultdict(list)
    for image, study, _, part in mimic:
        annotation[part].append({"id": image, "study_id": int(study), "subject_id": 1, "image_path": [f"{image}.jpg"]})
    patients = sorted({(patient, part) for _, _, patient, part in mimic})
    files = {
        "annotation.json": json.dumps(annotation),
        "ids.json": json.dumps({part: [s for s in parts if parts[s] == part] for part in ("train", "val", "test")}),
        "mimic.csv.gz": table(
            "dicom_id,study_id,subject_id,split", [(*row[:3], long.get(row[3], row[3])) for row in mimic]
        ),
        "images.tsv": table("Image_ID,Part", [(image, part.upper()) for image, _, part in images], "\t"),
        "patients.csv": "\ufeff" + table("patient_id,split", patients, ";"),
    }
    return {name: written(folder / name, text) for name, text in files.items()}


def test_every_way_of_publishing_a_split_reads_the_same(dataset, tmp_path):
    expected = by_patient(dataset)
    keys = set()
    for file in publications(tmp_path).values():
        split = import_split(dataset, "official", file)
        assert fold_parts(split.table, 0, 0) == expected
        assert (split.by_image, split.leaky, split.notes) == (False, False, ())
        assert split.means == f"imported from {file.name}" or split.key in keys  # equal content is stored once
        keys.add(split.key)
    direct = store_published(dataset, "official", expected)
    assert keys == {direct.key}
    assert store_published(dataset, "other", expected).key != direct.key


def test_ids_of_openi_are_those_of_reports(tmp_path):
    shown = {str(n): (str(n), [f"CXR{n}_IM-0942-1001"]) for n in (1, 2384, 3999)}
    dataset = dataset_of(tmp_path, shown, {"1": 1.0, "2384": 0.0, "3999": 1.0})
    entries = {
        name: {"id": name, "image_path": [f"{name}/0.png", f"{name}/1.png"]}
        for name in ("CXR2384_IM-0942", "CXR1_IM-0001-1001", "CXR77_IM-2384")
    }
    ids = list(entries.values())
    file = written(tmp_path / "annotation.json", json.dumps({"train": ids[:1], "val": [], "test": ids[1:]}))
    split = import_split(dataset, "r2gen", file)
    assert fold_parts(split.table, 0, 0) == {"2384": "train", "1": "test"}
    assert (split.notes[0].count, split.notes[0].examples) == (1, ["CXR77_IM-2384"])
    chosen = choose_split(dataset, "ill", "r2gen")
    told = {note.what: (note.count, note.examples) for note in chosen.notes}
    assert told["labelled studies that split r2gen does not list: not used"] == (1, ["3999"])
    assert told["classes of ill that nobody has in train"] == (1, ["1"])


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "study_id,split\ns50,train\ns51,holdback\n", "'holdback' is no part"),
        ("a.csv", "study_id,split\ns50,train\ns51,test\ns50,test\n", "1 studies are in two parts: s50"),
        ("a.csv", "dicom_id,split\ni0a,train\ni0b,test\ni0a,test\n", "1 studies are in two parts: s50"),
        ("a.csv", "study_id,fold\ns50,1\n", "'1' is no part"),
        ("a.csv", "study_id,kind\ns50,1\n", "its columns are study_id, kind"),
        ("a.csv", "split\ntrain\n", "its columns are split"),
        ("a.csv", "study_id,split\n", "nobody is listed"),
        ("a.csv", "", "empty, it has no columns"),
        ("a.csv", "study_id,split\nmoon,train\nsun,test\n", "none of its 2 ids is in shown: moon, sun; here one is"),
        ("a.json", "{", "no lists of studies by part"),
        ("a.json", '["s50"]', "no lists of studies by part"),
        ("a.json", '{"train": [{"name": "s50"}]}', "no lists of studies by part"),
        ("a.json", '{"everything": ["s50"]}', "'everything' is no part"),
        ("a.csv.gz", None, "damaged (Not a gzipped file"),
        ("none.csv", None, "cannot be read"),
        ("a.csv", b"study_id,split\ns50,tr\xe4in\n", "line 2 is not text in UTF-8"),
    ],
)
def test_a_list_that_is_none_is_refused_with_the_reason(dataset, tmp_path, name, text, says):
    if name != "none.csv":
        content = text if isinstance(text, bytes) else ("not zipped" if text is None else text).encode()
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=re.escape(says)) as caught:
        import_split(dataset, "bad", tmp_path / name)
    assert caught.value.hint
    assert not list(dataset.paths.splits.glob("*"))


def test_a_published_split_must_be_of_this_data_set(dataset):
    parts = by_patient(dataset) | {f"x{n:02d}": "train" for n in range(12)}
    with pytest.raises(DataError, match=r"12 of 72 ids are of nobody in the data set: x00, .*x09 and 2 more"):
        store_published(dataset, "official", parts)
    for name, error in (("holdout", "made here"), ("a@b", "cannot name")):
        with pytest.raises(SplitError, match=error):
            store_published(dataset, name, by_patient(dataset))


def test_a_study_in_two_parts_by_image_makes_a_leaky_split_by_image(dataset, tmp_path):
    rows = [(f"i{n}{side}", "train" if side == "a" else "test") for n in range(60) for side in "ab"]
    split = import_split(dataset, "films", written(tmp_path / "films.csv", table("image_id,split", rows)))
    assert (split.by_image, split.leaky) == (True, True)
    assert fold_parts(split.table, 0, 0) == dict(rows)
    assert shared_patients(split.table) == 1.0
    again = choose_split(dataset, "ill", "films", allow_leaky=True)
    assert (again.key, again.by_image, again.leaky) == (split.key, True, True)


def test_data_show_names_every_stored_split(dataset, tmp_path, cxremb):
    files = [(f"i{n}{side}", "train" if side == "a" else "test") for n in range(60) for side in "ab"]
    leaky = import_split(dataset, "films", written(tmp_path / "films.csv", table("image_id,split", files)))
    made = stored_split(dataset, "ill")
    shown = json.loads(cxremb("data", "show", "--format", "json", "--root", dataset.paths.root).out)["splits"]
    assert [(one["name"], one["label_set"], one["leaky"]) for one in shown] == [
        (leaky.title, None, True),
        (made.title, "ill", False),
    ]
    said = cxremb("data", "show", "--root", dataset.paths.root).out
    assert f"split       {leaky.title}, LEAKY" in said
    assert f"split       {made.title} (ill)" in said


@pytest.mark.parametrize("own", [False, True])
def test_leaky_is_measured_by_the_patients_of_now(dataset, tmp_path, own):
    """A patient of train and one of test turn out to be one; and then not to be."""
    if own:
        split = new_split(dataset, "ill", SplitSpec(name="mine", folds=3))
    else:
        parts = {f"s{50 + n}": "train" if n < 40 else "val" if n < 50 else "test" for n in range(60)}
        split = store_published(dataset, "mine", parts)
    assert not choose_split(dataset, "ill", "mine").leaky
    rows = split.table.filter(pc.equal(split.table["fold"], 0)).to_pylist()
    first, second = (next(row["patient_id"] for row in rows if row["part"] == part) for part in ("train", "test"))
    merged = with_patients(dataset, {first: second})
    with pytest.raises(SplitError, match="shares patients between parts") as caught:
        choose_split(merged, "ill", "mine")
    assert "--allow-leaky" in caught.value.hint
    taken = choose_split(merged, "ill", "mine", allow_leaky=True)
    assert (taken.leaky, taken.key, taken.digest) == (True, split.key, split.digest)
    tested = [row for row in rows if row["part"] == "test"]
    shared = sum(row["patient_id"] == second for row in tested) / len(tested)
    assert shared_patients(taken.table) == pytest.approx(shared)
    assert not choose_split(with_patients(dataset, {}), "ill", "mine").leaky


def with_patients(dataset: Dataset, renamed: dict[str, str]) -> Dataset:
    """The data set again, some patients under another name."""
    tables = {name: getattr(dataset, name) for name in ("studies", "images", "reports", "labels")}
    for name in ("studies", "images"):
        rows = tables[name].to_pylist()
        for row in rows:
            row["patient_id"] = renamed.get(row["patient_id"], row["patient_id"])
        tables[name] = pa.Table.from_pylist(rows, tables[name].schema)
    about = {name: dataset.descriptor[name] for name in ("simulated", "label_sets")}
    return write_dataset(dataset.paths, tables, about)


def test_folders_that_share_patients_are_found_leaky_and_kept_behind_the_gate(tmp_path):
    """As in Kermany's collection: an image is a study, and the patient is in the name."""
    shown = {f"person{n // 3}_bacteria_{n}": (f"person{n // 3}", [f"person{n // 3}_bacteria_{n}"]) for n in range(60)}
    dataset = dataset_of(tmp_path, shown, {study: float(n % 2) for n, study in enumerate(shown)})
    folders = {study: "test" if n % 10 == 0 else "train" for n, study in enumerate(shown)}
    split = store_published(dataset, "folders", folders)
    train = {shown[study][0] for study in shown if folders[study] == "train"}
    shared = [shown[study][0] in train for study in shown if folders[study] == "test"]
    assert split.leaky
    assert shared_patients(split.table) == sum(shared) / len(shared) == 1.0
    with pytest.raises(SplitError, match="100% of its test rows are of patients who are in train too") as caught:
        choose_split(dataset, "ill", "folders")
    assert "--allow-leaky" in caught.value.hint
    assert choose_split(dataset, "ill", "folders", allow_leaky=True).leaky


def test_a_name_means_the_newest_of_those_that_fit_and_a_key_exactly_one(dataset):
    parts = by_patient(dataset)
    first = store_published(dataset, "official", parts)
    second = store_published(dataset, "official", {**parts, "s50": "val", "s51": "val"})
    assert choose_split(dataset, "ill", "official").key == second.key
    assert choose_split(dataset, "ill", first.title).key == first.key
    mine = new_split(dataset, "ill", SplitSpec("mine", folds=3, group=("patient",)))
    assert choose_split(dataset, "ill", "mine").table.equals(mine.table)
    assert choose_split(dataset, "ill").key == stored_split(dataset, "ill").key
    assert choose_split(dataset, "ill", "holdout").folds == (0,)
    with pytest.raises(SplitError, match="there is holdout, image-80-20, mine, official, patient-5fold") as caught:
        choose_split(dataset, "ill", "nonsense")
    assert "cxremb data split nonsense" in caught.value.hint
    with pytest.raises(SplitError, match="always means the same split"):
        new_split(dataset, "ill", SplitSpec(folds=3))


def test_a_split_made_for_one_label_set_is_not_taken_for_another(dataset):
    labels = dataset.labels
    other = pa.table({**{n: labels[n] for n in labels.schema.names}, "label_set": ["sick"] * 60})[:50]
    sets = dataset.descriptor["label_sets"]
    about = {"simulated": True, "label_sets": {**sets, "sick": {**sets["ill"]}}}
    tables = {"studies": dataset.studies, "images": dataset.images, "reports": dataset.reports}
    both = write_dataset(
        dataset.paths, {**tables, "labels": pa.concat_tables([labels, other.select(labels.schema.names)])}, about
    )
    ill, sick = (new_split(both, name, SplitSpec("mine")) for name in ("ill", "sick"))
    assert ill.key != sick.key
    assert choose_split(both, "ill", "mine").key == ill.key  # though the other is newer
    assert choose_split(both, "ill", sick.title).notes[0].count == 10  # labelled, and not listed
    assert "not used" in choose_split(both, "sick", ill.title).notes[0].what


def test_a_split_whose_test_part_has_no_label_is_refused(dataset, tmp_path):
    unlabelled = {study: "test" if study == "s50" else "train" for study in by_patient(dataset)}
    values = {study: 1.0 for study in unlabelled if study != "s50"}
    shown = {study: (study, [study]) for study in unlabelled}
    other = dataset_of(tmp_path / "other", shown, values)
    store_published(other, "official", unlabelled)
    with pytest.raises(SplitError, match="no study of its test part has a label of ill"):
        choose_split(other, "ill", "official")


def test_the_split_by_image_is_what_the_reference_systems_did(dataset):
    with pytest.raises(SplitError, match="films of one patient") as caught:
        choose_split(dataset, "ill", "image-80-20")
    assert "--allow-leaky" in caught.value.hint
    assert str(caught.value).count(".") == 2  # two sentences
    assert not list(dataset.paths.splits.glob("*"))
    split = choose_split(dataset, "ill", "image-80-20", allow_leaky=True)
    place = fold_parts(split.table, 0, 0)
    assert Counter(place.values()) == {"train": 96, "test": 24}
    assert set(place) == set(dataset.images["image_id"].to_pylist())
    assert (split.by_image, split.leaky, split.folds) == (True, True, (0,))
    again = choose_split(dataset, "ill", "image-80-20", allow_leaky=True)
    assert again.table.equals(split.table)


def test_the_real_films_split_by_image_share_their_patients(real_data, tmp_path):
    films, labels = defaultdict(list), {}
    with (real_data / "iu_xray" / "indiana_projections.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            films[row["uid"]].append(row["filename"])
    with (real_data / "iu_xray" / "indiana_reports.csv").open(encoding="utf-8", newline="") as file:
        labels = {row["uid"]: float(row["MeSH"] != "normal") for row in csv.DictReader(file)}
    dataset = dataset_of(tmp_path, {uid: (uid, films[uid]) for uid in labels}, labels)
    split = choose_split(dataset, "ill", "image-80-20", allow_leaky=True)
    place = fold_parts(split.table, 0, 0)
    assert Counter(place.values()) == {"train": 5972, "test": 1494}
    train = {uid for uid, names in films.items() for name in names if place[name] == "train"}
    shared = [uid in train for uid, names in films.items() for name in names if place[name] == "test"]
    assert shared_patients(split.table) == pytest.approx(sum(shared) / len(shared))
    assert 0.74 <= shared_patients(split.table) <= 0.78
    assert shared_patients(choose_split(dataset, "ill").table) == 0


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(command)
    return app


def told(app: typer.Typer, dataset: Dataset, *words: object) -> dict:
    """What the command says as JSON."""
    said = CliRunner().invoke(
        app, [*map(str, words), "--root", str(dataset.paths.root), "--label-set", "ill", "--format", "json"]
    )
    assert said.exit_code == 0, said.output
    return json.loads(said.stdout)


def test_the_command_makes_splits_and_counts_them(app, dataset):
    made = told(app, dataset, "mine", "--folds", 3, "--repeats", 2, "--group", "patient", "--seed", 4)
    split: StoredSplit = choose_split(dataset, "ill", f"mine@{made['key']}")
    assert made["groups"] == 30
    assert not made["leaky"]
    assert len(made["parts"]) == 2 * 3 * 3
    ill = dict(zip(*(dataset.labels[name].to_pylist() for name in ("study_id", "value")), strict=True))
    for row in made["parts"]:
        place = fold_parts(split.table, row["repeat"], row["fold"])
        studies = [study for study in place if place[study] == row["part"]]
        assert row["studies"] == len(studies) == 2 * row["patients"]
        assert row["prevalence"]["ill"] == pytest.approx(sum(ill[study] for study in studies) / len(studies))
    held = told(app, dataset, "held", "--holdout", "--group", "none")
    assert [row["part"] for row in held["parts"]] == ["train", "val", "test"]
    assert held["leaky"]
    assert "not grouped" in held["means"]


def test_the_command_imports_and_shows(app, dataset, tmp_path):
    file = publications(tmp_path)["mimic.csv.gz"]
    root = ["--root", str(dataset.paths.root)]
    said = CliRunner().invoke(app, ["official", "--from", str(file), *root], env={"COLUMNS": "100"}).stdout
    for words in ("imported from mimic.csv.gz", "train", "No patient is in two parts", "--split official"):
        assert words in said
    assert re.search(r"train +32 +16 +\d\d\.\d%", said)
    lax = (
        CliRunner().invoke(app, ["lax", "--group", "none", "--label-set", "ill", *root], env={"COLUMNS": "100"}).stdout
    )
    assert re.search(r"LEAKY: \d+\.\d% of test rows are of patients in train", lax)
    refused = CliRunner().invoke(app, ["lax", "--group", "ward", "--label-set", "ill", *root])
    assert isinstance(refused.exception, CxrembError)
    assert refused.exception.hint


def test_films_named_with_their_suffix_are_found(dataset: Dataset, tmp_path: Path) -> None:
    file = tmp_path / "nih.csv"
    images = dataset.images["image_id"].to_pylist()
    file.write_text("image_id,split\n" + "".join(f"{name}.png,{part_for(name)}\n" for name in images))
    stored = import_split(dataset, "nih", file)
    placed = fold_parts(stored.table, 0, 0)
    study_of = dict(zip(images, dataset.images["study_id"].to_pylist(), strict=True))
    assert placed == {study_of[name]: part_for(name) for name in images}


@pytest.mark.parametrize(
    ("header", "written"),
    [
        ("Image Index,Split", "{}.png"),
        ("filename,set", "C:\\data\\films\\{}.dcm"),
        ("path,Partition", "/data/films/{}.png"),
        ("image,subset", "{}"),
    ],
)
def test_films_are_found_under_the_headings_and_paths_that_people_use(
    header: str, written: str, dataset: Dataset, tmp_path: Path
) -> None:
    file, usual = tmp_path / "list.csv", tmp_path / "usual.csv"
    images = dataset.images["image_id"].to_pylist()
    file.write_text(f"{header}\n" + "".join(f"{written.format(name)},{part_for(name)}\n" for name in images))
    usual.write_text("image_id,split\n" + "".join(f"{name},{part_for(name)}\n" for name in images))
    assert read_published(file, dataset) == read_published(usual, dataset)


def test_films_of_a_table_of_another_machine_are_found_by_their_paths_there_and_by_name(tmp_path: Path) -> None:
    """`test/f1` is another film than `train/f1`, as ever."""
    names = [f"f{n}" for n in range(4)]
    films = tmp_path / "films" / "train"
    films.mkdir(parents=True)
    for n, name in enumerate(names):
        Image.new("L", (8, 8), 40 * n).save(films / f"{name}.png")

    def parts(name: str, images: Path, path: str, listed: str) -> dict[str, str]:
        table, published = tmp_path / f"{name}.csv", tmp_path / "list.csv"
        rows = (f"{path}{film}.png;{n}\n" for n, film in enumerate(names))
        table.write_text("Dateipfad;Patientennummer\n" + "".join(rows))
        cxremb.add("table", table, images=images, name=name, root=tmp_path / "stores")
        rows = (f"{listed}{film}.png,{'test' if film == 'f0' else 'train'}\n" for film in names)
        published.write_text("Image Index,split\n" + "".join(rows))
        return dict(read_published(published, open_dataset(tmp_path / "stores", name)).parts)

    placed = dict(zip(names, ("test", "train", "train", "train"), strict=True))
    for name, path in (("windows", "D:\\PACS\\x\\"), ("posix", "/srv/x/")):
        for listed in ("", "images_001/images/", path):
            assert parts(name, films, path, listed) == placed
    assert parts("here", films.parent, "train/", "train/") == {f"train/{film}": part for film, part in placed.items()}
    with pytest.raises(DataError, match="none of its 4 ids is in here") as refused:
        parts("here", films.parent, "train/", "test/")
    assert "select image_id, study_id, patient_id from images" in str(refused.value.hint)


def part_for(image: str) -> str:
    """The part that a film's number puts it into."""
    return "test" if int(image[1:-1]) % 5 == 0 else "train"


def test_a_list_of_nobody_here_shows_its_ids_beside_one_of_here(dataset: Dataset, tmp_path: Path) -> None:
    file = tmp_path / "other.csv"
    file.write_text("image_id,split\n" + "".join(f"q{n:02}.png,test\n" for n in range(12)))
    with pytest.raises(DataError, match=r"none of its 12 ids is in shown: q00.png, .* and 2 more; here one is"):
        import_split(dataset, "other", file)
    file.write_text("image_id,split\nq1.png,train\ni0a,test\n")
    (note,) = import_split(dataset, "other", file).notes
    assert (note.count, note.examples) == (1, ["q1.png"])


def test_a_list_of_names_alone_is_called_one(dataset: Dataset, tmp_path: Path) -> None:
    file = tmp_path / "test_list.txt"
    file.write_text("i0a.png\ni1a.png\n")
    with pytest.raises(DataError, match="a list of names alone, which says no part"):
        import_split(dataset, "nih", file)


def test_under_pseudonyms_an_id_is_spelled_as_it_is_without() -> None:
    """A film i7 is not film 7: only studies and patients have letters that MIMIC-CXR's folders put before them."""
    known = KnownIds(frozenset({"<50>"}), {"<7>": "<50>"}, {"<10>": ("<50>",)})
    plain = KnownIds(frozenset({"50"}), {"7": "50"}, {"10": ("50",)})
    for given in ({"image": "7.png"}, {"image": "i7"}, {"study": "s50"}, {"patient": "p10"}, {"patient": "10.0"}):
        row = RowIds(**given)
        found = known.studies_of(known.in_pseudonyms(row, lambda name: f"<{clean_id(name)}>"))
        assert found == tuple(f"<{study}>" for study in plain.studies_of(row)), given
