"""What a command says to type next works when it is pasted: of two data sets, without labels, with other label sets."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Result, collection
from planted import Planted, plant
from test_audit import by_check
from test_hints import steps_of, without

from cxremb.audit.audit import audit
from cxremb.catalog import add_collection
from cxremb.cli.collection import renewal
from cxremb.encoders.weights import suggested
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.reader import open_store
from cxremb.types import Collection, Study

TINY = {"image": "tiny", "text": "tiny_text"}


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store root under a name that a shell would part, with another data set in it."""
    monkeypatch.delenv("CXREMB_STORES", raising=False)
    root = tmp_path / "my stores"
    plant(root, Planted(studies=10), modalities=(), name="another")
    return root


@pytest.fixture
def paste(cxremb):
    """Runs a printed line as a shell would: each encoder that it names is exchanged for the tiny one that reads it."""

    def run(line: str) -> Result:
        program, *words = shlex.split(line)
        assert program == "cxremb"
        tiny = {suggested(modality): name for modality, name in TINY.items()}
        return cxremb(*(tiny.get(word, word) for word in words))

    return run


def wards(folder: Path, name: str = "wards") -> Collection:
    """A collection large enough for five folds."""
    return collection(folder, n=45, name=name)


def all_work(said: Result, paste) -> list[str]:
    """The steps that were said, each of which was run and did it."""
    assert said.code == 0, said.err
    steps = steps_of(said)
    for step in steps:
        done = paste(step)
        assert done.code == 0, f"{step}\n{done.err}"
    return steps


@pytest.mark.parametrize("lacking", ["", *(pytest.param(one, marks=pytest.mark.slow) for one in ("text", "image"))])
def test_every_step_from_adding_to_comparing(there, tmp_path, cxremb, paste, lacking):
    whole = wards(tmp_path / "films")
    add_collection(without(whole, lacking) if lacking else whole, there)
    first = "text" if lacking == "image" else "image"
    said = cxremb("embed", "--model", TINY[first], "--dataset", "wards", "--root", there)
    steps = all_work(said, paste)
    assert len(steps) == (2 if lacking else 3)
    assert all("--dataset wards" in step and f"--root '{there}'" in step for step in steps)


def test_without_labels_it_is_looked_at(there, tmp_path, cxremb, paste):
    whole = wards(tmp_path / "films")
    bare = replace(whole, label_sets=[], studies=[replace(one, labels={}) for one in whole.studies])
    add_collection(bare, there)
    for modality in ("text", "image"):
        said = cxremb("embed", "--model", TINY[modality], "--dataset", "wards", "--root", there)
        steps = steps_of(said)
        assert not any("train" in step or "ablate" in step for step in steps)
        assert paste(steps[-1]).code == 0
    made = cxremb("data", "label", "odd", "--dataset", "wards", "--root", there, "--sql", ODD)
    assert made.code == 0, made.err
    steps = [line.removeprefix("next").strip() for line in made.out.splitlines() if "cxremb " in line]
    assert [step.split()[1] for step in steps] == ["train", "ablate"]
    assert all(paste(step).code == 0 for step in steps)


ODD = """select study_id, 'odd' as label, cast(study_id as int) % 2 as value from studies where dataset = 'wards'"""


def test_another_label_set_is_named_where_it_is_not_the_usual_one(there, tmp_path, cxremb, paste):
    dataset = add_collection(wards(tmp_path / "films"), there).dataset
    for model in TINY.values():
        cxremb("embed", "--model", model, "--dataset", "wards", "--root", there)
    made = cxremb("data", "label", "odd", "--dataset", "wards", "--root", there, "--sql", ODD)
    steps = [line.removeprefix("next").strip() for line in made.out.splitlines() if "cxremb " in line]
    assert all("--label-set odd" in step for step in steps)
    assert all(paste(step).code == 0 for step in steps)
    split = cxremb("data", "split", "own", "--label-set", "odd", "--dataset", "wards", "--root", there)
    assert all("--label-set odd --split own" in step for step in all_work(split, paste))
    assert open_dataset(there, "wards").name == dataset.name


def test_hints_name_the_data_set_and_the_root(there, tmp_path, cxremb, paste):
    add_collection(wards(tmp_path / "films"), there)
    where = ("--dataset", "wards", "--root", there)
    for step in follow(("train", "fusion", *where), cxremb, paste):
        assert "--dataset wards" in step
    assert cxremb("train", "fusion", *where).code == 0


def follow(words, cxremb, paste) -> Iterator[str]:
    """The commands in the hints of a call that fails, each run, until it does not fail or hints at nothing more."""
    for _ in range(4):
        said = cxremb(*words)
        if said.code == 0:
            return
        hint = said.err.partition("hint:")[2]
        steps = [f"cxremb {step}" for step in hint.split("`cxremb ")[1:]]
        assert steps, said.err
        for step in (step.partition("`")[0] for step in steps):
            assert paste(step).code == 0, step
            yield step
    raise AssertionError("it went round")


def test_a_run_s_own_data_set_is_named(there, cxremb, paste):
    plant(there, Planted(studies=120, image=1.0, text=1.5), name="planted")
    where = ("--dataset", "planted", "--root", there)
    said = cxremb("ablate", *where)
    assert said.code == 0, said.err
    asked = next(line for line in said.out.splitlines() if line.startswith("Ask: "))
    assert paste(asked.removeprefix("Ask: ")).code == 0
    shown = cxremb("train", "text", *where)
    asked = next(line for line in shown.out.splitlines() if line.startswith("Ask: "))
    assert paste(asked.removeprefix("Ask: ")).code == 0


def test_vectors_of_tiny_networks_do_not_become_the_usual_ones(tmp_path, cxremb):
    dataset: Dataset = plant(tmp_path, Planted(studies=120, image=1.0, text=1.5))
    chosen = cxremb("train", "text", "--root", tmp_path, "--format", "json")
    made = cxremb("embed", "--model", "tiny_text", "--root", tmp_path)
    assert made.code == 0, made.err
    assert cxremb("train", "text", "--root", tmp_path, "--format", "json").out.count('"reused": true') == 1
    assert chosen.code == 0
    assert dataset.name == "planted"


WORDS = ("--label-set", "normal_abnormal", "--text", "findings", "--epochs", "2")


def reworded(whole):
    """The same collection with other findings in five studies."""
    studies = [
        replace(study, sections={**study.sections, "findings": f"Other words {place}."}) if place < 5 else study
        for place, study in enumerate(whole.studies)
    ]
    return replace(whole, studies=studies)


def one_line(said) -> str:
    return " ".join((said.out + said.err).replace("\\\n", "").split())


def commands(said) -> list[str]:
    """The commands in backquotes."""
    return re.findall(r"`(cxremb [^`]+)`", one_line(said))


def test_what_is_behind_names_the_commands_that_mend_it(there, tmp_path, cxremb, paste):
    whole = wards(tmp_path / "films")
    added = add_collection(whole, there)
    assert renewal(added) == []  # no store yet
    where = ("--dataset", "wards", "--root", there)
    tail = f"--dataset wards --root '{there}'"
    for model in ("tiny", "tiny_text"):
        assert cxremb("embed", "--model", model, *where).code == 0
    made = cxremb("align", "--dim", "4", "--epochs", "2", "--text", "findings", *where)
    assert made.code == 0, made.err
    assert "(tiny)" in by_check(audit(added.dataset, pixels=False))["embedding neighbours"].measured  # align is newer
    assert "align" not in cxremb("refresh", *where).err
    assert renewal(add_collection(whole, there)) == []  # nothing changed

    refresh = f"cxremb refresh {tail}"
    assert renewal(add_collection(reworded(whole), there)) == [refresh]
    assert renewal(add_collection(reworded(whole), there)) == []

    trained = cxremb("train", "text", *WORDS, *where)
    assert trained.code == 0, trained.err
    for said in (trained, cxremb("runs", "ls", "--root", there)):
        (mend,) = {one for one in commands(said) if "refresh" in one}
        assert mend.startswith("cxremb refresh --model tiny_text@")
        assert mend.endswith(tail)
    assert paste(mend).code == 0

    done = cxremb("refresh", *where)
    assert done.code == 0, done.err
    assert re.search(r"align_text@\w+: stale", one_line(done))
    assert "align_image@" not in done.err  # no film is another one
    assert commands(done)[-1] == f"cxremb align {tail}"
    damaged = open_store(added.dataset, "tiny").part_paths[0]
    whole_part = damaged.read_bytes()
    damaged.write_bytes(whole_part[:-100])
    assert renewal(add_collection(whole, there)) == [f"cxremb store check {tail}"]
    damaged.write_bytes(whole_part)
    refused = cxremb("refresh", "--model", "align_image", *where)
    assert (refused.code, commands(refused)) == (1, [f"cxremb align {tail}"])


def test_what_check_notes_is_freed_in_the_data_set_and_root_that_were_checked(there, tmp_path, cxremb, paste):
    whole = wards(tmp_path / "films")
    add_collection(whole, there)
    add_collection(reworded(whole), there)
    said = cxremb("store", "check", "--root", there)
    assert "1 table of before" in one_line(said)
    assert one_line(said).endswith("0 stores, 0 rows, 0 runs checked: 0 wrong, 1 note")
    assert commands(said) == [f"cxremb store gc --yes --dataset wards --root '{there}'"]
    assert paste(commands(said)[0]).code == 0
    assert "0 notes" in cxremb("store", "check", "--root", there).out


def test_reports_of_one_piece_are_named(there: Path, tmp_path: Path, paste) -> None:
    """As those of PadChest: neither findings nor an impression, which commands read where nobody names a text."""
    whole = wards(tmp_path / "films")
    renamed = [replace(study, sections={"report": " ".join(study.sections.values())}) for study in whole.studies]
    added = paste_of(whole, renamed, there)
    done = paste(f"cxremb embed --model tiny_text --root '{there}' --dataset {added.name}")
    steps = all_work(done, paste)
    assert [step for step in steps if "train text" in step or "--text-only" in step]
    assert all("--text report" in step for step in steps if "train" in step or "ablate" in step)


def paste_of(collection: Collection, studies: list[Study], root: Path) -> Dataset:
    """The data set of other studies, without films."""
    return add_collection(replace(collection, studies=studies, images=[], name="whole"), root).dataset
