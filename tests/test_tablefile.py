"""The one reader of tables: lines are exact, cells are text, and nothing that is wrong passes in silence."""

import csv
import gzip
import io
import random
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cxremb.errors import DataError
from cxremb.tablefile import DELIMITERS, open_table

ROWS = [
    ["id", "text", "n"],
    ["007", 'two\nlines, "quoted"; and | a\ttab', "1.0"],
    ["08", " spaces stay within ", ""],
    ["9e3", "Fièvre", "-1"],
]


def saved(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("delimiter", DELIMITERS)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("encoding", "found"),
    [("utf-8", "utf-8"), ("utf-8-sig", "utf-8-sig"), ("utf-16", "utf-16"), ("cp1252", "cp1252"), ("latin-1", "cp1252")],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_what_was_saved_is_read(
    delimiter: str, ending: str, encoding: str, found: str, zipped: bool, tmp_path: Path
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=ending).writerows(ROWS)
    content = text.getvalue().encode(encoding)
    table = open_table(saved(tmp_path / "t", gzip.compress(content) if zipped else content))
    assert (table.encoding, table.delimiter, table.columns) == (found, delimiter, ("id", "text", "n"))
    assert [list(cells.values()) for _, cells in table.rows(table.columns)] == [
        [cell.strip() for cell in row] for row in ROWS[1:]
    ]
    assert [number for number, _ in table.rows(["n"])] == [3, 4, 5]  # the first row stands on two lines


def test_latin_1_where_a_byte_is_no_letter_of_cp1252(tmp_path: Path) -> None:
    table = open_table(saved(tmp_path / "t", b"a,b\n\x81,\xe9\n"))
    assert table.encoding == "latin-1"
    assert next(table.rows(["a", "b"]))[1] == {"a": "\x81", "b": "é"}


@pytest.mark.parametrize("seed", range(20))
def test_lines_are_those_of_the_file(seed: int, tmp_path: Path) -> None:
    """Against counting line ends: rows of one to three lines, blank lines between them."""
    chance, lines, expected = random.Random(seed), ["a,b"], []
    for row in range(50):
        lines += [""] * chance.choice((0, 0, 1, 2))
        lines += f'{row},"{chr(10).join("x" * chance.randint(1, 3))}"'.split("\n")
        expected.append((len(lines), str(row)))
    table = open_table(saved(tmp_path / "t", "\n".join(lines).encode()))
    assert [(number, cells["a"]) for number, cells in table.rows(["a"])] == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'a,b\n"x\ny",1\n\n1,2,3\n', r"line 5 has 3 cells, the header has 2"),
        (b'a,b\n"x\ny",1\n\n1\n', r"line 5 has 1 cell, the header has 2"),
        (b"a,b\n1\n1,2\n1,2,3\n", r"line 2 has 1 cell, line 4 has 3 cells, the header has 2 \(2 rows do not fit\)"),
        (b"a,b\n" + b"1\n" * 12, r"line 11 has 1 cell and 2 more, the header has 2 \(12 rows do not fit\)"),
        (b'a,b\n1\n1,"2\n', r"line 2 has 1 cell, the header has 2"),
        (b'a,b\n1,2\n3,"4\n5,6\n', r"damaged after line 2 \(unexpected end of data\)"),
        (b'a,b\n1,2\n3,"4"x\n', r"damaged after line 2 \(',' expected after '\"'\)"),
        (b"a,b\n" + b"1,2\n" * 9999 + b"3,\xe9\n" + b"1,2\n" * 9999, "line 10001 is not text in UTF-8"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(content: bytes, words: str, tmp_path: Path) -> None:
    for name, saving in (("t.csv", content), ("t.csv.gz", gzip.compress(content))):
        table = open_table(saved(tmp_path / name, saving), encoding="utf-8", delimiter=",")
        with pytest.raises(DataError, match=words) as caught:
            list(table.rows(["a"]))
        assert str(tmp_path / name) in str(caught.value)
        assert caught.value.hint


def test_wide_headers_and_long_cells_are_read_whole(tmp_path: Path) -> None:
    wide = ["id", *(f"a heading of its own {number:05d}" for number in range(4000))]  # 104,000 characters
    text = "No effusion; " * 80_000 + "end"
    rows = f'{",".join(wide)}\n1,{",".join(["0"] * 3999)},"{text}"\n'
    table = open_table(saved(tmp_path / "t.csv", rows.encode()))
    assert table.columns == tuple(wide)
    assert list(table.rows([wide[-1]])) == [(2, {wide[-1]: text})]
    endless = saved(tmp_path / "u.csv", b"id,text\n1," + b"x" * ((1 << 24) + 1) + b"\n")
    with pytest.raises(DataError, match=r"field larger than field limit"):
        list(open_table(endless).rows(["text"]))


def test_the_remedy_of_the_caller_stands_where_it_is_given(tmp_path: Path) -> None:
    table = open_table(saved(tmp_path / "t", b"a,b\n1\n"), delimiter=",", remedy="fetch it again")
    with pytest.raises(DataError) as caught:
        list(table.rows(["a"]))
    assert caught.value.hint == "fetch it again"
    with pytest.raises(DataError, match="no column 'c', 'd'; it has 'a', 'b'"):
        table.require(["c", "a", "d", "c"])


def test_parquet_gives_the_same_cells(tmp_path: Path) -> None:
    columns = {"id": ["007", "8"], "n": [1.0, None], "x": [0.5, 2.0], "several": [["a", "b"], []]}
    pq.write_table(pa.table(columns), tmp_path / "t")
    table = open_table(tmp_path / "t")
    assert (table.format, table.place(2)) == ("Parquet", "row 2")
    assert list(table.rows(table.columns)) == [
        (1, {"id": "007", "n": "1", "x": "0.5", "several": "a|b"}),
        (2, {"id": "8", "n": "", "x": "2", "several": ""}),
    ]


def test_a_table_alone_in_an_archive_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/", "")
        archive.writestr("in/t.csv", "a;b\n1;2\n\n3;ü\n")
        archive.writestr("__MACOSX/in/._t.csv", b"\0\1")
    table = open_table(path)
    assert list(table.rows(("a", "b"))) == [(2, {"a": "1", "b": "2"}), (4, {"a": "3", "b": "ü"})]
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match="a damaged ZIP archive"):
        open_table(path)


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_first_line_that_names_the_delimiter_is_no_header(first: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(f"{first}\r\na;b\r\n1,5;ä\r\n".encode(encoding))
    table = open_table(path)
    assert list(table.rows(("a", "b"))) == [(3, {"a": "1,5", "b": "ä"})]
    path.write_bytes(f"{first.replace(';', '~')}\na~b\n1;2~3\n".encode(encoding))
    assert list(open_table(path).rows(("a", "b"))) == [(3, {"a": "1;2", "b": "3"})]


def test_a_zipped_table_is_no_spreadsheet(tmp_path: Path) -> None:
    for name, words, hint in (
        ("labels.csv", "a ZIP archive of labels.csv, other.csv", "unzip t.zip"),
        ("[Content_Types].xml", "a spreadsheet's own format", "save the sheet as CSV"),
    ):
        path = tmp_path / "t.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, "a,b\n1,2\n")
            archive.writestr("other.csv", "a,b\n1,2\n")
        with pytest.raises(DataError, match=words.replace("[", r"\[")) as caught:
            open_table(path)
        assert hint in caught.value.hint
