"""A loaded run that takes films and reports too, not vectors or pixels alone."""

from pathlib import Path
from typing import TYPE_CHECKING

from cxremb.inference.on_files import OnFiles
from cxremb.training.bundle import Bundle, load_bundle
from cxremb.training.runs import read_run

if TYPE_CHECKING:
    from cxremb.inference.loaded_networks import LoadedNetworks


class LoadedRun(OnFiles, Bundle):
    """The heads of a run, and its data set and stores behind them."""


def load_run(folder: Path) -> "LoadedRun | LoadedNetworks":
    """The models of the run in `folder`. Raises as `load_bundle`, of a network from pixels as `load_networks`."""
    run = read_run(folder)
    if not run.record.from_pixels:
        return LoadedRun(**vars(load_bundle(folder)))
    from cxremb.inference.loaded_networks import LoadedNetworks  # torch and timm take seconds: not for heads
    from cxremb.training.fit import device_named
    from cxremb.training.pixels.predict import load_networks

    return LoadedNetworks(**vars(load_networks(run, device_named("auto"))))
