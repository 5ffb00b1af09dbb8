"""A store that is as it is asked for is found without the network that made it; whatever could change it is seen."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import collection, save_film

from cxremb.catalog import add_collection
from cxremb.embedding import asked
from cxremb.embedding.asked import finished, finished_preview, made_with
from cxremb.embedding.start import preview, run
from cxremb.encoders.base import What
from cxremb.encoders.machine import choose_machine
from cxremb.store.dataset import Dataset

FILMS, TEXTS = What("tiny"), What("tiny_text")
SCRIPT = """
import sys
from cxremb.cli.main import main
sys.argv = ["cxremb", *sys.argv[1:]]
main()
assert not {"torch", "timm", "transformers"} & set(sys.modules)
"""


@pytest.fixture
def stored(small: Dataset) -> Dataset:
    for what in (FILMS, TEXTS):
        run(small, what)
    return small


@pytest.mark.parametrize(
    "words", [["refresh"], ["embed", "--model", "tiny"], ["embed", "--model", "tiny", "--dry-run"]]
)
def test_no_library_of_networks_is_imported(stored: Dataset, words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words, "--root", str(stored.paths.root)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stdout or "0 to do" in done.stdout


@pytest.mark.parametrize("what", [FILMS, TEXTS])
def test_it_says_what_the_whole_way_round_says(stored: Dataset, what: What) -> None:
    short, whole = finished(stored, what), run(stored, what)
    assert short is not None
    assert replace(short, seconds=0, stages={}) == replace(whole, seconds=0, stages={})
    assert finished_preview(stored, what) == preview(stored, what, choose_machine())


def test_auto_precision_is_that_of_the_store(stored: Dataset) -> None:
    assert finished(stored, What("tiny", precision="auto")) is not None
    assert finished(stored, What("tiny", precision="bf16")) is None


@pytest.mark.parametrize("other", [What("tiny", aspect="pad"), What("resnet50"), What("tiny_text", xxxx="drop")])
def test_what_was_not_made_is_to_do(stored: Dataset, other: What) -> None:
    assert finished(stored, other) is None


def test_a_new_text_a_new_film_and_a_film_that_is_gone_are_to_do(stored: Dataset, tmp_path: Path) -> None:
    root = stored.paths.root
    more = add_collection(collection(tmp_path / "films", n=13), root).dataset
    assert finished(more, FILMS) is None
    assert finished(more, TEXTS) is None
    assert run(more, FILMS).added == 3  # two of the new study, and the one that had repeated the first
    save_film(tmp_path / "films" / "3_Frontal.png", 99)
    assert finished(add_collection(collection_as_it_lies(tmp_path / "films"), root).dataset, FILMS) is None


def collection_as_it_lies(folder: Path):
    """The collection with one film exchanged."""
    found = collection(folder, n=13)
    save_film(folder / "3_Frontal.png", 99)
    return found


def test_another_version_another_library_and_other_weights_are_looked_at(
    stored: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, other in (("VERSION", "9"), ("library", lambda name: f"{name} 9")):
        with monkeypatch.context() as changed:
            changed.setattr(asked, name, other)
            assert finished(stored, FILMS) is None
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"1")
    before = made_with(What("resnet50", weights))
    weights.write_bytes(b"2")
    assert made_with(What("resnet50", weights)) not in (None, before)
    assert made_with(What("timm:resnet18", weights)) is None


def test_failures_are_tried_again(stored: Dataset) -> None:
    path = Path(stored.images["path"][3].as_py())
    path.write_bytes(b"no film any more")
    again = add_collection(collection_without_writing(path.parent, path), stored.paths.root).dataset
    assert len(run(again, FILMS).failures) == 1
    assert finished(again, FILMS) is None


def collection_without_writing(folder: Path, broken: Path):
    """The collection with this film broken."""
    found = collection(folder)
    broken.write_bytes(b"no film any more")
    return found
