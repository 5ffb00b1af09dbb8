"""`cxremb align` brings films and reports into one space, and shows how well each finds the other."""

from typing import TYPE_CHECKING, Annotated

import typer

from cxremb.cli import completion
from cxremb.cli.next_steps import look
from cxremb.cli.options import DEFAULT_ROOT, OWN_LABELS, DatasetName, Root
from cxremb.cli.output import AsFormat, Format, write
from cxremb.cli.pasted import completed, here
from cxremb.cli.train import AllowLeaky, ImageModel, SplitName, TextModel

if TYPE_CHECKING:
    from cxremb.alignment.align import Aligned
    from cxremb.alignment.retrieval import Direction, Figure

HEADINGS = ("", "queries", "candidates", "recall@1", "recall@5", "recall@10", "median rank")


def align(
    image_model: ImageModel = None,
    text_model: TextModel = None,
    text: Annotated[
        str, typer.Option(help="The text that a film is to lie near: a section, findings+impression or pre-read.")
    ] = "findings+impression",
    dim: Annotated[int, typer.Option(min=2, help="Dimensions of the shared space.")] = 128,
    epochs: Annotated[int, typer.Option(min=1, help="At most; it stops when the val loss does not fall.")] = 100,
    split: SplitName = "patient-5fold",
    fold: Annotated[int, typer.Option(min=0, help="Which fold of the split to leave out for testing.")] = 0,
    allow_leaky: AllowLeaky = False,
    label_set: Annotated[
        str | None,
        typer.Option(
            help="Whose split: no label is learned from.", show_default=OWN_LABELS, autocompletion=completion.label_sets
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides initial weights and order.")] = 0,
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
    fmt: AsFormat = Format.table,
) -> None:
    """Project stored image and text vectors into one space, and store what comes out as align_image and align_text.

    Learned on the training patients; retrieval is measured on the test patients. Later runs that would evaluate these
    stores on the training patients are refused.

    Example: cxremb align --dim 128
    """
    from cxremb.alignment.align import align as run_align
    from cxremb.alignment.project import AlignOptions
    from cxremb.cli.progress import bar
    from cxremb.cli.screen import remark
    from cxremb.features import Inputs
    from cxremb.splits import choose_split
    from cxremb.store.dataset import open_dataset

    collection = open_dataset(root, dataset)
    inputs = Inputs(label_set, image_model, text_model, text)
    folds = choose_split(collection, label_set, split, allow_leaky=allow_leaky)
    aligned = run_align(
        collection, folds, inputs, fold=fold, options=AlignOptions(dim=dim, epochs=epochs, seed=seed), progress=bar
    )
    if fmt is not Format.table:
        write(aligned.record(), fmt)
        return
    for note in (*aligned.notes, *(f"{note.what}: {note.count:,}" for note in folds.notes)):
        remark(note)
    show(aligned)


def show(aligned: "Aligned") -> None:
    """The losses, a line for each way of retrieval, the caveats, and where the vectors lie."""
    from cxremb.cli.screen import say, say_commands, show_table
    from cxremb.table import Table

    fitted, pairs = aligned.fitted, aligned.pairs
    kept = fitted.history[fitted.epoch - 1]
    val = "no val" if kept.val is None else f"val {kept.val:.3f}"
    say(
        f"{pairs['train']:,} training pairs, {pairs['val']:,} val; epoch {fitted.epoch} of {len(fitted.history)} kept: "
        f"loss {kept.train:.3f}, {val}; temperature {fitted.temperature:.3f}"
    )
    say(f"\nTest: {pairs['test']:,} films of {aligned.test_patients:,} patients")
    show_table(Table(HEADINGS, [cells for direction in aligned.retrieval for cells in lines(direction)]))
    say("  95% patient-cluster bootstrap; equal reports count as one candidate, and each as right")
    for caveat in aligned.caveats:
        say(f"  {completed(caveat)}", style="yellow")
    if aligned.left_out:
        say("  left out: " + ", ".join(f"{n:,} {why}" for why, n in aligned.left_out.items()))
    say(f"\n{aligned.description}; {aligned.seconds:.1f} s")
    for store in (aligned.image, aligned.text):
        say(f"Store: {store.name}, {store.rows:,} rows of {store.dim}{' (there already)' * aligned.reused}")
    say_commands([here(look(aligned.image))], "Ask: ")


def lines(direction: "Direction") -> list[tuple[str, ...]]:
    """The figures, their intervals below, and what chance gives."""
    found = list(direction.figures.items())
    cells = [number(name, figure.value) for name, figure in found]
    chance = [number(name, figure.chance) for name, figure in found]
    counts = (f"{direction.queries:,}", f"{direction.candidates:,}")
    return [
        (direction.name, *counts, *cells),
        ("  95%", "", "", *(interval(name, figure) for name, figure in found)),
        ("  chance", "", "", *chance),
    ]


def interval(name: str, figure: "Figure") -> str:
    """Low to high, or a dash; of shares without the zeros before the point: seven columns fit a line of 80."""
    if figure.low is None or figure.high is None:
        return "-"
    ends = (number(name, end).removeprefix("0") for end in (figure.low, figure.high))
    return f"[{', '.join(ends)}]"


def number(name: str, value: float) -> str:
    """A share with three decimals, a rank with one."""
    return f"{value:,.1f}" if name == "median_rank" else f"{value:.3f}"
