"""Tables that are in memory: pandas, Polars and Arrow, `datasets.Dataset`, data sets of torchxrayvision.

Their rows are kept as Parquet, since films are read again whenever they are encoded; none of these packages is needed.
A film in them is bytes in one of those files, and never a file of its own.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from cxremb.errors import DataError, reason
from cxremb.store.files import sha256_of, unwritable

ROWS = 256  # of a row group: a film is read from the beginning of its group
KINDS = "a pandas, Polars or Arrow table, a datasets.Dataset or DatasetDict, or a data set of torchxrayvision"
CELLS = "cells are numbers, text or bytes: of a film the bytes of its file, not an array or a picture"
# What torchxrayvision's classes look a film up by, a name with or without its suffix; paths first.
XRV_FILMS = (
    *("Path", "PngPath", "Image Index", "ImageID", "filename", "file_name", "fname", "image_name"),
    *("dicom_id", "imageid", "ImageId", "image_id", "patientId"),
)
XRV_FACTS = {"patientid": "patient_id", "age_years": "age", "view": "view"}
XRV_SEXES = {"sex_male": "M", "sex_female": "F"}  # columns of yes and no


def is_brought(thing: object) -> bool:
    """Whether this is a table in memory, and not the path of one."""
    return not isinstance(thing, str | Path)


@contextmanager
def kept_rows(thing: Any, folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The rows of `thing` as Parquet in a folder of their own, named by their digest, and options that go with them.

    What was kept there before is removed when the block is left without an error; with one, what was new.
    Raises `DataError` for a thing that is no table, or whose cells cannot be kept.
    """
    options: dict[str, Any] = {}
    if is_torchxrayvision(thing):
        thing, options = torchxrayvision_frame(thing)
    draft = folder / f".{uuid4().hex}"
    try:
        draft.mkdir(parents=True)
        write_rows(thing, draft)
        digest = hashlib.sha256("".join(sha256_of(path) for path in sorted(draft.iterdir())).encode()).hexdigest()
        place = folder / digest[:12]
        known = place.is_dir()
        if not known:
            draft.rename(place)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    try:
        yield place, options
    except BaseException:
        if not known:
            shutil.rmtree(place, ignore_errors=True)
        raise
    for other in folder.iterdir():
        if other != place and other.is_dir():
            shutil.rmtree(other, ignore_errors=True)


def write_rows(thing: Any, folder: Path) -> None:
    """A file for each split, or one. Raises `DataError` as `kept_rows`."""
    for name, write in writers(thing).items():
        try:
            write(folder / name)
        except (pa.ArrowException, TypeError, ValueError) as error:
            what = f"a {type(thing).__name__} that cannot be kept as Parquet ({reason(error)})"
            raise DataError(what, hint=CELLS) from error


def writers(thing: Any) -> dict[str, Callable[[Path], object]]:
    """File name -> what writes it. Raises `DataError` for something that is no table."""
    if isinstance(thing, Mapping) and thing and all(hasattr(one, "features") for one in thing.values()):
        return {f"{name}-00000-of-00001.parquet": writer(one) for name, one in thing.items()}
    return {"rows.parquet": writer(thing)}


def writer(thing: Any) -> Callable[[Path], object]:
    """What writes one table. Raises `DataError` for something that is none."""
    if isinstance(thing, pa.Table):
        return lambda path: pq.write_table(thing, path, row_group_size=ROWS)
    if hasattr(thing, "write_parquet"):  # Polars
        return lambda path: thing.write_parquet(path, row_group_size=ROWS)
    if hasattr(thing, "features") and hasattr(thing, "to_parquet"):  # datasets.Dataset
        return lambda path: thing.to_parquet(str(path), batch_size=ROWS)
    if hasattr(thing, "to_parquet") and hasattr(thing, "iloc"):  # pandas
        frame = thing.reset_index() if thing.index.name is not None else thing
        return lambda path: pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, row_group_size=ROWS)
    streamed = hasattr(thing, "features")
    hint = "load it whole: streaming=False" if streamed else f"give the path of a table, or {KINDS}"
    raise DataError(f"a {type(thing).__name__} is no table that can be kept", hint=hint)


def is_torchxrayvision(thing: Any) -> bool:
    """Whether it has what the data sets of torchxrayvision have."""
    return all(hasattr(thing, name) for name in ("csv", "labels", "pathologies"))


def torchxrayvision_frame(thing: Any) -> tuple[Any, dict[str, Any]]:
    """A pandas table of a row for each film, and the options to add it with.

    Its labels are what the data set says after its own mapping, NaN for nothing known. Raises `DataError` for one that
    was merged, and for one whose table does not say which film a row is.
    """
    if hasattr(thing, "datasets"):
        raise DataError("a merged data set of torchxrayvision: its films are of several", hint="add each by itself")
    csv = thing.csv
    if len(csv) != len(thing.labels):
        raise DataError(f"{len(csv)} rows in .csv and {len(thing.labels)} in .labels", hint="make the data set again")
    film = next((name for name in XRV_FILMS if name in csv.columns), None)
    if film is None:
        raise DataError(
            f"{type(thing).__name__}: no column of .csv names the films", hint=f"one of {', '.join(XRV_FILMS)} would"
        )
    folder = film_folder(thing)
    frame = csv[[film]].rename(columns={film: "path"}).astype(str).reset_index(drop=True)
    frame["path"] = [below(folder, path) for path in frame["path"]]
    for column, name in XRV_FACTS.items():
        if column in csv.columns and column != film.lower():  # RSNA's patientId is a film
            frame[name] = csv[column].to_numpy()
    for column in XRV_SEXES.keys() & set(csv.columns):
        frame.loc[csv[column].to_numpy() == 1, "sex"] = XRV_SEXES[column]
    labels = []
    for place, name in enumerate(map(str, thing.pathologies)):
        labels.append(name if name not in frame.columns else f"{name} (label)")
        frame[labels[-1]] = thing.labels[:, place]
    return frame, {"images": folder, "columns": {"path": "path"}, "labels": tuple(labels)}


def film_folder(thing: Any) -> Path:
    """The folder of films, also of a data set that is a part of another. Raises `DataError` if it knows none."""
    while not hasattr(thing, "imgpath") and hasattr(thing, "dataset"):
        thing = thing.dataset
    if not hasattr(thing, "imgpath"):
        raise DataError(f"{type(thing).__name__}: no .imgpath says where its films are", hint="add them as a table")
    return Path(thing.imgpath)


def below(folder: Path, path: str) -> str:
    """The path below the folder: CheXpert and BRAX write the name of the release, or `images`, before it."""
    shorter = path.partition("/")[2]
    return shorter if shorter and not (folder / path).exists() and (folder / shorter).exists() else path
