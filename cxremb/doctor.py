"""What this machine has of what cxremb can use."""

import importlib.util
import os
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from stat import S_IXOTH
from tempfile import TemporaryFile

from cxremb.encoders.table import ENCODERS
from cxremb.encoders.weights import local_source
from cxremb.errors import CxrembError, count_of, name_list
from cxremb.store.dataset import list_datasets

PACKAGES = ("torch", "timm", "transformers", "pyarrow", "duckdb", "numpy", "scikit-learn")
EXTRAS = {"pydicom": "dicom", "torchxrayvision": "demo", "openvino": "openvino"}


@dataclass(frozen=True)
class Diagnosis:
    """One line of the examination. `remedy` is empty when there is nothing to do."""

    what: str
    found: str
    ok: bool = True
    remedy: str = ""


def examine(root: Path) -> list[Diagnosis]:
    """Everything worth knowing before a long job."""
    return [*packages(), *devices(), *weights(), *store_root(root)]


def packages() -> Iterator[Diagnosis]:
    """Versions of what is required, presence of what is optional."""
    for name in ("cxremb", *PACKAGES):
        try:
            yield Diagnosis(name, version(name))
        except PackageNotFoundError:
            yield Diagnosis(name, "not installed", ok=False, remedy="pip install cxremb")
    for module, extra in EXTRAS.items():
        found = importlib.util.find_spec(module) is not None
        yield Diagnosis(
            module,
            version(module) if found else "not installed",
            found,
            "" if found else f'pip install "cxremb[{extra}]"',
        )


def devices() -> Iterator[Diagnosis]:
    """The devices torch sees, and what `auto` comes to on this machine and why."""
    import torch

    from cxremb.encoders.machine import best_device, installed_engine, measured_precision

    for index in range(torch.cuda.device_count()):
        yield Diagnosis(f"cuda:{index}", torch.cuda.get_device_name(index))
    cores, threads = count_of(os.cpu_count() or 1, "core"), count_of(torch.get_num_threads(), "thread")
    yield Diagnosis("cpu", f"{cores}, torch uses {threads}")
    device = best_device()
    yield Diagnosis("--device auto", f"{device}: the fastest that torch sees")
    precision, reason = measured_precision(device)
    yield Diagnosis("--precision auto", f"{precision}: {reason}")
    _, choice = installed_engine(device, compiled=False)
    yield Diagnosis("--runtime auto", choice)


def weights() -> Iterator[Diagnosis]:
    """Which encoders can run without a network; the others in one line."""
    found = {name: local_source(spec) for name, spec in ENCODERS.items()}
    for name, source in found.items():
        if source:
            yield Diagnosis(f"weights {name}", source)
    if elsewhere := sum(not source for source in found.values()):
        remedy = "`cxremb models` lists them; `cxremb embed --model NAME` downloads most, or takes --weights PATH"
        yield Diagnosis("weights", f"{elsewhere} encoders have none here", remedy=remedy)


def store_root(root: Path) -> Iterator[Diagnosis]:
    """Whether the root can be written, its free space, and what it holds."""
    nearest = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.is_dir())
    try:
        with TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        yield Diagnosis(
            "store root", f"{root}: {error.strerror}", ok=False, remedy="name another with --root or CXREMB_STORES"
        )
        return
    free = shutil.disk_usage(nearest).free / 1e9
    yield Diagnosis("store root", f"{root.absolute()}, can be written, {free:,.0f} GB free")
    try:
        found = list_datasets(root)
    except CxrembError as error:
        yield Diagnosis("data sets", str(error), ok=False, remedy=error.hint)
        return
    names = [dataset.name for dataset in found]
    yield Diagnosis(
        "data sets", ", ".join(names) or "none yet", bool(names), "" if names else "`cxremb demo`, or `cxremb data add`"
    )
    private = [dataset.paths.folder for dataset in found if not dataset.simulated]
    if reached := [path for path in private if all(one.stat().st_mode & S_IXOTH for one in (root, path))]:
        everybody = f"{name_list(path.name for path in reached)}: whoever can reach {root}, not its owner alone"
        remedy = f"chmod o= {' '.join(shlex.quote(str(path)) for path in reached)}"
        yield Diagnosis("who may read", everybody, ok=False, remedy=remedy)
