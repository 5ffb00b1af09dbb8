"""What a query finds is the same in a table, CSV, JSON and Parquet: every type, every digit, every column."""

import csv
import io
import json
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from planted import Planted, plant

from cxremb.cli import rows as shown
from cxremb.cli.output import csv_text
from cxremb.store.plain import ARROW, TEXT, distinct_names
from cxremb.store.sql import query

# A value of every type of DuckDB, as SQL, at the ends of what it holds.
TYPES = {
    "BOOLEAN": ["true"],
    "TINYINT": ["-128"],
    "SMALLINT": ["32767"],
    "INTEGER": ["-2147483648"],
    "BIGINT": ["9223372036854775807"],
    "HUGEINT": ["-170141183460469231731687303715884105728", "3"],
    "UTINYINT": ["255"],
    "USMALLINT": ["65535"],
    "UINTEGER": ["4294967295"],
    "UBIGINT": ["18446744073709551615"],
    "UHUGEINT": ["340282366920938463463374607431768211455"],
    "FLOAT": ["0.1", "'-inf'"],
    "DOUBLE": ["0.1", "1e-300", "'inf'"],
    "DECIMAL(18,3)": ["1.500", "-0.001"],
    "DECIMAL(38,10)": ["1234567890123456789012345678.0123456789"],
    "DECIMAL(9,0)": ["100"],
    "VARCHAR": ["''", "' a, \"b\"\n'", "'=1+1'", "'Efusión'", "'NULL'"],
    "BLOB": ["'\\xAA\\x00B'"],
    "BIT": ["'0101'"],
    "DATE": ["'2026-11-27'", "'infinity'"],
    "TIME": ["'12:34:56.789012'", "'24:00:00'"],
    "TIME WITH TIME ZONE": ["'12:34:56+02:30'"],
    "TIMESTAMP": ["'2026-11-27 12:34:56.789012'", "'-infinity'"],
    "TIMESTAMP_S": ["'2026-11-27 12:34:56'"],
    "TIMESTAMP_MS": ["'2026-11-27 12:34:56.789'"],
    "TIMESTAMP_NS": ["'2026-11-27 12:34:56.789012345'"],
    "TIMESTAMP WITH TIME ZONE": ["'2026-11-27 12:34:56+02'"],
    "INTERVAL": ["INTERVAL '1 year 2 days 3.5 seconds'"],
    "UUID": ["'6b1b1b1b-0000-4000-8000-000000000001'"],
    "ENUM('a', 'b')": ["'b'"],
    "INTEGER[]": ["[1, NULL]", "[]"],
    "VARCHAR[]": ["['a', NULL, '']"],
    "INTERVAL[]": ["[INTERVAL '1 day', NULL]"],
    "FLOAT[2]": ["[0.5, 1]"],
    'STRUCT(a INTEGER, "b c" DECIMAL(5,2))': ["{'a': 1, 'b c': 2.50}"],
    "MAP(VARCHAR, INTEGER)": ["MAP {'x': 1, 'y': NULL}"],
    "MAP(INTEGER, INTERVAL)": ["MAP {1: INTERVAL '1 day'}"],
    "STRUCT(m MAP(VARCHAR, TIME WITH TIME ZONE[]))": ["{'m': MAP {'x': ['12:00:00+01']}}"],
    "UNION(n INTEGER, t VARCHAR)": ["'abc'"],
}
YOUNGER = {  # not in the oldest DuckDB that we take
    "BIGNUM": ["'1234567890123456789012345678901234567890123456789'"],
    "TIME_NS": ["'12:34:56.789012345'"],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant(tmp_path_factory.mktemp("formats"), Planted(studies=12, image=1.0)).paths.root


@pytest.fixture
def ask(cxremb, root, monkeypatch):
    """The output of `cxremb sql`, which must have been done without an error."""

    def call(text: str, *words: object, columns: int | None = None) -> str:
        if columns:
            monkeypatch.setenv("COLUMNS", str(columns))
        else:
            monkeypatch.delenv("COLUMNS", raising=False)
        done = cxremb("sql", text, *words, "--root", root)
        assert done.code == 0, done.err
        return str(done.out)

    return call


def known_types() -> set[str]:
    """Every type that this DuckDB can store."""
    found = duckdb.sql("select distinct logical_type from duckdb_types()").fetchall()
    return {name for (name,) in found}


def cases() -> list[tuple[str, str]]:
    """(Type, value), and NULL of every type; a UNION that is NULL has no text that says so."""
    known = {**TYPES, **{kind: values for kind, values in YOUNGER.items() if kind in known_types()}}
    found = [(kind, value) for kind, values in known.items() for value in [*values, "NULL"]]
    return [(kind, value) for kind, value in found if not (kind.startswith("UNION") and value == "NULL")]


def everything() -> str:
    """One row with a column of each case."""
    columns = (f"({value})::{kind} as c{number}" for number, (kind, value) in enumerate(cases()))
    return f"select {', '.join(columns)}"


def test_every_type_of_duckdb_is_tried() -> None:
    tried = {re.split(r"[(\[]", kind)[0] for kind in {**TYPES, **YOUNGER}} | {"LIST", "ARRAY"}
    # TUPLE, VARIANT and GEOMETRY have no type that a cast from text gives back; they are text, tested below
    assert known_types() - tried <= {"NULL", "TUPLE", "VARIANT", "GEOMETRY", "TYPE", "TIMESTAMPTZ_NS"}


def lost(texts: Sequence[str | None]) -> list[tuple[str, str, str | None]]:
    """The cases that are not got back by casting their text to their type."""
    known = cases()
    equal = [
        f"(?::{'JSON::' if made_of_several(kind) else ''}{kind}) IS NOT DISTINCT FROM ({value})::{kind}"
        for kind, value in known
    ]
    [found] = duckdb.execute(f"select {', '.join(equal)}", list(texts)).fetchall()
    return [(*case, text) for case, text, same in zip(known, texts, found, strict=True) if not same]


def made_of_several(kind: str) -> bool:
    return bool(re.search(r"\[|STRUCT|MAP", kind))


def test_parquet_gives_every_value_back(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.parquet"
    pq.write_table(query(root, everything()), out)
    assert pq.read_table(out).num_columns == len(cases())
    equal = [
        f"c{number}::{kind} IS NOT DISTINCT FROM ({value})::{kind}" for number, (kind, value) in enumerate(cases())
    ]
    [found] = duckdb.sql(f"select {', '.join(equal)} from '{out}'").fetchall()
    assert [case for case, same in zip(cases(), found, strict=True) if not same] == []


def test_csv_gives_every_value_back(ask, tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    out.write_text(ask(everything(), "--format", "csv"), encoding="utf-8")
    options = "all_varchar=true, header=true, delim=',', quote='\"', escape='\"', allow_quoted_nulls=false"
    [texts] = duckdb.sql(f"from read_csv('{out}', {options})").fetchall()
    assert lost(texts) == []


def test_json_gives_every_value_back_but_infinity(ask) -> None:
    [row] = json.loads(ask(everything(), "--format", "json"), parse_float=Decimal)
    texts = []
    for (kind, _), value in zip(cases(), row.values(), strict=True):
        serial = made_of_several(kind) and value is not None
        texts.append(json.dumps(value, default=str) if serial else None if value is None else str(value))
    assert [case[:2] for case in lost(texts)] == [("FLOAT", "'-inf'"), ("DOUBLE", "'inf'")]
    assert [row[f"c{number}"] for number, (_, value) in enumerate(cases()) if "inf'" in value] == [None, None]


@pytest.mark.parametrize(
    ("value", "text"), [("row(1, 'a')", "(1, a)"), ("interval 90 minutes", "01:30:00"), ("'1'::BIT", "1")]
)
def test_plain_forms(ask, value: str, text: str) -> None:
    assert json.loads(ask(f"select {value} as x", "--format", "json")) == [{"x": text}]
    assert ask(f"select {value} as x", "--format", "csv").splitlines() == [
        "x",
        text if "," not in text else f'"{text}"',
    ]
    assert text in ask(f"select {value} as x")


def test_decimals_keep_their_digits(ask) -> None:
    text = (
        "select 1.50::decimal(9,2) as a, 12345678901234567890.123456789::decimal(38,9) as b, [0.10::decimal(3,2)] as c"
    )
    assert ask(text, "--format", "json") == '[\n {"a": 1.50, "b": 12345678901234567890.123456789, "c": [0.10]}\n]\n'
    assert ask(text, "--format", "csv") == "a,b,c\n1.50,12345678901234567890.123456789,[0.10]\n"
    assert "12345678901234567890.123456789" in ask(text)


def test_maps_are_objects(ask) -> None:
    assert json.loads(ask("select map {1: 'x', 2: null} as m, map {} as n", "--format", "json")) == [
        {"m": {"1": "x", "2": None}, "n": {}}
    ]
    assert "{1: x, 2: }" in ask("select map {1: 'x', 2: null} as m")


@pytest.mark.parametrize("fmt", ["table", "csv", "json", "parquet"])
def test_no_column_is_lost_to_another_of_its_name(cxremb, root: Path, tmp_path: Path, fmt: str) -> None:
    text = "select a.study_id, b.study_id, 7 as STUDY_ID_1 from studies a join studies b on a.study_id < b.study_id"
    text += " order by all"
    out = tmp_path / f"x.{fmt}"
    words = ["--output", out] if fmt == "parquet" else ["--format", fmt]
    done = cxremb("sql", text, *words, "--root", root)
    assert done.code == 0
    assert "several columns have one name" in done.err
    expected = {"study_id": "s00000", "study_id_2": "s00001", "STUDY_ID_1": 7}
    if fmt == "parquet":
        assert pq.read_table(out).to_pylist()[0] == expected
    elif fmt == "json":
        assert json.loads(done.out)[0] == expected
    elif fmt == "csv":
        assert next(csv.DictReader(io.StringIO(done.out))) == {name: str(value) for name, value in expected.items()}
    else:
        assert all(name in done.out for name in expected)
        assert re.search(r"s00000 +│ s00001 +│ +7", done.out)


@pytest.mark.parametrize(
    ("names", "distinct"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", "a", "a"], ["a", "a_1", "a_2"]),
        (["a", "a", "a_1"], ["a", "a_2", "a_1"]),
        (["a", "A"], ["a", "A_1"]),
        ([], []),
    ],
)
def test_names(names: list[str], distinct: list[str]) -> None:
    assert distinct_names(names) == distinct


def test_rows_keep_their_order_when_types_change(root: Path) -> None:
    text = "select i, to_days(i::int) as x from range(5000) t(i) order by hash(i)"
    found = query(root, text)["i"].to_pylist()
    assert found == [i for (i,) in duckdb.sql("select i from range(5000) t(i) order by hash(i)").fetchall()]
    assert query(root, text, kept=TEXT)["i"].to_pylist() == found


def test_csv_is_data_and_spreadsheets_get_no_formula(ask, cxremb, root: Path) -> None:
    text = """select * from (values ('=1+1', -1.5), ('+a', 2), ('-', null), ('@x', 0), ('a=b', -3), ('', 1), (null, 1))
              as t("=heading", n)"""
    plain = ask(text, "--format", "csv")
    assert plain == '=heading,n\n=1+1,-1.5\n+a,2.0\n-,\n@x,0.0\na=b,-3.0\n"",1.0\n,1.0\n'
    safe = "'=heading,n\n'=1+1,-1.5\n'+a,2.0\n'-,\n'@x,0.0\na=b,-3.0\n\"\",1.0\n,1.0\n"
    assert ask(text, "--format", "csv", "--spreadsheet") == safe
    assert ask(text, "--spreadsheet") == safe
    refused = cxremb("sql", text, "--format", "json", "--spreadsheet", "--root", root)
    assert refused.code == 2
    assert "--spreadsheet" in refused.err


def test_a_line_of_csv_is_never_empty() -> None:
    assert csv_text(["a"], [[None], ["x"]]) == 'a\n""\nx\n'


QUERIES = [
    "from predictions",
    "from images",
    "from stores",
    "from embeddings",
    "select repeat('word ', 60) as text, study_id from studies",
    "select study_id, repeat('0123456789abcdef', 4) as digest, repeat('word ', 20) as text, 1.5 as n from studies",
    "select 'Ergebnis: 胸部X線写真 ' || repeat('胸 ', 60) as text, study_id from studies",
]


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("text", QUERIES)
def test_nothing_is_wider_than_the_screen_or_broken_in_mid_word(ask, root: Path, text: str, width: int) -> None:
    from rich.cells import cell_len

    said = ask(f"{text} limit 4", columns=width)
    assert all(cell_len(line) <= width for line in said.splitlines())
    words = set(re.split(r"[\s│┃]+", said))
    for row in query(root, f"{text} limit 4", kept=TEXT).to_pylist():
        for name, value in row.items():
            assert name in words
            assert set(shown.cell(value).split()) <= words


def test_wide_rows_are_lists_of_cells_and_say_how_many_there_are(cxremb, root: Path, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = cxremb("sql", "select *, repeat('x ', 40) as much from images", "--root", root)
    assert len(re.findall(r"^row \d+$", done.out, flags=re.MULTILINE)) == shown.MAX_RECORDS
    assert f"{query(root, 'from images').num_rows - shown.MAX_RECORDS} more rows" in done.err
    monkeypatch.setenv("COLUMNS", "20")
    empty = cxremb("sql", "select study_id, patient_id, view from images where false", "--root", root)
    assert (empty.out, " ".join(empty.err.split())) == ("", "no rows of study_id, patient_id, view")


@pytest.mark.parametrize(
    ("columns", "width", "widths"),
    [
        ([["a", "bb"], ["long word"]], 20, [2, 9]),
        ([["a", "bb"], ["long word"]], 16, [2, 7]),
        ([["a", "bb"], ["long word"]], 13, [2, 4]),
        ([["a", "bb"], ["long word"]], 12, None),
        ([["one two three", "x"], ["one two three"]], 20, [7, 6]),
        ([["two\nlines"]], 80, [5]),
    ],
)
def test_widths(columns: list[list[str]], width: int, widths: list[int] | None) -> None:
    assert shown.fitting(columns, width) == widths


def test_arrow_keeps_what_it_can(root: Path) -> None:
    assert TEXT < ARROW
    found = query(root, "select '2026-11-27'::date as d, interval 1 day as i, [1::uhugeint] as u").schema
    assert [str(field.type) for field in found] == ["date32[day]", "string", "list<l: string>"]
