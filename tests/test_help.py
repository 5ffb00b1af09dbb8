"""`--help` in 80 columns: no word of it is cut or broken."""

import re
from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner

from cxremb.cli.commands import COMMANDS, load_command
from cxremb.cli.main import app


def commands(group: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every command and group below, with its words."""
    yield path, group
    context = typer.Context(group)  # type: ignore[arg-type]
    for name in getattr(group, "list_commands", lambda _: [])(context):
        yield from commands(group.get_command(context, name), (*path, name))  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", COMMANDS)
def test_no_word_is_cut(name: str) -> None:
    for path, command in commands(load_command(name), (name,)):
        said = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}).stdout
        assert max(map(len, said.splitlines())) <= 80
        assert "…" not in said
        words = set(re.sub(r"[│╭╮╰╯]", " ", said).split())
        texts = [command.help, *(one.help for one in command.params)]  # type: ignore[attr-defined]
        for text in filter(None, texts):
            assert set(text.replace("\\[", "[").split()) <= words, path
        assert not [word for word in words if word.startswith("<") and "|" in word and not word.endswith(">")]
