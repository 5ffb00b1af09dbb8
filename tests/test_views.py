"""Views: one table of words, and what the collection said beside it."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import save_film

from cxremb.catalog import add_collection
from cxremb.datasets.table import TableSpec, read
from cxremb.datasets.views import view_named
from cxremb.features import is_frontal
from cxremb.store.dataset import open_dataset
from cxremb.store.sql import query

GOLDEN = Path(__file__).parent / "golden" / "format1"


@pytest.mark.parametrize(
    ("words", "view"),
    [
        ("PA", "PA"),
        ("pa ", "PA"),
        ("p.a.", "PA"),
        ("Postero-Anterior", "PA"),
        ("POSTEROANTERIOR", "PA"),
        ("Thorax p.a. stehend", "PA"),
        ("AP", "AP"),
        ("AP Erect", "AP"),
        ("Antero posterior", "AP"),
        ("AP portable", "AP"),
        ("AP Supine", "AP supine"),
        ("AP_horizontal", "AP supine"),
        ("SUPINE", "AP supine"),
        ("Thorax a.p. liegend", "AP supine"),
        ("decubito supino", "AP supine"),
        ("Frontal", "Frontal"),
        ("AP/PA", "Frontal"),
        ("de face", "Frontal"),
        ("L", "Lateral"),
        ("LL", "Lateral"),
        ("Left Lateral", "Lateral"),
        ("LARGE LATERAL", "Lateral"),
        ("Thorax seitlich", "Lateral"),
        ("profil", "Lateral"),
        ("OBLICUA", "Oblique"),
        ("Schräg", "Oblique"),
        ("Left anterior oblique", "Oblique"),
        ("LAO", "Oblique"),
        ("RLO", "Oblique"),  # right lateral oblique, of DICOM and BRAX
        ("PA and lateral", None),
        ("Left lateral decubitus", None),
        ("LLD", None),
        ("COSTAL", None),
        ("UNK", None),
        ("portable", None),
        ("?", None),
        ("", None),
        (None, None),
    ],
)
def test_words_of_views(words: str | None, view: str | None) -> None:
    assert view_named(words) == view


def test_both_are_kept_and_what_is_not_known_is_told(tmp_path: Path) -> None:
    words = ["PA", "AP supine", "AP_horizontal", "L", "?", "", "COSTAL", "?"]
    for number in range(len(words)):
        save_film(tmp_path / f"{number}.png", number)
    rows = "".join(f"{number}.png,p{number},{word}\n" for number, word in enumerate(words))
    (tmp_path / "t.csv").write_text(f"filename,patient_id,ViewPosition\n{rows}", encoding="utf-8")
    added = add_collection(read(TableSpec(tmp_path / "t.csv", "mine")), tmp_path / "stores")
    images = added.dataset.images
    assert images["view"].to_pylist() == ["PA", "AP supine", "AP supine", "Lateral", None, None, None, None]
    assert images["view_raw"].to_pylist() == [word or None for word in words]
    assert is_frontal(images).tolist() == [True, True, True, False, False, False, False, False]
    told = {note.what: (note.count, list(note.examples)) for note in added.notes}
    assert told["images whose view is not known"] == (4, ["?: 2", "blank: 1", "COSTAL: 1"])
    by_raw = query(tmp_path / "stores", "select view_raw, count(*) as n from images group by 1 order by 2 desc, 1")
    assert by_raw.to_pylist()[0] == {"view_raw": "?", "n": 2}


def test_tables_older_than_the_column_are_read_beside_new_ones(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "stores")
    old = open_dataset(tmp_path / "stores", "golden")
    assert "view_raw" not in json.dumps(old.descriptor)
    assert set(old.images["view_raw"].to_pylist()) == {None}
    assert query(tmp_path / "stores", "select count(view_raw) as n from images").to_pylist() == [{"n": 0}]
    save_film(tmp_path / "1.png", 1)
    (tmp_path / "t.csv").write_text("filename,view\n1.png,pa\n", encoding="utf-8")
    add_collection(read(TableSpec(tmp_path / "t.csv", "mine")), tmp_path / "stores")
    found = query(tmp_path / "stores", "select dataset, count(view_raw) as n from images group by 1 order by 1")
    assert found.to_pylist() == [{"dataset": "golden", "n": 0}, {"dataset": "mine", "n": 1}]
