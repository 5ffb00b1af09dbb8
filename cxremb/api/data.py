"""Collections, vectors and tables: what `cxremb data add`, `embed` and `sql` do."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxremb.api.places import data_set, remark, store_root
from cxremb.catalog import Added, add_collection
from cxremb.datasets.brought import is_brought, kept_rows
from cxremb.datasets.table import read as read_table
from cxremb.datasets.table.columns import fact_name
from cxremb.errors import DataError, EncoderError, StoreError, did_you_mean
from cxremb.features import Features, Inputs
from cxremb.features import load_features as assemble
from cxremb.store.dataset import list_datasets, open_dataset
from cxremb.store.reader import Store, list_stores
from cxremb.store.reader import open_store as find_store
from cxremb.types import Collection, Progress, unwatched

if TYPE_CHECKING:
    import duckdb

    from cxremb.embedding.job import Update
    from cxremb.encoders.base import Machine, What

# kind -> its reader, and which of the reader's parameters is the path; the rest are options
KINDS: Mapping[str, tuple[str, str]] = {
    "iu_xray": ("cxremb.datasets.iu_xray:read", "reports"),
    "mimic_cxr": ("cxremb.datasets.mimic_cxr:read", "root"),
    "kermany": ("cxremb.datasets.kermany:read", "folder"),
    "medmnist": ("cxremb.datasets.medmnist:read", "file"),
    "chexpert": ("cxremb.datasets.chexpert:read", "folder"),
    "chexpert_plus": ("cxremb.datasets.chexpert_plus:read", "folder"),
    "nih": ("cxremb.datasets.nih:read", "folder"),
    "padchest": ("cxremb.datasets.padchest:read", "folder"),
    "vindr": ("cxremb.datasets.vindr:read", "folder"),
    "rsna": ("cxremb.datasets.rsna:read", "folder"),
    "siim": ("cxremb.datasets.siim:read", "folder"),
    "brax": ("cxremb.datasets.brax:read", "folder"),
    "table": ("cxremb.datasets.table:TableSpec", "table"),
    "folder": ("cxremb.datasets.folder:read", "folder"),
    "dicom": ("cxremb.datasets.dicom:read", "folder"),
}

MODALITIES = ("image", "text")
ENGINES = ("local", "ray")  # who encodes
PATHS = ("images", "reports", "projections")  # options that are paths


def add(
    kind: str,
    path: Any,
    *,
    name: str | None = None,
    root: str | Path | None = None,
    progress: Progress = unwatched,
    pseudonymise: str | Path | None = None,
    keep: Sequence[str] = (),
    **options: Any,
) -> Added:
    """What was added, with its counts: a collection of images, reports or both, read and kept as a data set.

    kind: iu_xray, mimic_cxr, chexpert, chexpert_plus, nih, padchest, vindr, rsna, siim, brax, kermany, medmnist, table,
    folder or dicom. path: the folder or file that `cxremb data add KIND` takes; of iu_xray, its reports; of a table
    also one in memory: of pandas, Polars or Arrow, a `datasets.Dataset` or `DatasetDict`, or a data set of
    torchxrayvision. Its rows are kept as Parquet below the store root. name: of the data set; folder, dicom and table
    need one. pseudonymise: a file of a key, made if it is missing: ids become pseudonyms, days are shifted, and of
    other columns of a table only those of `keep` stay. options: those of the command, such as images= and projections=
    of iu_xray, patient_pattern= of folder. Its notes go to the logger `cxremb` too. Raises `DataError` for an unknown
    kind or option, and what the reader raises.
    """
    if kind not in KINDS:
        near = did_you_mean(kind, KINDS)
        raise DataError(f"no kind of collection {kind!r}", hint=f"{near}known are {', '.join(KINDS)}")
    reader, main = KINDS[kind]
    module, _, function = reader.partition(":")
    read: Callable[..., Any] = getattr(import_module(module), function)
    in_memory = is_brought(path)
    if in_memory and kind != "table":
        raise DataError(f"add {kind}: a {type(path).__name__} is no path", hint='tables in memory are added as "table"')
    if in_memory and pseudonymise:
        hint = "write it to a Parquet file that is not below the store root, and add that"
        raise DataError("the rows of a table in memory are kept below the store root, with their ids", hint)
    unpacked = store_root(root) / "unpacked" / (name or ("" if in_memory else Path(path).stem))
    own = {"name": name, "progress": progress, "unpack_to": unpacked}
    known = inspect.signature(read).parameters
    if unknown := [option for option in options if option not in known or option in own]:
        names = [option for option in known if option not in (main, *own)]
        raise DataError(f"add {kind}: no option {unknown[0]!r}", hint=f"known are {', '.join(names) or 'none'}")
    if name is None and "name" in known and known["name"].default is inspect.Parameter.empty:
        raise DataError(f"add {kind}: the data set needs a name", hint='such as name="films"')
    if in_memory:
        with kept_rows(path, unpacked) as (place, about):
            return add(kind, place, name=name, root=root, progress=progress, **{**about, **options})
    given = {
        main: Path(path),
        **options,
        **{key: value for key, value in own.items() if key in known and value is not None},
    }
    found = read(**{key: Path(value) if key in PATHS and value is not None else value for key, value in given.items()})
    collection: Collection = found if isinstance(found, Collection) else read_table(found)
    collection = replace(collection, name=name or collection.name)
    key = Path(pseudonymise) if pseudonymise else None
    added = add_collection(collection, store_root(root), progress, key=key, keep=list(map(fact_name, keep)))
    remark((note.in_words for note in added.notes), shown=True)
    return added


def embed(
    model: "str | What",
    *,
    weights: str | Path | None = None,
    aspect: str = "squash",
    scaled_jpeg: bool = False,
    xxxx: str = "keep",
    precision: str | None = None,
    device: str = "auto",
    runtime: str = "auto",
    compiled: bool = False,
    batch_size: int | None = None,
    workers: int | None = None,
    engine: str = "local",
    ray_workers: int = 2,
    keep_pixels: bool = False,
    dataset: str | None = None,
    root: str | Path | None = None,
    progress: Progress = unwatched,
) -> "Update":
    """What became of the store: every film or report text that is new or changed is encoded, once.

    model: an encoder of `cxremb models`, or what `read_job` found in a job file. The options are those of `cxremb
    embed`. Raises `EncoderError` for an unknown encoder, device or engine, `StoreError` if nothing could be encoded.
    """
    from cxremb.embedding.asked import finished
    from cxremb.encoders.base import What
    from cxremb.encoders.table import find_spec
    from cxremb.encoders.weights import check_weights

    what = model
    if not isinstance(what, What):
        what = What(what, None if weights is None else Path(weights), aspect, scaled_jpeg, xxxx=xxxx)
    find_spec(what.model)  # an unknown name, or weights that are nowhere, is an error before anything heavy is loaded
    check_weights(what.model, what.weights)
    if precision:
        what = replace(what, precision=precision)
    found = data_set(dataset, root)
    # a device, runtime or engine that is named is looked for, also where nothing is left to do
    anything = (device, runtime, engine) == ("auto", "auto", "local") and not compiled
    done = finished(found, what) if anything else None
    if done is None:
        machine = machine_for(
            device=device,
            runtime=runtime,
            compiled=compiled,
            batch_size=batch_size,
            workers=workers,
            engine=engine,
            ray_workers=ray_workers,
            keep_pixels=keep_pixels,
        )
        from cxremb.embedding.start import run

        done = run(found, what, machine, progress=progress)
    remark(done.notes, shown=True)
    return done


def machine_for(
    *,
    device: str = "auto",
    runtime: str = "auto",
    compiled: bool = False,
    batch_size: int | None = None,
    workers: int | None = None,
    engine: str = "local",
    ray_workers: int = 2,
    keep_pixels: bool = False,
) -> "Machine":
    """The machine that these words of `cxremb embed` ask for. Raises `EncoderError` for what is not here."""
    from cxremb.encoders.machine import choose_machine

    if engine not in ENGINES:
        raise EncoderError(f"no engine {engine!r}", hint=f"choose one of {', '.join(ENGINES)}")
    return choose_machine(
        device.split(","),
        engine=runtime,
        compiled=compiled,
        batch_size=batch_size,
        workers=workers,
        keep_pixels=keep_pixels,
        ray_workers=ray_workers if engine == "ray" else 0,
    )


def open_store(
    name: str | None = None, *, version: int | None = None, dataset: str | None = None, root: str | Path | None = None
) -> Store:
    """The vectors of one encoder, to be read as Arrow, NumPy, pandas or Polars.

    name: an encoder, or a store in full; may be left out while there is only one. version: the newest if left out.
    Raises `StoreError` for one that is not there, `DataError` for an unknown data set.
    """
    found = data_set(dataset, root)
    if name is not None:
        return find_store(found, name, version)
    stores = [store.name for store in list_stores(found)]
    if len(stores) != 1:
        hint = f"name one of {', '.join(stores)}" if stores else "make one: `cxremb embed --model efficientnet_b1`"
        raise StoreError(f"{found.name} has {len(stores)} stores", hint=hint)
    return find_store(found, stores[0], version)


def load_features(
    modalities: str | Sequence[str] = ("image", "text"),
    *,
    label_set: str | None = None,
    image_model: str | None = None,
    text_model: str | None = None,
    text: str = "findings+impression",
    views: str = "all",
    unit: str | None = None,
    missing: str = "drop",
    dataset: str | None = None,
    root: str | Path | None = None,
) -> Features:
    """The rows that `train` learns from: vectors, labels and ids as aligned arrays.

    modalities: image, text or both. The options are those of `cxremb train`. `blocks` holds (n, dim) float32 by
    modality, `y` (n, k) labels. The films of studies become an array, (n, views, dim), by `np.asarray`. Raises
    `DataError` for an unknown label set or when no row is left, `StoreError` when a modality has no store.
    """
    chosen = [modalities] if isinstance(modalities, str) else list(modalities)
    if unknown := [one for one in chosen if one not in MODALITIES]:
        raise DataError(f"no modality {unknown[0]!r}", hint=f"choose from {', '.join(MODALITIES)}")
    inputs = Inputs(label_set, image_model, text_model, text, views, unit, missing)
    found = assemble(data_set(dataset, root), chosen, inputs)
    blocks = {name: np.asarray(block) if block.ndim == 2 else block for name, block in found.blocks.items()}
    return replace(found, blocks=blocks)


def sql(query: str, *, root: str | Path | None = None) -> "duckdb.DuckDBPyRelation":
    """The rows that one SELECT finds, as a DuckDB relation: `.df()`, `.pl()`, `.to_arrow_table()`, or show it.

    Read-only, over every data set, store and run under `root` (see docs/sql.md). Raises `QueryError`, with DuckDB's own
    words, if the statement is wrong or would do more than read; `DataError` if there is no data set.
    """
    from cxremb.store.sql import relation

    place = store_root(root)
    list_datasets(place) or open_dataset(place)  # which says that there is none
    return relation(place, query)
