"""`cxremb models`: the encoders there are, and whose weights are on this machine."""

from dataclasses import asdict

from cxremb.cli.options import AsJson
from cxremb.cli.progress import console


def models(as_json: AsJson = False) -> None:
    """List the encoders: what they read, their licence and source, and which weights are on this machine.

    Not in the list and usable all the same: timm:NAME.TAG, hf:ORG/MODEL@REVISION, and your own module:function.

    Example: cxremb models
    """
    from rich.table import Table

    from cxremb.encoders.listing import list_encoders

    found = list_encoders()
    if as_json:
        console.print_json(data=[asdict(encoder) for encoder in found])
        return
    table = Table(box=None, pad_edge=False)
    for column, justify in (("name", "left"), ("reads", "right"), ("dim", "right")):
        table.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for column in ("poolings", "model", "licence", "weights here"):
        table.add_column(column, overflow="fold")
    for encoder in found:
        reads = f"{encoder.reads} {encoder.unit}" if encoder.reads else encoder.unit
        rest = (", ".join(encoder.poolings), encoder.model, encoder.licence, encoder.here or "no")
        table.add_row(encoder.name, reads, str(encoder.dim), *rest, style="" if encoder.here else "dim")
    console.print(table, markup=False)
    console.print("[dim]also: timm:NAME.TAG, hf:ORG/MODEL@REVISION, your own module:function[/]")
