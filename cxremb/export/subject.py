"""What a run is as a graph: its models, its encoder if asked for, and real rows with what the run says of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxremb.embedding.asked import what_of
from cxremb.encoders.base import Machine, load_encoder
from cxremb.errors import DataError, EncoderError, TrainError
from cxremb.features import Features, Inputs, load_features
from cxremb.store.dataset import Dataset
from cxremb.store.reader import Store, open_store
from cxremb.training.bundle import Bundle, load_bundle
from cxremb.training.options import PixelRecipe
from cxremb.training.pixels.films import films_at, find_films
from cxremb.training.runs import Run
from cxremb.types import Progress
from cxremb.version import VERSION

if TYPE_CHECKING:
    from torch import nn

    from cxremb.encoders.forward import FilmEncoder

CHECKED = 256  # rows of vectors that are compared, from all over the data set
FILMS_CHECKED = 16  # films: each takes the encoder twice

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Graph:
    """What goes into the file, and what it is checked with."""

    module: "nn.Module"
    inputs: Arrays
    expected: NDArray[np.float64]  # (n, k) what the run itself says of these inputs
    metadata: Mapping[str, str]
    notes: Sequence[str] = ()


def open_graph(dataset: Dataset, run: Run, *, fold: int | None, with_encoder: bool, progress: Progress) -> Graph:
    """The models of a run, or those of one fold, and rows to check them on."""
    from cxremb.export.graph import Heads, masked_blocks

    bundle = load_bundle(run.folder)
    models = models_of(bundle, fold)
    features = some(load_features(dataset, bundle.head.blocks, inputs_of(run)), CHECKED)
    bundle.check_encoders(features.keys)
    stores = {block: open_store(dataset, name.split()[0]) for block, name in features.stores.items()}
    if with_encoder:
        refuse_filmless(bundle)
        return open_film_graph(dataset, bundle, models, features=features, stores=stores, progress=progress)
    vectors: dict[str, NDArray[Any]] = {block: np.asarray(features.blocks[block]) for block in bundle.head.blocks}
    masks = {f"present_{block}": features.present[block] for block in masked_blocks(bundle)}
    expected = mean_probability(bundle, models, vectors, features=features)
    metadata = metadata_of(dataset, bundle, models, stores=stores)
    return Graph(Heads(bundle, models).eval(), vectors | masks, expected, metadata)


def models_of(bundle: Bundle, fold: int | None) -> list[str]:
    """The names of the models that are averaged. Raises `TrainError` if the run has none of that fold."""
    members = bundle.run.record.members
    names = [one.name for one in members if fold is None or one.fold == fold]
    if not names:
        raise TrainError(
            f"run {bundle.run.run_id} has no fold {fold}",
            hint=f"it has {', '.join(map(str, bundle.run.record.folds))}; leave --fold out for all of them",
        )
    return names


def inputs_of(run: Run) -> Inputs:
    """What the rows of a run were loaded with."""
    record = run.record
    models = {block: name.split()[0] for block, name in record.rows_from.items()}
    return Inputs(
        record.label_set,
        models.get("image"),
        models.get("text"),
        record.text or Inputs().text,
        record.views,
        record.unit,
        record.missing,
    )


def some(features: Features, most: int) -> Features:
    """At most so many rows, from the first to the last."""
    n = len(features.y)
    kept = np.zeros(n, dtype=np.bool_)
    kept[np.linspace(0, n - 1, min(n, most)).astype(np.int64)] = True
    return features.take(kept)


def mean_probability(
    bundle: Bundle, models: Sequence[str], vectors: Mapping[str, NDArray[np.float32]], *, features: Features
) -> NDArray[np.float64]:
    """(n, k) by the run's own way of predicting."""
    present = {block: features.present[block] for block in bundle.head.blocks}
    return np.asarray(np.mean([bundle.predict(vectors, present, model).prob for model in models], axis=0))


def refuse_filmless(bundle: Bundle) -> None:
    """Raises `TrainError` for a run whose rows are not a film each."""
    if "image" not in bundle.head.blocks or bundle.head.kind == "attention":
        what = "reads no films" if "image" not in bundle.head.blocks else "pools the films of a study"
        raise TrainError(
            f"run {bundle.run.run_id} {what}: its encoder cannot go with it", hint="leave --with-encoder out"
        )


def open_film_graph(
    dataset: Dataset,
    bundle: Bundle,
    models: Sequence[str],
    *,
    features: Features,
    stores: Mapping[str, Store],
    progress: Progress,
) -> Graph:
    """The image encoder before the heads, and films to check both on."""
    from cxremb.export.graph import FILMS, FilmsAndHeads, Heads, masked_blocks

    encoder, notes = encoder_of(stores["image"])
    features = some(features.take(features.present["image"]), FILMS_CHECKED)
    features, films = films_of_rows(dataset, features, encoder, progress=progress)
    image = encoder.encode(films)[encoder.recipe.poolings[0]].astype(np.float16).astype(np.float32)
    vectors = {block: np.asarray(features.blocks[block]) for block in bundle.head.blocks} | {"image": image}
    expected = mean_probability(bundle, models, vectors, features=features)
    module = FilmsAndHeads(encoder.build().requires_grad_(False), Heads(bundle, models)).eval()
    others = {block: np.asarray(features.blocks[block]) for block in bundle.head.blocks if block != "image"}
    masks = {f"present_{block}": features.present[block] for block in masked_blocks(bundle)}
    frame = {"input": json.dumps(dict(encoder.recipe.input)), "encoder_model": encoder.recipe.model}
    metadata = {**metadata_of(dataset, bundle, models, stores=stores), **frame}
    return Graph(module, {FILMS: films, **others, **masks}, expected, metadata, notes)


def encoder_of(store: Store) -> tuple["FilmEncoder", list[str]]:
    """The encoder of a store in float32, and what must be said. Raises `EncoderError` if it is another by now."""
    from cxremb.encoders.forward import FilmEncoder

    what, recipe = what_of(store), store.manifest.recipe

    def load(machine: Machine) -> "FilmEncoder":
        found = load_encoder(what, machine)
        if not isinstance(found, FilmEncoder):
            raise EncoderError(f"{what.model} is no torch network that could be exported", "leave --with-encoder out")
        return found

    half = recipe.precision == "half"
    if load(Machine(precision="bf16" if half else "fp32")).recipe.key != store.manifest.key:
        raise EncoderError(
            f"{what.model} is not what {store.name} was made with: its weights or its preprocessing have changed",
            hint=f"make a new store with `cxremb refresh --model {store.encoder}`, and train on it",
        )
    note = f"{store.name} was encoded in half precision; the file computes in float32, so probabilities differ a little"
    return load(Machine()), [note] if half else []


def films_of_rows(
    dataset: Dataset, features: Features, encoder: "FilmEncoder", *, progress: Progress
) -> tuple[Features, NDArray[np.uint8]]:
    """The rows whose film can be decoded, and their films. Raises `DataError` if there is none."""
    frame = encoder.frame
    contents, failures = find_films(dataset, features, frame, progress=progress)
    kept = np.array([bool(content) and content not in failures for content in contents], dtype=np.bool_)
    if not kept.any():
        raise DataError(f"{dataset.name}: no film is here to check the encoder with", hint="see `cxremb data show`")
    contents = [content for content, keep in zip(contents, kept.tolist(), strict=True) if keep]
    films = films_at(dataset, contents, frame, recipe=PixelRecipe(frame.side, frame.aspect))
    return features.take(kept), films.take(np.arange(len(contents)))


def metadata_of(
    dataset: Dataset, bundle: Bundle, models: Sequence[str], *, stores: Mapping[str, Store]
) -> dict[str, str]:
    """What the file says of itself: words, and JSON where there is more than one."""
    record = bundle.run.record
    licences = {store.name: store.manifest.licence for store in stores.values()}
    words = {
        name: str(getattr(record, name) or "")
        for name in ("run_id", "dataset", "head", "task", "label_set", "split", "note")
    }
    lists = {
        "labels": list(bundle.labels),
        "stores": list(record.stores),
        "keys": dict(bundle.keys),
        "pooling": record.pooling,
        "text": record.text,
        "models": list(models),
        "simulated": record.simulated,
        "licence": {
            "dataset": dataset.descriptor.get("licence"),
            "citation": dataset.descriptor.get("citation"),
            "encoders": licences,
        },
    }
    coded = {name: json.dumps(value, ensure_ascii=False) for name, value in lists.items()}
    return {"cxremb": VERSION, **words, **coded}
