"""What run.json says of a finished run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_type_hints

from cxremb.store.expected import Unexpected, conform, match
from cxremb.store.layout import FORMAT_VERSION
from cxremb.training.data import Place

CONTROL = "control:"  # how the arms of `ablation.controls` start: from shuffled labels or vectors, or without a model
ZERO_SHOT = "zero_shot"  # in the `spec` of what judges films by prompts, and trains nothing
BETWEEN = "; "  # caveats in `note`, which SQL has as one text
LISTS = ("labels", "stores", "folds", "repeats", "seeds", "epochs", "scales", "caveats", "notes")


@dataclass(frozen=True)
class RunRecord:
    """All that is known of how a run came about. What an old record lacks is as the defaults say."""

    run_id: str  # "" until it is written, with key, created and model_sha256
    arm: str
    label_set: str
    label: str  # that the main figures stand under: the one there is, or `macro`
    format: int = FORMAT_VERSION
    key: str = ""
    created: str = ""
    dataset: str = ""
    head: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)  # what the models are, enough to build them again
    preset: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    precision: str = "fp32"
    train_fraction: float = 1.0  # the share of each fold's training patients that it was trained on
    shots: int | None = None  # training rows of each class
    label_policy: str | None = None  # what became of unsure readings in training; None: what the label set says
    prior: bool = False  # whether its films come with what has changed since the examination before
    label_version: str = ""
    task: str = "binary"
    labels: Sequence[str] = ()
    split: str = ""
    split_key: str = ""
    split_means: str = ""
    leaky: bool = False
    stores: Sequence[str] = ()
    keys: Mapping[str, str | None] = field(default_factory=dict)  # modality -> full key of the store
    dims: Mapping[str, int] = field(default_factory=dict)
    rows_from: Mapping[str, str] = field(default_factory=dict)  # the stores that decide which rows there are
    text: str | None = None
    text_role: str | None = None
    xxxx: str | None = None
    pooling: Mapping[str, str | None] = field(default_factory=dict)
    views: str = "all"
    missing: str = "drop"
    folds: Sequence[int] = ()
    repeats: Sequence[int] = ()
    seeds: Sequence[int] = ()
    members: Sequence[Place] = ()  # its models, in the order of the weights
    epochs: Sequence[int] = ()  # the one kept of each model; 0: a rule, which is not trained
    scales: Sequence[Mapping[str, float]] = ()  # of each model, modality -> how much its block counts; {}: not scaled
    parameters: int = 0  # trainable ones of one model
    unit: str = "study"
    rows: int = 0
    patients: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)  # why -> rows
    simulated: bool = False
    caveats: Sequence[str] = ()  # what must stand beside every figure of the run
    notes: Sequence[str] = ()  # choices made for the user, such as which of several stores
    seconds: float = 0.0  # spent training it
    versions: Mapping[str, str] = field(default_factory=dict)
    model_sha256: str = ""
    dataset_licence: str = ""  # of the collection; "" in records that are older than these three
    dataset_citation: str = ""
    licences: Mapping[str, str] = field(default_factory=dict)  # store -> licence of its encoder
    trained_on: str | None = None  # other data sets, with + between; None: the one that it lies below

    @property
    def note(self) -> str:
        """The caveats as one text."""
        return BETWEEN.join(self.caveats)

    @property
    def scales_in_words(self) -> str:
        """How much each block counts, of several models the least and the most; "" where none is scaled."""
        found: dict[str, set[float]] = {}
        for scales in self.scales:
            for name, scale in scales.items():
                found.setdefault(name, set()).add(scale)
        spans = {name: " to ".join(f"{one:g}" for one in sorted({min(own), max(own)})) for name, own in found.items()}
        return ", ".join(f"{name} {span}" for name, span in spans.items())

    @property
    def is_control(self) -> bool:
        """Whether it is a line of the lower block of `ablate`: predictions to compare with, and no model."""
        return self.arm.startswith(CONTROL)

    @property
    def shuffled(self) -> str:
        """What it learnt in another order than the rows': labels or a modality; "" for nothing."""
        return str(self.spec.get("shuffled", ""))

    @property
    def is_external(self) -> bool:
        """Whether its models were trained on other data sets: predictions to compare with, and no model."""
        return self.trained_on is not None

    @property
    def is_zero_shot(self) -> bool:
        """Whether it judges films by prompts: predictions as of any arm, and no model."""
        return ZERO_SHOT in self.spec

    @property
    def from_pixels(self) -> bool:
        """Whether its models are networks that read films, and no heads on stored vectors."""
        return "network" in self.spec

    def to_dict(self) -> dict[str, Any]:
        """As run.json holds it."""
        members = [
            asdict(place) | {"name": place.name, "epoch": epoch}
            for place, epoch in zip(self.members, self.epochs, strict=True)
        ]
        return {**asdict(self), "members": members, "note": self.note}


def refuse_unexpected(found: Mapping[str, Any], folder: str) -> None:
    """Raises `ValueError` for a run.json that cxremb has not written into a folder of that name."""
    conform(found, Mapping[str, Any], "run.json")
    kinds = get_type_hints(RunRecord) | {"members": Sequence[Mapping[str, int | str]]}
    for name in ("run_id", "key", "label", "arm", "label_set"):
        conform(found[name], str, name)
    for name in found.keys() & kinds.keys():
        if found[name] is not None:
            conform(found[name], kinds[name], name)
    match(found["run_id"], r"\w[\w.-]*", "run_id")
    if found["run_id"] != folder:
        raise Unexpected(f"it is of run {found['run_id']}")


def record_from(found: Mapping[str, Any]) -> RunRecord:
    """The record of a run.json, also of an earlier version. Raises `KeyError` or `TypeError` for what is none."""
    known = {one.name for one in fields(RunRecord)}
    values = {name: value for name, value in found.items() if name in known and value is not None}
    values |= {name: tuple(values[name]) for name in LISTS if name in values}
    values["members"] = tuple(Place(one["repeat"], one["fold"], one["seed"]) for one in values.get("members", ()))
    if "caveats" not in found:  # before caveats were a list, they stood in `note` alone
        values["caveats"] = tuple(filter(None, str(found.get("note") or "").split(BETWEEN)))
    if "train_fraction" not in found:  # ... and the share in the name of the arm, as in fusion[train-fraction=0.25]
        _, _, share = str(found["arm"]).partition("train-fraction=")
        values["train_fraction"] = float(share.partition(",")[0].rstrip("]") or 1)
    return RunRecord(**values)
