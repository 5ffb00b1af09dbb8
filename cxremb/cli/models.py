"""`cxremb models`: the encoders there are, and whose weights are on this machine."""

from dataclasses import asdict

from cxremb.cli.output import AsFormat, Format, write
from cxremb.cli.progress import console


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
    line = "{:<20}{:>10}{:>6}  {:<13}{:<5}{:<22}{}"  # what matters most fits into 80 columns; the rest wraps
    console.print(line.format("name", "reads", "dim", "poolings", "here", "licence", "source"), style="bold")
    for encoder in found:
        reads = f"{encoder.reads} {encoder.unit}" if encoder.reads else "words"
        source = encoder.source.removeprefix("https://")
        where = f"{source} ({encoder.here})" if encoder.here and source else source or encoder.here
        words = (encoder.name, reads, encoder.dim, ", ".join(encoder.poolings), "yes" if encoder.here else "no")
        style = "" if encoder.here else "dim"
        console.print(line.format(*words, encoder.licence, where), style=style, markup=False, soft_wrap=True)
    console.print("also: timm:NAME.TAG, hf:ORG/MODEL@REVISION, and your own module:function", style="dim", markup=False)
