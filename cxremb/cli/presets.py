"""`cxremb presets` lists the recipes."""

from collections.abc import Mapping, Sequence
from typing import Any

from cxremb.cli.output import AsFormat, Format, write


def presets(fmt: AsFormat = Format.table) -> None:
    """List the recipes: model, parameters, settings, the figures they are reported to reach, what differs here.

    Example: cxremb presets
    """
    from dataclasses import asdict

    from cxremb.training.presets import PRESETS

    listing = [asdict(preset) for preset in PRESETS.values()]
    if fmt is not Format.table:
        write(listing, fmt)
    else:
        show_presets(listing)


def show_presets(listing: Sequence[Mapping[str, Any]]) -> None:
    """One paragraph per preset."""
    from cxremb.cli.screen import say

    for preset in listing:
        say(f"{preset['name']}: {preset['summary']}", "bold")
        say(f"  {what(preset)}: {preset['parameters']:,} parameters; for {', '.join(preset['tasks'])} labels")
        say(f"  {how(preset['options'])}")
        if preset["reported"]:
            figures = ", ".join(f"{name} {value:.4f}" for name, value in preset["reported"].items())
            say(f"  reported: {figures}\n    ({preset['reported_on']})")
        for difference in preset["differs"]:
            say(f"  differs here: {difference}")
    say("Use one: `cxremb train --preset NAME`")


def what(preset: Mapping[str, Any]) -> str:
    """The model: a head on vectors, or a network from pixels."""
    if preset["network"]:
        return f"network {preset['network']} on {preset['pixels']['side']} pixels, {preset['classes']} classes"
    widths = " + ".join(str(width) for width in preset["dims"].values())
    return f"head {preset['head']} on {widths}"


def how(options: Mapping[str, Any]) -> str:
    """The recipe in one line."""
    stop = f", stop after {options['patience']} epochs without gain" if options["patience"] else ""
    schedule = "" if options["schedule"] == "constant" else f" ({options['schedule']})"
    weights = ", class weights" if options["class_weights"] else ""
    inputs = "standardised" if options["standardise"] else "as stored"
    return (
        f"{options['optimiser']}, learning rate {options['learning_rate']:g}{schedule}, batch {options['batch_size']}, "
        f"{options['epochs']} epochs, {options['select']} epoch{stop}{weights}; inputs {inputs}"
    )
