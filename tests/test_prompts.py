"""Prompts: those that come with the package, a user's own, and what is wrong with them."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest

from cxremb.datasets.chexpert import LABELS as CHEXPERT
from cxremb.errors import DataError
from cxremb.labels import Labels
from cxremb.zeroshot.prompts import (
    FINDINGS,
    SHIPPED,
    findings,
    plain,
    prompts_of,
    read_prompts,
    shipped_rows,
    with_shipped,
)

XRV = (
    *("Atelectasis", "Consolidation", "Infiltration", "Pneumothorax", "Edema", "Emphysema", "Fibrosis", "Effusion"),
    *("Pneumonia", "Pleural_Thickening", "Cardiomegaly", "Nodule", "Mass", "Hernia", "Lung Lesion", "Fracture"),
    *("Lung Opacity", "Enlarged Cardiomediastinum"),
)
SETS = ("plain", "picture", "report")


def labels_of(*names: str, task: str = "multilabel") -> Labels:
    return Labels("found", task, "0", names, (), np.zeros((0, len(names))))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", [*SETS, "plain+report"])
def test_two_usual_vocabularies_have_prompts(name: str) -> None:
    for names in (CHEXPERT, XRV, ("abnormal",), ("pneumonia",)):
        asked = prompts_of(labels_of(*names), name, shipped_rows())
        for label in names:
            sides = [
                {one.text for one in asked if (one.label, one.positive) == (label, side)} for side in (True, False)
            ]
            assert all(sides)
            assert not sides[0] & sides[1]
        assert all("{" not in one.text and one.text == " ".join(one.text.split()) for one in asked)


def test_the_shipped_files_can_be_read_by_anybody() -> None:
    """Row by row, by Python's own reader: the prompts of a label are its own rows, or else those of `*`."""
    with SHIPPED.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with FINDINGS.open(encoding="utf-8", newline="") as file:
        called = {row["label"]: row["finding"] for row in csv.DictReader(file)}
    assert dict(findings()) == called
    assert list(called) == sorted(called)
    assert {row["prompts"] for row in rows} == set(SETS)
    for name in SETS:
        for label, finding in called.items():
            own = [row for row in rows if (row["prompts"], row["label"]) == (name, label)]
            general = [row for row in rows if (row["prompts"], row["label"]) == (name, "*")]
            wanted = {(row["class"] == "1", row["prompt"].replace("{label}", finding)) for row in own or general}
            assert {(one.positive, one.text) for one in prompts_of(labels_of(label), name, shipped_rows())} == wanted


def test_a_pair_is_that_of_chexzero() -> None:
    asked = prompts_of(labels_of("Pleural_Thickening", "Edema"), "plain", shipped_rows())
    assert [(one.label, one.positive, one.text) for one in asked] == [
        ("Pleural_Thickening", True, "pleural thickening"),
        ("Pleural_Thickening", False, "no pleural thickening"),
        ("Edema", True, "pulmonary edema"),
        ("Edema", False, "no pulmonary edema"),
    ]
    assert asked[1].digest == hashlib.sha256(b"no pleural thickening").hexdigest()
    assert asked[1].template == "no {label}"


def test_labels_match_whole_and_never_in_part() -> None:
    assert plain(" Pleural_ Thickening ") == "pleural thickening"
    with pytest.raises(DataError, match="no prompt of 'plain' for pseudonodule of found"):
        prompts_of(labels_of("nodule", "pseudonodule"), "plain", shipped_rows())


def test_every_label_without_a_prompt_is_named() -> None:
    with pytest.raises(DataError, match="for C3, C9 of found") as caught:
        prompts_of(labels_of("Edema", "C3", "C9"), "report", shipped_rows())
    assert "--prompts" in caught.value.hint


def test_sets_joined_are_asked_as_one_and_no_sentence_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", "prompts,label,class,prompt\na,nodule,1,one\nb,nodule,1,one\nb,nodule,0,none\n")
    asked = prompts_of(labels_of("Nodule"), "a+b", with_shipped(read_prompts(path)))
    assert [(one.positive, one.text) for one in asked] == [(True, "one"), (False, "none")]
    with pytest.raises(DataError, match="no prompts called 'c'"):
        prompts_of(labels_of("nodule"), "a+c", with_shipped(read_prompts(path)))
    with pytest.raises(DataError, match="no prompts called 'pictures'") as caught:
        prompts_of(labels_of("nodule"), "pictures", shipped_rows())
    assert "did you mean picture?" in caught.value.hint


def test_your_own_rows_for_every_label_and_for_one(tmp_path: Path) -> None:
    """Semicolons and another encoding are read as every table is; the file's name is that of the set."""
    path = tmp_path / "ward.csv"
    path.write_bytes("label;class;prompt\n*;1;Bild mit {label}\n*;0;Bild ohne {label}\nC 3;1;Größe\n".encode("cp1252"))
    asked = prompts_of(labels_of("C_3", "D4", "nodule"), "ward", with_shipped(read_prompts(path)))
    assert [(one.label, one.positive, one.text) for one in asked] == [
        ("C_3", True, "Größe"),
        ("D4", True, "Bild mit d4"),
        ("D4", False, "Bild ohne d4"),
        ("nodule", True, "Bild mit lung nodule"),
        ("nodule", False, "Bild ohne lung nodule"),
    ]


def test_of_classes_only_what_speaks_for_one_is_asked() -> None:
    asked = prompts_of(labels_of("pneumonia", "edema", task="multiclass"), "picture", shipped_rows())
    assert [(one.label, one.positive) for one in asked] == [("pneumonia", True), ("edema", True)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("label,class,prompt\nnodule,yes,a nodule\n", "line 2: class is 'yes'"),
        ("label,class,prompt\nnodule,,a nodule\n", "line 2: class is ''"),
        ("label,class,prompt\nnodule,1,\n", "line 2: no prompt"),
        ("label,class,prompt\n,1,a nodule\n", "line 2: no label"),
        ("label,class,prompt\nnodule,1,a {finding}\n", "another hole than {label}"),
        ("label,class,prompt\n", "no prompt in it"),
        ("label,prompt\nnodule,a nodule\n", "no column 'class'"),
        ("prompts,label,class,prompt\nmy set,nodule,1,a nodule\n", "line 2: no name of a set of prompts: 'my set'"),
        ("prompts,label,class,prompt\nplain,nodule,1,a nodule\n", "line 2: prompts called 'plain' come with cxremb"),
        ("label,class,prompt\nnodule,1,a nodule\nnodule,0,a nodule\n", "'a nodule' is asked for and against nodule"),
        ("label,class,prompt\nnodule,0,no nodule\n", "no prompt of 'p' for nodule"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(text: str, says: str, tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", text)
    with pytest.raises(DataError) as caught:
        prompts_of(labels_of("nodule"), "p", with_shipped(read_prompts(path)))
    assert says in str(caught.value)
    assert caught.value.hint
