"""The table of encoders as rows for people: what each is, and whether its weights are on this machine."""

from dataclasses import dataclass

from cxremb.encoders.table import ENCODERS, EncoderSpec
from cxremb.encoders.weights import local_source

USUAL = {"image": "efficientnet_b1", "text": "biobert"}
TEXT_TOKENS = 512  # what every text encoder of the table reads at most


@dataclass(frozen=True)
class Listed:
    """One encoder. `reads` is in pixels a side or tokens; `here` is where its weights are, or empty."""

    name: str
    modality: str
    dim: int
    reads: int | None
    unit: str
    poolings: tuple[str, ...]
    licence: str
    model: str
    source: str
    here: str


def list_encoders() -> list[Listed]:
    """Every encoder of the table, in its order. Asks no network and imports no library of networks."""
    return [listed(name, spec) for name, spec in ENCODERS.items()]


def suggested(modality: str) -> str:
    """The encoder to name in a hint: the usual one, or else the first whose weights are on this machine.

    The two built-in ones, which mean nothing, are never it. Asks no network: without any weights here it is the usual.
    """
    candidates = [USUAL[modality], *(name for name, spec in ENCODERS.items() if spec.modality == modality)]
    found = (name for name in candidates if ENCODERS[name].source and local_source(ENCODERS[name]))
    return next(found, USUAL[modality])


def listed(name: str, spec: EncoderSpec) -> Listed:
    """One row."""
    image = spec.modality == "image"
    tokens = None if name == "tiny_text" else TEXT_TOKENS
    return Listed(
        name=name,
        modality=spec.modality,
        dim=spec.dim,
        reads=spec.side if image else tokens,
        unit="px" if image else "tokens",
        poolings=spec.poolings,
        licence=spec.licence,
        model=spec.model,
        source=spec.source,
        here=local_source(spec),
    )
