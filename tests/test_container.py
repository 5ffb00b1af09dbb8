"""The image for clusters, as far as it can be told without Docker; CI on GitHub builds and runs it."""

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from test_wheel import SOURCES

from cxremb.cli.main import app

ROOT = Path(__file__).parent.parent
LINES = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
STEPS = [tuple(line.split(maxsplit=1)) for line in LINES if line and not line.startswith("#")]


def steps(kind: str) -> list[str]:
    return [words for name, words in STEPS if name == kind]


def test_it_takes_what_a_wheel_is_made_of_and_nothing_else() -> None:
    """`test_wheel` makes and runs a wheel of the same files."""
    taken = [name for words in steps("COPY") if not words.startswith("--from") for name in words.split()[:-1]]
    assert sorted(taken) == sorted(["constraints.txt", *SOURCES])
    assert all((ROOT / name).exists() for name in taken)


def test_no_store_of_a_checkout_is_sent_to_the_builder() -> None:
    """The last line of .dockerignore that fits a path decides: first all are left out."""
    lines = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    assert lines[0] == "*"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    assert let_in == {"constraints.txt", *SOURCES, "stores"}
    assert lines.index("!stores") < lines.index("stores/*") < lines.index("!stores/queries")


def test_versions_are_the_pinned_ones_and_extras_are_there() -> None:
    installs = [command for words in steps("RUN") for command in re.findall(r"pip install [^&|;]*", words)]
    assert len(installs) == 2
    assert all("-c constraints.txt" in one and "--only-binary :all:" in one for one in installs)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    defaults = dict(words.split("=", 1) for words in steps("ARG") if "=" in words)
    assert set(defaults["EXTRAS"].split(",")) <= set(project["optional-dependencies"])
    assert defaults["PYTHON"] in SpecifierSet(project["requires-python"])
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert all(re.search(rf"^{name}==", pinned, re.MULTILINE) for name in ("torch", "torchvision"))


def test_no_file_names_a_registry_of_packages() -> None:
    """Whoever installs says where from: a hospital has a mirror of its own."""
    registry = re.compile(r"pypi\.org/simple|pythonhosted\.org|download\.pytorch\.org|index-url +https?:")
    files = [*ROOT.glob("*.t*"), ROOT / "Dockerfile", ROOT / "Makefile", *(ROOT / ".github").rglob("*.yml")]
    assert len(files) > 4
    assert [path.name for path in files if registry.search(path.read_text(encoding="utf-8"))] == []


def test_it_runs_as_nobody_in_particular() -> None:
    assert STEPS[-4:] == [("USER", "1000"), ("WORKDIR", "/tmp"), ("ENTRYPOINT", '["cxremb"]'), ("CMD", '["--help"]')]


def test_the_page_runs_it_with_commands_that_there_are() -> None:
    page = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = re.findall(r"^docker run .*$", page, re.MULTILINE)
    words = shlex.split(line)
    command, *rest = words[words.index("cxremb:cuda") + 1 :]
    known = {one.name or one.callback.__name__ for one in app.registered_commands if one.callback}
    assert command in known
    assert (ROOT / "embed_jobs" / f"{rest[rest.index('--job') + 1]}.toml").is_file()
    mounted = {words[place + 1].split(":")[1] for place, word in enumerate(words) if word == "-v"}
    environment = dict(pair.split("=", 1) for words in steps("ENV") for pair in words.split())
    assert {environment["CXREMB_STORES"], environment["HF_HOME"]} < mounted


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="no hadolint here; GitHub has it")
def test_its_linter_has_nothing_to_say() -> None:
    done = subprocess.run(["hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
