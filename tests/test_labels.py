import pyarrow as pa
import pytest

from cxremb.catalog import add_collection
from cxremb.errors import DataError
from cxremb.labels import LABEL_SETS, binary_labels, label_rows, normal_abnormal
from cxremb.store.layout import LABELS
from cxremb.types import Collection, Study


def study(uid: str, *mesh: str) -> Study:
    terms = {"mesh": mesh, "problems": tuple(term.partition("/")[0] for term in mesh)} if mesh else {}
    return Study(uid, uid, {}, terms)


STUDIES = [
    study("1", "normal"),
    study("2", "Opacity/lung/base", "Opacity/lung/apex", "Opacity/lung/base"),
    study("3", "No Indexing"),
    study("4"),  # no terms recorded
    study("5", "normal", "Lung/hypoinflation"),
    study("6", "Normal"),
]
COLLECTION = Collection("made", STUDIES, [], "none", "", {})


@pytest.mark.parametrize(("uid", "value"), [("1", 0.0), ("2", 1.0), ("3", 1.0), ("4", 1.0), ("5", 1.0), ("6", 1.0)])
def test_only_exactly_normal_is_normal(uid, value):
    assert normal_abnormal(STUDIES[int(uid) - 1]) == value


def test_label_rows_say_each_term_once_and_nothing_of_a_study_without_terms():
    table = label_rows(COLLECTION)
    assert table.schema == LABELS
    rows = {name: [] for name in LABEL_SETS}
    for row in table.to_pylist():
        rows[row["label_set"]].append((row["study_id"], row["label"], row["value"]))
    assert rows["normal_abnormal"] == [
        ("1", "abnormal", 0.0),
        ("2", "abnormal", 1.0),
        ("3", "abnormal", 1.0),
        ("5", "abnormal", 1.0),
        ("6", "abnormal", 1.0),
    ]
    assert rows["mesh"] == [
        ("1", "normal", 1.0),
        ("2", "Opacity/lung/base", 1.0),
        ("2", "Opacity/lung/apex", 1.0),
        ("3", "No Indexing", 1.0),
        ("5", "normal", 1.0),
        ("5", "Lung/hypoinflation", 1.0),
        ("6", "Normal", 1.0),
    ]
    assert ("2", "Opacity", 1.0) in rows["problems"]
    assert len(rows["problems"]) == 6


def test_no_terms_at_all_is_an_empty_table():
    table = label_rows(Collection("made", [STUDIES[3]], [], "none", "", {}))
    assert table.equals(pa.Table.from_pylist([], schema=LABELS))


def test_labels_are_read_by_study(tmp_path):
    dataset = add_collection(COLLECTION, tmp_path).dataset
    assert binary_labels(dataset, "normal_abnormal") == {"1": 0.0, "2": 1.0, "3": 1.0, "5": 1.0, "6": 1.0}


def test_an_unknown_set_and_one_of_many_labels_are_refused_with_a_hint(tmp_path):
    dataset = add_collection(COLLECTION, tmp_path).dataset
    with pytest.raises(
        DataError, match="no label set called 'normal'; it has normal_abnormal, mesh, problems"
    ) as caught:
        binary_labels(dataset, "normal")
    assert caught.value.hint.endswith("normal_abnormal")
    with pytest.raises(DataError, match="'mesh' holds 6 labels"):
        binary_labels(dataset, "mesh")


def test_a_data_set_without_labels_says_so(tmp_path):
    dataset = add_collection(Collection("made", [STUDIES[3]], [], "none", "", {}), tmp_path).dataset
    with pytest.raises(DataError, match="it has none"):
        binary_labels(dataset, "normal_abnormal")
