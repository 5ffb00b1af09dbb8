"""Which texts a data set has, whose role they take, and that a figure never loses its caveat on the way to a reader."""

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import save_film
from sklearn.metrics import roc_auc_score

from cxremb.catalog import add_collection
from cxremb.cli.main import main
from cxremb.datasets.iu_xray import read
from cxremb.embedding.job import embed
from cxremb.embedding.plan import wanted_items
from cxremb.encoders.base import What, load_encoder
from cxremb.errors import StoreError
from cxremb.features import Inputs, load_features
from cxremb.reporting.chosen import runs_named
from cxremb.reporting.page import page_of, render
from cxremb.store.dataset import Dataset
from cxremb.store.layout import BEFORE_READING, LABEL_SOURCE, REPORTS
from cxremb.store.sql import query
from cxremb.store.texts import report_texts, section_roles, text_parts, text_role
from cxremb.training.runs import list_runs
from cxremb.types import Collection, Image, LabelSet, Study

RECOVERY = "label recovery, not diagnosis"
BEFORE = "written before the film was read"
CLINIC = {"clinical": BEFORE_READING}  # `letter` has no role: the careful way round


def reports(*rows: tuple[str, str, str, str]) -> pa.Table:
    return pa.table([pa.array(column) for column in zip(*rows, strict=True)], schema=REPORTS)


def test_texts_of_a_report_in_the_order_it_is_written() -> None:
    table = reports(
        ("1", "letter", LABEL_SOURCE, "Dear all."),
        ("1", "impression", LABEL_SOURCE, "Normal."),
        ("1", "clinical", BEFORE_READING, "Fever."),
        ("1", "comparison", BEFORE_READING, "None."),
        ("1", "indication", BEFORE_READING, "Cough."),
        ("1", "findings", LABEL_SOURCE, "Clear."),
        ("1", "aims", BEFORE_READING, ""),
        ("2", "impression", LABEL_SOURCE, "Effusion."),
    )
    assert list(report_texts(table)) == [
        ("1", "indication", "Cough."),
        ("1", "comparison", "None."),
        ("1", "findings", "Clear."),
        ("1", "impression", "Normal."),
        ("1", "clinical", "Fever."),
        ("1", "letter", "Dear all."),
        ("1", "findings+impression", "Clear. Normal."),
        ("1", "pre-read", "Cough. None. Fever."),
        ("2", "impression", "Effusion."),
        ("2", "findings+impression", "Effusion."),
    ]
    assert text_parts(section_roles(table))["pre-read"] == ("indication", "comparison", "aims", "clinical")


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("pre-read", BEFORE_READING),
        ("indication", BEFORE_READING),
        ("technique", BEFORE_READING),
        ("findings+impression", LABEL_SOURCE),
        ("impression", LABEL_SOURCE),
        ("clinical", BEFORE_READING),
        ("letter", LABEL_SOURCE),
        ("never heard of", LABEL_SOURCE),
    ],
)
def test_a_text_was_written_before_reading_only_if_all_of_it_was(name: str, role: str) -> None:
    table = reports(("1", "clinical", BEFORE_READING, "Fever."), ("1", "letter", LABEL_SOURCE, "Dear all."))
    assert text_role(table, name) == role


def test_one_source_of_labels_makes_the_whole_text_one() -> None:
    mixed = reports(("1", "findings", BEFORE_READING, "Clear."), ("1", "impression", LABEL_SOURCE, "Normal."))
    assert text_role(mixed, "findings+impression") == LABEL_SOURCE
    assert text_role(mixed, "findings") == BEFORE_READING
    torn = reports(("1", "clinical", BEFORE_READING, "Fever."), ("2", "clinical", LABEL_SOURCE, "Pneumonia."))
    assert text_role(torn, "clinical") == LABEL_SOURCE


def test_real_reports_give_the_texts_that_pandas_counts(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "iu_xray"
    collection = read(
        images=source / "images", reports=source / "indiana_reports.csv", projections=source / "indiana_projections.csv"
    )
    dataset = add_collection(collection, tmp_path).dataset
    items = {item.key: item.source for item in wanted_items(dataset, "text")}
    table = pd.read_csv(source / "indiana_reports.csv", dtype=str, keep_default_na=False).set_index("uid")
    table = table.map(str.strip).replace({"nan": "", "#NAME?": ""})
    texts = {
        "pre-read": (table["indication"] + " " + table["comparison"]).str.strip(),
        "findings+impression": (table["findings"] + " " + table["impression"]).str.strip(),
        **{name: table[name] for name in ("indication", "comparison", "findings", "impression")},
    }
    expected = {(uid, name): text for name, column in texts.items() for uid, text in column.items() if text}
    assert items == expected
    assert sum(section == "pre-read" for _, section in items) == 3812
    assert sum(section == "findings+impression" for _, section in items) == 3826
    abnormal = (table["MeSH"].str.strip() != "normal").to_numpy()
    removed = {name: texts[name].str.count("XXXX").to_numpy() for name in ("findings+impression", "pre-read")}
    told = {name: round(roc_auc_score(abnormal, count), 2) for name, count in removed.items()}
    assert told == {"findings+impression": 0.67, "pre-read": 0.57}  # as docs/training.md has it
    assert section_roles(dataset.reports) == {
        "indication": BEFORE_READING,
        "comparison": BEFORE_READING,
        "findings": LABEL_SOURCE,
        "impression": LABEL_SOURCE,
    }


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """80 studies with a film, a `clinical` text that knows half of the answer and a `letter` that knows all of it."""
    folder, rng = tmp_path_factory.mktemp("clinic"), np.random.default_rng(0)
    studies, images = [], []
    for number in range(80):
        study, ill = f"s{number:02}", number % 2
        fever = "fever" if rng.random() < (0.8 if ill else 0.2) else "well"
        texts = {"clinical": f"{fever} {number}", "letter": f"{'pneumonia' if ill else 'clear'} {number}"}
        studies.append(Study(study, study, texts, labels={"ill": {"ill": float(ill)}}))
        images.append(Image(f"{study}_pa", study, study, "PA", save_film(folder / f"{number}.png", number)))
    sets = [LabelSet("ill", "binary", "1: has pneumonia", ("ill",))]
    made = Collection("clinic", studies, images, "none", "none", {}, label_sets=sets, roles=CLINIC)
    dataset = add_collection(made, folder / "root").dataset
    for model in ("tiny", "tiny_text"):
        embed(dataset, load_encoder(What(model)))
    return dataset


@pytest.fixture
def cxremb(clinic: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    """What the command prints, run in this process on `clinic`."""
    monkeypatch.setenv("COLUMNS", "400")  # a sentence stays one line

    def call(*words: str) -> str:
        asked = ["cxremb", *words, "--label-set", "ill", "--root", str(clinic.paths.root)]
        monkeypatch.setattr(sys, "argv", asked)
        with pytest.raises(SystemExit, match="0"):
            main()
        return capsys.readouterr().out

    return call


def test_a_collections_own_sections_become_texts(clinic: Dataset) -> None:
    held = query(
        clinic.paths.root,
        "select section, role, count(*) as texts from embeddings left join reports using (dataset, study_id, section) "
        "where store like 'tiny_text%' and pooling = 'mean' group by all order by all",
    ).to_pylist()
    assert [tuple(row.values()) for row in held] == [
        ("clinical", BEFORE_READING, 80),
        ("letter", LABEL_SOURCE, 80),
        ("pre-read", None, 80),
    ]
    assert query(clinic.paths.root, "select bool_or(stale) as stale from stores").to_pylist() == [{"stale": False}]
    before, letter = (load_features(clinic, ("text",), Inputs("ill", text=name)) for name in ("pre-read", "letter"))
    assert (before.text, before.text_role) == ("pre-read", BEFORE_READING)
    assert (letter.text, letter.text_role) == ("letter", LABEL_SOURCE)
    np.testing.assert_array_equal(
        before.blocks["text"], load_features(clinic, ("text",), Inputs("ill", text="clinical")).blocks["text"]
    )
    with pytest.raises(StoreError, match="it has clinical, letter, pre-read") as caught:
        load_features(clinic, ("text",), Inputs("ill"))  # nobody wrote findings here
    assert caught.value.hint == "name one of them with --text"


@pytest.mark.parametrize(
    ("text", "role", "recovers"),
    [("letter", LABEL_SOURCE, True), ("pre-read", BEFORE_READING, False), ("clinical", BEFORE_READING, False)],
)
def test_figures_carry_their_caveat_wherever_they_are_read(clinic, cxremb, text, role, recovers) -> None:
    trained = cxremb("train", "text", "--text", text, "--epochs", "2")
    known = {run.run_id for run in list_runs(clinic)}
    compared = {
        style: cxremb("ablate", "--no-controls", "--text", text, "--format", style)
        for style in ("table", "csv", "json", "markdown")
    }
    runs = {run.arm: run for run in list_runs(clinic) if run.run_id not in known}  # the three arms of the comparison
    assert set(runs) == {"image", "text", "fusion"}
    page = render(page_of(runs_named(list(runs.values()))))
    cards = [(runs[arm].folder / "README.md").read_text(encoding="utf-8") for arm in ("text", "fusion")]
    trained, table = (" ".join(shown.split()) for shown in (trained, compared["table"]))  # sentences go on below
    for shown in (trained, *compared.values(), page, *cards):
        assert (RECOVERY in shown) == recovers
        assert f"text {text}" in shown or f'"text": "{text}"' in shown or f",{text}," in shown
    for shown in (trained, table, compared["markdown"], page, *cards):
        assert (BEFORE in shown) != recovers

    told = query(clinic.paths.root, f"select arm, text, text_role, note from runs where run_id not in {(*known, '')}")
    notes = {row["arm"]: row for row in told.to_pylist()}
    assert {arm: (row["text"], row["text_role"]) for arm, row in notes.items()} == {
        "image": (None, None),
        "text": (text, role),
        "fusion": (text, role),
    }
    assert {arm: RECOVERY in row["note"] for arm, row in notes.items()} == {
        "image": False,
        "text": recovers,
        "fusion": recovers,
    }
    rows = {row["arm"]: row["caveats"] for row in csv.DictReader(io.StringIO(compared["csv"]))}
    assert {arm: RECOVERY in said for arm, said in rows.items()} == {
        arm: RECOVERY in notes[arm]["note"] for arm in rows
    }
    arms = {row["arm"]: row["caveats"] for row in json.loads(compared["json"])["rows"]}
    assert {arm: "; ".join(said) for arm, said in arms.items()} == rows
    assert "image" not in " ".join(line for line in compared["table"].splitlines() if RECOVERY in line)
