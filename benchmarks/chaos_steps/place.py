"""The collection of the chaos and fuzz programs: drawn films with reports, as a table; and as it is a day later.

Forty-eight films: of twelve, `train` and `align` say that they are too few.

One film is a TIFF, which is decoded by a worker process, so that one is there to be killed too.
"""

import csv
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

FILMS = 48
MORE = 2  # films that come a day later


def draw(folder: Path) -> None:
    """films/, `first.csv`, `later.csv` and `concepts.csv` in `folder`; equal bytes each time."""
    films = folder / "films"
    films.mkdir(parents=True)
    for number in range(FILMS + MORE):
        coarse = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
        film = PilImage.fromarray(coarse).resize((40, 48), PilImage.Resampling.BICUBIC)
        film.save(films / name_of(number))
    write(folder / "first.csv", range(FILMS), "Clear")
    write(folder / "later.csv", range(1, FILMS + MORE), "Clear now")  # one film is gone, two are new, texts changed
    (folder / "concepts.csv").write_text("label_set,label,concept,relation,source\nill,ill,Pneumonia,exact,own\n")


def name_of(number: int) -> str:
    """The file of a film."""
    return f"film{number:02}.{'tif' if number == 3 else 'png'}"


def write(path: Path, numbers: range, word: str) -> None:
    """A row for each film: its patient, view, texts and label."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "patient_id", "study_id", "view", "indication", "findings", "ill"])
        for number in numbers:
            ill = number % 2
            says = f"Opacity number {number}." if ill else f"{word} lungs {number}."
            table.writerow([name_of(number), f"p{number}", f"s{number}", "PA", "Cough.", says, ill])
