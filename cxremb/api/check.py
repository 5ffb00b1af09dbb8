"""Everything that is wrong under a store root, which may be somebody else's: read, and believed in nothing."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cxremb.embedding.asked import recorded_what
from cxremb.embedding.trust import command, named_code
from cxremb.errors import CxrembError, EncoderError, StoreError
from cxremb.splits.stored import read_split
from cxremb.store.check import Problem, check_store, check_tables
from cxremb.store.dataset import open_dataset, read_dataset
from cxremb.store.layout import DatasetPaths
from cxremb.store.manifest import latest_manifest
from cxremb.store.prompts import read_prompt_rows
from cxremb.store.reader import Store, open_store
from cxremb.training.runs import read_run
from cxremb.types import Progress, unwatched


@dataclass(frozen=True)
class Checked:
    """What was looked at, and what is wrong with it."""

    stores: int
    rows: int  # of the versions in force
    runs: int
    problems: Sequence[Problem]


def check(
    root: Path, dataset: str | None = None, store: str | None = None, *, progress: Progress = unwatched
) -> Checked:
    """Tables, splits, stores and runs of every data set under `root`, or of one; or the stores of one name.

    Nothing is written, no code is run, and no file outside `root` is opened. Raises `DataError` for a root without a
    data set, or without the one that is named, `StoreError` for a store that is not there.
    """
    folders = sorted(path.parent for path in root.glob("[!.]*/dataset.json"))
    chosen = [folder for folder in folders if dataset in {None, folder.name}]
    if not chosen:
        open_dataset(root, dataset)  # which says what there is
    stores = [found for folder in chosen for found in store_folders(folder) if is_called(found, store)]
    if not stores and store:
        open_store(open_dataset(root, dataset), store)
    problems = [problem for folder in stores for problem in [*check_store(folder, progress), *notes_of(folder)]]
    if store:
        return Checked(len(stores), rows_of(stores), 0, problems)
    runs = [path for folder in chosen for path in sorted(folder.glob("runs/[!.]*/run.json"))]
    tables = [problem for folder in chosen for problem in check_folder(folder)]
    broken = [problem for path in runs for problem in tried(path, read_whole_run)]
    return Checked(len(stores), rows_of(stores), len(runs), [*tables, *problems, *broken])


def is_called(folder: Path, store: str | None) -> bool:
    """Whether a store's folder is meant: by its name, by its encoder's, or as one of all."""
    return store is None or store in {folder.name, folder.name.partition("@")[0]}


def notes_of(folder: Path) -> list[Problem]:
    """A note if the store names code as what it was made with; none if it cannot be read at all."""
    try:
        if (manifest := latest_manifest(folder)) is None or "encode" not in manifest.provenance:
            return []
        what = recorded_what(Store(folder, manifest))
        code = named_code(what)
    except StoreError:
        return []
    except EncoderError as error:
        return [Problem(str(folder), str(error), error.hint)]
    remedy = f"no command runs it on the word of the store; to run it name it: {command(what)}"
    return [Problem(str(folder), f"made with {code}", remedy, harmless=True)] if code else []


def rows_of(folders: Sequence[Path]) -> int:
    """Rows of the versions in force, of those that can be read."""
    rows = 0
    for folder in folders:
        with suppress(StoreError):  # listed among the problems
            rows += sum(part.rows for part in found.parts) if (found := latest_manifest(folder)) else 0
    return rows


def store_folders(folder: Path) -> list[Path]:
    """The folders of the stores of a data set."""
    embeddings = DatasetPaths(folder.parent, folder.name).embeddings
    return sorted(path for path in embeddings.glob("[!.]*") if path.is_dir())


def check_folder(folder: Path) -> Iterator[Problem]:
    """What is wrong with one data set but for its stores and runs."""
    descriptor = folder / "dataset.json"
    unreadable = tried(descriptor, read_dataset)
    yield from unreadable or check_tables(read_dataset(descriptor))
    for path in sorted(folder.glob("splits/[!.]*.parquet")):
        yield from tried(path, read_split)
    for path in sorted(folder.glob("prompts/[!.]*.parquet")):
        yield from tried(path, read_prompts_of)


def read_prompts_of(path: Path) -> None:
    """Read the prompts of a store, where it is there and can be read itself."""
    store = path.parents[1] / "embeddings" / path.stem
    if manifest := latest_manifest(store):
        read_prompt_rows(Store(store, manifest))


def read_whole_run(path: Path) -> None:
    """Read all that a run keeps."""
    run = read_run(path.parent)
    _ = run.history, run.prediction_rows, run.metrics
    if run.record.members:
        run.weights()


def tried(path: Path, read: Callable[[Path], object]) -> list[Problem]:
    """What is wrong with a file, as who reads it says."""
    try:
        read(path)
    except CxrembError as error:
        return [Problem(str(path), str(error), error.hint)]
    return []
