"""Every command that a message of the package names is one, with options that it takes, and stands in backquotes."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxremb.cli.commands import COMMANDS, load_command
from cxremb.cli.options import CALLED, Called

PACKAGE = Path(__file__).parent.parent / "cxremb"
HOLE = "1"  # in place of what a message fills in: a name, a number or a path
NAMED = re.compile(rf"(`?)cxremb ((?:{'|'.join(COMMANDS)})\b[^`]*)")
# a command may stand there without backquotes
AS_TYPED = {"beside.py", "commands.py", "demo.py", "main.py", "overview.py"}
BARE = {"data add", "data split"}  # these words alone: the command that the user knows, or whose help says the rest


def texts(tree: ast.AST) -> Iterator[str]:
    """The strings of a module but for its docstrings; those with holes as one."""
    docs = {id(node.body[0].value) for node in ast.walk(tree) if is_documented(node)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)} - {
        id(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(one.value) if isinstance(one, ast.Constant) else HOLE for one in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs | parts:
            yield node.value


def is_documented(node: ast.AST) -> bool:
    has_body = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    return has_body and ast.get_docstring(node) is not None  # type: ignore[arg-type]


def named(path: Path) -> Iterator[tuple[str, str]]:
    """(backquote or nothing, words) of each command that the strings of a module name."""
    for text in texts(ast.parse(path.read_text(encoding="utf-8"))):
        yield from NAMED.findall(text)


MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name not in AS_TYPED and list(named(path))]


def parse(words: str) -> None:
    """Raises click's error if the command would refuse the words; nothing is run."""
    name, *rest = shlex.split(words)
    command = load_command(name)
    while rest and rest[0] in getattr(command, "commands", {}):
        name, command, rest = f"{name} {rest[0]}", command.commands[rest[0]], rest[1:]
    if rest or name not in BARE:
        command.make_context(name, rest)


@pytest.fixture(autouse=True)
def called() -> Iterator[None]:
    about = CALLED.set(Called())
    yield
    CALLED.reset(about)


def refusal() -> type[Exception]:
    """The usage error of whichever click typer has."""
    try:
        load_command("demo").make_context("demo", ["--no-such-option"])
    except Exception as error:
        return next(kind for kind in type(error).__mro__ if kind.__name__ == "UsageError")
    raise AssertionError("it was taken")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_commands_of_messages_can_be_typed(path: Path) -> None:
    for quote, words in named(path):
        assert quote, f"in backquotes: cxremb {words}"
        try:
            parse(words)
        except (refusal(), ValueError) as error:
            pytest.fail(f"cxremb {words}: {error}")


@pytest.mark.parametrize("wrong", ["train --hed x", "data label", "evaluate 1 --by", "audit --split", "ablate image"])
def test_what_would_be_refused_is_found(wrong: str) -> None:
    with pytest.raises(refusal()):
        parse(wrong)
