"""What an error tells the user to type can be typed, and fits this machine and this data set."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Result, collection, save_film
from planted import FOUND, Planted, plant

from cxremb.api.runs import ablate
from cxremb.catalog import add_collection
from cxremb.embedding.choose import choose_stores
from cxremb.encoders import weights as listing
from cxremb.encoders.state import read_state
from cxremb.encoders.table import find_spec
from cxremb.errors import (
    WORDS,
    CxrembError,
    DataError,
    EncoderError,
    StoreError,
    TrainError,
    did_you_mean,
    name_list,
    reason,
)
from cxremb.features import Inputs, load_features
from cxremb.labels import read_labels
from cxremb.splits import stored_split
from cxremb.splits.choose import find_split
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.reader import open_store
from cxremb.training.fit import FitJob, fit_run
from cxremb.training.heads import HEADS, find_head
from cxremb.training.options import Options
from cxremb.training.plan import Plan
from cxremb.training.presets import find_preset
from cxremb.training.runs import list_runs, open_run

NO_MODEL = {"image": None, "text": None}


@pytest.mark.parametrize(
    ("given", "near"),
    [("minllm", "minilm"), ("MiniLM", "minilm"), ("Cardiomgaly", "Cardiomegaly"), ("zebra", ""), ("", "")],
)
def test_the_nearest_name(given: str, near: str) -> None:
    assert did_you_mean(given, ["Cardiomegaly", "minilm", "mpnet"]) == (f"did you mean {near}? " if near else "")


def test_a_list_that_is_cut_says_so_and_names_with_commas_stay_apart() -> None:
    assert name_list(["a", "b"]) == name_list(["a", "b"], 2) == "a, b"
    assert name_list([str(n) for n in range(12)], 2) == "0, 1 and 10 more"
    assert name_list(["Opacity, lung", "Nodule"]) == "Opacity, lung; Nodule"
    assert name_list([]) == ""


def test_a_long_reason_ends_with_a_whole_word() -> None:
    assert reason(ValueError("short\nand more")) == "short"
    assert reason(KeyError()) == "KeyError"
    told = reason(ValueError("seven77 " * 60))
    assert told == "seven77 " * (len(told.removesuffix("...")) // 8) + "..."
    assert WORDS - 8 < len(told) <= WORDS + 4


def test_a_file_that_holds_no_weights_says_why_in_whole_words(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"not a file of weights")
    with pytest.raises(EncoderError) as caught:
        read_state(path)
    told = str(caught.value).rpartition(" (")[2].removesuffix(")")
    whole = str(caught.value.__cause__).splitlines()[0]
    assert set(told.removesuffix(" ...").split()) <= set(whole.split())


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return plant(tmp_path_factory.mktemp("hints"), Planted(studies=300, image=1.0, text=1.5, kinds=2.0))


def test_a_name_that_is_nearly_right_is_told(planted: Dataset) -> None:
    root, name = planted.paths.root, planted.name
    stored = next(planted.paths.embeddings.glob("*@*")).name
    for ask, near in (
        (lambda: find_spec("minllm"), "minilm"),
        (lambda: open_dataset(root, name[:-1] + "x"), name),
        (lambda: open_store(planted, stored[:-1]), stored),
        (lambda: find_head("fusoin"), "fusion"),
        (lambda: find_preset("defualt"), "default"),
        (lambda: read_labels(planted, "normal_abnorml"), "normal_abnormal"),
        (lambda: find_split(planted, "normal_abnormal", "patient-5-fold"), "patient-5fold"),
    ):
        with pytest.raises(CxrembError) as caught:
            ask()
        assert f"{caught.value.hint} ".startswith(f"did you mean {near}? ")


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("lin", "did you mean linear, linear-image, linear-text? choose one of fusion, image"),
        ("Atten", "did you mean attention, attention-image? "),
        ("linaer-text", "did you mean linear-text? "),
        ("zebra", "choose one of fusion, image"),
        ("", "choose one of fusion, image"),
    ],
)
def test_an_unknown_head_names_those_that_begin_so(given: str, hint: str) -> None:
    with pytest.raises(TrainError) as caught:
        find_head(given)
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize(("there", "lacking"), [("image", "text"), ("text", "image")])
@pytest.mark.parametrize("head", ["linear", "attention", "fusion"])
def test_a_head_of_both_names_the_one_of_what_is_there(
    tmp_path: Path, cxremb: object, there: str, lacking: str, head: str
) -> None:
    root = plant(tmp_path, Planted(studies=60, image=1.0, text=1.0), modalities=(there,)).paths.root
    said: Result = cxremb("train", head, "--root", root)  # type: ignore[operator]
    assert (said.code, f"planted has no {lacking} store yet" in said.err) == (1, True)
    near = f"{head}-{there}" in HEADS
    words = " ".join(said.err.split())
    assert (f"; or train on what is there: `cxremb train {head}-{there} --root {root}`" in words) == near
    assert ("or train" in words) == near


def test_runs_of_controls_are_named_last(tmp_path: Path) -> None:
    dataset = plant(tmp_path, Planted(studies=60, image=1.0, text=1.5))
    found = ablate("text", alone=True, dataset=dataset.name, root=dataset.paths.root)
    controls = [run for run in list_runs(dataset) if run.record.is_control]
    assert controls
    with pytest.raises(StoreError) as caught:
        open_run("nothing", dataset)
    listed = re.findall(r"\S+ \(", str(caught.value))
    assert listed[0] == f"{found.rows[0].run_id} ("
    with pytest.raises(StoreError) as caught:
        open_run("2", dataset)
    assert re.findall(r"\S+ \(", str(caught.value)) == listed


def test_an_unknown_label_and_an_unknown_run(planted: Dataset) -> None:
    split = stored_split(planted, "found")
    features = load_features(planted, ("text",), Inputs("found"))
    runs = [
        fit_run(FitJob(planted, features, split, Plan("text", options=Options(epochs=1), folds=(0,), seeds=(seed,))))
        for seed in range(11)
    ]
    with pytest.raises(DataError, match="has no label 'nodul'") as caught:
        runs[0].predictions().of_label("nodul")
    assert caught.value.hint == f"did you mean nodule? name one with --label: {', '.join(FOUND)}"
    with pytest.raises(StoreError, match=r"no run 'nothing'; there is .* and 1 more"):
        open_run("nothing", planted)


def test_a_label_set_is_named_as_it_is_typed(small: Dataset) -> None:
    with pytest.raises(DataError) as caught:
        read_labels(small, "modality")
    assert caught.value.hint.startswith("say --label-set normal_abnormal or ")
    descriptor = {**small.descriptor, "label_sets": {"kind": small.descriptor["label_sets"]["normal_abnormal"]}}
    with pytest.raises(DataError) as caught:
        read_labels(replace(small, descriptor=descriptor), "normal_abnormal")
    assert caught.value.hint == "say --label-set kind"


def test_the_encoder_of_a_hint_has_its_weights_here(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"minilm": "package", "mpnet": "cache", "densenet121": "cache", "tiny": "built in", "tiny_text": "built in"}
    names = {id(spec): name for name, spec in listing.ENCODERS.items()}
    monkeypatch.setattr(listing, "local_source", lambda spec: here.get(names[id(spec)], ""))
    assert (listing.suggested("image"), listing.suggested("text")) == ("densenet121", "minilm")
    with pytest.raises(StoreError) as caught:
        choose_stores(small, ("text",), NO_MODEL)
    assert caught.value.hint == "run `cxremb embed --model minilm`"
    here["biobert"] = "cache"
    assert listing.suggested("text") == "biobert"  # the usual one comes first
    here.clear()
    assert (listing.suggested("image"), listing.suggested("text")) == ("efficientnet_b1", "biobert")


def test_a_hint_imports_no_torch() -> None:
    script = (
        "import sys\nfrom cxremb.encoders.weights import suggested\nsuggested('image'), suggested('text')\n"
        "assert not {'torch', 'timm', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("lacking", "words"), [("text", "--image-only"), ("image", "--text-only")])
def test_a_data_set_without_a_modality_is_not_told_to_embed_it(
    tmp_path: Path, cxremb: object, lacking: str, words: str
) -> None:
    dataset = add_collection(without(collection(tmp_path / "films"), lacking), tmp_path / "root").dataset
    with pytest.raises(StoreError) as caught:
        choose_stores(dataset, (lacking,), NO_MODEL)
    assert words in caught.value.hint
    assert "embed" not in caught.value.hint
    model = {"text": "tiny", "image": "tiny_text"}[lacking]
    root = dataset.paths.root
    said: Result = cxremb("embed", "--model", model, "--root", root)  # type: ignore[operator]
    other = {"text": "image", "image": "text"}[lacking]
    steps = f"cxremb train {other} --root {root}", f"cxremb ablate --{other}-only --root {root}"
    assert steps_of(said) == list(steps)


def steps_of(said: Result) -> list[str]:
    """The commands that are to be typed next, one a line."""
    return [line.strip() for line in said.out.rpartition("next: ")[2].splitlines()]


def without(whole, modality: str):
    """The collection less its reports, or less its films."""
    if modality == "image":
        return replace(whole, images=[replace(image, path=None) for image in whole.images])
    return replace(whole, studies=[replace(study, sections={}) for study in whole.studies])


def test_what_embed_says_is_next_follows_what_is_there(small: Dataset, cxremb: object) -> None:
    def after(*words: object) -> list[str]:
        said: Result = cxremb("embed", *words, "--root", small.paths.root)  # type: ignore[operator]
        return [step.removesuffix(f" --root {small.paths.root}") for step in steps_of(said)]

    both = ["cxremb train fusion", "cxremb ablate"]
    assert after("--model", "tiny") == [f"cxremb embed --model {listing.suggested('text')}", *both]
    assert after("--model", "tiny_text") == both


@pytest.mark.parametrize("finish", ["mend", "remove"])
def test_a_film_that_is_not_as_it_was_added_says_what_to_do(small: Dataset, cxremb: object, finish: str) -> None:
    path = Path(small.images["path"][3].as_py())
    save_film(path, 99) if finish == "mend" else path.unlink()
    said: Result = cxremb("embed", "--model", "tiny", "--root", small.paths.root)  # type: ignore[operator]
    again = f"Run their `cxremb data add` again, then `cxremb refresh --root {small.paths.root}`"
    assert again in " ".join(said.out.split())


def test_no_word_of_adding_again_where_it_would_not_help(small: Dataset, cxremb: object) -> None:
    said: Result = cxremb("embed", "--model", "tiny", "--root", small.paths.root)  # type: ignore[operator]
    assert "data add" not in said.out


def test_too_few_films_says_how_many_and_what_needs_none(planted: Dataset) -> None:
    features = load_features(planted, ("image", "text"))
    few = replace(features.take(slice(0, 4)), left_out={"no image embedding": 396})
    with pytest.raises(TrainError, match="396 rows left out: no image embedding") as caught:
        fit_run(FitJob(planted, few, stored_split(planted, "normal_abnormal"), Plan("linear")))
    assert "--alone" in caught.value.hint
    assert "linear-text" in caught.value.hint
    words = load_features(planted, ("text",)).take(slice(0, 4))
    with pytest.raises(TrainError) as caught:
        fit_run(FitJob(planted, words, stored_split(planted, "normal_abnormal"), Plan("text")))
    assert caught.value.hint == "embed more of the data set"


@pytest.mark.parametrize("option", [("--learning-rate", "1e9"), ("--epochs", "3"), ("--precision", "fp32")])
def test_a_linear_head_refuses_what_it_would_ignore(planted: Dataset, cxremb: object, option: tuple[str, str]) -> None:
    said: Result = cxremb("train", "linear-text", *option, "--root", planted.paths.root)  # type: ignore[operator]
    assert said.code == 1
    assert f"hint:  leave {option[0]} out" in said.err


def test_an_option_of_another_command_says_what_there_is(cxremb) -> None:
    said = cxremb("evaluate", "0a1b2c3d", "--threshold", "0.3")
    assert said.code == 2
    words = " ".join(said.err.replace("│", " ").split())
    assert "No such option: --threshold. `cxremb evaluate RUN` shows what thresholds do" in words
    assert "`cxremb ablate --threshold val` compares arms at them" in words
