"""`cxremb export`: a run as an ONNX file."""

from pathlib import Path
from typing import Annotated

import typer

from cxremb.cli.options import DEFAULT_ROOT, Root, RunId, WhereRunsAre
from cxremb.cli.output import AsFormat, Format, write
from cxremb.cli.progress import bar
from cxremb.cli.screen import say


def export(
    run: RunId,
    with_encoder: Annotated[
        bool, typer.Option("--with-encoder", help="Put the image encoder in: it then takes films, not vectors.")
    ] = False,
    fold: Annotated[
        int | None, typer.Option(help="The model of one fold.", show_default="the mean of all models' probabilities")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="The file.", show_default="RUN.onnx in this folder")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    root: Root = DEFAULT_ROOT,
    dataset: WhereRunsAre = None,
    fmt: AsFormat = Format.table,
) -> None:
    """Write a run's models as one ONNX file, checked on real rows before it is put in place.

    Example: cxremb export 20261121T101500-0a1b2c3d
    """
    from cxremb.errors import StoreError
    from cxremb.store.dataset import data_sets
    from cxremb.training.runs import dataset_of, open_run

    found = open_run(run, *data_sets(root, dataset))
    path = output or Path(f"{found.run_id}.onnx")
    if path.exists() and not force:
        raise StoreError(f"{path} exists already", hint="name another file with --output, or add --force to replace it")
    from cxremb.export.write import export_run

    done = export_run(dataset_of(found), found, path, fold=fold, with_encoder=with_encoder, progress=bar)
    if fmt is not Format.table:
        record = {"file": str(done.path), "difference": done.difference, "rows": done.rows, "notes": list(done.notes)}
        write(record | {"models": list(done.models), "inputs": dict(done.inputs)}, fmt)
        return
    say(f"{done.path}, {done.path.stat().st_size / 1e6:,.1f} MB", "bold")
    for name, shape in done.inputs.items():
        say(f"  takes {name} ({', '.join(map(str, shape))})")
    mean = f"the mean of {len(done.models)} models" if len(done.models) > 1 else done.models[0]
    say(f"  gives probability (n, labels): {mean}")
    say(f"  differs from the run by {done.difference:.1e} at most, on {done.rows:,} rows")
    for note in done.notes:
        say(f"  {note}", "yellow")
