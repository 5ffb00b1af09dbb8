"""The table of encoders as rows for people: what each is, and whether its weights are on this machine."""

from dataclasses import dataclass

from cxremb.encoders.table import ENCODERS, EncoderSpec
from cxremb.encoders.weights import local_source

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
