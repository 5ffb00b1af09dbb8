"""Which reports are copies and which are stock phrases: planted ones, a hospital's one-line normals, chains."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cxremb.errors import SplitError
from cxremb.labels import Labels
from cxremb.splits import DEFAULT, SplitSpec
from cxremb.splits.folds import feasible, form_cohort, make_split
from cxremb.splits.group import copied_texts

REPORT = "Nodule of 7 mm in the right upper lobe, new since the last examination; no effusion and no pneumothorax. "


def labelled(studies: dict[str, str], values: np.ndarray) -> Labels:
    return Labels("x", "binary", "0", ("abnormal",), tuple(studies), values.astype(float)[:, None])


def copies(holders: list[str], texts: list[str], most: int = 1000) -> Counter[str]:
    """How many studies each copied report is in."""
    return Counter(text for text in copied_texts(holders, texts, most=most) if text)


@pytest.mark.parametrize(
    ("patients", "text", "linked"),
    [
        (["a", "b"], REPORT, 2),
        (["a", "b", "c"], REPORT, 3),
        (["a", "a", "b", "b", "c"], REPORT, 5),  # five studies, three patients
        (["a", "b", "c", "d"], REPORT, 0),  # a stock report
        (["a", "b"], "Normal chest.", 0),  # the same by chance
        (["a", "b"], "", 0),
    ],
)
def test_a_long_report_of_few_patients_is_a_copy(patients, text, linked):
    assert copies([*patients, "e"], [text] * len(patients) + [f"{REPORT} Another one."]).total() == linked


def test_a_chain_of_copies_ends_and_the_longest_report_comes_first():
    # of the chain a-b-c-d the two longer links stay: with the last, four patients would hang together
    texts = {"ab": f"{REPORT} the longest of all", "bc": f"{REPORT} the longer", "cd": f"{REPORT} short"}
    rows = [(patient, pair) for pair in ("cd", "bc", "ab") for patient in pair]
    found = copies([patient for patient, _ in rows], [texts[pair] for _, pair in rows])
    assert {text.split()[-1]: count for text, count in found.items()} == {"all": 2, "longer": 2}


def test_patients_of_many_studies_are_not_linked_beyond_a_fold():
    holders = ["a"] * 9 + ["b"] * 8 + [f"p{number}" for number in range(40)]
    texts = [REPORT, *[""] * 8, REPORT, *[""] * 47]
    assert copies(holders, texts, most=17).total() == 2
    assert copies(holders, texts, most=16).total() == 0


def largest_group(studies: dict[str, str], texts: dict[str, str], values: np.ndarray, spec: SplitSpec = DEFAULT) -> int:
    """Of the folds that are made."""
    cohort = form_cohort(studies, texts, labelled(studies, values), spec=spec)
    make_split(cohort, spec)  # refuses what cannot be folds
    return int(np.bincount(cohort.groups).max())


def hospital(n: int, patients: int, rng: np.random.Generator) -> tuple[dict[str, str], dict[str, str], np.ndarray]:
    studies = {f"s{number:05d}": f"p{holder}" for number, holder in enumerate(rng.integers(patients, size=n).tolist())}
    return studies, {study: f"{REPORT} Of {study}." for study in studies}, rng.random(n) < 0.4


@pytest.mark.parametrize("n", [400, 3000, 20_000])
def test_folds_exist_with_150_normal_templates_over_8_percent_of_the_studies(n):
    rng = np.random.default_rng(n)
    studies, texts, values = hospital(n, n // 5, rng)
    for study in rng.choice(list(studies), round(0.08 * n), replace=False).tolist():
        texts[study] = f"{REPORT} Template {rng.integers(150)}."
    assert largest_group(studies, texts, values) <= max(60, 3 * max(Counter(studies.values()).values()))


@pytest.mark.parametrize("n", [60, 400, 3000])
@pytest.mark.parametrize("line", ["Normal chest.", REPORT])
def test_folds_exist_where_four_in_ten_reports_are_one_line(n, line):
    rng = np.random.default_rng(n)
    studies, texts, values = hospital(n, n // 2, rng)
    same = rng.random(n) < 0.4
    texts |= {study: line for study, one in zip(studies, same, strict=True) if one}
    assert largest_group(studies, texts, values) == max(Counter(studies.values()).values())  # patients alone


@pytest.mark.parametrize(
    ("n", "texts_there", "largest"), [(30, 10, 3), (30, 15, 2), (20, 10, 2), (29, 10, 2), (19, 9, 1)]
)
def test_there_are_as_many_groups_as_bins_where_every_patient_has_a_copy(n, texts_there, largest):
    studies = {f"s{number:02d}": f"p{number}" for number in range(n)}
    texts = {study: f"{REPORT} {number % texts_there}" for number, study in enumerate(studies)}
    cohort = form_cohort(studies, texts, labelled(studies, np.arange(n) % 2 == 0))
    assert np.bincount(cohort.groups).max() == largest
    assert cohort.groups.max() + 1 >= 10


def test_a_stock_phrase_is_as_common_in_train_as_in_test():
    rng = np.random.default_rng(0)
    studies, texts, values = hospital(2000, 2000, rng)
    stock = rng.random(2000) < 0.1
    texts |= {study: f"{REPORT} Stock." for study, one in zip(studies, stock, strict=True) if one}
    values = np.where(stock, rng.random(2000) < 0.04, values)
    table = make_split(form_cohort(studies, texts, labelled(studies, values)), DEFAULT)[0].to_pylist()
    held = {study for study, one in zip(studies, stock, strict=True) if one}
    shares = [
        np.mean([row["study_id"] in held for row in table if row["fold"] == fold and row["part"] == part])
        for fold in range(5)
        for part in ("train", "test")
    ]
    assert np.allclose(shares, stock.mean(), atol=0.03)  # 0.1; in one part it would be 0.5 and 0


ROOT = Path(__file__).parent.parent


def test_the_documents_quote_what_was_measured():
    found = json.loads((ROOT / "benchmarks" / "results" / "alike_texts.json").read_text())["simulated"]
    lines = [line for line in (ROOT / "docs" / "evaluation.md").read_text().splitlines() if line.startswith("|")]
    rules = ("any identical text", "3 patients, 80 letters", "patient alone")
    quoted = 0
    for rows in found.values():
        for arm, chosen in rows[rules[1]].items():
            errors = [float(f"{rows[rule][arm]['error']:.3f}") for rule in rules]
            cells = [arm, float(f"{chosen['truth']:.3f}"), *errors]
            quoted += any([line.split("|")[2].strip(), *numbers(line)] == cells for line in lines)
    assert quoted == 16  # four hospitals, four arms


def numbers(line: str) -> list[float]:
    cells = [cell.strip() for cell in line.split("|")[3:-1]]
    return [float(cell) for cell in cells] if all(cell.strip("+-").startswith(".") for cell in cells) and cells else []


def small_hospital(seed: int) -> tuple[dict[str, str], dict[str, str], np.ndarray]:
    """Dozens of studies, of which few are ill; many have one of a few long stock reports."""
    rng = np.random.default_rng(seed)
    n, templates = int(rng.integers(40, 65)), int(rng.integers(2, 40))
    studies = {f"s{number:03d}": f"p{rng.integers(round(0.7 * n))}" for number in range(n)}
    stock = rng.random(n) < 0.45
    texts = {
        study: f"{REPORT} {f'Stock {rng.integers(templates)}' if one else study}"
        for study, one in zip(studies, stock, strict=True)
    }
    return studies, texts, np.where(stock, rng.random(n) < 0.05, rng.random(n) < 0.4)


def test_folds_that_exist_by_patient_exist_with_copies():
    undone = 0
    for seed in range(80):
        studies, texts, values = small_hospital(seed)
        labels, alone = labelled(studies, values), SplitSpec(group=("patient",))
        try:
            make_split(form_cohort(studies, texts, labels, spec=alone), alone)
        except SplitError:
            continue
        cohort = feasible(form_cohort(studies, texts, labels), DEFAULT)
        notes = make_split(cohort, DEFAULT)[1]
        assert [note.count for note in notes] == ([len(cohort.apart)] if cohort.apart else [])
        undone += bool(cohort.apart)
        assert not (cohort.apart and any(cohort.copies))
    assert undone  # else nothing was tested
