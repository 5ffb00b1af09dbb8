"""Named recipes: ours, and those of the published systems with the figures they report. Data only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cxremb.errors import TrainError


@dataclass(frozen=True)
class Options:
    """How the loop trains. `select`: keep the epoch with the lowest validation loss (best), or the last one."""

    learning_rate: float = 1e-3
    batch_size: int = 256
    epochs: int = 40
    select: str = "best"
    patience: int | None = 8  # epochs without a lower validation loss before stopping; None runs them all
    standardise: bool = True  # inputs to mean 0 and variance 1, measured on the training rows only

    def __post_init__(self) -> None:
        """Refuse what would train nothing, or silently something else."""
        if self.select not in ("best", "last"):
            raise TrainError(f"select is best or last, not {self.select!r}")
        if self.learning_rate <= 0 or min(self.batch_size, self.epochs, self.patience or 1) < 1:
            raise TrainError(
                "the learning rate, batch size, epochs and patience must be above zero",
                hint="for example --epochs 40",
            )

    @property
    def chooses_epoch(self) -> bool:
        """Whether anything is decided by the loss after each epoch: which one is kept, or when to stop."""
        return self.select == "best" or self.patience is not None


@dataclass(frozen=True)
class Preset:
    """A recipe, where it comes from, what it is reported to reach, and how this project departs from it."""

    name: str
    summary: str
    options: Options
    head: str = "fusion"
    dims: Mapping[str, int] = field(default_factory=lambda: {"image": 1280, "text": 768})  # EfficientNet-B1, BioBERT
    reported: Mapping[str, float] = field(default_factory=dict)
    reported_on: str = ""
    differs: Sequence[str] = ()


CNN_LLM_REPORTED = {"loss": 0.1358, "accuracy": 0.9578, "precision": 0.9630, "recall": 0.9701, "f1": 0.9665}
CNN_LLM_REPORTED_ON = "IU X-ray, last epoch, validation part of an 80:20 split by image"
CNN_LLM_DIFFERS = (
    "the split keeps a patient's images, and patients with the same report text, in one fold; the original split by "
    "image, where most validation images had their own report in training, so its figures are not comparable",
    "the image encoder is in evaluation mode; in the original code its batch-norm statistics moved while training",
    'an empty findings or impression is left out; in the original code it became the word "nan"',
)


def cnn_llm(name: str, learning_rate: float, source: str) -> Preset:
    """The fusion system as published; its two versions differ in the learning rate."""
    return Preset(
        name=name,
        summary=f"EfficientNet-B1 + BioBERT fusion, learning rate as {source}",
        options=Options(learning_rate, batch_size=8, select="last", patience=None, standardise=False),
        reported=CNN_LLM_REPORTED,
        reported_on=CNN_LLM_REPORTED_ON,
        differs=CNN_LLM_DIFFERS,
    )


PRESETS = {
    preset.name: preset
    for preset in (
        cnn_llm("cnn-llm/as-documented", 0.003, "in its documentation"),
        cnn_llm("cnn-llm/as-coded", 0.001, "in its code"),
        Preset("default", "the same head on standardised inputs, best epoch by inner-validation loss", Options()),
    )
}


def find_preset(name: str) -> Preset:
    """The preset called `name`. Raises `TrainError` with the names there are."""
    if name not in PRESETS:
        raise TrainError(f"no preset called {name!r}", hint=f"choose one of {', '.join(PRESETS)}: see `cxremb presets`")
    return PRESETS[name]
