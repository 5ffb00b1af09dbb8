"""Where everything lies under the store root, and the columns of every table. `stores/README.md` is its prose."""

import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

FORMAT_VERSION = 1
# Of dataset.json. In 1 a table is called by its name alone, and a new one took its place; in 1 and 2 paths are whole.
TABLES_FORMAT = 3

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
        ("content", pa.string()),  # SHA-256 of what failed; null in files that are older than this column
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
        ("text_in_train", pa.bool_()),  # whether its text stands word for word in train; null: none is read, or unknown
    ]
)
NOT_IN_OLD_RUNS = {"predictions": ("text_in_train",), "metrics": ("folds",)}  # columns, null there
RATES = "rates"  # the key in a file of metrics that says how those of several folds were made
METRICS = pa.schema(
    [
        ("part", pa.string()),
        ("label", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("folds", pa.int32()),  # of how many models it is; null: by a version that ranked the rows of all as one
    ],
    metadata={RATES: "on one scale"},  # of several folds; a file without it has the mean of those of each fold
)
# What metrics without the column `folds` call so is of the rows of all folds as one: `auroc_pooled` and so on by now.
ONCE_POOLED = (
    "auroc",
    "average_precision",
    "specificity_at_sensitivity_95",
    "sensitivity_at_specificity_95",
    "ece",
    "calibration_slope",
    "calibration_intercept",
)
# What metrics without the key `RATES` call so is, of several folds, the mean over them: `_mean` at its end in SQL.
ONCE_MEANS = ("specificity_at_sensitivity_95", "sensitivity_at_specificity_95")
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
        ("name", pa.string()),  # sex, age, day, ... (`facts.RESERVED`), or a column's heading in snake case
        ("text", pa.string()),  # as it was written
        ("number", pa.float64()),  # null: it is none
        ("day", pa.date32()),
    ]
)

READINGS = pa.schema(
    [
        ("study_id", pa.string()),
        ("label_set", pa.string()),
        ("label", pa.string()),
        ("reader", pa.string()),  # empty: there is one
        ("value", pa.int8()),  # 1 yes, 0 no, -1 unsure; no row: not mentioned
    ]
)

TABLES = {
    "studies": STUDIES,
    "images": IMAGES,
    "reports": REPORTS,
    "labels": LABELS,
    "facts": FACTS,
    "readings": READINGS,
}
NAME = r"\w[\w.-]*"  # of a data set or a label set
YOUNGER = ("facts", "readings")  # tables that data sets of before do not have


def is_name(text: str) -> bool:
    """Whether it can name a data set or a label set: a folder of that name lies where it seems to."""
    return re.fullmatch(NAME, text, flags=re.ASCII) is not None


def table_file(name: str, digest: str) -> str:
    """The file of one of `TABLES` whose bytes have this SHA-256: other contents never have the same name."""
    return f"{name}-{digest[:12]}.parquet"


def is_table(name: str, file: str) -> bool:
    """Whether a file of this name is, or was, one of `TABLES`."""
    return re.fullmatch(rf"{name}(-[0-9a-f]{{12}})?\.parquet", file, flags=re.ASCII) is not None


# How the values of a vector lie in a part; they are rounded to float16 either way. The first is what new stores have:
# Spark, R and BigQuery read no half floats, and DuckDB reads them slowly (benchmarks/vector_types.py).
VALUES = {"float32": pa.float32(), "float16": pa.float16()}


def vector_type(values: pa.DataType, dim: int) -> pa.DataType:
    """The type of a column of vectors."""
    return pa.list_(pa.field("element", values, nullable=False), dim)


def embedding_schema(dim: int, metadata: dict[str, str], values: pa.DataType = VALUES["float32"]) -> pa.Schema:
    """The columns of a part: `dim` values a row, never null; `metadata` travels with the file."""
    text = pa.string()
    return pa.schema(
        [
            pa.field("item_id", text, nullable=False),  # image_id, or study_id for a text
            pa.field("study_id", text, nullable=False),
            pa.field("section", text, nullable=False),  # "image", or the section of the report
            pa.field("pooling", text, nullable=False),
            pa.field("content", text, nullable=False),  # SHA-256 of what was encoded
            pa.field("embedding", vector_type(values, dim), nullable=False),
        ],
        metadata=metadata,
    )


def is_embeddings(schema: pa.Schema, dim: int) -> bool:
    """Whether a file has the columns of a part of this dimension, whatever it says of nulls."""
    kinds = {field.name: field.type for field in schema}
    vector = kinds.pop("embedding", None)
    return (
        kinds == {field.name: field.type for field in embedding_schema(dim, {}) if field.name != "embedding"}
        and isinstance(vector, pa.FixedSizeListType)
        and vector.value_type in VALUES.values()
        and vector.list_size == dim
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

    @property
    def locations(self) -> Path:
        """Where its films lie on this machine: beside its folder, so that who copies that leaves it behind."""
        return self.root / ".locations" / self.name  # as `store.mirror` has it

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
    def notes(self) -> Path:
        """Versions of the table of notes."""
        return self.folder / "notes"

    @property
    def concepts(self) -> Path:
        """What its labels mean, where the user says so (`store.concepts`)."""
        return self.folder / "concepts.csv"

    @property
    def maps(self) -> Path:
        """A map for each store that has one."""
        return self.folder / "maps"

    @property
    def distances(self) -> Path:
        """For a store and a split, how far test items lie from training items."""
        return self.folder / "distances"

    @property
    def prompts(self) -> Path:
        """For a store of an encoder with two towers, the prompts that were asked, with their vectors."""
        return self.folder / "prompts"

    @property
    def cache(self) -> Path:
        """Derived files; whoever deletes them loses time and nothing else."""
        return self.folder / "cache"
