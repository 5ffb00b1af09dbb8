"""Networks of two towers that open_clip loads, such as BiomedCLIP: from a folder, no code of which is ever run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cxremb import images
from cxremb.encoders.base import Machine, What
from cxremb.encoders.forward import FilmEncoder, FilmNet, film_input
from cxremb.encoders.hf import read_config
from cxremb.encoders.hub import OPEN_CLIP_FILES, weight_files
from cxremb.encoders.state import read_state
from cxremb.encoders.table import JOINT, EncoderSpec, short_name
from cxremb.encoders.towers import WORDS, in_passes, text_recipe
from cxremb.encoders.weights import Weights, locate_folder
from cxremb.errors import EncoderError, reason
from cxremb.store.expected import read_object
from cxremb.store.manifest import Recipe
from cxremb.store.prompts import TEXT_TOWER

CONFIG = "open_clip_config.json"
LONGEST = 77  # tokens, where the configuration does not say: as open_clip has it


def load(what: What, spec: EncoderSpec, machine: Machine) -> FilmEncoder:
    """The encoder for an entry of the table, or of a repository whose files are open_clip's.

    Raises `EncoderError` where open_clip is not installed, or the folder does not say what it needs to.
    """
    weights = locate_folder(what.model, spec, what.weights, of_open_clip=True)
    given, how = read_open_clip(weights.path)
    dim, vision = int(given["embed_dim"]), given["vision_cfg"]
    if spec.dim not in (0, dim):
        raise EncoderError(
            f"{weights.path}: {dim} dimensions, {what.model} has {spec.dim}", f"give the weights of {spec.model}"
        )
    texts = OpenClipTower(weights, given)
    frame = images.Frame(int(vision["image_size"]), what.aspect, what.scaled_jpeg)
    mean, std = list(how["mean"]), list(how["std"])
    recipe = Recipe(
        encoder=short_name(what.model),
        model=spec.model,
        weights_sha256=weights.sha256,
        modality="image",
        dim=dim,
        poolings=JOINT,
        input={**film_input(frame, mean, std), TEXT_TOWER: texts.recipe},
        precision=machine.precision_class,
    )

    def build() -> FilmNet:
        network = build_towers(weights, given)
        if hasattr(network, "text"):
            network.text = torch.nn.Identity()  # it is not needed, and may be as large as the other
        return FilmNet(network, image_features, mean, std)

    encoder = FilmEncoder(recipe, frame, spec.licence, machine, build)
    encoder.texts = texts
    return encoder


def image_features(network: Any, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The vector of each film in the space of both."""
    return (network.encode_image(batch),)


def read_open_clip(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what the network is, how films are prepared). Raises `EncoderError` if the folder does not say."""
    path = folder / CONFIG
    try:
        found: dict[str, Any] = read_object(path.read_text(encoding="utf-8"))
        network, how = found["model_cfg"], found["preprocess_cfg"]
        lacking = {"embed_dim", "vision_cfg", "text_cfg"} - network.keys() | {"mean", "std"} - how.keys()
        if lacking:
            raise ValueError(f"no {', '.join(sorted(lacking))}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EncoderError(
            f"{path}: does not describe two towers ({reason(error)})", hint="copy the model's whole folder"
        ) from error
    if "multimodal_cfg" in network:
        raise EncoderError(f"{path}: a network that writes texts (CoCa)", hint="give one of two towers, as CLIP")
    return network, how


def import_open_clip() -> Any:
    """The library. Raises `EncoderError` with the way to install it."""
    try:
        import open_clip
    except ImportError as error:
        raise EncoderError(
            f"this encoder needs open_clip ({reason(error)})", hint='pip install "cxremb[open-clip]"'
        ) from error
    return open_clip


def build_towers(weights: Weights, given: dict[str, Any]) -> Any:
    """The network with its weights. Nothing is fetched: of a tower of transformers or timm only the shape is asked.

    Raises `EncoderError` for weights that lack something, and where nobody says how the tower of texts is built.
    """
    open_clip = import_open_clip()
    text, vision = dict(given["text_cfg"]), dict(given["vision_cfg"])
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    if named := text.get("hf_model_name"):
        text |= {"hf_model_name": str(text_folder(weights.path, named)), "hf_model_pretrained": False}
    shape = {name: value for name, value in given.items() if name not in ("text_cfg", "vision_cfg", "custom_text")}
    kind = open_clip.CustomTextCLIP if named or given.get("custom_text") else open_clip.CLIP
    try:
        network = kind(**shape, vision_cfg=vision, text_cfg=text)
    except (TypeError, ValueError, RuntimeError, AssertionError, OSError) as error:
        raise EncoderError(
            f"{weights.path / CONFIG}: open_clip cannot build it ({reason(error)})",
            hint="copy the model's whole folder, or install the version of open_clip that it was made with",
        ) from error
    report = network.load_state_dict(read_state(weight_files(weights.path, OPEN_CLIP_FILES)[0]), strict=False)
    if report.missing_keys:
        raise EncoderError(
            f"{weights.path}: lacks {', '.join(report.missing_keys[:3])} ({len(report.missing_keys)} in all)",
            hint="give the complete weights of the model",
        )
    return network.float().eval()


def text_folder(folder: Path, named: str) -> Path:
    """Where the shape of a transformers tower is: `text/` in the model's folder, the folder, or the hub's local cache.

    Raises `EncoderError` that says which file to bring. It is a configuration, without weights: those are the model's.
    """
    for place in (folder / "text", folder):
        if (place / "config.json").is_file():
            read_config(place)  # of a model that only its own code can load it says so
            return place
    from huggingface_hub import try_to_load_from_cache

    if isinstance(path := try_to_load_from_cache(named, "config.json"), str):
        return Path(path).parent
    raise EncoderError(
        f"{folder}: its texts are read by a {named}, and nothing says how that is built",
        hint=f"put config.json of {named} into {folder / 'text'}; its weights are not needed",
    )


@dataclass
class OpenClipTower:
    """The tower that reads texts, built on the first call of `encode`: by torch in float32 on the CPU, as prompts are
    few.
    """

    weights: Weights
    given: dict[str, Any]
    network: Any = None

    def __post_init__(self) -> None:
        self.max_tokens = int(self.given["text_cfg"].get("context_length", LONGEST))
        self.tokeniser = self.load_tokeniser()

    def load_tokeniser(self) -> Any:
        """The one that open_clip would take, of the model's own folder. Raises `EncoderError` where that has none."""
        tokenizer, text = import_open_clip().tokenizer, self.given["text_cfg"]
        if not (text.get("hf_tokenizer_name") or text.get("hf_model_name")):
            return tokenizer.SimpleTokenizer(context_length=self.max_tokens)
        places = (self.weights.path, self.weights.path / "text")
        place = next((one for one in places if any((one / name).is_file() for name in WORDS)), None)
        if place is None:
            raise EncoderError(
                f"{self.weights.path}: holds no tokeniser, none of {', '.join(WORDS)}",
                hint="copy the model's whole folder",
            )
        kept = text.get("tokenizer_kwargs") or {}
        return tokenizer.HFTokenizer(str(place), context_length=self.max_tokens, local_files_only=True, **kept)

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the vector of a text beside the weights."""
        inner = getattr(self.tokeniser, "tokenizer", None)
        if inner is not None:
            return text_recipe(inner, self.max_tokens, "max_length")
        return {"tokeniser": "CLIP", "lower_case": True, "max_tokens": self.max_tokens, "filled_to": "max_length"}

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included."""
        inner = getattr(self.tokeniser, "tokenizer", None)
        if inner is not None:
            return [len(ids) for ids in inner(list(texts), verbose=False)["input_ids"]]
        return [len(self.tokeniser.encode(text)) + 2 for text in texts]  # with those that begin and end it

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim)."""
        if self.network is None:
            self.network = build_towers(self.weights, self.given)
            self.network.visual = torch.nn.Identity()
        return in_passes(texts, lambda some: self.network.encode_text(self.tokeniser(some)))
