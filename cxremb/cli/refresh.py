"""`cxremb refresh`: encode again what the data set has changed since; fine-tune the image branch first if asked."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxremb.cli.embed import describe_update, show
from cxremb.cli.options import DEFAULT_ROOT, OWN_LABELS, DatasetName, Root
from cxremb.cli.output import AsFormat, Format, write
from cxremb.cli.progress import bar, console, log

if TYPE_CHECKING:
    from rich.console import Console

    from cxremb.encoders.base import Machine
    from cxremb.store.dataset import Dataset
    from cxremb.training.finetune import FineTune, Tuned

TUNING = "With --finetune"


def refresh(
    model: Annotated[str | None, typer.Option(help="One encoder or store; every encoder's newest if left out.")] = None,
    finetune: Annotated[
        bool, typer.Option("--finetune", help="Fine-tune the image encoder first, on the train part of one fold.")
    ] = False,
    split: Annotated[
        str | None, typer.Option(help="As for `cxremb train`.", show_default="grouped-5fold", rich_help_panel=TUNING)
    ] = None,
    fold: Annotated[
        int | None, typer.Option(help="Which fold's train part.", show_default="0", rich_help_panel=TUNING)
    ] = None,
    label_set: Annotated[
        str | None, typer.Option(help="What to learn.", show_default=OWN_LABELS, rich_help_panel=TUNING)
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, show_default="5", rich_help_panel=TUNING)] = None,
    learning_rate: Annotated[float | None, typer.Option(show_default="0.0001", rich_help_panel=TUNING)] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=2, help="Films in one step.", show_default="32", rich_help_panel=TUNING)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Order and augmentation.", show_default="0", rich_help_panel=TUNING)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda[:n] or mps; several: cuda:0,cuda:1.")] = "auto",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that decode images.", show_default="usable cores")
    ] = None,
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
    fmt: AsFormat = Format.table,
) -> None:
    """Bring stores up to date with their data set, each asked for as it was made: what is new or changed is encoded.

    If the weights have changed since, or this cxremb decodes in another way, a new store is made and the old one stays.
    So it is with --finetune: the new store names the patients it was trained on, and no run may be tested on them.
    With --format json a list of what was done, or with --model one object.

    Example: cxremb refresh --model efficientnet_b1
    """
    from cxremb.store.dataset import open_dataset

    changes: dict[str, Any] = {"label_set": label_set, "fold": fold, "seed": seed}
    options: dict[str, Any] = {"epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size}
    given = [name for name, value in {"split": split, **changes, **options}.items() if value is not None]
    if given and not finetune:
        raise typer.BadParameter("needs --finetune", param_hint=f"--{given[0].replace('_', '-')}")
    if finetune and model is None:
        raise typer.BadParameter("name the image encoder, such as efficientnet_b1", param_hint="--model")
    data = open_dataset(root, dataset)
    from cxremb.encoders.machine import choose_machine

    machine = choose_machine(device.split(","), workers=workers)
    try:
        if finetune:
            from cxremb.labels import label_set_of
            from cxremb.training.finetune import RECIPE, FineTune

            set_options = {name: value for name, value in options.items() if value is not None}
            changes["label_set"] = label_set_of(data, label_set)  # it is part of the key of the weights
            set_changes = {name: value for name, value in changes.items() if value is not None}
            plan = FineTune(**set_changes, options=replace(RECIPE, **set_options))
            tune(data, model or "", plan, split=split or "grouped-5fold", machine=machine, fmt=fmt)
        else:
            renew(data, model, machine, fmt=fmt)
    except KeyboardInterrupt:
        log.print("stopped: what is finished is kept; run the same command to go on from there")
        raise typer.Exit(130) from None


def renew(data: "Dataset", model: str | None, machine: "Machine", *, fmt: Format) -> None:
    """Bring one store, or the newest of each encoder, up to date."""
    from cxremb.embedding.choose import embeddable
    from cxremb.embedding.start import differences, newest_of_each, run, what_of
    from cxremb.encoders.weights import suggested
    from cxremb.store.reader import list_stores, open_store

    stores = [open_store(data, model)] if model else newest_of_each(list_stores(data))
    if not stores:
        modality = next((one for one in ("image", "text") if embeddable(data, one)), "image")
        log.print(
            f"{data.name}: no store yet; make one with `cxremb embed --model {suggested(modality)}`", markup=False
        )
        raise typer.Exit(1)
    done = []
    for store in stores:
        update = run(data, what_of(store), machine, progress=bar)
        done.append(describe_update(update))
        if fmt is not Format.table:
            continue
        show(data, update)
        if update.store.name != store.name:
            why = "; ".join(differences(store, update.store))
            console.print(f"  a new store: {why}. {store.name} stays", style="yellow", markup=False, soft_wrap=True)
    if fmt is not Format.table:
        write(done[0] if model else done, fmt)


def tune(data: "Dataset", model: str, plan: "FineTune", *, split: str, machine: "Machine", fmt: Format) -> None:
    """Fine-tune, embed with the new weights, and say what became of either."""
    from cxremb.splits import choose_split
    from cxremb.training.finetune import refresh_finetuned

    folds = choose_split(data, plan.label_set, split)
    done = refresh_finetuned(data, model, folds, plan=plan, machine=machine, progress=bar)
    show_tuned(done.tuned, log if fmt is not Format.table else console)
    if fmt is not Format.table:
        write(describe_update(done.update), fmt)
    else:
        show(data, done.update)
        console.print(
            f"[dim]next: cxremb train image --image-model {done.update.store.name} --split {folds.title}"
            f" --fold {plan.fold}[/]",
            soft_wrap=True,
        )


def show_tuned(tuned: "Tuned", out: "Console") -> None:
    """The weights, whom they have seen, and how their loss went."""
    record = tuned.record
    out.print(f"[bold]{tuned.path.name}[/] in {tuned.path.parent}", soft_wrap=True)
    if tuned.reused:
        out.print("  nothing to do: fine-tuned on the same films, labels, fold and recipe before")
    val = [epoch["loss"] for epoch in record["history"] if epoch["phase"] == "val"]
    patients = record["patients"]
    out.print(
        f"  fine-tuned on {patients['train']:,} patients of train, fold {record['plan']['fold']} of {record['split']}; "
        f"epoch {record['epoch']} of {len(val)} chosen on {patients['val']:,} of val",
        soft_wrap=True,
    )
    out.print(f"  val loss by epoch: {', '.join(f'{loss:.4f}' for loss in val)}", soft_wrap=True)
    for note in record["notes"]:
        out.print(f"  {note}", style="yellow", markup=False, soft_wrap=True)
