"""Simulated films as files: PNG or DICOM, each marked as simulated, in a folder that says which simulator drew it."""

import json
import os
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxremb.datasets.phantoms.canvas import Density
from cxremb.datasets.phantoms.film import VERSION, check_view, expose, stable_hash
from cxremb.errors import DataError
from cxremb.processes import Workers
from cxremb.types import Image, Progress, Study, unwatched

SIDE = 256  # pixels of a written film: above the 240 an encoder asks for
CHUNK = 32  # films a worker draws at a time: a third of a second
DICOM_SHARE = 50  # one film in so many becomes DICOM, so that this way in is used too
DEEPEST = 4095  # 12 bits, as digital radiography stores
VIEW_POSITIONS = {"Frontal": "PA", "Lateral": "LL"}  # PS3.3 C.8.7.1.1.3
NOTICE = "simulated film, no patient (cxremb phantom)"
RECORD = "phantoms.json"


@dataclass(frozen=True)
class DrawJob:
    """One film to draw: the `take`-th of this view of the study, counted from 0."""

    study: Study
    image_id: str
    view: str
    take: int


def write_films(
    studies: Sequence[Study],
    folder: Path,
    views: Mapping[str, Sequence[tuple[str, str]]],
    *,
    progress: Progress = unwatched,
    workers: int | None = None,
    seed: int = 0,
) -> list[Image]:
    """The films of `studies`, written to `folder`, in the order of studies and views; `progress` counts films drawn.

    views: study_id -> (image_id, view) pairs. Most films become 8-bit PNG, one in `DICOM_SHARE` a DICOM file. A film
    that is there is kept: it is known by its name alone, so give studies with other terms another folder. Films of
    another seed or simulator are removed first. workers: processes, None for one a core. Raises `DataError` if a view
    is unknown, or the folder holds other films or cannot be written.
    """
    jobs = [job for study in studies for job in jobs_of(study, views.get(study.study_id, ()))]
    try:
        claim_folder(folder, {"simulator": VERSION, "seed": seed, "side": SIDE, "notice": NOTICE})
        there = {entry.name for entry in os.scandir(folder)}
        missing = [job for job in jobs if file_name(job.image_id) not in there]
        chunks = [missing[start : start + CHUNK] for start in range(0, len(missing), CHUNK)]
        done = draw_chunks(partial(draw_chunk, folder, seed), chunks, workers or os.cpu_count() or 1)
        for _ in progress(done, len(missing), "drawing simulated films"):
            pass
    except BrokenProcessPool as error:
        raise DataError(
            f"{folder}: a process that draws films was killed (out of memory?)",
            hint="run the same command again: the films that are drawn are kept",
        ) from error
    except OSError as error:
        raise DataError(
            f"{folder}: films cannot be written ({error.strerror or error})",
            hint="free space, mend the folder's permissions, or name another folder",
        ) from error
    return [
        Image(job.image_id, job.study.study_id, job.study.patient_id, job.view, folder / file_name(job.image_id))
        for job in jobs
    ]


def jobs_of(study: Study, films: Sequence[tuple[str, str]]) -> Iterator[DrawJob]:
    """A job for each (image_id, view) of a study. Raises `DataError` if a view cannot be drawn."""
    takes: Counter[str] = Counter()
    for image_id, view in films:
        check_view(view)
        yield DrawJob(study, image_id, view, takes[view])
        takes[view] += 1


def draw_chunks(
    draw: Callable[[Sequence[DrawJob]], int], chunks: Sequence[Sequence[DrawJob]], workers: int
) -> Iterator[None]:
    """None for each film drawn, chunk by chunk; in this process where others would not pay for their start."""
    if workers == 1 or len(chunks) < 2:
        for chunk in chunks:
            yield from repeat(None, draw(chunk))
        return
    pool = Workers(min(workers, len(chunks)))
    try:
        for count in pool.map(draw, chunks):
            yield from repeat(None, count)
    finally:
        pool.shutdown(cancel_futures=True)


def draw_chunk(folder: Path, seed: int, jobs: Sequence[DrawJob]) -> int:
    """How many films were drawn and written: all of `jobs`."""
    for job in jobs:
        light = expose(job.study, job.view, seed, side=SIDE, take=job.take)
        write_film(folder / file_name(job.image_id), light, job.image_id, view=job.view)
    return len(jobs)


def file_name(image_id: str) -> str:
    """The name of a film's file; its suffix says which of the two formats the film is in."""
    return f"{image_id}.dcm" if stable_hash("format", image_id) % DICOM_SHARE == 0 else f"{image_id}.png"


def photometric(image_id: str) -> str:
    """MONOCHROME1 (white is 0) for about half of the films, MONOCHROME2 for the others."""
    return f"MONOCHROME{1 + stable_hash('photometric', image_id) % 2}"


def claim_folder(folder: Path, record: Mapping[str, object]) -> None:
    """Make `folder` one of films drawn as `record` says: films drawn otherwise are removed, others are never touched.

    Raises `DataError` if it holds films and no record that they are phantoms.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RECORD
    if path.exists():
        if read_record(path) == record:
            return
        for film in films_in(folder):
            film.unlink()
    elif (stranger := next(films_in(folder), None)) is not None:
        raise DataError(
            f"{folder} holds {stranger.name}, and no {RECORD} that says it is a phantom",
            hint="name an empty folder for the simulated films",
        )
    draft = folder / f".{RECORD}.{os.getpid()}.draft"
    draft.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)


def read_record(path: Path) -> object:
    """What `path` holds, None if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None


def films_in(folder: Path) -> Iterator[Path]:
    """The films in `folder`."""
    return (path for path in folder.iterdir() if path.suffix in (".png", ".dcm"))


def write_film(path: Path, light: Density, image_id: str, *, view: str) -> None:
    """Write a film, (side, side) from 0 to 1, in one step, in the format that the suffix of `path` names."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    if path.suffix == ".dcm":
        write_dicom(draft, light, image_id, view=view)
    else:
        draft.write_bytes(png_of((light * 255 + 0.5).astype(np.uint8)))
    draft.replace(path)


def png_of(pixels: NDArray[np.uint8]) -> bytes:
    """An 8-bit grey PNG that says in its `Comment` that it is simulated (ISO/IEC 15948).

    Noise does not compress. So each row is written as its difference from the one above, and Huffman coding is all: a
    library that tries every filter on every row takes more than twice as long, for a fifth less.
    """
    height, width = pixels.shape
    rows = np.empty((height, 1 + width), np.uint8)
    rows[:, 0], rows[:, 1:] = 2, pixels  # 2: the filter Up
    rows[1:, 1:] -= pixels[:-1]
    packer = zlib.compressobj(1, strategy=zlib.Z_HUFFMAN_ONLY)
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0),
        b"tEXt": b"Comment\0" + NOTICE.encode("latin-1"),
        b"IDAT": packer.compress(rows.data) + packer.flush(),
        b"IEND": b"",
    }
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def write_dicom(path: Path, light: Density, image_id: str, *, view: str) -> None:
    """Write a film as a computed radiograph (PS3.3 A.2), 12 bits in 16, whose window spans the full scale."""
    try:
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid
    except ImportError as error:
        raise DataError("DICOM files need pydicom", hint='pip install "cxremb[dicom]"') from error
    values = np.rint(light * DEEPEST).astype(np.uint16)
    tags = Dataset()
    tags.file_meta = FileMetaDataset()
    tags.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    tags.SOPClassUID = ComputedRadiographyImageStorage
    for level in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(tags, level, generate_uid(entropy_srcs=["cxremb phantom", level, image_id]))
    tags.PatientName, tags.PatientID = "PHANTOM", "PHANTOM"
    tags.ImageComments, tags.Manufacturer = NOTICE, "cxremb phantom"
    for empty in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"):
        setattr(tags, empty, "")
    tags.ReferringPhysicianName, tags.Laterality = "", ""
    tags.Modality, tags.BodyPartExamined, tags.ViewPosition = "CR", "CHEST", VIEW_POSITIONS[view]
    tags.SeriesNumber, tags.InstanceNumber, tags.PatientOrientation = 1, 1, ""
    tags.SamplesPerPixel, tags.PhotometricInterpretation = 1, photometric(image_id)
    tags.Rows, tags.Columns = values.shape
    tags.BitsAllocated, tags.BitsStored, tags.HighBit, tags.PixelRepresentation = 16, 12, 11, 0
    tags.WindowCenter, tags.WindowWidth = 2048, 4096
    stored = DEEPEST - values if tags.PhotometricInterpretation == "MONOCHROME1" else values
    tags.PixelData = stored.astype("<u2").tobytes()
    tags.save_as(path, enforce_file_format=True)
