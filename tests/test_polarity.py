"""Which of two classes is the 1, and what a cell of labels means: in every language, spelling and form of list."""

from pathlib import Path

import pytest

from cxremb.datasets.polarity import LETTERS, NO, NOTHING, UNKNOWN, YES, folded, one_spelling, positive_of
from cxremb.datasets.table import TableSpec, read
from cxremb.errors import DataError
from cxremb.types import Collection

BLANK = "labels that are blank"


def column(folder: Path, *cells: str, label: str = "x", quote: str = '"') -> Collection:
    """A table of studies 0, 1, ... with one column x."""
    rows = (f"{number},{quote}{cell}{quote}\n" for number, cell in enumerate(cells))
    path = folder / "table.csv"
    path.write_text("study_id,x\n" + "".join(rows), encoding="utf-8")
    return read(TableSpec(path, "t", labels=(label,)))


def values(collection: Collection) -> list[dict[str, float]]:
    """The labels of each study in its order."""
    return [dict(study.labels.get("x", {})) for study in collection.studies]


def test_the_tables_agree_with_themselves() -> None:
    assert not YES & NO
    assert not UNKNOWN & (YES | NO | NOTHING)
    assert all(folded(word) == word for words in (YES, NO, NOTHING, UNKNOWN) for word in words)
    assert all(len(pair) == 2 for pair in LETTERS)


@pytest.mark.parametrize(
    ("yes", "no"),
    [
        ("ja", "nein"),
        ("Ja", "NEIN"),
        ("j", "n"),
        ("oui", "non"),
        ("o", "n"),
        ("si", "no"),
        ("sí", "no"),
        ("sì", "no"),
        ("S", "N"),
        ("да", "нет"),
        ("Д", "Н"),
        ("sim", "não"),
        ("tak", "nie"),
        ("evet", "hayır"),
        ("是", "否"),
        ("yes", "no"),
        ("true", "false"),
        ("t", "f"),
        ("1.0", "0"),
        ("pos", "neg"),
        ("+", "-"),
        ("+", "\u2212"),
        ("present", "absent"),
        ("positif", "négatif"),
        ("vorhanden", "fehlt"),
    ],
)
def test_yes_and_no_in_the_languages_of_users(yes: str, no: str, tmp_path: Path) -> None:
    for order in ((yes, no), (no, yes)):
        found = column(tmp_path, *order)
        assert [(it.name, it.task, tuple(it.labels)) for it in found.label_sets] == [("x", "binary", ("x",))]
        assert values(found) == [{"x": float(word == yes)} for word in order]


@pytest.mark.parametrize(
    ("one", "zero"),
    [
        ("COVID", "Non-COVID"),
        ("COVID", "NonCOVID"),
        ("COVID", "not_covid"),
        ("effusion", "no effusion"),
        ("nodule", "No nodules"),
        ("infected", "uninfected"),
        ("intubated", "not intubated"),
        ("fracture", "without fracture"),
        ("with PTX", "w/o PTX"),
        ("Effusion", "None"),
        ("Effusion", "-"),
        ("Effusion", "0"),
        ("tb", "health"),
        ("Zoster", "Healthy"),
        ("abnormal", "normal"),
        ("not normal", "normal"),
        ("malignant", "benign"),
        ("case", "control"),
        ("PCR+", "PCR-"),
        ("COVID positive", "COVID negative"),
        ("tumour", "tumour-free"),
        ("Erguss", "kein Erguss"),
        ("Pneumonie", "keine Pneumonie"),
        ("Zyste", "ohne Zyste"),
        ("mit Stauung", "ohne Stauung"),
        ("auffällig", "unauffällig"),
        ("Raucher", "Nichtraucher"),
        ("épanchement", "pas d'épanchement"),
        ("épanchement", "sans épanchement"),
        ("derrame pleural", "sin derrame"),
        ("versamento", "senza versamento"),
        ("выпот", "без выпота"),
        ("bacterial pneumonia", "no pneumonia"),
        ("finding", "no finding"),
    ],
)
def test_the_zero_is_the_negation_or_nothing(one: str, zero: str, tmp_path: Path) -> None:
    assert positive_of((one, zero)) == positive_of((zero, one)) == one
    found = column(tmp_path, one, zero)
    assert values(found) == [{one: 1.0}, {one: 0.0}]
    assert found.label_sets[0].means == f"1 if the column x says {one}, 0 if {zero}"


@pytest.mark.parametrize(
    ("first", "second"),
    [("m", "f"), ("CR", "DX"), ("1", "2"), ("bacteria", "virus"), ("patient", "inpatient"), ("normal", "control")],
)
def test_where_nothing_tells_it_asks(first: str, second: str, tmp_path: Path) -> None:
    assert positive_of((first, second)) is None
    with pytest.raises(DataError, match="which of them is 1 cannot be told") as caught:
        column(tmp_path, first, second)
    assert caught.value.hint == f"say it: --label 'x={min(first, second)}' or --label 'x={max(first, second)}'"
    for one in (first, second):
        assert values(column(tmp_path, first, second, label=f"x={one}")) == [
            {one if one != "1" else "x": float(word == one)} for word in (first, second)
        ]


def test_whoever_says_the_positive_class_has_the_last_word(tmp_path: Path) -> None:
    assert values(column(tmp_path, "ja", "nein", label="x=nein")) == [{"nein": 0.0}, {"nein": 1.0}]
    assert values(column(tmp_path, "a", "B", "c", label="x=b")) == [{"B": 0.0}, {"B": 1.0}, {"B": 0.0}]
    with pytest.raises(DataError, match="the column x has no class 'd'; it has B, a, c"):
        column(tmp_path, "a", "B", "c", label="x=d")
    with pytest.raises(DataError, match="no column 'y'"):
        column(tmp_path, "a", "b", label="y=a")


def test_a_column_whose_name_holds_an_equals_sign(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("study_id,a=b\n1,x\n2,y\n", encoding="utf-8")
    for given in ("a=b=x", "a=b"):
        spec = TableSpec(path, "t", labels=(given,))
        if given == "a=b":
            with pytest.raises(DataError, match="cannot be told"):
                read(spec)
        else:
            assert [dict(study.labels) for study in read(spec).studies] == [{"a=b": {"x": 1.0}}, {"a=b": {"x": 0.0}}]


def test_spellings_of_one_class_are_one_class(tmp_path: Path) -> None:
    found = column(tmp_path, "COVID-19", "covid-19", "Covid 19", "Épanchement", "epanchement", "COVID-19", "Mass", "")
    assert tuple(found.label_sets[0].labels) == ("COVID-19", "Mass", "epanchement")
    assert values(found)[:5] == [{"COVID-19": 1.0}] * 3 + [{"epanchement": 1.0}] * 2
    notes = {note.what: (note.count, list(note.examples)) for note in found.notes}
    assert notes["classes of the column x that are spelled in several ways"] == (
        2,
        ["Covid 19, covid-19 (as COVID-19)", "Épanchement (as epanchement)"],
    )
    assert one_spelling({"1": 1, "1.0": 1}).merged == []


def test_words_for_unknown_are_missing(tmp_path: Path) -> None:
    found = column(tmp_path, "ja", "nein", "unklar", "?", "-1", "k.A.", "")
    readings = [study.readings.get("x", {}).get("", {}) for study in found.studies]
    assert readings == [{"x": 1.0}, {"x": 0.0}, {}, {}, {"x": -1.0}, {}, {}]
    notes = {note.what: note.count for note in found.notes if note.what.startswith("labels")}
    assert notes == {"labels that say unknown, or a word like it": 3, "labels of -1 (uncertain)": 1, BLANK: 1}


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        (["mass|nodule", "nodule", "normal"], {0: "mass nodule", 1: "nodule", 2: "normal"}),
        (["mass;nodule", "nodule", "normal"], {0: "mass nodule", 1: "nodule", 2: "normal"}),
        (["COVID-19, ARDS", "COVID-19", "No Finding"], {0: "COVID-19 ARDS", 1: "COVID-19", 2: "No Finding"}),
        (["mass,nodule", "nodule,cyst", "normal"], {0: "mass nodule", 1: "nodule cyst", 2: "normal"}),
        (["['mass', 'nodule']", "['nodule']", "[]"], {0: "mass nodule", 1: "nodule", 2: ""}),
        (["['mass' 'nodule']", "['nodule']", "['normal', nan]"], {0: "mass nodule", 1: "nodule", 2: "normal"}),
        (["{mass,nodule}", "{nodule}", "{normal}"], {0: "mass nodule", 1: "nodule", 2: "normal"}),
        (["[mass, nodule]", "nodule", "NODULE"], {0: "mass nodule", 1: "nodule", 2: "nodule"}),
    ],
)
def test_lists_in_cells_are_several_labels(cells: list[str], names: dict[int, str], tmp_path: Path) -> None:
    found = column(tmp_path, *cells)
    (label_set,) = found.label_sets
    ones = [{name for name, value in study.items() if value} for study in values(found)]
    assert label_set.task == "multilabel"
    if "No Finding" not in cells:
        assert ones == [set(names[row].split()) for row in range(len(cells))]
    else:
        assert ones == [{"COVID-19", "ARDS"}, {"COVID-19"}, {"No Finding"}]
    assert all(set(study) == set(label_set.labels) for study in values(found))
    assert any("that list several classes" in note.what for note in found.notes)


def test_json_lists_in_cells(tmp_path: Path) -> None:
    found = column(tmp_path, '[""a"", ""b""]', '[""b""]', "[null]")
    assert values(found) == [{"a": 1.0, "b": 1.0}, {"a": 0.0, "b": 1.0}, {"a": 0.0, "b": 0.0}]


def test_more_combinations_than_classes_are_still_a_list(tmp_path: Path) -> None:
    pairs = [(a, b) for a in range(20) for b in range(a)]
    found = column(tmp_path, *(f"['f{a}', 'f{b}']" for a, b in pairs))
    assert (len(pairs), found.label_sets[0].task, len(found.label_sets[0].labels)) == (190, "multilabel", 20)


def test_a_comma_within_a_name_parts_nothing(tmp_path: Path) -> None:
    found = column(tmp_path, "pneumonia, viral", "pneumonia, bacterial", "normal")
    assert (found.label_sets[0].task, len(found.label_sets[0].labels)) == ("multiclass", 3)
    assert any(note.what == "classes of the column x with a comma in them" for note in found.notes)
    with pytest.raises(DataError, match="x holds measurements, such as 1,5"):
        column(tmp_path, "1,5", "2,5", "1")


def test_a_list_has_no_positive_class(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="list several classes") as caught:
        column(tmp_path, "a|b", "b", label="x=a")
    assert "--label x" in caught.value.hint


@pytest.mark.parametrize(
    "error",
    [
        "#VALUE!",
        "#REF!",
        "#DIV/0!",
        "#NUM!",
        "#NULL!",
        "#NAME?",
        "#N/A",
        "#SPILL!",
        "#CALC!",
        "#GETTING_DATA",
        "#WERT!",
        "#BEZUG!",
        "#NV",
        "#ZAHL!",
        "#VALEUR!",
        "#NOM?",
        "#N/D",
        "#¡REF!",
        "#¿NOMBRE?",
        "#ЗНАЧ!",
        "#value!",
        "########",
        "Err:502",
    ],
)
def test_every_error_of_a_spreadsheet_is_missing(error: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"study_id,y,findings\n1,1,Clear.\n2,0,{error}\n3,{error},# 3 is larger!\n", encoding="utf-8")
    found = read(TableSpec(path, "t", labels=("y",), texts=("findings",)))
    assert [(dict(s.labels), dict(s.sections)) for s in found.studies] == [
        ({"y": {"y": 1.0}}, {"findings": "Clear."}),
        ({"y": {"y": 0.0}}, {}),
        ({}, {"findings": "# 3 is larger!"}),
    ]


@pytest.mark.parametrize(
    "classes",
    [
        ("benign", "no malignancy"),
        ("benign", "not malignant"),
        ("benign", "no cancer"),
        ("normal", "no nodule"),
        ("normal", "no pneumonia"),
        ("no", "no effusion"),
        ("normal", "unknown"),
        ("negative", "uncertain"),
        ("no pneumothorax", "pneumonia"),
        ("no pneumonia", "pneumothorax"),
        ("not cardiomegaly", "cardiac failure"),
        ("0", "O"),
        ("1", "e"),
    ],
)
def test_two_classes_of_nothing_or_of_two_diseases_are_asked_for(classes: tuple[str, str]) -> None:
    assert positive_of(classes) is None
    assert positive_of(classes[::-1]) is None


@pytest.mark.parametrize(
    ("one", "zero"),
    [
        ("not normal", "normal"),
        ("infection", "not infected"),
        ("malignant", "no malignancy"),
        ("Erguss", "ohne Erguss"),
        ("effusions", "no effusion"),
    ],
)
def test_a_negation_is_known_with_another_ending(one: str, zero: str) -> None:
    assert positive_of((zero, one)) == positive_of((one, zero)) == one
