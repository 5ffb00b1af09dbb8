"""The blocks of commands, Python and SQL that the documents show, in the order of the page."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
RUN = ("sh", "python", "sql")
FILES = ("toml", "csv")  # what a file holds
SHOWN = "text"  # what a command prints
FILE = re.compile(r"<!-- file: (\S+) -->")
REASON = re.compile(r"<!-- (?:not run|not compared|demo: begin)[:;] (.+) -->")
INDENTED = re.compile(r" {4}(cxremb|pip|make|python|docker|wget|curl) ")


@dataclass(frozen=True)
class Block:
    """One fenced block. reason: why it is not run, or not compared. file: the file that it is to be saved as.

    section: the `##` heading that it stands below.
    """

    page: str
    line: int
    language: str
    text: str
    reason: str | None
    file: str | None
    section: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(path: Path) -> list[Block]:
    """Every fenced block of a page. A list of commands that is indented and not fenced is an error."""
    lines = path.read_text(encoding="utf-8").splitlines()
    found, section, at = [], "", 0
    while at < len(lines):
        line = lines[at]
        assert not INDENTED.match(line), f"{path.name}:{at + 1}: write a list of commands as a block of sh"
        if line.startswith("## "):
            section = line.removeprefix("## ")
        fence = re.fullmatch(r"```(\w+)", line)
        if fence is not None:
            end = lines.index("```", at + 1)
            reason, file = (pattern.fullmatch(lines[at - 1]) for pattern in (REASON, FILE))
            text = "\n".join(lines[at + 1 : end])
            marks = (match[1] if match else None for match in (reason, file))
            found.append(Block(path.name, at + 1, fence[1], text, *marks, section=section))
            at = end
        at += 1
    return found


def commands(text: str) -> list[tuple[list[str], str]]:
    """The words of each line of a block of sh, and its comment; a line that ends in a backslash goes on."""
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    found = []
    for line in filter(None, map(str.strip, lines)):
        reader = shlex.shlex(line, posix=True, punctuation_chars=True)
        reader.whitespace_split, reader.commenters = True, "#"
        comment = re.search(r"\s# (.*)$", line)
        if words := list(reader):
            found.append((words, comment[1] if comment else ""))
    return found
