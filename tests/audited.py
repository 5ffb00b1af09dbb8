"""A collection with a published split in which everything that an audit looks for is planted, or nothing is."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image as PilImage
from test_images import dicom

from cxremb.catalog import add_collection
from cxremb.store.dataset import Dataset
from cxremb.types import Collection, Image, LabelSet, Study

TRAIN, VAL, TEST = range(80), range(80, 100), range(100, 130)
PARTS = {"train": TRAIN, "val": VAL, "test": TEST}
VOCABULARY = [f"{a}{b}" for a in ("lung", "heart", "rib", "hilum", "apex", "node", "vein") for b in "abcdefghijklmnop"]

# What is planted, by study number.
SAME_PATIENT = {100: 0, 101: 1, 102: 2, 80: 3}  # test, test, test, val -> a study of train
SAME_REPORT = {103: 4, 104: 5, 81: 6}
NEAR_REPORT = {105: 7}
SAME_BYTES = {106: 8}  # with the other label
COPY = {107: 9}  # re-encoded at another size
OTHER_LABEL = (10, 11)  # one report, two labels, both in train
INVERTED, FLAT, CONSTANT, CLIPPED, FRAMED, BROKEN, NEGATIVE, LATERAL = range(12, 20)


def chest(seed: int, side: int = 128) -> np.ndarray:
    """A film that is bright in the middle and dark in its upper corners, with lungs; different for every seed."""
    rows, columns = np.mgrid[0:side, 0:side] / side
    body = 120 - 200 * (columns - 0.5) ** 2 + 30 * rows
    lungs = sum(60 * np.exp(-((columns - x) ** 2 / 0.015 + (rows - 0.42) ** 2 / 0.04)) for x in (0.27, 0.73))
    coarse = np.random.default_rng(seed).integers(0, 256, (20, 20), dtype=np.uint8)
    noise = np.asarray(PilImage.fromarray(coarse).resize((side, side), PilImage.Resampling.BICUBIC)).astype(float)
    return np.clip(body - lungs + 0.5 * (noise - 128) + 40, 3, 250).astype(np.uint8)


def png(pixels: np.ndarray, kind: str = "PNG", **options: int) -> bytes:
    """A picture file."""
    buffer = io.BytesIO()
    PilImage.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def report(seed: int) -> str:
    """Forty words that no other seed says in this order."""
    return " ".join(np.random.default_rng(seed).choice(VOCABULARY, 40))


def label(number: int) -> float:
    """Sick or not: half of every part."""
    return float(np.random.default_rng(5).permutation(200)[number] % 2)


def film(number: int, planted: bool) -> bytes:
    """The file of one study."""
    if not planted:
        return png(chest(number))
    special = {
        INVERTED: lambda: png(255 - chest(number)),
        FLAT: lambda: png((100 + chest(number) // 120).astype(np.uint8)),
        CONSTANT: lambda: png(np.full((64, 64), 7, np.uint8)),
        CLIPPED: lambda: png(np.where(chest(number) > 125, 255, chest(number)).astype(np.uint8)),
        FRAMED: lambda: png(np.pad(chest(number), ((5, 5), (5, 5)))),
        BROKEN: lambda: png(chest(number))[:200],
        NEGATIVE: lambda: dicom((255 - chest(number)).astype(np.uint16) * 16, "MONOCHROME1"),
    }
    if number in special:
        return special[number]()
    if number in COPY:
        copied = PilImage.fromarray(chest(COPY[number])).resize((200, 180), PilImage.Resampling.LANCZOS)
        return png(np.asarray(copied), "JPEG", quality=60)
    return png(chest(SAME_BYTES.get(number, number)))


def study(number: int, planted: bool) -> Study:
    """One study of a patient of its own, but for what is planted."""
    text, sick, patient = report(number), label(number), number
    if planted:
        patient = SAME_PATIENT.get(number, number)
        text = report(SAME_REPORT.get(number, number))
        if number in NEAR_REPORT:
            text = " ".join([*report(NEAR_REPORT[number]).split()[:-1], "nothing"])
        if number in SAME_BYTES:
            sick = 1 - label(SAME_BYTES[number])
        if number in SAME_REPORT:
            sick = label(SAME_REPORT[number])
        if number == OTHER_LABEL[1]:
            text, sick = report(OTHER_LABEL[0]).upper() + " .", 1 - label(OTHER_LABEL[0])
    part = next(name for name, numbers in PARTS.items() if number in numbers)
    sections = {"findings": text, "indication": "Pain."}
    return Study(f"s{number:03d}", f"p{patient:03d}", sections, {}, {"sick": {"sick": sick}}, {"published": part})


def audited(folder: Path, planted: bool) -> Dataset:
    """The collection, added to `folder`/root; 130 studies with a film each."""
    films = folder / "films"
    films.mkdir(parents=True)
    studies, images = [], []
    for number in range(TEST.stop):
        studies.append(study(number, planted))
        suffix = ".dcm" if planted and number == NEGATIVE else ".png"
        name = f"{np.random.default_rng(number).integers(1 << 40):010x}"  # a name that says nothing
        path = films / f"{name}{suffix}"
        path.write_bytes(film(number, planted))
        view = "LATERAL" if planted and number == LATERAL else "PA"
        images.append(Image(name, studies[-1].study_id, studies[-1].patient_id, view, path))
    sets = [LabelSet("sick", "binary", "made by the tests", ("sick",))]
    made = Collection("audited", studies, images, "none", "made by the tests", {"made": "here"}, label_sets=sets)
    return add_collection(replace(made), folder / "root").dataset
