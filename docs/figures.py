"""Draws the pictures of docs/tutorial.md: `python docs/figures.py ROOT`, where ROOT is what `cxremb demo` made.

The films of the demo are simulated and its pictures are figures alone, so nothing of a patient is in them.
"""

import sys
from pathlib import Path

from cxremb.api.report import chosen_runs
from cxremb.reporting.page import page_of, write_picture

PICTURES = ("roc", "reliability", "epochs-fusion")
FOLDER = Path(__file__).parent / "figures"


def main(root: Path) -> None:
    """Each picture, in the colours of light and dark pages."""
    page = page_of(chosen_runs((), dataset=None, root=root))
    drawings = {drawing.name: drawing for drawing in page.drawings}
    FOLDER.mkdir(exist_ok=True)
    for name in PICTURES:
        if "SIMULATED FILMS" not in drawings[name].marks:
            raise SystemExit(f"{name} shows no simulated films: draw the demo's")
        write_picture(drawings[name], FOLDER / f"{name}.svg")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
