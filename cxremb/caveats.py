"""What must be said beside figures: of the text that was read, of films that are simulated, of vectors that are old."""

from collections.abc import Sequence

from cxremb.encoders.pretrained import seen_before
from cxremb.features import Features, Flags
from cxremb.store.dataset import Dataset
from cxremb.store.kinship import collection_of
from cxremb.store.layout import BEFORE_READING, LABEL_SOURCE
from cxremb.store.manifest import latest_manifest

SOURCED = "label recovery, not diagnosis: the text that this arm reads is a source of the label"
IMPORTED = "imported vectors: what made them, and on whom it was trained, is known to nobody here"
ROLE_WORDS = {BEFORE_READING: "written before the film was read", LABEL_SOURCE: "a source of the label"}
OF = {"image": "films", "text": "texts"}


def caveats(blocks: Sequence[str], role: str | None, simulated: bool) -> tuple[str, ...]:
    """What must stand beside every figure that rests on these inputs. role: that of the text, if there is one."""
    notes = []
    if "image" in blocks and simulated:
        notes.append("simulated images")
    if "text" in blocks and role != BEFORE_READING:
        notes.append(SOURCED)
    return tuple(notes)


def describe_text(text: str | None, role: str | None) -> str:
    """Which text it is and how it stands to the label, such as `text pre-read (written before ...)`; or `no text`."""
    return f"text {text} ({ROLE_WORDS[role]})" if text and role else "no text"


def pretrained_on(dataset: Dataset, features: Features, blocks: Sequence[str]) -> list[str]:
    """What must be said where an encoder of these blocks has learnt from the collection that it is judged on."""
    found = []
    for block in blocks:
        store, _, _ = features.stores[block].partition(" ")
        manifest = latest_manifest(dataset.paths.embeddings / store)
        model = manifest.recipe.model if manifest else ""
        if why := seen_before(store.partition("@")[0], collection_of(dataset), model=model):
            found.append(f"{why}: these {OF[block]}, or some of them, are not new to it")
    return found


def imported_vectors(features: Features, blocks: Sequence[str]) -> list[str]:
    """What must be said of vectors in these blocks that were made elsewhere."""
    return [IMPORTED] if features.imported.intersection(blocks) else []


def outdated_vectors(features: Features, blocks: Sequence[str]) -> list[str]:
    """What must be said of vectors in these blocks whose films or texts have changed since they were encoded."""
    return [
        outdated_note(block, features.outdated[block], features.stores[block], imported=block in features.imported)
        for block in blocks
        if block in features.outdated and features.outdated[block].any()
    ]


def outdated_note(modality: str, flags: Flags, store: str, *, imported: bool = False) -> str:
    """How many of n rows read old vectors, and what to type. flags: (n,). store: its title."""
    again = "`cxremb store import FILE`" if imported else f"`cxremb refresh --model {store.partition(' ')[0]}`"
    return f"{flags.sum():,} of {len(flags):,} rows read vectors of {OF[modality]} that have changed since: {again}"
