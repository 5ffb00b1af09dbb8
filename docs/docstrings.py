"""Hook of mkdocs: what a docstring says of a parameter, `name: what it is`, begins a line of its own on the site."""

import re
from typing import Any

PAGE = "api.md"
PARAMETER = re.compile(r"(<p>|[.;]\s)((?:[a-z_]+, )*[a-z_]+): ")
RAISES = re.compile(r"(?<=\.\s)Raises(?=\s)")


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """The page of public names, its parameters as code at the start of lines."""
    if page.file.src_uri != PAGE:
        return html
    broken = PARAMETER.sub(lambda found: f"{opening(found[1])}<code>{found[2]}</code>: ", html)
    return RAISES.sub("<br>Raises", broken)


def opening(before: str) -> str:
    """What stands before a parameter: the start of a paragraph, or the end of a sentence and a new line."""
    return before if before == "<p>" else f"{before.strip()}<br>"
