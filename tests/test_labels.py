import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import collection
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cxremb.catalog import add_collection
from cxremb.cli.data import app
from cxremb.errors import DataError, QueryError
from cxremb.labels import label_from_file, label_set_of, label_with_sql, read_labels, store_labels
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.sql import query
from cxremb.types import Collection, Image, LabelSet, Study

NAN = float("nan")
GRADES = LabelSet("grade", "multiclass", "how bad", ["none", "mild", "severe"])
FOUND = LabelSet("finding", "multilabel", "what is there", policy="uncertain is missing")
SICK = LabelSet("sick", "binary", "whether sick", ["sick"])
LABELS = {
    "1": {"grade": {"none": 1}, "finding": {"nodule": 0, "effusion": 1}, "sick": {"sick": 0}},
    "2": {"grade": {"severe": 1, "none": 0}, "finding": {"nodule": 1}},
    "3": {"grade": {"mild": 1.0}, "sick": {"sick": True}},
    "4": {"finding": {}},
}


def labelled(labels=LABELS, sets=(GRADES, FOUND, SICK), name="made") -> Collection:
    studies = [Study(uid, uid, {"findings": f"text {uid}"}, labels=values) for uid, values in labels.items()]
    return Collection(name, studies, [], "none", "", {}, label_sets=sets)


def snapshot(dataset: Dataset) -> dict[str, bytes]:
    """Every file of the data set's folder but the lock."""
    return {path.name: path.read_bytes() for path in dataset.paths.folder.iterdir() if path.name != ".lock"}


def first_label(dataset: Dataset, label_set: str) -> dict[str, float]:
    """Study -> its value of the first label of a set."""
    labels = read_labels(dataset, label_set)
    return dict(zip(labels.study_ids, labels.values[:, 0].tolist(), strict=True))


@pytest.fixture
def made(tmp_path: Path) -> Dataset:
    return add_collection(labelled(), tmp_path / "root").dataset


def test_labels_come_back_as_matrices(made):
    grade, found = read_labels(made, "grade"), read_labels(made, "finding")
    assert (grade.task, grade.names, grade.study_ids) == ("multiclass", ("none", "mild", "severe"), ("1", "2", "3"))
    assert grade.values.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]  # zeros filled in
    assert (found.task, found.names, found.study_ids) == ("multilabel", ("effusion", "nodule"), ("1", "2"))
    np.testing.assert_array_equal(found.values, [[1, 0], [NAN, 1]])
    assert first_label(made, "sick") == {"1": 0.0, "3": 1.0}
    assert made.descriptor["label_sets"]["finding"]["policy"] == "uncertain is missing"
    assert read_labels(made, "finding").version == made.descriptor["label_sets"]["finding"]["version"]


def test_no_value_is_null_or_other_than_zero_and_one(made):
    rows = query(made.paths.root, "select count(*) as n, count(value) as m, sum(value) as s from labels").to_pylist()
    assert rows == [{"n": 9 + 3 + 2, "m": 14, "s": 3 + 2 + 1}]


@pytest.mark.parametrize(
    ("labels", "sets", "message"),
    [
        ({"7": {"sick": {"sick": 0.5}}}, [SICK], r"study 7, label set 'sick': 'sick' is 0\.5"),
        ({"7": {"sick": {"sick": NAN}}}, [SICK], "study 7, label set 'sick': 'sick' is nan"),
        ({"7": {"sick": {"sick": -1}}}, [SICK], "'sick' is -1"),
        ({"7": {"other": {"sick": 1}}}, [SICK], "study 7 has labels of 'other', which the collection does not define"),
        ({"7": {"sick": {"ill": 1}}}, [SICK], "'ill' is no label of it"),
        ({"7": {"s": {"a": 1}}, "8": {"s": {"b": 1}}}, [LabelSet("s", "binary", "")], "one label, not a, b"),
        ({"7": {"grade": {"none": 0}}}, [GRADES], "study 7, label set 'grade': 0 labels are 1"),
        ({"7": {"grade": {"none": 1, "mild": 1}}}, [GRADES], "2 labels are 1"),
        ({"7": {}}, [LabelSet("s", "guess", "")], "no task 'guess'"),
        ({"7": {}}, [SICK, SICK], "two label sets are called 'sick'"),
    ],
)
def test_labels_that_cannot_be_are_refused_and_nothing_is_left(tmp_path, labels, sets, message):
    with pytest.raises(DataError, match=message) as caught:
        add_collection(labelled(labels, sets), tmp_path / "root")
    assert caught.value.hint
    assert not (tmp_path / "root").exists()


def test_a_version_follows_the_definition_and_the_rows_and_nothing_else(tmp_path):
    def version(labels=LABELS, about=FOUND, root="a") -> str:
        sets = [about, GRADES, SICK]
        return read_labels(add_collection(labelled(labels, sets), tmp_path / root).dataset, "finding").version

    first = version()
    assert len(first) == 12
    assert version(dict(reversed(LABELS.items())), root="b") == first  # the order of the rows means nothing
    assert version({**LABELS, "5": {"sick": {"sick": 1}}}) == first  # nor do other sets
    assert version({**LABELS, "5": {"finding": {"nodule": 0}}}) != first
    assert version(about=replace(FOUND, policy="uncertain is 0")) != first
    assert version() == first


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.text("ab1", min_size=1, max_size=3), st.dictionaries(st.sampled_from("xyz"), st.integers(0, 1)))
)
def test_what_is_stored_is_what_was_given(tmp_path_factory, table):
    table = {**table, "+": {"x": 1}, "-": {"x": 0}}  # a set in which all studies say the same is left out
    labels = {study: {"finding": values} for study, values in table.items()}
    added = add_collection(labelled({**labels, "last": {}}, [FOUND]), tmp_path_factory.mktemp("r"))
    found = read_labels(added.dataset, "finding")
    expected = {study: values for study, values in table.items() if values}
    back = {
        study: {name: value for name, value in zip(found.names, row, strict=True) if not np.isnan(value)}
        for study, row in zip(found.study_ids, found.values.tolist(), strict=True)
    }
    assert back == expected


def test_the_label_set_of_a_command_that_names_none(small, made, tmp_path):
    assert label_set_of(small) == read_labels(small).label_set == "normal_abnormal"
    assert label_set_of(small, "mesh") == "mesh"  # what was named is not checked here
    with pytest.raises(DataError, match="made has several label sets and no default: grade, finding, sick") as caught:
        read_labels(made)
    assert caught.value.hint == "say --label-set grade or finding or sick"
    collection = replace(labelled(), default_label_set="finding")
    assert label_set_of(add_collection(collection, tmp_path / "named").dataset) == "finding"
    with pytest.raises(DataError, match="no label set to learn from"):
        label_set_of(add_collection(labelled({"1": {}}, ()), tmp_path / "bare").dataset)


def test_a_set_of_ones_own_changes_no_command_that_names_none(tmp_path):
    sets = [LabelSet("sick", "binary", "", ("sick",))]
    values = {str(number): {"sick": {"sick": number % 2}} for number in range(4)}
    dataset = add_collection(labelled(values, sets), tmp_path).dataset
    assert label_set_of(dataset) == "sick"
    rows = [(str(number), "two", float(number > 1)) for number in range(4)]
    dataset = store_labels(dataset, LabelSet("two", "", ""), rows, origin={"file": "two.csv"})
    assert label_set_of(dataset) == "sick"
    assert label_set_of(dataset, "two") == "two"


def test_a_data_set_of_before_defaults_has_the_one_that_was(small):
    older = {name: value for name, value in small.descriptor.items() if name != "default_label_set"}
    assert label_set_of(Dataset(small.paths, older)) == "normal_abnormal"


def test_an_unknown_set_and_terms_are_refused_with_a_hint(small, made, tmp_path):
    with pytest.raises(DataError, match=r"no label set called 'normal'; it has normal_abnormal, .*mesh") as caught:
        read_labels(small, "normal")
    assert "normal_abnormal_clean" in caught.value.hint
    with pytest.raises(DataError, match="'mesh' only lists terms"):
        read_labels(small, "mesh")
    with pytest.raises(DataError, match="no label set called 'x'; it has grade, finding, sick"):
        read_labels(made, "x")
    bare = add_collection(labelled({"1": {}}, ()), tmp_path / "bare").dataset
    with pytest.raises(DataError, match="it has none"):
        read_labels(bare, "sick")


OWN = LabelSet("own", "", "mine")


def test_sql_makes_a_binary_set(small):
    text = "select study_id, 'odd' as label, study_id::int % 2 = 1 as value from studies"
    before = first_label(small, "normal_abnormal")
    after = label_with_sql(small, OWN, text)
    own = read_labels(after, "own")
    assert (own.task, own.names) == ("binary", ("odd",))
    assert dict(zip(own.study_ids, own.values[:, 0], strict=True)) == {str(i): i % 2 for i in range(12)}
    assert first_label(after, "normal_abnormal") == before
    assert after.descriptor["label_sets"]["own"]["sql"] == text
    assert open_dataset(small.paths.root).descriptor == after.descriptor
    assert open_dataset(small.paths.root).images.num_rows == 24  # the other tables are as they were


@pytest.mark.parametrize(
    ("text", "task", "names", "second"),
    [
        ("select study_id, 'g' || study_id::int % 3 as label, 1 as value from studies", "multiclass", 3, [0, 1, 0]),
        (
            "select study_id, 'g' || study_id::int % 2 as label, (study_id::int < 6)::int as value from studies",
            "multilabel",
            2,
            [NAN, 1],
        ),
        (
            "select study_id, unnest(['a', 'b', 'c']) as label, study_id::int % 2 as value from studies",
            "multilabel",
            3,
            [1, 1, 1],
        ),
    ],
)
def test_the_task_is_what_the_rows_look_like(small, text, task, names, second):
    own = read_labels(label_with_sql(small, OWN, text), "own")
    assert (own.task, len(own.names)) == (task, names)
    np.testing.assert_array_equal(own.values[own.study_ids.index("1")], second)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("select study_id, 'x' as label from studies", "selects no value; it selects study_id, label"),
        ("select study_id, 'x' as label, null as value from studies", r"12 rows with a null: \('0', 'x', None\)"),
        ("select null as study_id, 'x' as label, 1 as value", "1 rows with a null"),
        ("select study_id, 'x' as label, 2 as value from studies", "12 rows whose value is neither 0 nor 1"),
        ("select study_id, 'x' as label, 'nan'::float as value from studies", "12 rows whose value is neither"),
        ("select study_id, 'x' as label, 'yes' as value from studies", "12 rows whose value is neither"),
        ("select study_id, 'x' as label, 1 as value from images", r"12 rows that come more than once: \('0', 'x'\)"),
        (
            "select 'u' || range as study_id, 'x' as label, 1 as value from range(30)",
            "30 rows of studies that small does not have: u0, u1, u2, u3, u4, u5, u6, u7, u8, u9, ...",
        ),
        ("select study_id, 'x' as label, 1 as value from studies where false", "no rows"),
    ],
)
def test_rows_that_cannot_be_labels_are_refused_and_nothing_changes(small, text, message):
    before = snapshot(small)
    with pytest.raises(DataError, match=message) as caught:
        label_with_sql(small, OWN, text)
    assert caught.value.hint
    assert snapshot(small) == before


def test_rows_of_two_data_sets_are_told_apart_in_the_hint(small, tmp_path):
    add_collection(collection(tmp_path / "films", name="other"), small.paths.root)
    odd = "select study_id, 'x' as label, study_id::int % 2 as value from studies"
    with pytest.raises(DataError, match="12 rows that come more than once") as caught:
        label_with_sql(small, OWN, odd)
    assert "add: where dataset = 'small'" in caught.value.hint
    assert label_with_sql(small, OWN, f"{odd} where dataset = 'small'")


def test_sql_that_is_wrong_or_writes_is_refused(small):
    for text in ("select nonsense", "drop table labels"):
        with pytest.raises(QueryError):
            label_with_sql(small, OWN, text)


def test_a_task_that_does_not_fit_is_refused(small):
    many = "select study_id, unnest(['a', 'b']) as label, 1 as value from studies"
    with pytest.raises(DataError, match="a binary set has one label, not a, b"):
        label_with_sql(small, replace(OWN, task="binary"), many)
    with pytest.raises(DataError, match="2 labels are 1"):
        label_with_sql(small, replace(OWN, task="multiclass"), many)


def test_what_came_with_the_collection_stays_and_ones_own_is_replaced(small):
    text = "select study_id, 'x' as label, {} as value from studies"
    with pytest.raises(DataError, match="'normal_abnormal' came with the collection"):
        label_with_sql(small, LabelSet("normal_abnormal", "", ""), text.format(1))
    with pytest.raises(DataError, match="cannot name a label set"):
        label_with_sql(small, LabelSet("a b", "", ""), text.format(1))
    some = read_labels(label_with_sql(small, OWN, text.format("study_id::int < 2")), "own")
    others = read_labels(label_with_sql(open_dataset(small.paths.root), OWN, text.format("study_id::int > 2")), "own")
    assert (some.values.sum(), others.values.sum()) == (2, 9)
    assert some.version != others.version


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ("'x' as label, 1 as value", "in all 12 studies with a value x is 1"),
        ("'x' as label, 0 as value", "in all 12 studies with a value x is 0"),
        ("unnest(['x', 'y']) as label, 1 as value", "x is 1, y is 1"),
        ("unnest(['a', 'b', 'c']) as label, (label = 'b')::int as value", "in all 12 studies with a value b is 1"),
    ],
)
def test_a_set_in_which_all_studies_say_the_same_is_refused(small, columns, why):
    before = small.descriptor
    with pytest.raises(DataError, match=f"nothing to tell apart: .*{why}"):
        label_with_sql(small, OWN, f"select study_id, {columns} from studies")
    assert open_dataset(small.paths.root).descriptor == before


def test_a_collection_is_added_without_a_set_in_which_all_studies_say_the_same(tmp_path):
    rows = {
        str(n): {"grade": {"mild": 1.0}, "finding": {"mass": 1.0, "nodule": float(n % 2)}, "sick": {"sick": 1.0}}
        for n in range(6)
    }
    added = add_collection(labelled(rows), tmp_path)
    assert set(added.dataset.descriptor["label_sets"]) == {"finding"}
    assert set(added.dataset.labels["label_set"].to_pylist()) == {"finding"}
    (note,) = [note for note in added.notes if "all studies say the same" in note.what]
    assert list(note.examples) == [
        "grade: in all 6 studies with a value mild is 1",
        "sick: in all 6 studies with a value sick is 1",
    ]
    assert label_set_of(added.dataset) == "finding"  # the only one that stayed


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_file_makes_a_set(small, tmp_path, delimiter):
    lines = [("reader", "value", "label", "study_id"), ("A, B", "1", "hernie", "3"), ("A", "0.0", "hernie", " 4 ")]
    quoted = [[f'"{cell}"' if "," in cell else cell for cell in line] for line in lines]
    path = tmp_path / "l.csv"
    path.write_text("\n".join(delimiter.join(line) for line in quoted) + "\n", encoding="utf-8-sig")
    after = label_from_file(small, OWN, path)
    assert first_label(after, "own") == {"3": 1.0, "4": 0.0}
    assert after.descriptor["label_sets"]["own"]["file"] == path.name


@pytest.mark.parametrize(
    ("content", "task", "expected"),
    [
        # of findings in columns: a blank, or a word for unknown, is missing
        (
            "study_id,mass,nodule\n1,1,no\n2,0,\n3.0,1.0,yes\n4,?,no\n",
            "multilabel",
            {"1": {"mass": 1, "nodule": 0}, "2": {"mass": 0}, "3": {"mass": 1, "nodule": 1}, "4": {"nodule": 0}},
        ),
        # a film's label is its study's; both films of study 1 say the same
        ("Image;ill\n1a.png;ja\n1b.png;ja\n/x/2a.png;nein\n", "binary", {"1": {"ill": 1}, "2": {"ill": 0}}),
        # a patient's label is that of all studies
        ("PatientID,died\np1,1\np2,0\n", "binary", {n: {"died": float(n in "13")} for n in ("1", "2", "3", "4")}),
        ("Study,dx\n1,TB\n2,normal\n", "binary", {"1": {"TB": 1}, "2": {"TB": 0}}),
        (
            "study_id,dx\n1,TB\n2,normal\n3,COVID\n",
            "multiclass",
            {n: {"TB": n == "1", "normal": n == "2", "COVID": n == "3"} for n in ("1", "2", "3")},
        ),
    ],
)
def test_a_column_for_each_label_makes_a_set(content, task, expected, tmp_path):
    ids = {"1": "p1", "2": "p2", "3": "p1", "4": "p2"}
    films = [Image(f"{study}{n}", study, patient, None, None) for study, patient in ids.items() for n in "ab"]
    studies = [Study(study, patient) for study, patient in ids.items()]
    dataset = add_collection(Collection("c", studies, films, "", "", {}), tmp_path / "root").dataset
    (tmp_path / "l.csv").write_text(content, encoding="utf-8")
    found = read_labels(label_from_file(dataset, LabelSet("own", "", ""), tmp_path / "l.csv"), "own")
    rows = dict(zip(found.study_ids, found.values, strict=True))
    values = {study: dict(zip(found.names, row, strict=True)) for study, row in rows.items()}
    assert found.task == task
    assert {study: {k: v for k, v in row.items() if not np.isnan(v)} for study, row in values.items()} == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"study_id,mass\n1,1\n2,-1\n", "mass is -1 in line 3: neither yes nor no"),
        (b"study_id,mass,dx\n1,1,TB\n2,0,normal\n", "the column dx does not say yes or no, beside 1 others"),
        (b"study_id,mass\n1,1\n1,0\n", "that come more than once"),
        (b"study_id,mass\n1,1\n77,0\n", "of studies that small does not have: 77"),
        (b"study_id,size\n1,1.5\n2,2.5\n", "measurements"),
        (b"name,mass\n1,1\n", "its columns are name, mass"),
        (b"study_id\n1\n", "its columns are study_id"),
        (b"study_id,label\n1,x\n", r"l\.csv: no column 'value'; it has 'study_id', 'label'"),
        (b"", "empty, it has no columns"),
        (b"study_id,label,value\n1,x\n", "line 2 has 2 cells, the header has 3"),
        (b"study_id,label,value\n1,x,\n", r"1 rows with a null: \('1', 'x', None\)"),
        (b"study_id,label,value\n77,x,1\n", "1 rows of studies that small does not have: 77"),
        (b"study_id,label,value\n1,x,ja\n", r"1 rows whose value is neither 0 nor 1: \('1', 'x', nan\)"),
        ("study_id,label,value\n1,Fièvre,1\n".encode("latin-1"), "line 2 is not text in UTF-8"),
        (b'study_id,label,value\n1,"x,1\n', "damaged after line 1"),
    ],
)
def test_a_bad_file_says_what_is_wrong(small, tmp_path, content, message):
    (tmp_path / "l.csv").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        label_from_file(small, OWN, tmp_path / "l.csv")
    assert caught.value.hint
    with pytest.raises(DataError, match="cannot be read"):
        label_from_file(small, OWN, tmp_path / "none.csv")


def test_own_sets_outlive_adding_the_collection_again(tmp_path):
    root, whole = tmp_path / "root", collection(tmp_path / "films")
    first = add_collection(whole, root).dataset
    text = "select study_id, 'g' || study_id::int % 3 as label, 1 as value from studies"
    made = label_with_sql(first, OWN, text)
    version = read_labels(made, "own").version
    again = add_collection(whole, root)
    assert again.changes == {}
    assert again.dataset.descriptor == made.descriptor
    fewer = replace(whole, studies=list(whole.studies)[3:], images=list(whole.images)[6:])
    third = add_collection(fewer, root)
    (note,) = [note for note in third.notes if "own" in note.what]
    assert (note.count, list(note.examples)) == (3, ["0", "1", "2"])
    own = read_labels(third.dataset, "own")
    assert (own.study_ids, own.task) == (tuple(map(str, range(3, 12))), "multiclass")
    assert own.values.tolist() == [[float(int(study) % 3 == k) for k in range(3)] for study in own.study_ids]
    assert third.dataset.descriptor["label_sets"]["own"]["sql"] == text
    assert own.version != version
    fourth = add_collection(fewer, root)  # the same again: the same, and the note stays
    assert (fourth.changes, fourth.dataset.descriptor) == ({}, third.dataset.descriptor)
    assert [note for note in fourth.notes if "own" in note.what] == [note]
    least = replace(whole, studies=list(whole.studies)[4:], images=list(whole.images)[8:])
    (more,) = [note for note in add_collection(least, root).notes if "own" in note.what]
    assert (more.count, list(more.examples)) == (4, ["0", "1", "2", "3"])
    assert "removed, and their labels of own with them: 4" in run("show", root=root).stdout
    mended = label_with_sql(open_dataset(root), OWN, text)  # made again: nothing is lost any more
    assert not any("own" in note["what"] for note in mended.descriptor["notes"])
    assert not any("own" in note.what for note in add_collection(least, root).notes)


def test_an_own_set_that_cannot_be_kept_is_told_with_its_sql(tmp_path):
    root = tmp_path / "root"
    text = "select study_id, 'x' as label, (row_number() over ()) % 2 as value from studies"
    first = add_collection(labelled(), root).dataset
    label_with_sql(first, OWN, text)
    clash = add_collection(labelled(sets=[GRADES, FOUND, SICK, LabelSet("own", "binary", "theirs")]), root)
    assert [(note.count, list(note.examples)) for note in clash.notes] == [(1, [f"own: {text}"])]
    assert clash.dataset.descriptor["label_sets"]["own"]["means"] == "theirs"
    label_with_sql(add_collection(labelled(), root).dataset, OWN, text)
    open_dataset(root).table_path("labels").write_bytes(b"damaged")
    mended = add_collection(labelled(), root)
    assert [(note.what.split(":")[0], list(note.examples)) for note in mended.notes] == [
        ("own label sets lost", [f"own: {text}"])
    ]
    assert "own" not in mended.dataset.descriptor["label_sets"]


def run(*words: object, root: Path):
    return CliRunner().invoke(app, [*map(str, words), "--root", str(root)])


def test_the_command_line_labels_and_shows(small, tmp_path):
    root, text = small.paths.root, "select study_id, 'odd' as label, study_id::int % {} = 1 as value from studies"
    done = run("label", "own", "--sql", text.format(2), "--means", "odd ones", root=root)
    assert done.exit_code == 0, done.output
    for words in ("binary, 1 label, 12 studies", "6 of     12  odd", "covers  12 of 12 studies", "odd ones"):
        assert words in done.stdout
    assert "replaces version" not in done.stdout
    version = open_dataset(root).descriptor["label_sets"]["own"]["version"]
    assert f"replaces version {version}" in run("label", "own", "--sql", text.format(3), root=root).stdout
    told = json.loads(run("label", "own", "--sql", text.format(3), "--format", "json", root=root).stdout)
    assert (told["studies"], told["most"]) == (12, [{"label": "odd", "ones": 4, "zeros": 8}])
    assert told["replaces"] == told["version"]
    shown = run("show", root=root).stdout
    for words in (text.format(3), "No Indexing counts as abnormal", "terms, 2 labels", "own"):
        assert words in shown
    assert run("label", "own", root=root).exit_code == 2
    assert run("label", "own", "--sql", "x", "--file", "y", root=root).exit_code == 2
    (tmp_path / "l.csv").write_text("study_id,label,value\n1,x,1\n2,x,0\n")
    assert run("label", "two", "--file", tmp_path / "l.csv", "--task", "multilabel", root=root).exit_code == 0
    assert read_labels(open_dataset(root), "two").task == "multilabel"


def test_labels_in_sql_are_those_of_the_matrix(made):
    table = defaultdict(dict)
    for row in query(made.paths.root, "from labels where label_set = 'grade'").to_pylist():
        table[row["study_id"]][row["label"]] = row["value"]
    grade = read_labels(made, "grade")
    assert [[table[study][name] for name in grade.names] for study in grade.study_ids] == grade.values.tolist()
