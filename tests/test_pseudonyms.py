"""`data add --pseudonymise`: ids are keyed hashes, days are shifted, and the key is in no store."""

import base64
import hashlib
import hmac
import json
import re
import shutil
import stat
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_hospital import export

from cxremb.api.data import add
from cxremb.audit.people import two_ages
from cxremb.errors import DataError
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.locations import Locations, common_folder
from cxremb.store.pseudonyms import Pseudonyms, made_key, read_key

OPTIONS: dict[str, Any] = {
    "name": "klinik",
    "columns": {"path": "Datei", "patient": "Pat.-Nr.", "study": "Untersuchung", "scanner": "Gerät"},
    "labels": ("Pneumonie",),
    "texts": ("findings=Befund",),
}


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("export"))


def bring(sheet: Path, root: Path, **more: Any) -> Any:
    return add("table", sheet, images=sheet.parent / "Aufnahmen", root=root, **{**OPTIONS, **more})


def named(key: Path, name: str) -> str:
    """The definition, written out."""
    digest = hmac.new(key.read_bytes().strip(), b"id " + name.encode(), hashlib.sha256).digest()
    return base64.b32encode(digest).decode()[:16].lower()


def facts_of(dataset: Dataset, name: str) -> dict[str, Any]:
    return {row["id"]: row for row in dataset.facts.to_pylist() if row["name"] == name}


@pytest.fixture(scope="module")
def place(sheet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data set and its key."""
    folder = tmp_path_factory.mktemp("place")
    bring(sheet, folder / "stores", pseudonymise=folder / "klinik.key", keep=("CRP",))
    return folder


def test_every_id_is_the_keyed_hash_of_its_own(sheet: Path, place: Path, tmp_path: Path) -> None:
    plain = bring(sheet, tmp_path / "plain").dataset
    dataset, key = open_dataset(place / "stores"), place / "klinik.key"
    for table, columns in (
        ("studies", ("study_id", "patient_id")),
        ("images", ("image_id", "study_id", "patient_id")),
        ("reports", ("study_id",)),
        ("labels", ("study_id",)),
    ):
        for column in columns:
            was, now = (getattr(one, table)[column].to_pylist() for one in (plain, dataset))
            assert now == [named(key, one) for one in was], (table, column)
    assert dataset.reports["text"].to_pylist() == plain.reports["text"].to_pylist()
    assert dataset.labels["value"].to_pylist() == plain.labels["value"].to_pylist()
    assert "facts" in plain.descriptor["source"]
    assert "facts" not in dataset.descriptor["source"]  # headings of columns that are left out


def test_days_of_a_patient_are_as_far_apart_as_they_were(sheet: Path, place: Path, tmp_path: Path) -> None:
    plain = bring(sheet, tmp_path / "plain").dataset
    dataset, key = open_dataset(place / "stores"), place / "klinik.key"
    was, now = facts_of(plain, "day"), facts_of(dataset, "day")
    shifts: dict[str, set[int]] = {}
    for row in plain.images.to_pylist():
        image = row["image_id"]
        before, after = was[image]["day"], now[named(key, image)]["day"]
        assert now[named(key, image)]["text"] == after.isoformat()
        shifts.setdefault(row["patient_id"], set()).add((before - after).days)
    assert all(len(days) == 1 for days in shifts.values())
    (every,) = (sorted(days for one in shifts.values() for days in one),)
    assert 1 <= every[0] <= every[-1] <= 730
    assert len(set(every)) > 60  # of 80 patients
    digest = hmac.new(key.read_bytes().strip(), b"days of 3", hashlib.sha256).digest()
    assert shifts["3"] == {1 + int.from_bytes(digest[:8]) % 730}


def test_a_year_of_birth_is_shifted_as_the_days_so_that_ages_stay(tmp_path: Path) -> None:
    """300 studies of 100 patients, one with the year and two with the age: nobody becomes two people by it."""
    sheet, lines = tmp_path / "t.csv", ["study,patient,study_date,age,birth_year,findings"]
    for number in range(300):
        year, born = 2015 + number % 5, 1930 + number // 3 % 60
        said = f",{born}" if number % 3 == 0 else f"{year - born},"
        lines.append(f"s{number},p{number // 3},{year}-{1 + number % 12:02d}-11,{said},Words {number}.")
    sheet.write_text("\n".join([*lines, "s300,q0,0001-01-01,,unknown,No day.", "s301,q1,0001-01-01,,99999,No day."]))
    more = {"columns": {"study": "study", "patient": "patient"}, "labels": (), "texts": ("findings",), "images": None}
    plain, dataset = (
        add("table", sheet, root=tmp_path / name, **{**OPTIONS, **more, "pseudonymise": key})
        for name, key in (("plain", None), ("stores", tmp_path / "key"))
    )
    (note,) = [note for note in dataset.notes if note.what.startswith("days and years")]
    assert note.count == 4
    assert two_ages(plain.dataset) == two_ages(dataset.dataset) == []
    years = {name: facts_of(one.dataset, "birth_year") for name, one in (("was", plain), ("now", dataset))}
    days = {name: facts_of(one.dataset, "day") for name, one in (("was", plain), ("now", dataset))}
    for number in range(0, 300, 3):
        study, other = f"s{number}", named(tmp_path / "key", f"s{number}")
        was = days["was"][study]["day"].year - years["was"][study]["number"]
        now = days["now"][other]["day"].year - years["now"][other]["number"]
        assert abs(was - now) <= 1


def test_of_other_columns_only_those_that_are_named_stay(sheet: Path, place: Path, tmp_path: Path) -> None:
    names = set(open_dataset(place / "stores").facts["name"].to_pylist())
    assert names == {"sex", "age", "day", "scanner", "crp"}
    added = bring(sheet, tmp_path / "stores", pseudonymise=tmp_path / "key")
    (note,) = [note for note in added.notes if note.what.startswith("columns left out")]
    assert (note.count, list(note.examples)) == (2, ["crp", "fall"])
    with pytest.raises(DataError, match="no column blood to keep"):
        bring(sheet, tmp_path / "other", pseudonymise=tmp_path / "key", keep=["blood"])
    with pytest.raises(DataError, match="no pseudonyms"):
        bring(sheet, tmp_path / "other", keep=["CRP"])


def test_the_same_key_gives_the_same_and_another_is_refused(sheet: Path, place: Path, tmp_path: Path) -> None:
    root, key = place / "stores", place / "klinik.key"
    descriptor = root / "klinik" / "dataset.json"
    before = descriptor.read_bytes()
    assert bring(sheet, root, pseudonymise=key, keep=("CRP",)).changes == {}
    assert descriptor.read_bytes() == before
    again = bring(sheet, tmp_path / "again", pseudonymise=key, keep=("CRP",)).dataset
    assert again.studies.equals(open_dataset(root).studies)
    for words, more in {
        "is here under pseudonyms": {},
        "no such file": {"pseudonymise": tmp_path / "none.key"},
        "not the key": {"pseudonymise": made_key(tmp_path / "other.key", root).path},
    }.items():
        with pytest.raises(DataError, match=words):
            bring(sheet, root, **more)
    bring(sheet, tmp_path / "plain")
    with pytest.raises(DataError, match="under its own ids"):
        bring(sheet, tmp_path / "plain", pseudonymise=key)
    assert descriptor.read_bytes() == before
    assert not (tmp_path / "none.key").exists()


def test_the_key_is_its_owner_s_and_in_no_store(place: Path, tmp_path: Path) -> None:
    key = place / "klinik.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(key.read_text().strip()) == 64
    secret = key.read_bytes().strip()
    assert not [path for path in (place / "stores").rglob("*") if path.is_file() and secret in path.read_bytes()]
    with pytest.raises(DataError, match="lies in the store root"):
        made_key(tmp_path / "stores" / "key", tmp_path / "stores")
    Path(key).chmod(0o640)
    with pytest.raises(DataError, match="others may read"):
        read_key(key)
    Path(key).chmod(0o600)
    no_key = tmp_path / "no key"
    for text in ("geheim", "Name;Pneumonie\n" + "Erika Muster;ja\n" * 9):
        no_key.write_text(text)
        no_key.chmod(0o600)
        with pytest.raises(DataError, match="not one word of 32 letters or more, so no key"):
            read_key(no_key)


def test_two_ids_that_would_be_one_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Pseudonyms(b"k" * 32, Path("key"))
    assert names.once("7") == names.once(" 7 ") == names.once("7.0")  # one id, as `clean_id` has it
    monkeypatch.setattr(Pseudonyms, "of", lambda self, name: "same")
    names = Pseudonyms(b"k" * 32, Path("key"))
    names.once("7")
    with pytest.raises(DataError, match="one pseudonym"):
        names.once("8")


def test_days_are_shifted_into_the_past_by_what_the_key_says() -> None:
    names = Pseudonyms(b"k" * 32, Path("key"))
    days = {names.shift(date(2025, 3, 1), str(patient)) for patient in range(3000)}
    assert min(days) == date(2025, 3, 1) - timedelta(days=730)
    assert max(days) == date(2025, 2, 28)
    assert len(days) > 700


def test_what_is_brought_under_real_ids_is_understood(sheet: Path, tmp_path: Path, cxremb: Any) -> None:
    """Labels, splits, vectors, an id that is asked about: the key is looked up, and asked for where it is not there."""
    root, key = tmp_path / "stores", tmp_path / "klinik.key"
    plain = bring(sheet, tmp_path / "plain").dataset
    bring(sheet, root, pseudonymise=key)
    studies = plain.studies["study_id"].to_pylist()
    labels = tmp_path / "labels.csv"
    labels.write_text("study_id,label,value\n" + "".join(f"{one},odd,{n % 2}\n" for n, one in enumerate(studies)))
    split = tmp_path / "split.csv"
    parts = ("train", "train", "val", "test")
    patients = plain.studies["patient_id"].to_pylist()
    split.write_text("patient_id,split\n" + "".join(f"{one},{parts[int(one) % 4]}\n" for one in sorted(set(patients))))
    films = plain.images["image_id"].to_pylist()
    draw = np.random.default_rng(0).normal(size=(len(films), 8)).astype(np.float32)
    vectors = tmp_path / "vectors.parquet"
    rows = pa.FixedSizeListArray.from_arrays(pa.array(draw.ravel()), 8)
    pq.write_table(pa.table({"image_id": films, "embedding": rows}), vectors)
    label = ("data", "label", "own", "--file", labels, "--root", root)
    brought = {
        "label": label,
        "split": ("data", "split", "given", "--from", split, "--root", root),
        "import": ("store", "import", vectors, "--encoder-name", "theirs", "--root", root),
        "similar": ("similar", films[0], "--model", "theirs", "--root", root),
    }
    away = key.rename(tmp_path / "away.key")
    for what, words in brought.items():
        if what != "similar":
            done = cxremb(*words)
            assert done.code == 1, (what, done.out)
            assert f"put {key} back" in done.err, (what, done.err)
    away.rename(key)
    for what, words in brought.items():
        done = cxremb(*words)
        assert done.code == 0, (what, done.out, done.err)
    dataset = open_dataset(root)
    values = {row["study_id"]: row["value"] for row in dataset.labels.to_pylist() if row["label_set"] == "own"}
    assert values == {named(key, one): n % 2 for n, one in enumerate(studies)}
    (stored,) = dataset.paths.splits.glob("given@*")
    said = {row["study_id"]: row["part"] for row in pq.read_table(stored).to_pylist()}
    who = zip(studies, patients, strict=True)
    assert said == {named(key, study): parts[int(patient) % 4] for study, patient in who}
    part = pq.read_table(next(dataset.paths.embeddings.glob("theirs@*/part-*")))
    held = dict(zip(part["item_id"].to_pylist(), part["embedding"].to_pylist(), strict=True))
    assert held == {named(key, film): list(draw[n].astype(np.float16)) for n, film in enumerate(films)}
    assert named(key, films[0]) in cxremb(*brought["similar"]).out


def test_no_id_of_the_hospital_is_written(sheet: Path, tmp_path: Path, cxremb: Any) -> None:
    """Ids, file names and days of the sheet, in every file below the root but the one that says where films lie."""
    root, films = tmp_path / "stores", sheet.parent / "Aufnahmen"
    text = sheet.read_bytes().decode("cp1252")
    own, elsewhere = tmp_path / "own", tmp_path / "klinik.key"
    (own / "Aufnahmen").mkdir(parents=True)
    for path in films.iterdir():
        (own / "Aufnahmen" / path.name.replace("AUFN", "Mustermann_")).write_bytes(path.read_bytes())
    text = text.replace("AUFN", "Mustermann_")
    text = re.sub(r"(?m)^(\d+);(\d+);S(\d+)", r"FALLMUST\1;PATMUST\2;ACCMUST\3", text)
    (own / "Export.csv").write_bytes(text.encode("cp1252"))
    words = ("data", "add", "table", "--name", "klinik", "--table", own / "Export.csv", "--images", own / "Aufnahmen")
    words += ("--column", "path=Datei", "--column", "patient=Pat.-Nr.", "--column", "study=Untersuchung")
    words += ("--label", "Pneumonie", "--text", "findings=Befund", "--pseudonymise", elsewhere, "--root", root)
    said = [cxremb(*words), cxremb("embed", "--model", "tiny", "--root", root)]
    said += [
        cxremb(*line.split(), "--root", root) for line in ("audit", "data show", "train linear-image", "store check")
    ]
    assert [one.code for one in said] == [0] * len(said), [one.err for one in said]
    assert f"ids are keyed hashes; the key: {elsewhere}" in " ".join(said[3].out.split())
    assert "not known on this machine" not in said[3].out
    shutil.copytree(root / "klinik", tmp_path / "sent" / "klinik")
    sent = " ".join(cxremb("data", "show", "--root", tmp_path / "sent").out.split())
    assert "when added; where they lie is not known on this machine" in sent
    assert "the key: not known on this machine" in sent
    planted = re.compile(rb"Mustermann|PATMUST|ACCMUST|FALLMUST|03\.2025")
    looked_at = 0
    for path in root.rglob("*"):
        if path.is_file() and ".locations" not in path.parts:
            held = path.read_bytes()
            if path.suffix == ".parquet":
                table = pq.read_table(path)
                table = table.drop_columns([name for name in table.column_names if name == "embedding"])
                held = json.dumps([table.to_pylist(), str(table.schema.metadata)], default=str).encode()
            assert not planted.search(held), (path, planted.search(held))
            looked_at += 1
    assert looked_at > 12
    for one in said:
        assert not planted.search((one.out + one.err).encode()), planted.findall((one.out + one.err).encode())


@pytest.mark.parametrize(
    ("paths", "folder"),
    [
        (["/a/b/1.png", "/a/b/2.png"], "/a/b"),
        (["/a/b/1.png", "/a/bc/2.png"], "/a"),
        (["/a/1.png", "/b/2.png"], ""),
        (["/1.png"], ""),
        (["/a/x.parquet/image/1", "/a/x.parquet/image/2"], "/a"),
        (["s3://bucket/a/1.png", "s3://bucket/b/2.png"], "s3://bucket"),
        ([], None),
    ],
)
def test_films_are_found_where_they_lie(paths: list[str], folder: str | None) -> None:
    found = Locations(common_folder(paths))
    assert found.films == folder
    for path in paths:
        assert found.whole(found.short(path)) == path
        assert not found.short(path).startswith("/")
