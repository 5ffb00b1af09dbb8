"""A loaded run of networks from pixels; apart from heads, since it needs torch from its first line on."""

from cxremb.inference.on_files import OnFiles
from cxremb.training.pixels.predict import Networks


class LoadedNetworks(OnFiles, Networks):
    """The networks of a run, and its data set behind them."""
