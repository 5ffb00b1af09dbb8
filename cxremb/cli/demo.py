"""`cxremb demo`: the whole route, in the order a user would type it."""

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from cxremb.cli.options import DEFAULT_ROOT, Root
from cxremb.cli.progress import bar
from cxremb.cli.screen import say, say_commands

if TYPE_CHECKING:
    from pathlib import Path

    from cxremb.ablation import Ablation
    from cxremb.store.dataset import Dataset

STUDIES = 1000  # enough for intervals that tell the arms apart, in a quarter of the time that all 3,955 take
IMAGE_MODEL, TEXT_MODEL, LABEL_SET = "efficientnet_lite1", "minilm", "normal_abnormal"

QUERIES = {
    "What is in the data set?": """
select (select count(*) from studies where dataset = '{name}') as studies,
       count(*) as images, count(distinct patient_id) as patients,
       count(*) filter (view = 'Frontal') as frontal
from images where dataset = '{name}'""",
    "Which abnormal studies did the fusion miss most clearly?": """
select study_id, round(max(y_prob), 3) as highest_probability,
       (select string_agg(label, ', ') from labels l
        where l.dataset = p.dataset and l.study_id = p.study_id
              and label_set = 'problems') as problems
from predictions p
where run_id = '{run}' and part = 'test' and y_true = 1
group by dataset, study_id order by highest_probability limit 5""",
    "Which films does the image encoder find most alike?": """
select a.item_id as film, b.item_id as neighbour,
       round(cosine(a.embedding, b.embedding), 4) as cosine
from {image_model} a join {image_model} b
     on a.dataset = b.dataset and a.store = b.store
        and a.study_id <> b.study_id
where a.dataset = '{name}' and a.item_id =
      (select min(image_id) from images where dataset = '{name}')
order by cosine desc limit 3""",
}

FIGURES = (
    "select arm, value, low, high from metrics join runs using (run_id) "
    "where dataset = '{name}' and part = 'test' and metric = 'auroc'"
)


def demo(
    root: Root = DEFAULT_ROOT,
    limit: Annotated[
        int | None,
        # fewer make no five folds of both classes (`datasets.demo.FEWEST`)
        typer.Option("--limit", min=100, help="Studies to take, instead of 1,000.", show_default=False),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Take all 3,955 studies.")] = False,
) -> None:
    """Run the whole route on real reports and simulated films: add, embed, train, ablate, query, report.

    It takes 1,000 studies and downloads nothing: reports and frozen weights come with the packages of the extra `demo`.

    Example: cxremb demo --limit 300
    """
    from cxremb.catalog import add_collection
    from cxremb.datasets.demo import demo_collection
    from cxremb.store.layout import DatasetPaths

    if full and limit is not None:
        raise typer.BadParameter("--full and --limit exclude each other")
    start = time.perf_counter()
    studies = None if full else limit or STUDIES
    name = "demo" if studies is None else f"demo_{studies}"
    say(f"cxremb demo: data set {name} under {root}", "bold")
    say(
        "The reports are real (IU X-ray). The films are simulated, and so is every figure that rests on them.", "yellow"
    )
    say()

    with step("1  bring the collection in"):
        collection = demo_collection(name, DatasetPaths(root, name).folder / "films", studies, progress=bar)
        added = add_collection(collection, root, bar)
        counts = added.counts
        say(f"   {counts['studies']:,} studies, {counts['images_present']:,} films, {counts['patients']:,} patients")
    with step("2  embed films and texts"):
        embed_both(added.dataset)
    with step("3  train the fusion head"):
        train_fusion(added.dataset)
    with step("4  ablate: image, text, fusion on the same folds"):
        result = ablate_arms(added.dataset)
    runs = {row.arm: row.run_id for row in result.rows}
    with step("5  ask, in SQL"):
        show_queries(root, name, runs["fusion"])
    with step("6  write the report and the picture"):
        page = write_page(root, result)
        drawn = draw_ablation(result, page.with_name("ablation.svg"))

    chosen = f" --root {shlex.quote(str(root))}" if root != DEFAULT_ROOT else ""
    say(f"Done in {time.perf_counter() - start:.0f} s", "bold")
    say(f"Everything lies under {added.dataset.paths.folder.absolute()}")
    say(f"The report: {page.absolute()}")
    say(f"The picture: {drawn.absolute()}")
    say("What to type next:")
    lines = (
        f'cxremb sql{chosen} "{FIGURES.format(name=name)}"',
        f"cxremb ablate{chosen} --dataset {name} --text-only --text pre-read",
        f"cxremb train{chosen} --dataset {name} fusion --preset cnn-llm/as-documented",
        "cxremb data add iu_xray --images DIR --reports indiana_reports.csv --projections indiana_projections.csv",
    )
    say_commands(lines)


@contextmanager
def step(title: str) -> Iterator[None]:
    """A heading before, the seconds after."""
    say(title, "bold")
    start = time.perf_counter()
    yield
    say(f"   {time.perf_counter() - start:.1f} s\n", "dim")


def embed_both(dataset: "Dataset") -> None:
    """Films through EfficientNet-Lite1, texts through MiniLM, both from installed packages."""
    from cxremb.embedding.start import run
    from cxremb.encoders.base import What

    for model in (IMAGE_MODEL, TEXT_MODEL):
        outcome = run(dataset, What(model, precision="auto"), None, progress=bar)
        store = outcome.store
        done = f"re-used as it was, {outcome.asked:,} items"
        if outcome.changed:
            done = f"{outcome.added:,} of {outcome.asked:,} items encoded, {len(outcome.failures)} failed"
        say(f"   {store.name} ({store.manifest.provenance['device']}, {store.manifest.recipe.precision}): {done}")
        for note in outcome.notes:
            say(f"   {note}", "dim")


def train_fusion(dataset: "Dataset") -> None:
    """One fold of the fusion head, with its last epochs."""
    from cxremb.cli.run_view import show_run
    from cxremb.features import Inputs, load_features
    from cxremb.splits import choose_split
    from cxremb.training.fit import FitJob, Plan, fit_run

    features = load_features(dataset, ("image", "text"), Inputs(LABEL_SET, IMAGE_MODEL, TEXT_MODEL))
    run = fit_run(FitJob(dataset, features, choose_split(dataset, LABEL_SET), Plan("fusion", folds=(0,))), bar)
    show_run(run)


def ablate_arms(dataset: "Dataset") -> "Ablation":
    """The comparison, shown."""
    from cxremb.ablation import ablate
    from cxremb.cli.ablation_view import show_ablation
    from cxremb.features import Inputs

    result = ablate(dataset, inputs=Inputs(image_model=IMAGE_MODEL, text_model=TEXT_MODEL), progress=bar)
    show_ablation(result)
    return result


def show_queries(root: "Path", name: str, run: str) -> None:
    """Three questions and their answers."""
    from cxremb.cli.rows import print_table
    from cxremb.store.plain import TEXT
    from cxremb.store.sql import query

    for question, text in QUERIES.items():
        statement = text.strip().format(name=name, run=run, image_model=IMAGE_MODEL)
        say(question, "italic")
        say(statement, "dim")
        print_table(query(root, statement, kept=TEXT))


def write_page(root: "Path", result: "Ablation") -> "Path":
    """The one-page report beside the data set."""
    from cxremb.api.report import report

    return report(result, output=root / result.dataset / "report.html", root=root)


def draw_ablation(result: "Ablation", path: "Path") -> "Path":
    """The comparison as a picture of its own, for light and dark pages. The path it was written to."""
    from cxremb.reporting.forests import bar_of, stacked_forests
    from cxremb.reporting.page import write_picture

    arms = [bar_of(row.title, row.auroc, place) for place, row in enumerate(result.rows)]
    controls = [bar_of(one.name, one.row.auroc, None) for one in result.controls if one.row]
    title = f"Real reports, simulated films: {result.patients:,} patients of IU X-ray"
    return write_picture(stacked_forests(arms, controls, title, marks=("SIMULATED FILMS",)), path)
