"""What this machine has of what cxremb can use."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryFile

from cxremb.encoders.table import ENCODERS, EncoderSpec
from cxremb.errors import CxrembError
from cxremb.store.dataset import list_datasets

PACKAGES = ("torch", "timm", "transformers", "pyarrow", "duckdb", "numpy", "scikit-learn")
EXTRAS = {"pydicom": "dicom", "torchxrayvision": "demo"}


@dataclass(frozen=True)
class Finding:
    """One line of the examination. `remedy` is empty when there is nothing to do."""

    what: str
    found: str
    ok: bool = True
    remedy: str = ""


def examine(root: Path) -> list[Finding]:
    """Everything worth knowing before a long job."""
    return [*packages(), *devices(), *weights(), *store_root(root)]


def packages() -> Iterator[Finding]:
    """Versions of what is required, presence of what is optional."""
    for name in ("cxremb", *PACKAGES):
        try:
            yield Finding(name, version(name))
        except PackageNotFoundError:
            yield Finding(name, "not installed", ok=False, remedy="pip install cxremb")
    for module, extra in EXTRAS.items():
        found = importlib.util.find_spec(module) is not None
        yield Finding(
            module,
            version(module) if found else "not installed",
            found,
            "" if found else f'pip install "cxremb[{extra}]"',
        )


def devices() -> Iterator[Finding]:
    """The devices torch sees and the precision that `auto` takes on the best."""
    import torch

    from cxremb.encoders.runtime import best_device, choose_runtime

    for index in range(torch.cuda.device_count()):
        yield Finding(f"cuda:{index}", torch.cuda.get_device_name(index))
    yield Finding("cpu", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads")
    device = best_device()
    half = choose_runtime(device, "auto").precision
    reason = "half-precision products run in hardware" if half != "fp32" else "no half-precision products in hardware"
    yield Finding("--precision auto", f"{half} on {device} ({reason})")


def weights() -> Iterator[Finding]:
    """Which encoders can run without a network."""
    for name, spec in ENCODERS.items():
        source = local_weights(name, spec)
        remedy = "" if source else f"cxremb embed --model {name} downloads them, or takes --weights PATH"
        yield Finding(f"weights {name}", source or "not on this machine", bool(source), remedy)


def local_weights(name: str, spec: EncoderSpec) -> str:
    """Where the weights of an encoder are on this machine, or nothing."""
    from cxremb.encoders.weights import cached_path, packaged_path

    if name.startswith("tiny"):
        return "built in"
    if found := packaged_path(spec):
        return found[1]
    return f"hub cache {cached}" if (cached := cached_path(spec)) else ""


def store_root(root: Path) -> Iterator[Finding]:
    """Whether the root can be written, its free space, and what it holds."""
    nearest = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.is_dir())
    try:
        with TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        yield Finding(
            "store root", f"{root}: {error.strerror}", ok=False, remedy="name another with --root or CXREMB_STORES"
        )
        return
    free = shutil.disk_usage(nearest).free / 1e9
    yield Finding("store root", f"{root.absolute()}, can be written, {free:,.0f} GB free")
    try:
        names = [dataset.name for dataset in list_datasets(root)]
    except CxrembError as error:
        yield Finding("data sets", str(error), ok=False, remedy=error.hint)
        return
    yield Finding(
        "data sets", ", ".join(names) or "none yet", bool(names), "" if names else "cxremb demo, or cxremb data add"
    )
