"""JSON that is too deep or of another kind, foreign metadata, XML in strange encodings: an error, never a traceback."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from cxremb.datasets.iu_reports import parse_report
from cxremb.datasets.medmnist_arrays import MARKER
from cxremb.embedding.trained_on import METADATA, read_weights
from cxremb.encoders.hf import read_preprocessor
from cxremb.encoders.open_clip_towers import CONFIG, read_open_clip
from cxremb.errors import CxrembError, DataError, EncoderError, QueryError, StoreError
from cxremb.ids import changed, clean_id, id_notes, likeness
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.expected import Unexpected, read_object
from cxremb.store.locations import read_locations, weights_known
from cxremb.store.sql import query
from cxremb.training.stopped import RECORD, read_checkpoint
from cxremb.training.tuned import find_tuned, record_of_weights

DEEP = "[" * 100_000 + "]" * 100_000
DEEP_OBJECT = '{"a":' * 100_000 + "1" + "}" * 100_000
WRONG = [DEEP, DEEP_OBJECT, "null", "[]", "1", '"x"', "", '{"format": 3', '{"a": ' + "9" * 5000 + "}"]


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:12])
def test_what_is_no_object_is_an_error(text: str, small: Dataset, tmp_path: Path) -> None:
    with pytest.raises((Unexpected, json.JSONDecodeError, ValueError), match=r"."):
        read_object(text)
    place = tmp_path / "place"
    place.mkdir()
    for name in ("preprocessor_config.json", CONFIG, MARKER):
        (place / name).write_text(text)
    for read in (read_preprocessor, read_open_clip):
        with pytest.raises(EncoderError):
            read(place)
    weights = {"x": np.zeros(1, np.float32)}
    save_file(weights, place / "w.safetensors", {METADATA: text or " "})
    with pytest.raises(EncoderError, match="not as cxremb writes it"):
        read_weights(place / "w.safetensors")
    save_file(weights, place / "c.safetensors", {RECORD: text})
    with pytest.raises(StoreError, match="damaged"):
        read_checkpoint(place / "c.safetensors")
    small.paths.weights.mkdir()
    (small.paths.weights / "x.json").write_text(text)
    assert find_tuned(small, "key") is None
    assert record_of_weights(small, "0" * 64) is None
    (where,) = small.paths.locations.iterdir()
    where.write_text(text)
    with pytest.raises(StoreError, match="not as cxremb writes it"):
        read_locations(small.paths, where.stem)
    where.with_name("weights.json").write_text(text)
    assert weights_known(small.paths) == {}
    small.paths.descriptor.write_text(text)
    with pytest.raises(StoreError):
        open_dataset(small.paths.root)


def test_metadata_of_others_is_not_ours(tmp_path: Path) -> None:
    weights = {"x": np.zeros(1, np.float32)}
    for said in ({"dataset": 1}, {"dataset": "x", "more": []}, {"dataset": "\x1b", "split": None}):
        save_file(weights, tmp_path / "w.safetensors", {METADATA: json.dumps(said)})
        with pytest.raises(EncoderError, match="not as cxremb writes it"):
            read_weights(tmp_path / "w.safetensors")
    save_file(weights, tmp_path / "w.safetensors", {"format": "pt"})
    assert read_weights(tmp_path / "w.safetensors") is None


@pytest.mark.parametrize("encoding", ["utf-7", "utf-32", "shift_jis", "cp037", "no such one", "idna"])
def test_xml_in_any_encoding_is_read_or_named(encoding: str) -> None:
    with pytest.raises(DataError, match=r"1\.xml: not readable as XML"):
        parse_report(f'<?xml version="1.0" encoding="{encoding}"?><eCitation/>'.encode(), "1.xml")


def test_an_id_of_thousands_of_digits_is_an_id() -> None:
    long = "7" * 5000
    for work in (clean_id, likeness):
        found: Callable[[str], str] = work
        assert found(long) == long
    assert id_notes("patient", [long, f"{long}.0"]) is not None
    assert changed([long, "1E999999999"]) is not None


@pytest.mark.parametrize("text", ["update extensions", "force checkpoint", "load x", "vacuum", "call pragma_version()"])
def test_statements_that_are_no_query_are_refused(small: Dataset, text: str) -> None:
    with pytest.raises(QueryError):
        query(small.paths.root, text)


def test_unexpected_is_no_error_of_the_user() -> None:
    """It is a `ValueError`, which whoever reads a file turns into an error that names the file."""
    assert issubclass(Unexpected, ValueError)
    assert not issubclass(Unexpected, CxrembError)
