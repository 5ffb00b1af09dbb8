"""`cxremb embed`: encode a data set."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxremb.cli.options import DEFAULT_ROOT, AsJson, DatasetName, Root
from cxremb.cli.progress import bar, console, log

if TYPE_CHECKING:
    from cxremb.embed.job import Outcome


def embed(
    model: Annotated[str, typer.Option("--model", help="The encoder, e.g. efficientnet_b1 or biobert.")],
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Local weights: a file for images, a folder for texts.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda[:n] or mps.")] = "auto",
    precision: Annotated[
        str, typer.Option("--precision", help="fp32, bf16, fp16, or auto: half where the hardware multiplies in it.")
    ] = "fp32",
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Images in one forward pass.", show_default="8; GPU: 128")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Threads that decode images.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Encode every image or report text once, into a versioned Parquet store.

    Run it again after adding images: only what is new or changed is encoded. Stopped, it goes on where it was.

    Example: cxremb embed --model efficientnet_b1
    """
    from cxremb.encoders.table import find_spec
    from cxremb.store.dataset import open_dataset

    find_spec(model)
    data = open_dataset(root, dataset)
    log.print(f"loading {model} ...", style="dim")
    from cxremb.embed.encode import Options
    from cxremb.embed.job import embed as run
    from cxremb.encoders.base import load_encoder
    from cxremb.encoders.runtime import choose_runtime

    runtime = choose_runtime(device, precision)
    encoder = load_encoder(model, weights, runtime)
    try:
        options = Options(batch_size=batch_size or (8 if runtime.device == "cpu" else 128), workers=workers)
        outcome = run(data, encoder, options, bar, {"device": runtime.device})
    except KeyboardInterrupt:
        log.print("stopped: finished parts are kept; run the same command to go on from there")
        raise typer.Exit(130) from None
    show(outcome, as_json)


def show(outcome: "Outcome", as_json: bool) -> None:
    """Say what the job did, and what to type next."""
    store, failures = outcome.store, outcome.failures
    if as_json:
        console.print_json(
            data={
                "store": store.name,
                "version": store.version,
                "asked": outcome.asked,
                "reused": outcome.reused,
                "added": outcome.added,
                "failed": len(failures),
                "encoded": outcome.encoded,
                "truncated": outcome.clock.counts.get("truncated", 0),
                "seconds": round(outcome.seconds, 2),
                "folder": str(store.folder),
            }
        )
        return
    console.print(
        f"[bold]{store.name}[/] version {store.version}, {store.dim} dimensions, in {store.folder}", soft_wrap=True
    )
    if not outcome.changed:
        console.print(
            f"  nothing to do: all {outcome.asked:,} items are as they were" + (" (re-used)" if outcome.reused else "")
        )
    else:
        same = outcome.added - outcome.encoded
        shared = f" ({same:,} share their content with another)" if same > 0 else ""
        console.print(
            f"  {outcome.asked:,} asked = {outcome.reused:,} re-used + {outcome.added:,} new{shared}"
            f" + {len(failures):,} failed, {outcome.seconds:.1f} s"
        )
    if truncated := outcome.clock.counts.get("truncated", 0):
        console.print(f"  [yellow]{truncated:,} texts are longer than the encoder reads and were cut[/]")
    for failure in failures[:3]:
        console.print("  [yellow]failed:[/]", end=" ")
        console.print(failure.message, markup=False, soft_wrap=True)
    if failures:
        console.print('  every failure with its reason: cxremb sql "from failures"')
    other = "biobert" if store.modality == "image" else "efficientnet_b1"
    console.print(f"[dim]next: cxremb embed --model {other}, cxremb train fusion, cxremb ablate[/]")
