"""Templates, and the few things that all of them say: numbers, names, the place of a dot."""

import re
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from cxremb.explorer.board import Board
from cxremb.explorer.build import THRESHOLD
from cxremb.table import probability
from cxremb.version import VERSION

NONE = "none"  # how a value that is missing is called
MARGIN, WIDTH = 5.0, 90.0  # of a strip 100 wide, so that a dot at 0 or 1 is whole


@cache
def environment() -> Environment:
    """The templates of this room. Everything that they are given is escaped."""
    made = Environment(
        loader=PackageLoader("cxremb.explorer", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "probability": probability,
        "thousands": "{:,}".format,
        "along": along,
        "value": value,
        "pasted": pasted,
    }
    made.globals |= {"threshold": THRESHOLD, "version": VERSION}
    return made


def render(name: str, board: Board | None, **context: Any) -> str:
    """A page. board: what its heading says."""
    return environment().get_template(name).render(board=board, **context)


def along(number: float) -> str:
    """Where a probability lies on a strip."""
    return f"{MARGIN + WIDTH * number:.2f}"


def value(text: str) -> str:
    """A value of a facet in words."""
    return text or NONE


def pasted(text: str) -> Markup:
    """A sentence whose commands, in backquotes, stand out."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))
