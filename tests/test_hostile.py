"""What somebody else made, keys and sums right: `store check` names it, commands refuse it, and it reaches nothing."""

import hashlib
import json
import pickle
import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import collection

import cxremb
from cxremb.catalog import add_collection
from cxremb.embedding.job import embed
from cxremb.embedding.start import run
from cxremb.encoders.base import Machine, What, load_encoder
from cxremb.store.dataset import open_dataset
from cxremb.store.manifest import Recipe

HERE = Machine(workers=1)
SQL = "x\" AS SELECT 1; COPY (SELECT 42) TO '{outside}/written.csv'; CREATE VIEW \"y"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store root with a store of films, as it should be."""
    folder = tmp_path_factory.mktemp("made")
    data = add_collection(collection(folder / "films", n=12), folder / "root").dataset
    run(data, What("tiny"), HERE)
    return folder / "root"


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of the root, beside it what must not change, and code in the current folder."""
    shutil.copytree(made, tmp_path / "root")
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    store = next((made / "small" / "embeddings").iterdir())
    shutil.copy(next(store.glob("part-*")), outside / "part-1.parquet")
    (outside / "deep" / "notes.txt").write_text("mine")
    (outside / "evil.py").write_text(f"open({str(outside / 'ran')!r}, 'w')\ndef load(*args): ...\n")
    monkeypatch.chdir(outside)
    return tmp_path


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def store_of(place: Path) -> Path:
    return next((place / "root" / "small" / "embeddings").glob("*@*"))


def rewrite(place: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """The manifest with a change, its key and folder made right again."""
    folder = store_of(place)
    path = folder / "000001.json"
    found = json.loads(path.read_text())
    change(found)
    recipe = found["recipe"]
    found["key"] = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
    found["store"] = f"{recipe['encoder']}@{found['key'][:12]}"
    path.write_text(json.dumps(found))
    folder.rename(folder.parent / found["store"].replace("/", "_"))


def changed(**fields: Any) -> Callable[[dict[str, Any]], None]:
    """Fields by their path: part_file of `parts[0].file`."""

    def change(found: dict[str, Any]) -> None:
        for name, value in fields.items():
            where, _, field = name.partition("__")
            target = {"part": found["parts"][0], "recipe": found["recipe"], "about": found["provenance"]}.get(
                where, found
            )
            target[field or name] = value

    return change


REACH = {
    "a part above": changed(part__file="../../../../outside/part-1.parquet"),
    "a part anywhere": changed(part__file="/etc/hostname"),
    "failures above": changed(failures="../../../../outside/deep/notes.txt"),
    "SQL as an encoder": changed(recipe__encoder=SQL),
    "a path as an encoder": changed(recipe__encoder="x/../../../../outside/x"),
    "a path as a pooling": changed(recipe__poolings=["../../../../../outside/x"]),
    "patients above": changed(about__trained_on="../../../../outside/part-1.parquet"),
    "a projection above": changed(about__projection="../../../../outside/x.safetensors"),
    "a shell in a model": changed(about__encode={"model": "tiny; touch ran", "weights": None}),
    "a terminal's commands": changed(licence="\x1b]0;owned\x07"),
    "a word for a number": changed(asked="24"),
    "a list for a text": changed(licence=["MIT"]),
    "a number for a moment": changed(created="2026-99-99T00:00:00"),
    "no dimension": changed(recipe__dim=0),
    "too many dimensions": changed(recipe__dim=2**31),
    "another dimension": changed(recipe__dim=64),
    "a way with texts": changed(recipe__input={"xxxx": {"way": "x'; --"}}),
    "seconds in words": changed(about__seconds={"forward": "long"}),
    "one field more": changed(surprise=1),
    "another number": changed(version=7),
}
COMMANDS = ("store ls", "store show {store}", "store gc --yes", "refresh", "train image", "sql 'from embeddings'")


@pytest.mark.parametrize("what", REACH)
def test_a_store_that_reaches_out_is_named_and_refused(place: Path, cxremb: Any, what: str) -> None:
    rewrite(place, REACH[what])
    if what == "SQL as an encoder":
        rewrite(place, changed(recipe__encoder=SQL.format(outside=place / "outside")))
    before, root = snapshot(place / "outside"), ["--root", place / "root"]
    named = cxremb("store", "check", *root)
    assert named.code == 1
    assert "WRONG" in named.out
    assert store_of(place).name.partition("@")[0].splitlines()[0][:4] in named.out
    for words in COMMANDS if what != "another dimension" else ("train image",):  # who reads no vector does not see it
        done = cxremb(*shlex.split(words.format(store=shlex.quote(store_of(place).name))), *root)
        assert (done.code, "Traceback" in done.err) == (1, False), (words, done.out, done.err)
        assert "\x1b" not in done.out + done.err
    assert snapshot(place / "outside") == before
    gone = cxremb("store", "rm", store_of(place).name, "--yes", *root)
    assert (gone.code, [*(place / "root" / "small" / "embeddings").iterdir()]) == (0, []), gone.err
    assert snapshot(place / "outside") == before
    assert cxremb("store", "check", *root).code == 0
    assert embed(open_dataset(place / "root"), load_encoder(What("tiny"))).store.rows == 24


LINKS = {
    "a part": "embeddings/{store}/part-0.parquet",
    "a lock": "embeddings/{store}/.lock",
    "a store": "embeddings/tiny@0123456789ab",
    "the cache": "cache",
    "a cache": "cache/vectors/tiny",
    "splits": "splits",
}


@pytest.mark.parametrize("what", LINKS)
def test_links_that_lead_out_are_named_and_refused(place: Path, cxremb: Any, what: str) -> None:
    path = place / "root" / "small" / LINKS[what].format(store=store_of(place).name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(
        place / "outside" / ("new" if what == "a lock" else "part-1.parquet" if what == "a part" else "deep")
    )
    before, root = snapshot(place / "outside"), ["--root", place / "root"]
    named = cxremb("store", "check", *root)
    assert named.code == 1
    assert f"{path}: a link that leads out" in named.out
    for words in ("embed --model tiny", "store gc --yes", "train image", "store rm tiny --yes"):
        done = cxremb(*words.split(), *root)
        assert "Traceback" not in done.err
        assert done.code == 1 or what in {"a part", "a lock"}, (words, done.out)
    assert snapshot(place / "outside") == before


DESCRIPTORS: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "a table above": lambda found: found["tables"]["labels"].update(file="../../outside/part-1.parquet"),
    "a table of another name": lambda found: found["tables"]["labels"].update(file="labels-000000000000.parquet"),
    "a digest that is none": lambda found: found["tables"]["labels"].update(sha256="../x"),
    "a label set by a path": lambda found: found["label_sets"].update({"../x": found["label_sets"]["mesh"]}),
    "a yes in words": lambda found: found.update(simulated="no"),
    "a table that is not there": lambda found: found["tables"].pop("images"),
    "a terminal's commands": lambda found: found.update(citation="\x1b[2J"),
    "notes that are none": lambda found: found.update(notes=["x"]),
}


@pytest.mark.parametrize("what", DESCRIPTORS)
def test_a_description_that_is_not_ours_is_named_and_refused(place: Path, cxremb: Any, what: str) -> None:
    path = place / "root" / "small" / "dataset.json"
    found = json.loads(path.read_text())
    DESCRIPTORS[what](found)
    path.write_text(json.dumps(found))
    before, root = snapshot(place), ["--root", place / "root"]
    named = cxremb("store", "check", *root)
    assert (named.code, "not as cxremb writes it" in named.out) == (1, True), named.out
    for words in (*COMMANDS, "data ls", "data show", "embed --model tiny"):
        done = cxremb(*shlex.split(words.format(store="tiny")), *root)
        assert (done.code, "Traceback" in done.err, "\x1b" in done.err) == (1, False, False), (words, done.err)
    assert snapshot(place) == before


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("ran", "w")


@pytest.mark.parametrize("kind", ["function", "pickle", "folder", "other", "absent"])
def test_code_that_a_store_names_is_not_run(place: Path, cxremb: Any, kind: str) -> None:
    outside = place / "outside"
    (outside / "w.pth").write_bytes(pickle.dumps({"x": Evil()}))
    (outside / "other.safetensors").write_bytes(b"not what the store was made with")
    (outside / "hub").mkdir()
    shutil.copy(outside / "w.pth", outside / "hub" / "pytorch_model.bin")
    model, file = {
        "function": ("evil:load", None),
        "pickle": ("efficientnet_b0", "w.pth"),
        "folder": ("biobert", "hub"),
        "other": ("efficientnet_b0", "other.safetensors"),
        "absent": ("efficientnet_b0", "none.safetensors"),
    }[kind]
    weights = file and str(outside / file)
    asked = {"model": model, "weights": weights, "aspect": "squash", "scaled_jpeg": False, "precision": "full"}
    rewrite(place, changed(about__encode=asked))
    before, root = snapshot(outside), ["--root", place / "root"]
    checked = cxremb("store", "check", *root)
    assert checked.code == 0
    assert ("made with" in checked.out) == (kind in {"function", "pickle"})
    for words in ("refresh", "refresh --model tiny --finetune --label-set normal_abnormal"):
        done = cxremb(*words.split(), *root)
        assert (done.code, "Traceback" in done.err) == (1, False), done.err
    refused = cxremb("refresh", *root).err
    assert f"if you trust it, name it: `cxremb embed --model {model}" in refused.replace("\n", " ")
    assert snapshot(outside) == before


def test_weights_that_are_the_ones_are_opened_again(place: Path, cxremb: Any, tmp_path: Path) -> None:
    """Safetensors with the digest that the manifest says: no word of the store is needed beside it."""
    import timm
    from safetensors.torch import save_file

    net = timm.create_model("efficientnet_b0", pretrained=False, num_classes=0)
    save_file(net.state_dict(), tmp_path / "own.safetensors")
    root = ["--root", place / "root"]
    assert cxremb("embed", "--model", "efficientnet_b0", "--weights", tmp_path / "own.safetensors", *root).code == 0
    assert "nothing to do" in cxremb("refresh", "--model", "efficientnet_b0", *root).out


def parts_that_are_none(table: pa.Table) -> dict[str, bytes | pa.Table]:
    return {
        "no Parquet": b"PAR1 is not all",
        "no vectors": table.drop_columns("embedding"),
        "texts for vectors": table.set_column(5, "embedding", pa.array(["x"] * table.num_rows)),
        "numbers for ids": table.set_column(0, "item_id", pa.array(range(table.num_rows))),
    }


@pytest.mark.parametrize("what", ["no Parquet", "no vectors", "texts for vectors", "numbers for ids"])
def test_a_part_with_the_right_sum_and_other_columns(place: Path, cxremb: Any, what: str) -> None:
    (part,) = store_of(place).glob("part-*")
    content = parts_that_are_none(pq.read_table(part))[what]
    if isinstance(content, bytes):
        part.write_bytes(content)
    else:
        pq.write_table(content, part)
    sums = {"part__sha256": hashlib.sha256(part.read_bytes()).hexdigest(), "part__size_bytes": part.stat().st_size}
    rewrite(place, changed(**sums))
    root = ["--root", place / "root"]
    assert cxremb("store", "check", *root).code == 1
    done = cxremb("train", "image", *root)
    assert (done.code, "Traceback" in done.err) == (1, False), done.err


RUNS: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "an id above": lambda found: found.update(run_id="../../../outside"),
    "another id": lambda found: found.update(run_id="20261126T205339-00000000"),
    "a terminal's commands": lambda found: found.update(note="\x1b[2J"),
    "a text for a list": lambda found: found.update(labels="abnormal"),
    "a number for a text": lambda found: found.update(label=1),
    "members that are none": lambda found: found.update(members=[1]),
}


@pytest.mark.parametrize("what", RUNS)
def test_a_run_that_is_not_ours_is_named_and_refused(tmp_path: Path, cxremb: Any, what: str) -> None:
    root = Path(shutil.copytree(Path(__file__).parent / "golden" / "format1", tmp_path / "root"))
    assert cxremb("store", "check", "--root", root).code == 0
    path = sorted((root / "golden" / "runs").glob("*/run.json"))[0]
    found = json.loads(path.read_text())
    RUNS[what](found)
    path.write_text(json.dumps(found))
    named = cxremb("store", "check", "--root", root)
    assert (named.code, f"WRONG {path}" in named.out, "1 wrong" in named.out) == (1, True, True), named.out
    for words in ("runs ls", f"runs show {path.parent.name}", f"evaluate {path.parent.name}"):
        done = cxremb(*words.split(), "--root", root)
        assert (done.code, "Traceback" in done.err, "\x1b" in done.err) == (1, False, False), (words, done.err)


def test_a_recipe_is_what_its_key_says() -> None:
    """The test's own way of making keys right is the one that is checked."""
    recipe = Recipe("x", "x", "0" * 64, "image", 2, ("avg",), {}, "full")
    assert recipe.store == f"x@{recipe.key[:12]}"


def test_no_network_of_others_is_read_as_onnx() -> None:
    """A file of ONNX may name other files to read. The one call that opens such a file is for what `export` wrote."""
    readers = re.compile(r"InferenceSession\(|onnx\.load|read_model\(|import_model\(|hub\.load\(|jit\.load\(")
    source = Path(cxremb.__file__).parent
    found = {path.relative_to(source).as_posix(): readers.findall(path.read_text()) for path in source.rglob("*.py")}
    assert {name: calls for name, calls in found.items() if calls} == {"export/write.py": ["InferenceSession("]}
