"""The body of a transformers model, from a folder and in float32, without running any code of the folder."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, BertConfig, BertModel
from transformers.utils import logging

from cxremb.errors import EncoderError

UNUSED = ("pooler.", "embeddings.mask_token")  # no vector needs them, and some repositories lack them


def read_config(folder: Path, bert: bool = False) -> Any:
    """The folder's configuration; with `bert` as that of a plain BERT, whatever it calls itself.

    Raises `EncoderError` for a model that only its own code can load.
    """
    try:
        if bert:
            return BertConfig.from_json_file(folder / "config.json")
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise EncoderError(
            f"{folder}: no model that transformers knows ({str(error).splitlines()[0][:120]})",
            hint="code from a model's repository is never run: wrap it in a function of your own, module:function",
        ) from error


def load_body(folder: Path, config: Any, bert: bool = False) -> Any:
    """The network with its weights. Raises `EncoderError` if any is missing."""
    logging.disable_progress_bar()  # ours is the one that counts
    loader = BertModel if bert else AutoModel
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # what is left over (heads) is no news, what is missing is an error below
    try:
        # as stored a model may be float16; full precision means float32
        network, report = loader.from_pretrained(
            folder, config=config, dtype=torch.float32, output_loading_info=True, local_files_only=True
        )
    finally:
        logging.set_verbosity(level)
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(UNUSED))
    if missing:
        raise EncoderError(
            f"{folder}: lacks {', '.join(missing[:3])} ({len(missing)} in all)",
            hint="give the complete weights of the model",
        )
    network.loss_function = None  # there is none; a tracer, which asks for every attribute, would cause a warning
    return network.eval()
