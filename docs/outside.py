"""Hook of mkdocs: documents that lie outside docs/ are pages too, without a second copy; links work in both places."""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
OUTSIDE = {  # in the repository -> on the site
    "README.md": "index.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "stores/README.md": "stores.md",
    "cxremb/datasets/iu_not_actionable.txt": "iu_not_actionable.txt",
}
ON_SITE = {page: place for place, page in OUTSIDE.items()}
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)")  # the path of a link or picture, without its anchor
PIPE = re.compile(r"`[^`\n]*`")


def on_files(files: Files, config: Any) -> Files:
    """All of docs/, and those of outside."""
    for place, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / place).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as the site has them; a pipe within code needs no backslash in a table of Python-Markdown."""
    own = ON_SITE.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    moved = LINK.sub(lambda found: site_link(found[1], own), markdown)
    lines = [PIPE.sub(unescaped, line) if line.startswith("|") else line for line in moved.split("\n")]
    return "\n".join(lines)


def site_link(target: str, own: str) -> str:
    """Where a link of the document `own` leads on the site, whose pages lie in one folder with docs/ as its top."""
    place = normpath(str(PurePosixPath(own).parent / target))
    top = str(PurePosixPath(own.removeprefix("docs/")).parent) if own.startswith("docs/") else "."
    return relpath(OUTSIDE.get(place, place.removeprefix("docs/")), top)


def unescaped(found: re.Match[str]) -> str:
    """A piece of code without the backslashes that GitHub wants before its pipes."""
    return found[0].replace("\\|", "|")
