"""A file of a store that ends anywhere is refused in words, or read as whole: never half of it, and no traceback."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from cxremb.embedding.trained_on import read_weights
from cxremb.encoders.state import read_state
from cxremb.errors import CxrembError, EncoderError
from cxremb.store.dataset import read_dataset
from cxremb.store.manifest import read_manifest
from cxremb.training.runs import read_run
from cxremb.training.stopped import Checkpoint, read_checkpoint, write_checkpoint

GOLDEN = Path(__file__).parent / "golden" / "format3"
RECORDS: dict[str, Callable[[Path], object]] = {
    "*/dataset.json": read_dataset,
    "*/embeddings/tiny@*/*.json": read_manifest,
    "*/runs/*/run.json": lambda path: read_run(path.parent),
}


@pytest.mark.parametrize("pattern", RECORDS)
def test_a_record_that_ends_anywhere_is_refused(tmp_path: Path, pattern: str) -> None:
    root = Path(shutil.copytree(GOLDEN, tmp_path / "root"))
    (path,) = root.glob(pattern)
    read, content = RECORDS[pattern], path.read_bytes()
    read(path)
    json.loads(content)
    for length in range(len(content.rstrip())):
        path.write_bytes(content[:length])
        with pytest.raises(CxrembError) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert caught.value.hint


def test_weights_that_end_anywhere_are_refused(tmp_path: Path) -> None:
    """The models of a run by their digest; a checkpoint and weights from elsewhere by what safetensors says."""
    root = Path(shutil.copytree(GOLDEN, tmp_path / "root"))
    (path,) = root.glob("*/runs/*/model.safetensors")
    run, content = read_run(path.parent), path.read_bytes()
    assert run.weights()
    for length in (*range(200), *range(200, len(content), 997), len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(CxrembError, match="not the file that run"):
            run.weights()
    checkpoint = tmp_path / "checkpoint.safetensors"
    write_checkpoint(checkpoint, Checkpoint({"w": torch.ones(9)}, {}, {0: {"step": torch.ones(1)}}, {"epoch": 3}))
    content = checkpoint.read_bytes()
    for length in range(len(content)):
        checkpoint.write_bytes(content[:length])
        with pytest.raises(CxrembError, match="damaged"):
            read_checkpoint(checkpoint)
    weights, content = tmp_path / "w.safetensors", save({"w": np.ones(9, np.float32)}, {"cxremb": "{}"})
    for length in range(len(content)):
        weights.write_bytes(content[:length])
        assert read_weights(weights) is None
        with pytest.raises(EncoderError, match=r"w\.safetensors"):
            read_state(weights)
