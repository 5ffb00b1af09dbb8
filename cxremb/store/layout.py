"""Where everything lies under the store root, and the columns of every table. `stores/README.md` is its prose."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

FORMAT_VERSION = 1

# A section was written before the film was read, or it is what the labels are coded from. A section that is not
# named here counts as a source of labels unless its collection says otherwise: the careful way round.
BEFORE_READING, LABEL_SOURCE = "before reading", "label source"
ROLES = {
    "examination": BEFORE_READING,
    "indication": BEFORE_READING,
    "history": BEFORE_READING,
    "technique": BEFORE_READING,
    "comparison": BEFORE_READING,
    "findings": LABEL_SOURCE,
    "impression": LABEL_SOURCE,
}

# A text encoder encodes each section, and two joined ones (`store.texts`).
JOINED = ("findings", "impression")  # what the reference systems read
PRE_READ = "pre-read"  # all sections of a study that were written before reading, joined in the order of `ROLES`

STUDIES = pa.schema([("study_id", pa.string()), ("patient_id", pa.string())])
IMAGES = pa.schema(
    [
        ("image_id", pa.string()),
        ("study_id", pa.string()),
        ("patient_id", pa.string()),
        ("view", pa.string()),  # PA, AP, AP supine, Frontal, Lateral, Oblique (`datasets.views`); null: not known
        ("path", pa.string()),  # null: listed by the collection, not on this machine
        ("sha256", pa.string()),  # of the file's bytes
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("view_raw", pa.string()),  # as the collection has it; null in tables that are older than this column
    ]
)
REPORTS = pa.schema([("study_id", pa.string()), ("section", pa.string()), ("role", pa.string()), ("text", pa.string())])
LABELS = pa.schema(
    [("study_id", pa.string()), ("label_set", pa.string()), ("label", pa.string()), ("value", pa.float64())]
)
SPLITS = pa.schema(
    [
        ("split", pa.string()),
        ("repeat", pa.int32()),
        ("fold", pa.int32()),
        ("patient_id", pa.string()),
        ("study_id", pa.string()),
        ("image_id", pa.string()),  # null: all images of the study; only a split by image names them
        ("part", pa.string()),  # train, val or test
    ]
)
FAILURES = pa.schema(
    [
        ("item_id", pa.string()),
        ("study_id", pa.string()),
        ("section", pa.string()),
        ("path", pa.string()),
        ("stage", pa.string()),
        ("message", pa.string()),
    ]
)
HISTORY = pa.schema(
    [
        ("repeat", pa.int32()),
        ("fold", pa.int32()),
        ("seed", pa.int32()),
        ("epoch", pa.int32()),
        ("phase", pa.string()),  # train and val; train and test where a split has no val
        *((name, pa.float64()) for name in ("loss", "accuracy", "precision", "recall", "f1")),
    ]
)
PREDICTIONS = pa.schema(
    [
        ("unit", pa.string()),  # image or study: what one row is
        ("item_id", pa.string()),
        ("study_id", pa.string()),
        ("patient_id", pa.string()),
        ("repeat", pa.int32()),
        ("fold", pa.int32()),
        ("seed", pa.int32()),
        ("part", pa.string()),
        ("label", pa.string()),
        ("y_true", pa.float64()),  # null: the label is missing
        ("y_prob", pa.float64()),
        ("y_logit", pa.float64()),
    ]
)
METRICS = pa.schema(
    [
        ("part", pa.string()),
        ("label", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
    ]
)
# One line of an audit: what was measured, the figure, whether it holds, why it matters, what to do.
AUDIT = pa.schema(
    [
        ("created", pa.timestamp("s", "UTC")),
        ("split", pa.string()),  # name@key
        ("label_set", pa.string()),
        ("section", pa.string()),  # overlap, look-ups, labels, collection
        ("name", pa.string()),
        ("measured", pa.string()),  # in words, with the parts compared
        ("value", pa.float64()),
        ("status", pa.string()),  # ok, note, fail; skip: not measured, and `why` says what is missing
        ("why", pa.string()),
        ("remedy", pa.string()),
        ("examples", pa.list_(pa.string())),
    ]
)

FACTS = pa.schema(
    [
        ("level", pa.string()),  # image, study or patient
        ("id", pa.string()),
        ("name", pa.string()),  # sex, age, birth_year, day, site, scanner, or a column's heading in snake case
        ("text", pa.string()),  # as it was written
        ("number", pa.float64()),  # null: it is none
        ("day", pa.date32()),
    ]
)

TABLES = {"studies": STUDIES, "images": IMAGES, "reports": REPORTS, "labels": LABELS, "facts": FACTS}
YOUNGER = ("facts",)  # tables that data sets of before do not have


def embedding_schema(dim: int, metadata: dict[str, str]) -> pa.Schema:
    """The columns of a part: `dim` float16 values a row, never null; `metadata` travels with the file."""
    text = pa.string()
    return pa.schema(
        [
            pa.field("item_id", text, nullable=False),  # image_id, or study_id for a text
            pa.field("study_id", text, nullable=False),
            pa.field("section", text, nullable=False),  # "image", or the section of the report
            pa.field("pooling", text, nullable=False),
            pa.field("content", text, nullable=False),  # SHA-256 of what was encoded
            pa.field("embedding", pa.list_(pa.field("element", pa.float16(), nullable=False), dim), nullable=False),
        ],
        metadata=metadata,
    )


@dataclass(frozen=True)
class DatasetPaths:
    """The paths of one data set."""

    root: Path
    name: str

    @property
    def folder(self) -> Path:
        return self.root / self.name

    @property
    def descriptor(self) -> Path:
        return self.folder / "dataset.json"

    def table(self, name: str) -> Path:
        """The path of one of `TABLES`."""
        return self.folder / f"{name}.parquet"

    @property
    def embeddings(self) -> Path:
        return self.folder / "embeddings"

    @property
    def splits(self) -> Path:
        return self.folder / "splits"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def weights(self) -> Path:
        """Weights of encoders that were fine-tuned on this data set."""
        return self.folder / "weights"

    @property
    def audits(self) -> Path:
        return self.folder / "audits"

    @property
    def cache(self) -> Path:
        """Derived files; whoever deletes them loses time and nothing else."""
        return self.folder / "cache"
