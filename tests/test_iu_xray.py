import csv
import io
import os
import re
import tarfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from cxremb.catalog import add_collection
from cxremb.datasets.iu_labels import NOT_ACTIONABLE, calls, label_studies, normal_abnormal, plain, read_harmless
from cxremb.datasets.iu_reports import canonical_id, read_kaggle_reports, read_openi_reports, read_projections, uid_of
from cxremb.datasets.iu_xray import read
from cxremb.errors import DataError
from cxremb.labels import read_labels
from cxremb.store.sql import query
from cxremb.types import Study

REAL = Path(os.environ["CXREMB_REAL_DATA"]) / "iu_xray" if "CXREMB_REAL_DATA" in os.environ else None
needs_real = pytest.mark.skipif(REAL is None, reason="CXREMB_REAL_DATA is not set: no real IU X-ray here")
XRV = find_spec("torchxrayvision")
OFFICIAL = Path(XRV.origin).parent / "data" / "NLMCXR_reports.tgz" if XRV and XRV.origin else Path("none")
needs_official = pytest.mark.skipif(not OFFICIAL.is_file(), reason="torchxrayvision, with the XML, is not installed")

REPORTS = """\
uid,MeSH,Problems,image,indication,comparison,findings,impression
1,normal,normal,PA,Cough,None.,Clear lungs.,Normal XXXX.
2,Opacity/lung/base;Cardiomegaly/mild ,Opacity;Cardiomegaly,PA,nan,  ,"Opacity, left.",
3,No Indexing,No Indexing,PA,#NAME?,,,
"""
PROJECTIONS = """\
uid,filename,projection
1,1_IM-0001-3001.dcm.png,Lateral
1,1_IM-0001-4001.dcm.png,Frontal
2,2_IM-0652-1001.dcm.png,Frontal
9,9_IM-0009-1001.dcm.png,Frontal
"""
XML = """<?xml version="1.0" encoding="utf-8"?><eCitation><uId id="CXR{uid}"/><Abstract>
<AbstractText Label="COMPARISON"/><AbstractText Label="INDICATION"> Cough </AbstractText>
<AbstractText Label="FINDINGS">{findings}</AbstractText><AbstractText Label="IMPRESSION">nan</AbstractText></Abstract>
<MeSH><major>Opacity/lung/base</major><major>Cardiomegaly/mild </major><automatic>opacity</automatic></MeSH>
{films}</eCitation>"""


def xml(uid: int, *films: str, findings: str = "A &amp; B.") -> str:
    return XML.format(uid=uid, findings=findings, films="".join(f'<parentImage id="{film}"/>' for film in films))


def tgz(path: Path, files: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


@pytest.fixture
def kaggle(tmp_path: Path) -> Path:
    (tmp_path / "reports.csv").write_text(REPORTS)
    (tmp_path / "projections.csv").write_text(PROJECTIONS)
    films = {
        "a/CXR1_1_IM-0001-3001.png": b"one",
        "a/b/CXR2_IM-0652-1001.JPG": b"two",
        "a/3_IM-0003-1001.dcm": b"three",  # has a report, is not listed
        "a/77_IM-0077-1001.png": b"four",  # has no report, is not listed
        "a/._1_IM-0001-3001.png": b"a Mac's archiver left this",
        "a/readme.txt": b"no image",
    }
    for name, content in films.items():
        path = tmp_path / "films" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path


def read_kaggle(folder: Path, **changes: Path | None):
    given = {"images": folder / "films", "reports": folder / "reports.csv", "projections": folder / "projections.csv"}
    return read(**{**given, **changes})


@pytest.mark.parametrize(
    "name",
    [
        "1900_IM-0584-1001.dcm.png",
        "CXR1900_IM-0584-1001.png",
        "CXR1900_IM-0584-1001",
        "1900_IM-0584-1001.dcm",
        "CXR1900_IM-0584-1001.TIF",
        "CXR1900_1900_IM-0584-1001.jpeg",
        "1900_IM-0584-1001.dcm.jpg",
    ],
)
def test_one_film_has_one_id(name):
    assert canonical_id(name) == "1900_IM-0584-1001"
    assert uid_of(canonical_id(name)) == "1900"


def test_the_uid_is_taken_off_only_where_it_is_repeated():
    assert canonical_id("CXR1_1_IM-0001-3001") == "1_IM-0001-3001"
    assert canonical_id("CXR1_11_IM-0001-3001") == "1_11_IM-0001-3001"
    assert canonical_id("CXR2084_IM-0715-1001-0002.png") == "2084_IM-0715-1001-0002"
    assert canonical_id("scan.png") == "scan"
    assert uid_of("scan") == "scan"


def test_kaggle_reports_keep_what_is_said_and_nothing_else(kaggle):
    one, two, three = read_kaggle_reports(kaggle / "reports.csv")
    assert (one.study_id, one.patient_id) == ("1", "1")
    assert one.sections == {
        "indication": "Cough",
        "comparison": "None.",
        "findings": "Clear lungs.",
        "impression": "Normal XXXX.",
    }
    assert two.sections == {"findings": "Opacity, left."}
    assert three.sections == {}
    assert one.terms == {"mesh": ("normal",), "problems": ("normal",)}
    assert two.terms == {"mesh": ("Opacity/lung/base", "Cardiomegaly/mild"), "problems": ("Opacity", "Cardiomegaly")}


def test_openi_reports_from_a_folder_and_from_an_archive_are_the_same(tmp_path):
    files = {"10.xml": xml(10, "CXR10_IM-0002-1001"), "2.xml": xml(2, "CXR2_2_IM-0652-1001"), "._2.xml": "\x00"}
    (tmp_path / "x" / "y").mkdir(parents=True)
    for name, text in files.items():
        (tmp_path / "x" / "y" / name).write_text(text)
    studies, images = read_openi_reports(tmp_path / "x")
    archived = read_openi_reports(tgz(tmp_path / "r.tgz", {f"ecgen-radiology/{n}": text for n, text in files.items()}))
    assert archived == (studies, images)
    assert [study.study_id for study in studies] == ["2", "10"]
    assert studies[0].sections == {"indication": "Cough", "findings": "A & B."}
    assert studies[0].terms == {
        "mesh": ("Opacity/lung/base", "Cardiomegaly/mild"),
        "problems": ("Opacity", "Cardiomegaly"),
        "automatic": ("opacity",),
    }
    assert [(i.image_id, i.study_id, i.patient_id, i.view, i.path) for i in images] == [
        ("2_IM-0652-1001", "2", "2", None, None),
        ("10_IM-0002-1001", "10", "10", None, None),
    ]


def test_what_pairs_is_paired_and_what_does_not_is_noted(kaggle):
    collection = read_kaggle(kaggle)
    films = kaggle / "films" / "a"
    found = {i.image_id: (i.study_id, i.patient_id, i.view, i.path) for i in collection.images}
    assert found == {
        "1_IM-0001-3001": ("1", "1", "Lateral", films / "CXR1_1_IM-0001-3001.png"),
        "1_IM-0001-4001": ("1", "1", "Frontal", None),
        "2_IM-0652-1001": ("2", "2", "Frontal", films / "b" / "CXR2_IM-0652-1001.JPG"),
        "9_IM-0009-1001": ("9", "9", "Frontal", None),
        "3_IM-0003-1001": ("3", "3", None, films / "3_IM-0003-1001.dcm"),
        "77_IM-0077-1001": ("77", "77", None, films / "77_IM-0077-1001.png"),
    }
    assert [study.study_id for study in collection.studies] == ["1", "2", "3", "9", "77"]
    assert all(not study.sections and not study.terms for study in collection.studies[3:])
    notes = {note.what: (note.count, note.examples) for note in collection.notes}
    assert notes == {
        "listed images that are not on disk": (2, ("1_IM-0001-4001", "9_IM-0009-1001")),
        "images without a report": (2, ("9_IM-0009-1001", str(films / "77_IM-0077-1001.png"))),
        "images on disk that no list names": (1, (str(films / "3_IM-0003-1001.dcm"),)),
        "reports with neither findings nor impression": (1, ("3",)),
        "images whose view is not known": (2, ("3_IM-0003-1001", "77_IM-0077-1001")),
        "no term is in 20 studies: there is no label set findings": (5, ()),
    }
    assert all(note.hint for note in collection.notes if note.examples)
    assert collection.licence == "CC BY-NC-ND 4.0"
    assert "2016;23(2):304-310" in collection.citation
    assert collection.source["layout"] == "kaggle"
    assert not collection.simulated


def test_reports_alone_and_lists_alone_are_enough(kaggle):
    alone = read_kaggle(kaggle, images=None, projections=None)
    assert len(alone.studies) == 3
    assert not alone.images
    assert {n.what: n.count for n in alone.notes}["reports without an image"] == 3
    listed = read_kaggle(kaggle, images=None)
    assert {image.path for image in listed.images} == {None}
    unlisted = read_kaggle(kaggle, projections=None)
    assert len(unlisted.images) == 4
    assert "images on disk that no list names" not in {note.what for note in unlisted.notes}


def test_projections_give_openi_films_their_view(kaggle):
    (kaggle / "xml").mkdir()
    (kaggle / "xml" / "1.xml").write_text(xml(1, "CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-5001"))
    collection = read_kaggle(kaggle, images=None, reports=kaggle / "xml")
    views = {image.image_id: image.view for image in collection.images}
    assert views["1_IM-0001-3001"] == "Lateral"
    assert views["1_IM-0001-5001"] is None


def test_copies_are_kept_once_and_noted(kaggle):
    copy = kaggle / "films" / "z" / "1_IM-0001-3001.dcm.png"
    copy.parent.mkdir()
    copy.write_bytes(b"one")
    collection = read_kaggle(kaggle)
    first = kaggle / "films" / "a" / "CXR1_1_IM-0001-3001.png"
    assert next(i.path for i in collection.images if i.image_id == "1_IM-0001-3001") == first
    (note,) = [note for note in collection.notes if note.what.startswith("copies")]
    assert (note.count, note.examples) == (1, (f"{copy} is {first}",))


def test_two_different_files_of_one_film_stop_it(kaggle):
    other = kaggle / "films" / "z" / "1_IM-0001-3001.dcm.png"
    other.parent.mkdir()
    other.write_bytes(b"not one")
    with pytest.raises(DataError, match="two different files") as caught:
        read_kaggle(kaggle)
    assert str(other) in str(caught.value)
    assert str(kaggle / "films" / "a" / "CXR1_1_IM-0001-3001.png") in str(caught.value)


def test_a_repeated_row_is_noted_and_a_contradicting_one_stops_it(kaggle):
    rows = REPORTS.splitlines(keepends=True)
    path = kaggle / "reports.csv"
    path.write_text(REPORTS + rows[1])
    collection = read_kaggle(kaggle)
    assert [study.study_id for study in collection.studies][:3] == ["1", "2", "3"]
    assert {n.what: n.count for n in collection.notes}["reports listed more than once, with the same content"] == 1
    path.write_text(REPORTS + rows[1].replace("Clear", "Hazy"))
    with pytest.raises(DataError, match=r"reports\.csv: two studies with one id, 1\b"):
        read_kaggle(kaggle)


def test_two_reports_cannot_list_one_film(kaggle):
    folder = kaggle / "xml"
    folder.mkdir()
    (folder / "1.xml").write_text(xml(1, "CXR1_IM-0001-3001"))
    (folder / "x.xml").write_text(xml(2, "1_IM-0001-3001"))
    with pytest.raises(DataError, match="1_IM-0001-3001 is listed twice"):
        read_kaggle(kaggle, images=None, reports=folder, projections=None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty, it has no columns"),
        (REPORTS.splitlines()[0].encode(), "a header and no rows"),
        (REPORTS.replace("findings", "finding").encode(), r"no column 'findings'; it has 'uid'"),
        (PROJECTIONS.encode(), "no column 'MeSH'"),
        (REPORTS.replace("Cough", "Fièvre").encode("latin-1"), "line 2 is not text in UTF-8"),
        (REPORTS.encode() + b"4,normal,normal\n", "line 5 has 3 cells, the header has 8"),
        (REPORTS.encode() + b"4,normal,normal,PA,,,a,b,c\n", "line 5 has 9 cells, the header has 8"),
        (REPORTS.encode() + b" ,normal,normal,PA,,,a,b\n", "line 5 has no uid"),
        (REPORTS.encode() + b'4,normal,normal,PA,,,"cut off', "damaged after line 4"),
    ],
)
def test_a_bad_table_says_which_and_what_to_do(kaggle, content, message):
    (kaggle / "reports.csv").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_kaggle(kaggle)
    assert str(kaggle / "reports.csv") in str(caught.value)
    assert caught.value.hint


def test_a_byte_order_mark_is_no_part_of_the_first_column(kaggle):
    (kaggle / "reports.csv").write_bytes(REPORTS.encode("utf-8-sig"))
    assert len(read_kaggle_reports(kaggle / "reports.csv")) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": "gone"}, "no such folder"),
        ({"images": "empty"}, "no image in it"),
        ({"reports": "gone.csv"}, "no such file or folder"),
        ({"reports": "empty"}, r"no \.xml report"),
        ({"reports": "films/a/readme.txt"}, "neither"),
        ({"projections": "gone.csv"}, "cannot be read"),
        ({"projections": "reports.csv"}, "no column 'filename'"),
    ],
)
def test_a_wrong_path_says_which_and_what_to_do(kaggle, changes, message):
    (kaggle / "empty").mkdir()
    changed = {name: kaggle / path for name, path in changes.items()}
    with pytest.raises(DataError, match=message) as caught:
        read_kaggle(kaggle, **changed)
    assert str(next(iter(changed.values()))) in str(caught.value)
    assert caught.value.hint


def test_bad_xml_is_named(tmp_path):
    (tmp_path / "7.xml").write_text("<eCitation><uId")
    with pytest.raises(DataError, match=r"7\.xml: not readable as XML"):
        read(tmp_path)
    (tmp_path / "7.xml").write_text("<eCitation/>")
    with pytest.raises(DataError, match=r"7\.xml: no uId"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"r\.tgz: a/7\.xml: not readable as XML"):
        read(tgz(tmp_path / "r.tgz", {"a/7.xml": "<"}))


@pytest.mark.parametrize("damage", ["cut", "flip", "text", "empty"])
def test_a_damaged_archive_is_named(tmp_path, damage):
    path = tgz(tmp_path / "r.tgz", {f"{n}.xml": xml(n, findings=str(n) * 400) for n in range(1, 60)})
    whole = path.read_bytes()
    assert len(read_openi_reports(path)[0]) == 59
    flipped = whole[:-8] + bytes(byte ^ 1 for byte in whole[-8:-4]) + whole[-4:]  # gzip's checksum
    path.write_bytes({"cut": whole[: len(whole) // 2], "flip": flipped, "text": b"<html>", "empty": b""}[damage])
    with pytest.raises(DataError, match=r"r\.tgz: a damaged or incomplete archive") as caught:
        read(path)
    assert "fetch" in caught.value.hint


@needs_real
def test_the_real_tables_say_what_is_known_of_them():
    studies = read_kaggle_reports(REAL / "indiana_reports.csv")
    films = read_projections(REAL / "indiana_projections.csv")
    assert (len(studies), len(films)) == (3851, 7466)
    assert sum(image.view == "Frontal" for image in films) == 3818
    assert sum(study.terms["mesh"] == ("normal",) for study in studies) == 1379
    assert sum(study.terms["mesh"] == ("No Indexing",) for study in studies) == 92
    assert sum("findings" not in study.sections for study in studies) == 514
    assert sum("impression" not in study.sections for study in studies) == 31
    with (REAL / "indiana_reports.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["uid"]: row for row in csv.DictReader(file)}
    assert all(study.sections.get("findings", "") == rows[study.study_id]["findings"].strip() for study in studies)


@needs_real
@pytest.mark.parametrize(("folder", "present"), [("images", 8), ("images_kaggle", 4), (".", 12)])
def test_real_images_of_either_layout_find_their_report(folder, present):
    collection = read(
        images=REAL / folder, reports=REAL / "indiana_reports.csv", projections=REAL / "indiana_projections.csv"
    )
    assert (len(collection.studies), len(collection.images)) == (3851, 7466)
    assert sum(image.path is not None for image in collection.images) == present
    assert {note.what: note.count for note in collection.notes} == {
        "listed images that are not on disk": 7466 - present,
        "reports with neither findings nor impression": 25,
    }


@needs_official
def test_the_official_xml_says_what_is_known_of_it():
    collection = read(OFFICIAL)
    assert (len(collection.studies), len(collection.images)) == (3955, 7470)
    notes = {note.what: note.count for note in collection.notes}
    assert notes["reports without an image"] == 104
    assert sum(study.terms["mesh"] == ("normal",) for study in collection.studies) == 1391


@needs_real
@needs_official
def test_both_layouts_are_the_same_collection():
    studies, films = read_openi_reports(OFFICIAL)
    listed = read_projections(REAL / "indiana_projections.csv")
    kaggle_ids = {image.image_id: image.study_id for image in listed}
    openi_ids = {image.image_id: image.study_id for image in films}
    assert len(kaggle_ids) == len(listed) == 7466
    assert len(openi_ids) == len(films) == 7470
    assert kaggle_ids.items() <= openi_ids.items()  # 7,466 of 7,470 match; these four are in the XML alone:
    assert openi_ids.keys() - kaggle_ids.keys() == {
        "2084_IM-0715-1001-0002",
        "2084_IM-0715-2001-0001",
        "2560_IM-1064-4001",
        "3809_IM-1919-1003002",
    }
    by_id = {study.study_id: study for study in studies}
    tables = read_kaggle_reports(REAL / "indiana_reports.csv")
    assert all(study.terms["mesh"] == by_id[study.study_id].terms["mesh"] for study in tables)
    assert all(study.terms["problems"] == by_id[study.study_id].terms["problems"] for study in tables)
    differing = [study.study_id for study in tables if study.sections != by_id[study.study_id].sections]
    assert differing == ["1555", "3477", "3784"]  # their indications begin with "+": a spreadsheet wrote #NAME?


def study(uid: str, *mesh: str, text: str = "Seen.") -> Study:
    terms = {"mesh": mesh, "problems": tuple(term.partition("/")[0] for term in mesh)} if mesh else {}
    return Study(uid, uid, {"impression": text} if text else {"indication": "Cough."}, terms)


STUDIES = [
    study("1", "normal"),
    study("2", "Opacity/lung/base", "Opacity/lung/apex", "Spondylosis"),
    study("3", "No Indexing"),
    study("4"),  # no terms recorded
    study("5", "normal", "Lung/hypoinflation"),
    study("6", "Normal"),
    study("7", "thoracic  Vertebrae/degenerative/mild", "Atherosclerosis/aorta", text=""),
    study("8", "Thoracic Vertebrae/deformity", "Spondylosis"),
]


@pytest.mark.parametrize(("uid", "value"), [("1", 0), ("2", 1), ("3", 1), ("4", 1), ("5", 1), ("6", 1)])
def test_only_exactly_normal_is_normal(uid, value):
    assert normal_abnormal(STUDIES[int(uid) - 1]) == {"abnormal": value}


def test_the_label_sets_of_a_few_studies():
    labelled, sets, notes = label_studies(STUDIES, least=2)
    assert notes == []
    assert {about.name: about.task for about in sets} == {
        **dict.fromkeys(("normal_abnormal", "normal_abnormal_clean", "actionable"), "binary"),
        "findings": "multilabel",
        **dict.fromkeys(("mesh", "problems"), "terms"),
    }
    said = {
        about.name: {s.study_id: s.labels[about.name] for s in labelled if about.name in s.labels} for about in sets
    }
    assert said["normal_abnormal"] == {uid: {"abnormal": float(uid != "1")} for uid in "1235678"}
    assert said["normal_abnormal_clean"] == {uid: {"abnormal": float(uid != "1")} for uid in "12568"}
    assert said["actionable"] == {uid: {"actionable": float(uid in "28")} for uid in "125678"}
    assert said["findings"] == {uid: {"Spondylosis": float(uid in "28")} for uid in "125678"}
    assert said["mesh"]["2"] == {"Opacity/lung/base": 1, "Opacity/lung/apex": 1, "Spondylosis": 1}
    assert said["problems"]["2"] == {"Opacity": 1, "Spondylosis": 1}
    assert labelled[3].labels == {}


def test_without_a_frequent_term_there_is_no_set_of_findings():
    labelled, sets, (note,) = label_studies(STUDIES)
    assert "findings" not in {about.name for about in sets}
    assert not any("findings" in study.labels for study in labelled)
    assert "20 studies" in note.what


def test_the_list_is_read_by_heading_and_qualifier(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("# --- a heading ---\n\nStents # ok\nSpine/degenerative\nSpine/old\nAorta/tortuous\nAorta\n")
    harmless = read_harmless(path)
    called = {"Stents/heart", "spine/mild/degenerative", "Spine/old", "Aorta/large", "normal"}
    assert not any(calls(term, harmless) for term in called)
    assert all(calls(term, harmless) for term in ("Spine", "Spine/mild", "Spine/degenerativ", "Stent"))
    path.write_text("Stents\nSpine/lung/degenerative\n")
    with pytest.raises(DataError, match="line 2: two qualifiers"):
        read_harmless(path)


@needs_real
def test_every_term_of_the_list_is_in_the_real_data():
    studies = read_kaggle_reports(REAL / "indiana_reports.csv")
    said = {tuple(map(plain, term.split("/"))) for study in studies for term in study.terms["mesh"]}
    harmless = read_harmless(NOT_ACTIONABLE)
    assert len(harmless) >= 39
    for heading, qualifiers in harmless.items():
        assert any(heading == term[0] for term in said), heading
        for qualifier in qualifiers:
            assert any(heading == term[0] and qualifier in term[1:] for term in said), f"{heading}/{qualifier}"


@needs_real
def test_real_counts_per_label_set_are_those_of_the_csv(tmp_path):
    """Counted again with pandas, from the CSV and the list of terms, by other code."""
    import pandas as pd

    table = pd.read_csv(REAL / "indiana_reports.csv", dtype=str, keep_default_na=False).set_index("uid")
    mesh = table.MeSH.str.split(";").apply(lambda terms: [term.strip() for term in terms])
    indexed = ~table.MeSH.str.contains("No Indexing")
    with_text = (table.findings.str.strip() != "") | (table.impression.str.strip() != "")
    abnormal = table.MeSH != "normal"
    lines = [line.split("#")[0].strip() for line in NOT_ACTIONABLE.read_text().splitlines()]
    listed = {line.lower() for line in lines if line}

    def harmless(term: str) -> bool:
        heading, *rest = " ".join(term.lower().split()).split("/")
        return heading in {*listed, "normal"} or any(f"{heading}/{word.strip()}" in listed for word in rest)

    action = ~mesh.apply(lambda terms: all(map(harmless, terms)))
    problems = table.Problems.str.split(";").apply(lambda terms: {term.strip() for term in terms})
    carried = problems[indexed].explode().value_counts().drop("normal")
    carried = carried[carried >= 20]

    collection = read(REAL / "indiana_reports.csv")
    dataset = add_collection(collection, tmp_path).dataset
    counted = {
        row["label_set"]: (row["zeros"], row["ones"])
        for row in query(
            tmp_path,
            "select label_set, count(*) filter (value = 0) as zeros, count(*) filter (value = 1) as ones "
            "from labels group by label_set",
        ).to_pylist()
    }
    n = int(indexed.sum())
    assert counted == {
        "normal_abnormal": (int((~abnormal).sum()), int(abnormal.sum())),
        "normal_abnormal_clean": tuple(int((indexed & with_text & side).sum()) for side in (~abnormal, abnormal)),
        "actionable": tuple(int((indexed & side).sum()) for side in (~action, action)),
        "findings": (n * len(carried) - int(carried.sum()), int(carried.sum())),
        "mesh": (0, int(mesh.apply(lambda terms: len(set(terms))).sum())),
        "problems": (0, int(problems.apply(len).sum())),
    }
    assert counted["normal_abnormal"] == (1379, 2472)
    assert counted["normal_abnormal_clean"] == (1354, 2380)
    findings = read_labels(dataset, "findings")
    assert dict(zip(findings.names, findings.values.sum(axis=0).astype(int).tolist(), strict=True)) == carried.to_dict()
    assert len(findings.study_ids) == n == 3759
    card = (Path(__file__).parent.parent / "docs" / "datasets.md").read_text(encoding="utf-8")
    for name, (zeros, ones) in counted.items():
        assert re.search(rf"^\| `{name}` \| [\w-]+ \| {f'{zeros:,}' if zeros else ''} ?\| {ones:,} \|", card, re.M), (
            name
        )


def dicom(path: Path, **tags: str) -> Path:
    """A DICOM file with a header and eight grey pixels."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.SOPClassUID = film.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    film.Rows, film.Columns, film.BitsAllocated, film.BitsStored, film.HighBit = 2, 4, 8, 8, 7
    film.SamplesPerPixel, film.PixelRepresentation, film.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    film.PixelData = bytes(range(8))
    for name, value in tags.items():
        setattr(film, name, value)
    film.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    ("tags", "view"),
    [
        ({"ViewPosition": "PA"}, "PA"),
        ({"ViewPosition": "AP"}, "AP"),
        ({"ViewPosition": "LL"}, "Lateral"),
        ({"ViewPosition": "LATERAL"}, "Lateral"),
        ({"ViewPosition": ""}, None),
        ({}, None),
    ],
)
def test_a_dicom_film_has_the_view_of_its_tag(kaggle, tags, view):
    path = dicom(kaggle / "films" / "a" / "3_IM-0003-1001.dcm", **tags)
    collection = read_kaggle(kaggle)
    views = {image.image_id: (image.view, image.path) for image in collection.images}
    assert views["3_IM-0003-1001"] == (view, path)
    unknown = {note.what: note.examples for note in collection.notes}["images whose view is not known"]
    assert ("3_IM-0003-1001" in unknown) == (view is None)


def test_a_list_beats_the_tag_and_sizes_come_from_the_header(kaggle):
    (kaggle / "films" / "a" / "CXR1_1_IM-0001-3001.png").unlink()
    dicom(kaggle / "films" / "a" / "1_IM-0001-3001.dcm", ViewPosition="PA")
    collection = read_kaggle(kaggle)
    assert {i.image_id: i.view for i in collection.images}["1_IM-0001-3001"] == "Lateral"
    images = add_collection(collection, kaggle / "root").dataset.images.to_pylist()
    sizes = {row["image_id"]: (row["width"], row["height"]) for row in images}
    assert sizes["1_IM-0001-3001"] == (4, 2)


def test_without_pydicom_the_view_is_missing_and_a_note_says_so(kaggle, monkeypatch):
    monkeypatch.setattr("cxremb.datasets.iu_xray.find_spec", lambda name: None)
    notes = {note.what: note for note in read_kaggle(kaggle).notes}
    note = notes["DICOM files whose view was not read: pydicom is missing"]
    assert note.count == 1
    assert "cxremb[dicom]" in note.hint
