"""The table adapter: formats, roles, labels, texts, files, and what it refuses."""

import bz2
import gzip
import lzma
import math
import random
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import save_film

from cxremb.catalog import add_collection
from cxremb.datasets.table import TableSpec, read
from cxremb.datasets.table.read import NOTHING_KEPT
from cxremb.datasets.table.template import parse_template
from cxremb.errors import DataError
from cxremb.labels import label_from_readings, read_labels
from cxremb.store.readings import decided_sets, read_readings
from cxremb.types import Collection, Image, LabelSet, Policy, Study


def write(folder: Path, text: str, name: str = "table.csv") -> Path:
    """A CSV of `text`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def taken(collection: Collection) -> tuple[dict[str, Study], dict[str, Image], dict[str, tuple[int, list[str]]]]:
    """Studies and images by id, and notes by what they say: read once, studies first."""
    studies = {study.study_id: study for study in collection.studies}
    images = {image.image_id: image for image in collection.images}
    return studies, images, {note.what: (note.count, list(note.examples)) for note in collection.notes}


def read_text(folder: Path, text: str, **options: object) -> tuple[Collection, dict[str, Study], dict[str, Image]]:
    """What is read of a CSV of `text`."""
    collection = read(TableSpec(write(folder, text), "t", **options))  # type: ignore[arg-type]
    studies, images, _ = taken(collection)
    return collection, studies, images


def note(collection: Collection, words: str) -> tuple[int, list[str]]:
    """Count and examples of the one note that says these words."""
    found = [note for note in collection.notes if words in note.what]
    assert len(found) == 1, [note.what for note in collection.notes]
    return found[0].count, list(found[0].examples)


def decided_labels(collection: Collection, study: Study) -> dict[str, dict[str, float]]:
    """All labels of a study, as the store will have them: those that it has, and those that its readings decide."""
    return {**study.labels, **decided_sets(collection.label_sets, study.readings)}


# --- the real thing -------------------------------------------------------------------------------------------------


def sentence(row: Mapping[str, object]) -> str:
    """The template of the next test, written out by hand."""

    def known(name: str) -> bool:
        value = row[name]
        return not (value is None or value != value or value in (math.inf, -math.inf))  # noqa: PLR0124

    def number(name: str) -> str:
        value = float(row[name])  # type: ignore[arg-type]
        return str(int(value)) if value == int(value) else str(value)

    person = ", ".join([str(row["sex"]), *([f"{number('age')} years"] if known("age") else [])])
    blood = [f"CRP {number('crp_val')} mg/l"] if known("crp_val") else []
    blood += [f"LDH {number('ldh_val')} U/l"] if known("ldh_val") else []
    dimer = [f"D-dimer {number('d-dimer_val')}."] if known("d-dimer_val") else []
    return " ".join([f"{person}.", *([f"{', '.join(blood)}."] if blood else []), *dimer])


def test_hannover_as_pandas_reads_it(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "hannover"
    template = "{sex}, {age} years. CRP {crp_val} mg/l, LDH {ldh_val} U/l. D-dimer {d-dimer_val}."
    spec = TableSpec(
        folder / "data.csv",
        "hannover",
        folder / "png",
        {"id": "image_id", "patient": "patient_id"},
        labels=("modality=DX",),
        template=template,
        licence="CC BY 3.0",
    )
    dataset = add_collection(read(spec), tmp_path).dataset
    df = pd.read_csv(folder / "data.csv", dtype={"image_id": str, "patient_id": str})
    assert (len(df), df.patient_id.nunique()) == (243, 71)
    assert dict(zip(*dataset.studies.to_pydict().values(), strict=True)) == dict(
        zip(df.image_id, df.patient_id, strict=True)
    )
    images = dataset.images.to_pandas().set_index("image_id")
    assert images.path.map(lambda path: Path(path).name).to_dict() == {name: f"{name}.png" for name in df.image_id}
    assert images.view.to_dict() == dict(zip(df.image_id, df.projection.str.upper(), strict=True))
    assert images.view_raw.to_dict() == dict(zip(df.image_id, df.projection, strict=True))
    texts = dataset.reports.to_pandas()
    assert (texts.section == "clinical").all()
    assert (texts.role == "before reading").all()
    assert dict(zip(texts.study_id, texts.text, strict=True)) == {
        row["image_id"]: sentence(row) for row in df.to_dict("records")
    }
    labels = read_labels(dataset, "modality")
    assert (labels.task, labels.names) == ("binary", ("DX",))
    expected = dict(zip(df.image_id, (df.modality == "DX").astype(float), strict=True))
    assert dict(zip(labels.study_ids, labels.values[:, 0], strict=True)) == expected
    assert dataset.descriptor["source"]["patient"] == "column patient_id"
    assert dataset.descriptor["source"]["view"] == "column projection (guessed)"
    infinite = df[["crp_val", "ldh_val", "d-dimer_val"]].isin([math.inf, -math.inf]).any(axis=1).sum()
    notes = {note["what"]: note["count"] for note in dataset.descriptor["notes"]}
    blank = df.isna().all().sum()  # a heading without a value
    assert notes == {
        "studies with infinite readings in the columns of --text-template": infinite,
        "rows whose age is not known": df.age.isna().sum(),
        NOTHING_KEPT: blank,
    }


# --- formats --------------------------------------------------------------------------------------------------------

ROWS = [
    ("id", "patient_id", "findings", "sick"),
    ("001", "p1", "Größe normal, klar; gut | schön", "yes"),
    ("002", "p1", 'Zwei\nZeilen und "Wörter"', "no"),
    ("003", "p2", "", "nan"),
]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
def test_every_encoding_and_delimiter_says_the_same(
    encoding: str, delimiter: str, zipped: bool, tmp_path: Path
) -> None:
    cells = [['"' + cell.replace('"', '""') + '"' if set(cell) & set(',;\t|"\n') else cell for cell in r] for r in ROWS]
    content = "".join(delimiter.join(row) + "\r\n" for row in cells).encode(encoding)
    path = tmp_path / "table.csv"
    path.write_bytes(gzip.compress(content) if zipped else content)
    collection = read(TableSpec(path, "t", columns={"study": "id"}, labels=("sick",), texts=("findings",)))
    studies, images, notes = taken(collection)
    assert not images
    assert [(s.study_id, s.patient_id, dict(s.sections), s.labels) for s in studies.values()] == [
        ("001", "p1", {"findings": ROWS[1][2]}, {"sick": {"sick": 1.0}}),
        ("002", "p1", {"findings": ROWS[2][2]}, {"sick": {"sick": 0.0}}),
        ("003", "p2", {}, {}),
    ]
    told = {"latin-1": "cp1252"}.get(encoding, encoding)
    assert collection.source["format"].startswith(f"CSV ({told},")
    assert (f"table read as {told}, since it is not UTF-8" in notes) == (encoding in ("latin-1", "utf-16"))
    assert notes["labels that are blank"] == (1, ["sick of 003"])


def test_the_note_on_an_encoding_shows_headings_and_labels_and_no_other_cell(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = "id;Gerät;Befundung;text\n1;Ö;auffällig;Röntgen Müller\n2;Ö;gut;Röntgen Müller\n"
    path.write_bytes(rows.encode("cp1252"))
    spec = TableSpec(path, "t", columns={"study": "id"}, labels=("Befundung=auffällig",), texts=("findings=text",))
    assert taken(read(spec))[2]["table read as cp1252, since it is not UTF-8"] == (2, ["Gerät", "auffällig"])
    path.write_bytes("id;text\n1;Röntgen\n".encode("cp1252"))
    notes = taken(read(TableSpec(path, "t", columns={"study": "id"}, texts=("findings=text",))))[2]
    assert notes["table read as cp1252, since it is not UTF-8"] == (1, [str(path)])


def test_parquet_says_what_the_csv_says(tmp_path: Path) -> None:
    columns = {
        "study_id": [7, 8, 9],
        "patient": [1.0, 1.0, None],
        "sick": [True, None, False],
        "grade": [2.0, 0.0, math.nan],
        "seen": [["effusion", "mass"], [], ["mass"]],
        "crp": [3.0, 2.5, None],
        "unused": [b"\x00", b"\xff", b""],
    }
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table(columns), path)
    options = {"labels": ("sick", "grade", "seen"), "template": "CRP {crp}"}
    collection = read(TableSpec(path, "t", **options))  # type: ignore[arg-type]
    csv = "study_id,patient,sick,grade,seen,crp\n7,1,True,2.0,effusion|mass,3.0\n8,1,,0,,2.5\n9,,False,,mass,\n"
    same, expected, _ = read_text(tmp_path, csv, **options)
    assert taken(collection)[0] == expected
    assert (collection.label_sets, collection.source["format"]) == (same.label_sets, "Parquet")
    labels = {"sick": {"sick": 1.0}, "grade": {"2": 1.0}, "seen": {"effusion": 1.0, "mass": 1.0}}
    assert expected["7"] == Study("7", "1", {"clinical": "CRP 3"}, labels=labels, facts={"crp": "3"})
    assert expected["9"].patient_id == "9"
    assert note(collection, "studies without a patient") == (1, ["9"])


# --- labels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "task", "names", "values"),
    [
        (["1", "0.0", "-1"], "binary", ("x",), [{"x": 1.0}, {"x": 0.0}, None]),
        (["Yes", "NO", "nan"], "binary", ("x",), [{"x": 1.0}, {"x": 0.0}, None]),
        (["positive", "neg", "-1.0"], "binary", ("x",), [{"x": 1.0}, {"x": 0.0}, None]),
        (["PNEUMONIA", "NORMAL", ""], "binary", ("PNEUMONIA",), [{"PNEUMONIA": 1.0}, {"PNEUMONIA": 0.0}, None]),
        (["ill", "well", "well"], "binary", ("ill",), [{"ill": 1.0}, {"ill": 0.0}, {"ill": 0.0}]),
        (["b", "c", "a"], "multiclass", ("a", "b", "c"), [{"b": 1.0}, {"c": 1.0}, {"a": 1.0}]),
        (["10", "9.0", "0"], "multiclass", ("0", "9", "10"), [{"10": 1.0}, {"9": 1.0}, {"0": 1.0}]),
        (["a|b", "b", ""], "multilabel", ("a", "b"), [{"a": 1.0, "b": 1.0}, {"a": 0.0, "b": 1.0}, None]),
    ],
)
def test_a_column_of_labels(
    cells: list[str], task: str, names: tuple[str, ...], values: list[dict[str, float] | None], tmp_path: Path
) -> None:
    text = "study_id,x\n" + "".join(f'{number},"{cell}"\n' for number, cell in enumerate(cells))
    collection, studies, _ = read_text(tmp_path, text, labels=("x",))
    (label_set,) = collection.label_sets
    assert (label_set.name, label_set.task, tuple(label_set.labels)) == ("x", task, names)
    assert [decided_labels(collection, study).get("x") for study in studies.values()] == values
    assert sum(n.count for n in collection.notes if "labels" in n.what) == values.count(None)


def test_columns_that_say_yes_or_no_also_make_one_set(tmp_path: Path) -> None:
    text = "study_id,mass,nodule,sex\n1,1,0,f\n2,-1,1,m\n3,,,m\n"
    collection, studies, _ = read_text(tmp_path, text, labels=("mass", "nodule", "sex=m"))
    assert [(s.name, s.task, tuple(s.labels)) for s in collection.label_sets] == [
        ("mass", "binary", ("mass",)),
        ("nodule", "binary", ("nodule",)),
        ("sex", "binary", ("m",)),
        ("labels", "multilabel", ("mass", "nodule")),
    ]
    first, second, third = (decided_labels(collection, study) for study in studies.values())
    assert first["labels"] == {"mass": 1.0, "nodule": 0.0}
    assert second == {"nodule": {"nodule": 1.0}, "labels": {"nodule": 1.0}, "sex": {"m": 1.0}}
    assert third == {"sex": {"m": 1.0}}
    assert studies["2"].readings == {"labels": {"": {"mass": -1.0, "nodule": 1.0}}}
    assert not studies["3"].readings
    (unsure,) = (one for one in collection.notes if one.what == "labels of -1 (uncertain)")
    assert unsure.hint.endswith("says yes or no: `cxremb data label NAME --readings labels`")  # the set, by its name
    dataset = add_collection(read(TableSpec(tmp_path / "table.csv", "t", labels=("mass", "nodule"))), tmp_path).dataset
    stored = read_labels(dataset, "labels")
    assert stored.study_ids == ("1", "2")
    assert [[None if math.isnan(v) else v for v in row] for row in stored.values.tolist()] == [[1.0, 0.0], [None, 1.0]]


@pytest.mark.parametrize(
    ("policy", "values"),
    [
        ("ignore", {"1": 1.0, "3": 0.0}),
        ("zero", {"1": 1.0, "2": 0.0, "3": 0.0}),
        ("one", {"1": 1.0, "2": 1.0, "3": 0.0}),
    ],
)
@pytest.mark.parametrize("label", ["mass", "mass=1"])
def test_an_unsure_cell_is_kept_for_a_policy(policy: str, values: dict[str, float], label: str, tmp_path: Path) -> None:
    path = write(tmp_path, "study_id,mass,kind\n1,1,a\n2,-1.0,b\n3,0,-1\n4,,a\n")
    collection = read(TableSpec(path, "t", labels=(label, "kind=a")))
    dataset = add_collection(collection, tmp_path).dataset
    said = {"1": 1, "2": -1, "3": 0}
    assert dict(read_readings(dataset, "mass")) == {study: {"": {"mass": value}} for study, value in said.items()}
    with_policy = label_from_readings(dataset, LabelSet("again", "binary", "x", ("mass",)), Policy("mass", policy))
    stored = read_labels(with_policy, "again")
    assert dict(zip(stored.study_ids, stored.values[:, 0].tolist(), strict=True)) == values
    assert note(collection, "labels of -1 (uncertain)") == (2, ["mass of 2", "kind of 3"])
    assert any(one.hint.endswith("`cxremb data label NAME --readings mass`") for one in collection.notes)


def test_the_default_of_several_findings_is_all_of_them(tmp_path: Path) -> None:
    path = write(tmp_path, "study_id,mass,nodule,sex\n1,1,0,f\n2,0,1,m\n3,1,1,f\n")
    several = add_collection(read(TableSpec(path, "t", labels=("mass", "nodule"))), tmp_path).dataset
    assert read_labels(several, None).label_set == "labels"
    mixed = add_collection(read(TableSpec(path, "u", labels=("mass", "nodule", "sex=f"))), tmp_path).dataset
    with pytest.raises(DataError, match="several label sets"):
        read_labels(mixed, None)


@pytest.mark.parametrize(("cell", "role"), [("b.png", "path"), ("sub/b.dcm", "path"), ("00012", "id"), ("a.1.2", "id")])
def test_a_column_called_image_says_which_film_a_row_is(cell: str, role: str, tmp_path: Path) -> None:
    save_film(tmp_path / "films" / "00012.png", 1)
    collection, _, images = read_text(tmp_path, f"Image,x\n,\n{cell},1\n", images=tmp_path / "films")
    assert collection.source[role] == "column Image (guessed)"
    assert [image.path is not None for image in images.values()] == [cell == "00012"]
    named, _, _ = read_text(tmp_path, "Image,study_id\nb.png,1\n")
    assert not {"path", "id"} & named.source.keys()  # a study says it


def test_a_column_of_classes_is_one_hot_in_the_store(tmp_path: Path) -> None:
    path = write(tmp_path, "study_id,kind\n1,virus\n2,bacteria\n3,\n4,none\n")
    stored = read_labels(add_collection(read(TableSpec(path, "t", labels=("kind",))), tmp_path).dataset, "kind")
    assert (stored.task, stored.names, stored.study_ids) == (
        "multiclass",
        ("bacteria", "none", "virus"),
        ("1", "2", "4"),
    )
    assert stored.values.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


# --- texts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        ({"sex": "f", "age": "45.0", "crp val": "3.5"}, "f, 45 years. CRP 3.5; at the ward."),
        ({"sex": "f", "age": "", "crp val": "3.5"}, "f. CRP 3.5; at the ward."),
        ({"sex": "", "age": "45", "crp val": "3.5"}, "45 years. CRP 3.5; at the ward."),
        ({"sex": "", "age": "", "crp val": "12"}, "CRP 12; at the ward."),
        ({"sex": "m", "age": "7", "crp val": ""}, "m, 7 years."),
        ({"sex": "m", "age": "7", "crp val": "-inf"}, "m, 7 years."),
        ({"sex": "", "age": "", "crp val": "inf"}, ""),
        ({"sex": "", "age": "", "crp val": ""}, ""),
    ],
)
def test_a_clause_with_a_missing_field_is_left_out(cells: dict[str, str], text: str) -> None:
    assert parse_template("{sex}, {age} years. CRP {crp val}; at the ward.").render(cells) == text


def test_a_sentence_without_fields_stands_only_beside_one_that_says_something() -> None:
    template = parse_template("Seen at night. Age {a, b. c}! Weight {w} kg")
    assert template.fields == ["a, b. c", "w"]
    assert template.render({"a, b. c": "4", "w": ""}) == "Seen at night. Age 4!"
    assert template.render({"a, b. c": "", "w": ""}) == ""


@pytest.mark.parametrize("template", ["no field", "{a", "{a} b}", "{{a}}", ""])
def test_templates_that_are_none(template: str) -> None:
    with pytest.raises(DataError, match="--text-template"):
        parse_template(template)


def test_sections_and_their_roles(tmp_path: Path) -> None:
    text = 'study_id,Findings,ClinicalInfo,Age\n1,"Clear, None.",cough,5\n2,nan,,\n'
    options = {"texts": ("Findings",), "pre_read": ("ClinicalInfo",), "template": "{Age} years"}
    collection, studies, _ = read_text(tmp_path, text, **options)
    assert studies["1"].sections == {"findings": "Clear, None.", "clinical_info": "cough", "clinical": "5 years"}
    assert studies["2"].sections == {}
    assert note(collection, "without any of the texts") == (1, ["2"])
    dataset = add_collection(read(TableSpec(tmp_path / "table.csv", "t", **options)), tmp_path).dataset  # type: ignore[arg-type]
    assert {row["section"]: row["role"] for row in dataset.reports.to_pylist()} == {
        "findings": "label source",
        "clinical_info": "before reading",
        "clinical": "before reading",
    }


# --- roles and ids --------------------------------------------------------------------------------------------------


def test_roles_are_guessed_told_and_can_be_turned_off(tmp_path: Path) -> None:
    text = "filename,PatientID,ViewPosition,split\nsub\\a.png,p,LATERAL,Training\nb.jpg,p,oblique,valid\n"
    save_film(tmp_path / "sub" / "a.png", 1)
    collection, studies, images = read_text(tmp_path, text)
    source = {"path": "filename", "patient": "PatientID", "view": "ViewPosition", "part": "split"}
    assert {key: collection.source[key] for key in source} == {k: f"column {v} (guessed)" for k, v in source.items()}
    assert images["sub/a"] == Image("sub/a", "sub/a", "p", "Lateral", tmp_path / "sub/a.png", "LATERAL")
    assert images["b"] == Image("b", "b", "p", "Oblique", None, "oblique")
    assert [dict(study.parts) for study in studies.values()] == [{"official": "train"}, {"official": "val"}]
    assert note(collection, "not on disk") == (1, ["b.jpg"])
    bare, studies, images = read_text(tmp_path, text, columns={"patient": "", "view": "", "part": "", "id": "split"})
    assert images["valid"] == Image("valid", "valid", "valid", None, None)
    assert bare.source["id"] == "column split"
    assert note(bare, "patient is not known")[0] == 2
    assert not studies["valid"].parts


def test_a_guessed_part_that_is_none_is_not_used(tmp_path: Path) -> None:
    collection, studies, _ = read_text(tmp_path, "study_id,fold\n1,0\n2,1\n2,3\n")
    assert "part" not in collection.source
    assert not any(study.parts for study in studies.values())
    assert note(collection, "neither train, val nor test") == (3, ["0", "1", "3"])
    with pytest.raises(DataError, match="'0' in the column fold"):
        read_text(tmp_path, "study_id,fold\n1,0\n", columns={"part": "fold"})


def test_a_label_or_text_is_not_guessed_as_a_role(tmp_path: Path) -> None:
    collection, studies, _ = read_text(
        tmp_path, "study_id,view,path\n1,a,Words.\n2,b,More.\n", labels=("view=b",), texts=("path",)
    )
    assert not {"view", "path"} & collection.source.keys()
    assert studies["1"].sections == {"path": "Words."}


def test_rows_of_a_study_are_one_study(tmp_path: Path) -> None:
    """Against pandas: for each column the one value that is not blank, for random rows in random order."""
    chance = random.Random(0)
    rows = []
    for study in range(60):
        facts = {
            "patient_id": f"p{study % 7}",
            "sick": str(study % 2),
            "grade": "abc"[study % 3],
            "findings": f"t{study}",
        }
        for number in range(chance.randint(1, 4)):
            said = {name: value if chance.random() < 0.6 else "" for name, value in facts.items()}
            rows.append({"image_id": f"i{study}.{number}", "study_id": f"s{study}", **said})
    chance.shuffle(rows)
    df = pd.DataFrame(rows)
    df.to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "films").mkdir()
    save_film(tmp_path / "films" / "i0.0.png", 1)
    spec = TableSpec(tmp_path / "t.csv", "t", tmp_path / "films", labels=("sick", "grade"), texts=("findings",))
    studies, images, _ = taken(read(spec))
    expected = df.replace("", None).groupby("study_id", sort=False).first().fillna("")
    assert list(studies) == list(df.study_id.unique())
    for name, row in expected.iterrows():
        study = studies[str(name)]
        assert study.patient_id == (row.patient_id or name)
        assert study.sections == ({"findings": row.findings} if row.findings else {})
        assert study.labels.get("sick") == ({"sick": float(row.sick)} if row.sick else None)
        assert study.labels.get("grade") == ({row.grade: 1.0} if row.grade else None)
    assert {image.image_id: image.study_id for image in images.values()} == dict(
        zip(df.image_id, df.study_id, strict=True)
    )
    assert all(image.patient_id == studies[image.study_id].patient_id for image in images.values())
    dataset = add_collection(read(spec), tmp_path / "root").dataset
    assert (dataset.studies.num_rows, dataset.images.num_rows) == (60, len(df))


def test_images_by_id_by_path_and_those_that_are_not_here(tmp_path: Path) -> None:
    films = tmp_path / "films"
    for name in ("a/1.png", "b/1.png", "b/2.dcm.png", "c/3.JPG", "c/5.png"):
        save_film(films / name.replace(".JPG", ".jpg"), 1)
    (films / "c/3.jpg").rename(films / "c/3.JPG")
    missing = "".join(f"m{number},p\n" for number in range(12))
    collection, _, images = read_text(
        tmp_path, f"id,patient_id\na/1,p\n2,p\n3,p\n{missing}", images=films, columns={"id": "id"}
    )
    found = {name: str(image.path.relative_to(films)) for name, image in images.items() if image.path}
    assert found == {"a/1": "a/1.png", "2": "b/2.dcm.png", "3": "c/3.JPG"}
    assert note(collection, "not on disk") == (12, [f"m{number}" for number in range(10)])
    assert note(collection, "no row names") == (2, ["b/1.png", "c/5.png"])
    assert len(images) == 15
    with pytest.raises(DataError, match=r"could be 1: a/1\.png, b/1\.png"):
        read_text(tmp_path, "id\n1\n", images=films, columns={"id": "id"})
    _, _, images = read_text(tmp_path, "key,path\nx,films/b/1.png\n", columns={"id": "key"})
    assert images["x"].path == tmp_path / "films/b/1.png"
    save_film(films / "b/1.jpg", 1)
    _, _, images = read_text(tmp_path, "path\nb/1.jpg\nb/1.jpg\n", images=films)
    assert images["b/1"].path == films / "b/1.jpg"


def test_repeated_and_idless_rows_are_counted(tmp_path: Path) -> None:
    text = "image_id,path,study_id,patient_id\ni,i.png,s,p\ni,i.png,s,p\n,,,p\n\nj,j.png,,p\n,,t,p\n"
    collection, studies, images = read_text(tmp_path, text)
    assert (list(studies), list(images)) == (["s", "j", "t"], ["i", "j"])
    assert note(collection, "more than once") == (1, ["i (line 3)"])
    assert note(collection, "without an id") == (1, ["line 4"])
    assert note(collection, "without a study") == (1, ["j"])


def test_a_column_that_may_be_the_label_is_told(tmp_path: Path) -> None:
    text = "image,label\na,sick\nb,normal\n"
    assert note(read_text(tmp_path, text)[0], "may be labels") == (1, ["label"])
    named = read_text(tmp_path, text, labels={"label": "sick"})[0]
    assert not [one for one in named.notes if "may be labels" in one.what]


def test_a_table_of_reports_alone(tmp_path: Path) -> None:
    for given in ({"id": "report"}, {"study": "report"}):
        collection, studies, images = read_text(
            tmp_path, "report,impression\nr1,Normal.\nr2,Mass.\n", columns=given, texts=("impression",)
        )
        assert (list(studies), images) == (["r1", "r2"], {})
        assert note(collection, "patient is not known")[0] == 2


def test_memory_holds_ids_and_not_texts(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("study_id,patient_id,findings\n")
        file.writelines(f"{number},{number % 99},{number:04d}{'x' * 4000}\n" for number in range(10_000))
    tracemalloc.start()
    collection = read(TableSpec(path, "t", texts=("findings",)))
    assert sum(len(study.sections["findings"]) for study in collection.studies) == 10_000 * 4004
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8e6  # bytes; the texts are 40 MB


# --- what it refuses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("", {}, "empty"),
        ("\n\n", {}, "empty"),
        ("study_id,x\n", {}, "no rows"),
        ("study_id,x\n,1\n", {}, "no row has an id"),
        ("a,b\n1,2\n", {}, "no column says which image.*'a', 'b'"),
        ("study_id,b\n1,2\n", {"columns": {"patient": "Patient"}}, "no column 'Patient'; it has 'study_id', 'b'"),
        ("study_id,b\n1,2\n", {"labels": ("B",)}, "no column 'B'; it has 'study_id', 'b'"),
        ("study_id,b\n1,2\n", {"template": "{c}"}, "no column 'c'"),
        ("study_id,b\n1,2\n", {"columns": {"person": "b"}}, "no role is called 'person'"),
        ("study_id:b\n1:2\n", {}, "no column says which.*'study_id:b'"),
        ("study_id,b\n1,2\n3\n", {}, "line 3 has 1 cell, the header has 2"),
        ("study_id,b\n1,2,3\n", {}, "line 2 has 3 cells"),
        ('study_id,b\n1,"2\n3,4\n', {}, "damaged after line 1"),
        ("study_id,b,b\n1,2,3\n", {}, "two columns are called b"),
        ("study_id,b\n1,2.5\n2,3\n", {"labels": ("b",)}, "b holds measurements, such as 2.5"),
        ("study_id,b\n1,\n2,-1\n", {"labels": ("b",)}, "b has no label"),
        ("study_id,b\n" + "".join(f"{n},w{n}\n" for n in range(101)), {"labels": ("b",)}, "more than 100"),
        ("study_id,b\n1,1\n", {"labels": ("b",), "pre_read": ("b",)}, "give itself away"),
        ("study_id,b\n1,1\n", {"labels": ("b",), "template": "{b}"}, "give itself away"),
        ("study_id,b c,b_c\n1,x,y\n", {"texts": ("b c", "b_c")}, "both be the section b_c"),
        ("study_id,Clinical\n1,x\n", {"texts": ("Clinical",), "template": "{Clinical}"}, "section clinical"),
        ("study_id,labels,b\n1,1,0\n", {"labels": ("labels", "b")}, "label column is called labels"),
        ("study_id,pid\n1,a\n2,b\n1,c\n", {}, "study 1 is of patient a in line 2 and of patient c in line 4"),
        ("study_id,x\n1,1\n2,0\n1,0\n", {"labels": ("x",)}, "study 1 has x = '1' in line 2 and '0' in line 4"),
        ("study_id,split\n1,train\n1,test\n", {}, "study 1 has split = 'train' in line 2 and 'test' in line 3"),
        (
            "image_id,path,view\ni,a.png,AP\nj,b.png,AP\ni,a.png,PA\n",
            {},
            "image i has another .* line 2 than in line 4",
        ),
        ("path\na.png\na.jpg\n", {}, "image a has another .* line 2 than in line 3"),
        ("image_id\n1\n", {"images": Path("nowhere")}, "nowhere: no such folder"),
    ],
)
def test_bad_tables(text: str, options: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read_text(tmp_path, text, **options)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04sheet", "a damaged ZIP archive"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00", "neither text nor Parquet"),
        ("study_id,b\n1,2\n".encode("utf-16-le"), "neither text nor Parquet"),
        (b"PAR1 is not enough", "damaged .Parquet magic bytes not found"),
        (gzip.compress(b"study_id,b\n1,2\n" * 99)[:-12], "damaged .Compressed file ended"),
        ("\ufeffstudy_id,b\n1,é\n".encode("utf-16-le")[:-1], "line 2 is not text in UTF-16"),
        (b"\xef\xbb\xbfstudy_id,b\n1,\xff\xfe\n", "line 2 is not text in UTF-8-SIG"),
        (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a pointer of Git LFS"),
        (bz2.compress(b"study_id,b\n1,2\n"), "compressed by bzip2"),
        (lzma.compress(b"study_id,b\n1,2\n"), "compressed by xz"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "a spreadsheet's own format"),
    ],
    ids=[
        *("xlsx", "image", "utf-16 without its mark", "parquet", "gzip", "half a letter", "two encodings"),
        *("a page to sign in", "lfs", "bzip2", "xz", "xls"),
    ],
)
def test_files_that_are_no_tables(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        taken(read(TableSpec(path, "t")))
    assert caught.value.hint


@pytest.mark.parametrize("above", ["# exported in May\n# by the PACS\n", "Radiology, 2024;;\n;;\n"])
def test_a_header_that_is_not_the_first_line_is_pointed_at(above: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'y'") as caught:
        read_text(tmp_path, f"{above}id;patient_id;y\n1;2;0\n", labels=("y",))
    assert caught.value.hint.startswith("line 3 has it: remove the lines above")


def test_paths_that_do_not_exist(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "gone.csv", "cannot be read"), (tmp_path, "a folder without a Parquet file")):
        with pytest.raises(DataError, match=message):
            read(TableSpec(path, "t"))


def test_label_sets_are_those_of_the_contract(tmp_path: Path) -> None:
    collection, _, _ = read_text(tmp_path, "study_id,x\n1,1\n", labels=("x",))
    assert collection.label_sets == [
        LabelSet("x", "binary", "1 if the column x says yes, 0 if no", ("x",), "blank and -1 are missing")
    ]


def test_a_path_is_found_where_it_says_and_nowhere_else(tmp_path: Path) -> None:
    films = tmp_path / "films"
    for name in ("b/1.png", "deep/a/1.png", "c/2.png", "d/3.jpg", "3.png", "masks/4.png", "x/4.png"):
        save_film(films / name, 1)
    text = "key,path\np,a/1.png\nq,./b//1.png\nr,2.png\ns,d/3.png\nt,3.png\n"
    collection, _, images = read_text(tmp_path, text, images=films, columns={"id": "key"})
    found = {name: image.path.relative_to(films).as_posix() if image.path else None for name, image in images.items()}
    # `a/1.png` is not the other film whose path ends so; a bare name is looked up, and taken as a path first
    assert found == {"p": None, "q": "b/1.png", "r": "c/2.png", "s": "d/3.jpg", "t": "3.png"}
    assert note(collection, "another suffix") == (1, ["d/3.png is d/3.jpg"])
    assert note(collection, "masks") == (1, ["masks/4.png"])
    with pytest.raises(DataError, match=r"could be 3\.png: 3\.png, d/3\.jpg"):  # an id says nothing of folders
        read_text(tmp_path, "id\n3.png\n", images=films, columns={"id": "id"})
    _, _, images = read_text(tmp_path, "id\n4\n", images=films, columns={"id": "id"})
    assert images["4"].path == films / "x/4.png"


@pytest.mark.parametrize(
    ("head", "left_off"),
    [
        ("/data/films/", "/data/films"),
        ("C:\\data\\films\\", "C:/data/films"),
        ("films/", "films"),
        ("./films//", "films"),
        ("release/", "release"),
    ],
)
def test_folders_of_another_machine_are_left_off(head: str, left_off: str, tmp_path: Path) -> None:
    films, places = tmp_path / "films", ["p1/1.png", "p1/2.png", "p2/1.png"]
    for place in places[:2]:
        save_film(films / place, 1)
    collection, _, images = read_text(tmp_path, "path\n" + "".join(f"{head}{it}\n" for it in places), images=films)
    found = [image.path.relative_to(films).as_posix() if image.path else None for image in images.values()]
    assert found == ["p1/1.png", "p1/2.png", None]
    assert set(images) == {"p1/1", "p1/2", "p2/1"}  # an id names no folder of another machine
    assert note(collection, "all paths of the table begin") == (1, [left_off])


def test_only_what_all_paths_begin_with_is_left_off(tmp_path: Path) -> None:
    films = tmp_path / "films"
    for place in ("1.png", "b/2.png"):
        save_film(films / place, 1)
    for text in (
        "path\na/1.png\nc/1.png\n",  # another folder each: two films would become one
        "path\na/1.png\nb/2.png\n",  # one is here as it stands
        "path\na/9.png\na/8.png\n",  # nothing is here without it
    ):
        collection, _, images = read_text(tmp_path, text, images=films)
        assert "all paths of the table begin" not in str(collection.notes)
        assert [image.path.name for image in images.values() if image.path] == ["2.png"] * ("b/2" in text)


def test_a_cell_takes_no_film_outside_of_the_folder_that_was_named(tmp_path: Path) -> None:
    films = tmp_path / "films"
    for place in ("films/in.png", "films/deep/too.png", "elsewhere/secret.png"):
        save_film(tmp_path / place, 1)
    outside = tmp_path / "elsewhere" / "secret.png"
    text = f"path\nin.png\ndeep/../deep/too.png\n../elsewhere/secret.png\n{outside}\n"
    collection, _, images = read_text(tmp_path, text, images=films)
    assert [image.path is not None for image in images.values()] == [True, True, False, False]
    assert note(collection, "outside of the folder of --images") == (2, ["../elsewhere/secret.png", str(outside)])
    assert note(collection, "not on disk")[0] == 2
    _, _, images = read_text(films, text)  # no folder was named: paths are the user's own
    assert [image.path is not None for image in images.values()] == [True] * 4


def test_one_film_has_one_patient(tmp_path: Path) -> None:
    films = tmp_path / "films"
    save_film(films / "1.png", 1)
    options = {"images": films, "columns": {"id": "id"}}
    with pytest.raises(DataError, match="image 1 is of patient a in line 2 and of patient b in line 3") as caught:
        read_text(tmp_path, "id,patient_id\n1,a\n1,b\n", **options)
    assert "--column id=COLUMN" in caught.value.hint
    with pytest.raises(DataError, match=r"1\.png: one film is x of patient a and y of patient b"):
        read_text(tmp_path, "id,path,patient_id\nx,1.png,a\ny,1.png,b\n", **options)
    collection, _, _ = read_text(tmp_path, "id,path,patient_id\nx,1.png,a\ny,1.png,a\n", **options)
    assert note(collection, "the same file") == (1, ["x, y"])
