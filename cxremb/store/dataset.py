"""A data set as dataset.json describes it: the one that is meant, and its tables as Arrow."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cxremb.errors import DataError, StoreError, did_you_mean, name_list, reason
from cxremb.store.expected import FOREIGN, HEX64, Unexpected, conform, match, refuse_format, refuse_links, shown
from cxremb.store.files import sha256_of
from cxremb.store.layout import NAME, TABLES, TABLES_FORMAT, YOUNGER, DatasetPaths, is_name, table_file
from cxremb.store.locations import LETTERS, Locations, read_locations
from cxremb.types import Note

LOCATIONS = "locations"  # in dataset.json: which file of `paths.locations` is of these tables
CACHE_LEVELS = 3  # of folders: cache/vectors/<store>, cache/pixels/<frame>


@dataclass(frozen=True)
class Dataset:
    """One collection under the store root. Tables are read on first use."""

    paths: DatasetPaths
    descriptor: Mapping[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        return self.paths.name

    @property
    def simulated(self) -> bool:
        return bool(self.descriptor["simulated"])

    @cached_property
    def studies(self) -> pa.Table:
        return read_table(self, "studies")

    @cached_property
    def images(self) -> pa.Table:
        """The table with whole paths; null of films that are not on this machine."""
        table = read_table(self, "images")
        if LOCATIONS not in self.descriptor:
            return table
        paths = pa.array(map(self.whole_path, table["path"].to_pylist()), pa.string())
        return table.set_column(table.column_names.index("path"), "path", paths)

    @property
    def has_films(self) -> bool:
        """Whether any film is on this machine; for `cxremb` alone, since to make an array Arrow loads pandas."""
        return any(map(self.whole_path, read_table(self, "images")["path"].to_pylist()))

    def whole_path(self, path: str | None) -> str | None:
        """Where a film lies of which the table `images` says `path`; None where it is not on this machine."""
        return self.locations.whole(path) if LOCATIONS in self.descriptor else path  # earlier ones say it whole

    @cached_property
    def locations(self) -> Locations:
        """Where things lie on this machine."""
        name = self.descriptor.get(LOCATIONS)
        return read_locations(self.paths, name) if name else Locations()

    @property
    def pseudonyms(self) -> str:
        """The fingerprint of the key that made its ids; "" where they are those of the collection."""
        return str(self.descriptor.get("pseudonyms", ""))

    @property
    def source(self) -> dict[str, Any]:
        """What it was made of, with whole paths where they are known."""
        return {**self.descriptor.get("source", {}), **self.locations.source}

    @cached_property
    def reports(self) -> pa.Table:
        return read_table(self, "reports")

    @cached_property
    def labels(self) -> pa.Table:
        return read_table(self, "labels")

    @cached_property
    def facts(self) -> pa.Table:
        return self.younger("facts")

    @cached_property
    def readings(self) -> pa.Table:
        return self.younger("readings")

    def younger(self, name: str) -> pa.Table:
        """One of `YOUNGER`, empty where an earlier cxremb wrote the data set."""
        return read_table(self, name) if name in self.table_names else TABLES[name].empty_table()

    def table_path(self, name: str) -> Path:
        """The file of one of its tables, as dataset.json names it; by its name alone where an earlier cxremb wrote."""
        return self.paths.folder / str(self.descriptor["tables"][name].get("file", f"{name}.parquet"))

    @property
    def table_names(self) -> list[str]:
        """The tables it has; one that an earlier cxremb wrote lacks those of `YOUNGER`."""
        return [name for name in TABLES if name not in YOUNGER or name in self.descriptor["tables"]]


def list_datasets(root: Path) -> list[Dataset]:
    """Every data set under `root`, by name."""
    return [read_dataset(path) for path in sorted(root.glob("[!.]*/dataset.json"))]


def open_dataset(root: Path, name: str | None = None) -> Dataset:
    """The data set called `name`, or the only one there is.

    Raises `DataError` when there is none, or several and no name.
    """
    names = [path.parent.name for path in sorted(root.glob("[!.]*/dataset.json"))]
    if name is None and len(names) > 1:
        raise DataError(f"{root} holds several data sets: {', '.join(names)}", hint="choose one with --dataset NAME")
    if not names or (name is not None and name not in names):
        wanted = f"no data set called {name!r}" if name else "no data set"
        known = f"; it holds {name_list(names)}" if names else ""
        raise DataError(
            f"{root}: {wanted}{known}",
            hint=did_you_mean(name or "", names)
            + "add one with `cxremb data add`, or name another store root with --root or CXREMB_STORES",
        )
    return read_dataset(DatasetPaths(root, name or names[0]).descriptor)


def data_sets(root: Path, name: str | None = None) -> list[Dataset]:
    """The data set of that name; without a name all there are. Raises `DataError` where there is none."""
    return (list_datasets(root) if name is None else None) or [open_dataset(root, name)]


@dataclass(frozen=True)
class TableFacts:
    """What dataset.json says of a table."""

    rows: int
    sha256: str
    file: str = ""


@dataclass(frozen=True)
class LabelSetFacts:
    """What it says of a label set; of one made here also from what."""

    task: str
    means: str
    labels: Sequence[str]
    policy: str
    version: str
    sql: str = ""
    file: str = ""
    readings: str = ""
    concepts: str = ""


@dataclass(frozen=True)
class Description:
    """What dataset.json says that is relied on; what has a default may be lacking."""

    name: str
    created: str
    tables: Mapping[str, TableFacts]
    simulated: bool
    licence: str = ""
    citation: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[Note] = ()
    label_sets: Mapping[str, LabelSetFacts] = field(default_factory=dict)
    default_label_set: str | None = None
    locations: str = ""
    pseudonyms: str = ""  # the fingerprint of the key that made its ids


def refuse_unexpected(descriptor: Mapping[str, Any], path: Path) -> None:
    """Raises `Unexpected` for a dataset.json that cxremb has not written."""
    conform(descriptor, Mapping[str, Any], path.name)
    conform(
        {one.name: descriptor[one.name] for one in fields(Description) if one.name in descriptor},
        Description,
        path.name,
    )
    if named := descriptor.get(LOCATIONS):
        match(named, f"[0-9a-f]{{{LETTERS}}}", LOCATIONS)
    for name in descriptor.get("label_sets", {}):
        match(name, NAME, "the name of a label set")
    for name in TABLES:
        if name not in descriptor["tables"] and name not in YOUNGER:
            raise Unexpected(f"tables lacks {name}")
    for name, facts in descriptor["tables"].items():
        match(facts["sha256"], HEX64, f"tables.{name}.sha256")
        named = table_file(name, facts["sha256"]) if descriptor["format"] > 1 else f"{name}.parquet"
        if name not in TABLES or facts.get("file", f"{name}.parquet") not in {named, f"{name}.parquet"}:
            raise Unexpected(f"tables.{shown(name)}.file is {shown(facts.get('file'))}")


def read_dataset(path: Path) -> Dataset:
    """The data set that `path`, a dataset.json, describes.

    Raises `StoreError` if it cannot be read, if cxremb would not have written it, or if its folder leads elsewhere.
    """
    paths = DatasetPaths(path.parent.parent, path.parent.name)
    if not is_name(paths.name):
        raise StoreError(f"{path.parent}: no name of a data set", hint="rename the folder: letters, digits, _ - and .")
    for folder, levels in ((paths.folder, 1), (paths.embeddings, 1), (paths.cache, CACHE_LEVELS)):
        refuse_links(folder, paths.folder.resolve(), levels)
    try:
        descriptor = json.loads(path.read_text(encoding="utf-8"))
        found = descriptor["format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(
            f"{path}: cannot be read ({error})", hint="add the data set again with `cxremb data add`"
        ) from error
    refuse_format(found, TABLES_FORMAT, path)
    try:
        refuse_unexpected(descriptor, path)
    except Unexpected as error:
        raise StoreError(f"{path}: not as cxremb writes it: {error}", hint=FOREIGN) from None
    return Dataset(paths, descriptor)


def terms_of_collection(folder: Path) -> dict[str, str]:
    """`dataset_licence` and `dataset_citation` of the collection whose store lies in `folder`; "" where none is said.

    They go wherever its vectors go: a part that somebody copied still says whose films it was made of.
    """
    descriptor = folder.parent.parent / "dataset.json"
    about = read_dataset(descriptor).descriptor if descriptor.is_file() else {}
    return {f"dataset_{name}": str(about.get(name) or "") for name in ("licence", "citation")}


def locations_of(folder: Path) -> Locations:
    """Where the films lie of the collection whose store lies in `folder`."""
    descriptor = folder.parent.parent / "dataset.json"
    return read_dataset(descriptor).locations if descriptor.is_file() else Locations()


def read_table(dataset: Dataset, name: str) -> pa.Table:
    """One of the data set's tables; columns that are younger than its file are null.

    Raises `StoreError` if it is not the file that dataset.json names.
    """
    path = verified(dataset, name)
    try:
        with pq.ParquetFile(path) as file:  # `pq.read_table` would load pandas where it is installed
            table = file.read()
        for column in TABLES[name]:
            if column.name not in table.column_names:
                table = table.append_column(column, pa.nulls(table.num_rows, column.type))
        return table.select(TABLES[name].names).cast(TABLES[name])
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StoreError(f"{path}: not the columns of {name} ({reason(error)})", hint=FOREIGN) from error


def verified(dataset: Dataset, name: str) -> Path:
    """The path of one table. Raises `StoreError` if it is not the file that dataset.json names."""
    path = dataset.table_path(name)
    if not path.is_file() or sha256_of(path) != dataset.descriptor["tables"][name]["sha256"]:
        raise StoreError(
            f"{path}: missing, or not the file that dataset.json names",
            hint="if the data set has been changed meanwhile run the command again, else the same `cxremb data add`",
        )
    return path
