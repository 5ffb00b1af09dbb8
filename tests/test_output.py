"""One convention for what other programs read: `--format table|csv|json`."""

import csv
import io
import json
from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner

from cxremb.cli.commands import COMMANDS, load_command
from cxremb.cli.main import app
from cxremb.cli.output import csv_text, write

ROWS = [{"name": "a, b", "n": 1, "parts": ["train", "test"]}, {"name": 'say "x"', "low": None}]


def test_csv_keeps_every_cell_and_every_name() -> None:
    names = ["name", "n", "parts", "low"]
    found = list(csv.DictReader(io.StringIO(csv_text(names, ([row.get(name) for name in names] for row in ROWS)))))
    assert found == [
        {"name": "a, b", "n": "1", "parts": '["train", "test"]', "low": ""},
        {"name": 'say "x"', "n": "", "parts": "", "low": ""},
    ]


@pytest.mark.parametrize(
    ("data", "rows", "lines"),
    [
        (ROWS, None, ["name,n,parts,low", '"a, b",1,"[""train"", ""test""]",', '"say ""x""",,,']),
        ({"a": 1, "b": {"c": 2}}, None, ["a,b", '1,"{""c"": 2}"']),
        ({"a": 1}, [{"b": 2.5}], ["b", "2.5"]),
        ([], None, []),
    ],
)
def test_rows_are_the_data_unless_given(
    data: object, rows: list[dict[str, object]] | None, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write(data, "csv", rows)
    assert capsys.readouterr().out.splitlines() == lines
    write(data, "json", rows)
    assert json.loads(capsys.readouterr().out) == data


def commands(group: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    context = typer.Context(group)  # type: ignore[arg-type]
    listed = getattr(group, "list_commands", None)
    if listed is None:
        yield path, {flag for option in group.params for flag in option.opts}  # type: ignore[attr-defined]
        return
    for name in listed(context):
        yield from commands(group.get_command(context, name), (*path, name))  # type: ignore[attr-defined]


def test_every_command_that_gives_results_has_format_and_none_has_json() -> None:
    flags = {path: own for name in COMMANDS for path, own in commands(load_command(name), (name,))}
    assert not [path for path, own in flags.items() if "--json" in own]
    without = {" ".join(path) for path, own in flags.items() if "--format" not in own}
    assert without == {
        "data rm",
        "demo",
        "explore",
        "report",
        "serve",
        "runs rm",
        "store gc",
        "store rm",
    }


def test_a_listing_as_csv(tmp_path_factory: pytest.TempPathFactory) -> None:
    found = CliRunner().invoke(app, ["models", "--format", "csv"]).stdout
    listed = json.loads(CliRunner().invoke(app, ["models", "--format", "json"]).stdout)
    assert [row["name"] for row in csv.DictReader(io.StringIO(found))] == [one["name"] for one in listed]
