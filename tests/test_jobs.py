"""`cxremb embed` and `refresh` as a user types them: job files, previews, shares, and what is refused."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
from conftest import Result, collection, save_film
from huggingface_hub import constants
from tiny_towers import save_towers

from cxremb import images
from cxremb.catalog import add_collection
from cxremb.embedding import start
from cxremb.embedding.asked import what_of
from cxremb.embedding.jobfile import read_job
from cxremb.embedding.plan import Item
from cxremb.embedding.start import seconds_each
from cxremb.encoders import machine
from cxremb.encoders.base import Machine, What
from cxremb.encoders.table import ENCODERS, find_spec
from cxremb.errors import DataError
from cxremb.images import Frame, decode_file, resize
from cxremb.store.dataset import Dataset
from cxremb.store.files import sha256_of
from cxremb.store.manifest import manifest_paths
from cxremb.store.reader import Store, list_stores, open_store
from cxremb.store.sql import query

JOBS = Path(__file__).parent.parent / "embed_jobs"


def run(cxremb: object, dataset: Dataset, *words: object) -> Result:
    result: Result = cxremb(*words, "--root", dataset.paths.root)  # type: ignore[operator]
    return result


@pytest.mark.parametrize("path", sorted(JOBS.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_jobs_are_understood(path: Path) -> None:
    dataset, whats = read_job(path)
    assert dataset
    assert whats


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "asks for nothing"),
        ("[[encode]]\naspect = 'pad'", "names no model"),
        ("[[encode]]\nmodel = 'tiny'\ncrop = 0.9", r"unknown key 'crop'"),
        ("data = 'x'\n[[encode]]\nmodel = 'tiny'", r"unknown key 'data'"),
        ("[[encode]]\nmodel = 'tiny'\nscaled_jpeg = 'yes'", "scaled_jpeg is a str"),
        ("[[encode]]\nmodel = 'tiny'\naspect = 'stretch'", "aspect = 'stretch'"),
        ("[[encode]\nmodel", "not a TOML file"),
    ],
)
def test_a_job_that_is_not_understood(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "job.toml").write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        read_job(tmp_path / "job.toml")
    assert "job.toml" in str(caught.value)
    assert caught.value.hint


def test_a_job_is_run(small: Dataset, tmp_path: Path, cxremb: object) -> None:
    path = tmp_path / "job.toml"
    path.write_text("dataset = 'small'\n[[encode]]\nmodel = 'tiny'\naspect = 'pad'\n[[encode]]\nmodel = 'tiny_text'\n")
    assert run(cxremb, small, "embed", "--job", path).code == 0
    assert {store.encoder for store in list_stores(small)} == {"tiny", "tiny_text"}
    assert open_store(small, "tiny").manifest.recipe.input["aspect"] == "pad"
    again = run(cxremb, small, "embed", "--job", path)
    assert again.out.count("nothing to do") == 2
    told = json.loads(run(cxremb, small, "embed", "--job", path, "--format", "json").out)
    assert [one["store"].partition("@")[0] for one in told] == ["tiny", "tiny_text"]
    assert read_job(path)[1][0] == What("tiny", aspect="pad")


def test_a_job_goes_on_past_a_store_that_fails(tmp_path: Path, cxremb: object) -> None:
    whole = collection(tmp_path / "films")
    bare = replace(whole, studies=[replace(study, sections={}) for study in whole.studies])
    dataset = add_collection(bare, tmp_path / "root").dataset
    path = tmp_path / "job.toml"
    path.write_text("[[encode]]\nmodel = 'tiny_text'\n[[encode]]\nmodel = 'tiny'\n")
    done = run(cxremb, dataset, "embed", "--job", path)
    assert (done.code, [store.encoder for store in list_stores(dataset)]) == (1, ["tiny"])
    assert "24 asked = 0 re-used + 24 new" in " ".join(done.out.split())
    *_, error, hint = done.err.splitlines()
    assert error.startswith("tiny_text, no store: ")
    assert hint.strip()
    again = run(cxremb, dataset, "embed", "--job", path, "--format", "json")
    failed, kept = json.loads(again.out)
    assert (again.code, failed["model"], kept["store"].partition("@")[0]) == (1, "tiny_text", "tiny")
    assert error == f"tiny_text, no store: {failed['error']}"
    path.write_text("[[encode]]\nmodel = 'tiny'\n[[encode]]\nmodel = 'unheard_of'\naspect = 'pad'\n")
    early = run(cxremb, dataset, "embed", "--job", path)
    assert (early.code, "unheard_of" in early.err, early.out) == (1, True, "")  # before anything is encoded


def test_weights_are_found_again_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "job.toml").write_text("[[encode]]\nmodel = 'tiny'\nweights = 'own.safetensors'\n")
    monkeypatch.chdir(tmp_path)
    asked = What("tiny", Path("own.safetensors")), *read_job(Path("job.toml"))[1]
    assert {one.weights for one in asked} == {tmp_path / "own.safetensors"}


def test_a_preview_writes_nothing(small: Dataset, cxremb: object) -> None:
    told = json.loads(
        run(cxremb, small, "embed", "--model", "tiny", "--dry-run", "--keep-pixels", "--format", "json").out
    )
    assert (told["asked"], told["reused"], told["todo"], told["contents"]) == (24, 0, 24, 23)
    assert told["store_bytes"] == 24 * 32 * 2
    assert told["cache_bytes"] == 23 * 64 * 64
    assert told["seconds"] > 0
    assert list_stores(small) == []
    assert not list(small.paths.folder.rglob("*.npy"))
    assert run(cxremb, small, "embed", "--model", "tiny").code == 0
    told = json.loads(run(cxremb, small, "embed", "--model", "tiny", "--dry-run", "--format", "json").out)
    assert (told["reused"], told["todo"], told["seconds"]) == (24, 0, None)


def test_a_store_of_an_older_decoder_stays_in_use_and_says_so(
    small: Dataset, monkeypatch: pytest.MonkeyPatch, cxremb: object
) -> None:
    run(cxremb, small, "embed", "--model", "tiny")
    run(cxremb, small, "embed", "--model", "tiny_text")
    old = open_store(small, "tiny")
    assert "older decoder" not in run(cxremb, small, "store", "ls").out
    assert "older decoder" not in run(cxremb, small, "embed", "--model", "tiny", "--dry-run").out
    monkeypatch.setattr(images, "RECIPE", "of tomorrow")
    assert (open_store(small, "tiny").name, old.older_decoder) == (old.name, True)
    listed = " ".join(run(cxremb, small, "store", "ls").out.split())
    assert f"older decoder: {old.name} stays; making it again encodes 24 films" in listed
    assert "cxremb refresh --model tiny --root" in listed
    rows = json.loads(run(cxremb, small, "store", "ls", "--format", "json").out)
    assert {row["store"].partition("@")[0]: row["older_decoder"] for row in rows} == {"tiny": True, "tiny_text": False}
    preview = " ".join(run(cxremb, small, "embed", "--model", "tiny", "--dry-run").out.split())
    assert f"older decoder: {old.name} stays, and is read until this one is made" in preview
    assert "24 to do" in preview
    assert "older decoder" not in run(cxremb, small, "embed", "--model", "tiny", "--aspect", "pad", "--dry-run").out
    before = old.vectors()[1]
    assert run(cxremb, small, "refresh", "--model", "tiny").code == 0
    assert open_store(small, "tiny").name != old.name
    np.testing.assert_array_equal(open_store(small, old.name).vectors()[1], before)


def test_shares_and_their_commit(small: Dataset, cxremb: object) -> None:
    for number in range(3):
        result = run(cxremb, small, "embed", "--model", "tiny", "--shard", f"{number}/3")
        assert "not committed" in result.out
    assert list_stores(small) == []
    told = json.loads(run(cxremb, small, "embed", "--model", "tiny", "--format", "json").out)
    assert (told["reused"], told["encoded"], told["version"]) == (24, 0, 1)


def test_kept_pixels_serve_the_next_encoder(small: Dataset, cxremb: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(cxremb, small, "embed", "--model", "tiny", "--keep-pixels").code == 0
    films = np.concatenate([np.load(path) for path in (small.paths.cache / "pixels").rglob("*.npy")])
    expected = {
        resize(decode_file(Path(path))[0], Frame(64)).tobytes() for path in small.images["path"].to_pylist() if path
    }
    assert {film.tobytes() for film in films} == expected
    first = open_store(small, "tiny")
    plain = dict(zip(*first.vectors(), strict=True))
    shutil.rmtree(first.folder)
    decoded: list[Path] = []
    monkeypatch.setattr("cxremb.images.decode_file", lambda path, frame: decoded.append(path))
    assert run(cxremb, small, "embed", "--model", "tiny").code == 0
    store = open_store(small, "tiny")
    assert store.manifest.provenance["counts"]["films_from_pixel_cache"] == 23
    assert decoded == []
    again = dict(zip(*store.vectors(), strict=True))
    assert again.keys() == plain.keys()
    assert all((again[name] == plain[name]).all() for name in plain)


def test_refresh_does_what_was_what_of(tmp_path: Path, cxremb: object) -> None:
    whole = collection(tmp_path / "films")
    dataset = add_collection(replace(whole, images=whole.images[:20]), tmp_path / "root").dataset
    assert run(cxremb, dataset, "refresh").code == 1  # nothing yet
    assert run(cxremb, dataset, "embed", "--model", "tiny", "--aspect", "crop").code == 0
    assert run(cxremb, dataset, "embed", "--model", "tiny_text").code == 0
    said = run(cxremb, dataset, "refresh").out
    assert (said.count("nothing to do"), said.count("next: ")) == (2, 1)
    told = json.loads(run(cxremb, dataset, "refresh", "--format", "json").out)
    assert [(one["store"].partition("@")[0], one["asked"]) for one in told] == [("tiny_text", 59), ("tiny", 20)]
    assert json.loads(run(cxremb, dataset, "refresh", "--model", "tiny", "--format", "json").out) == {
        **told[1],
        "seconds": ANY,
    }
    save_film(whole.images[0].path, 321)
    dataset = add_collection(whole, tmp_path / "root").dataset
    out = run(cxremb, dataset, "refresh", "--model", "tiny").out
    assert "24 asked = 19 re-used + 5 new" in " ".join(out.split())
    store = open_store(dataset, "tiny")
    assert (store.version, store.manifest.recipe.input["aspect"]) == (2, "crop")
    assert len([store for store in list_stores(dataset) if store.encoder == "tiny"]) == 1


def test_refresh_goes_on_past_a_store_that_has_nothing_to_encode(tmp_path: Path, cxremb: object) -> None:
    """Its films have all left the collection, and it is the newest; the texts have changed."""
    whole = collection(tmp_path / "films")
    dataset = add_collection(whole, tmp_path / "root").dataset
    for model in ("tiny_text", "tiny"):
        assert run(cxremb, dataset, "embed", "--model", model).code == 0
    studies = [replace(study, sections={"findings": f"Other words {study.study_id}."}) for study in whole.studies]
    dataset = add_collection(replace(whole, studies=studies, images=[]), tmp_path / "root").dataset
    done = run(cxremb, dataset, "refresh", "--format", "json")
    first, second = json.loads(done.out)
    assert (done.code, second["store"].partition("@")[0], second["failed"]) == (0, "tiny_text", 0)
    assert first["notes"] == ["small has no films on this machine any more"]
    assert f"{first['store']} stays as it is" in " ".join(done.err.split())
    stale = {row["encoder"]: row["stale"] for row in query(dataset.paths.root, "from stores").to_pylist()}
    assert stale == {"tiny": True, "tiny_text": False}


def test_refresh_goes_on_past_a_store_that_fails(tmp_path: Path, cxremb: object) -> None:
    dataset = add_collection(collection(tmp_path / "films"), tmp_path / "root").dataset
    for model in ("tiny_text", "tiny"):
        assert run(cxremb, dataset, "embed", "--model", model).code == 0
    path = manifest_paths(open_store(dataset, "tiny").folder)[-1]
    told = json.loads(path.read_text())
    del told["provenance"]["encode"]  # as in versions of before
    path.write_text(json.dumps(told))
    done = run(cxremb, dataset, "refresh")
    assert (done.code, done.out.count("nothing to do")) == (1, 1)
    assert "does not say how it was asked for" in " ".join(done.err.split())
    assert "cxremb embed --model tiny" in " ".join(done.err.split())
    assert run(cxremb, dataset, "refresh", "--model", "tiny").code == 1


def test_refresh_keeps_to_what_was_done_and_says_what_differs(
    small: Dataset, monkeypatch: pytest.MonkeyPatch, cxremb: object
) -> None:
    """Older versions tell a precision that was asked for and not had; and a decoder may change under a store."""
    made = start.run(small, What("minilm", precision="bf16"), Machine(workers=1)).store
    path = manifest_paths(made.folder)[-1]
    told = json.loads(path.read_text())
    told["provenance"]["encode"]["precision"] = "full"
    path.write_text(json.dumps(told))
    assert what_of(open_store(small, "minilm")).precision == "half"
    assert "nothing to do" in run(cxremb, small, "refresh", "--device", "cpu").out
    assert [store.name for store in list_stores(small)] == [made.name]

    run(cxremb, small, "embed", "--model", "tiny")
    old = open_store(small, "tiny")
    monkeypatch.setattr(images, "RECIPE", "of tomorrow")
    said = " ".join(run(cxremb, small, "refresh", "--model", "tiny").out.split())
    was = old.manifest.recipe.input["decoder"]
    assert f"a new store: decoder was {was} and is of tomorrow. {old.name} stays" in said


def test_weights_that_changed_on_the_hub_make_a_store_that_is_told(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cxremb: object
) -> None:
    """In the hub's cache, `main` comes to mean other weights. A revision means what it meant."""
    hub = tmp_path / "hub" / "models--lab--little"
    revisions = ["a" * 40, "b" * 40]
    for seed, revision in enumerate(revisions):
        save_towers(hub / "snapshots" / revision, "clip", seed)
    main = hub / "refs" / "main"
    main.parent.mkdir()
    main.write_text(revisions[0])
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setitem(ENCODERS, "little", replace(find_spec("hf:lab/little"), modality="image"))
    assert "new store" not in run(cxremb, small, "embed", "--model", "little").out
    (old,) = list_stores(small)

    main.write_text(revisions[1])
    digests = [sha256_of(hub / "snapshots" / revision / "model.safetensors")[:12] for revision in revisions]
    said = " ".join(run(cxremb, small, "embed", "--model", "little").out.split())
    assert f"a new store: weights_sha256 was {digests[0]}... and is {digests[1]}.... {old.name} stays" in said
    assert [store.manifest.recipe.weights_sha256[:12] for store in list_stores(small)] == digests[::-1]
    assert "nothing to do" in run(cxremb, small, "refresh", "--model", "little").out  # of the newest
    assert open_store(small, old.name).version == 1

    pinned = [run(cxremb, small, "embed", "--model", f"hf:lab/little@{revision}") for revision in revisions]
    assert [done.code for done in pinned] == [0, 0]
    assert [store.manifest.recipe.weights_sha256[:12] for store in list_stores(small)[:2]] == digests[::-1]
    main.write_text("c" * 40)  # which nobody has
    assert "nothing to do" in run(cxremb, small, "embed", "--model", f"hf:lab/little@{revisions[0]}").out
    assert run(cxremb, small, "embed", "--model", "hf:lab/little").code == 1


@pytest.mark.parametrize(("first", "later"), [("bf16", "fp32"), ("fp32", "bf16")])
def test_auto_precision_keeps_to_the_store_that_is_there(
    small: Dataset, monkeypatch: pytest.MonkeyPatch, first: str, later: str
) -> None:
    """It is measured, so another time or another machine may answer otherwise."""
    measured = {"cpu": first}
    monkeypatch.setattr(machine, "measured_precision", lambda device: (measured[device], "the test says so"))
    here, minilm = Machine(workers=1), What("minilm", precision="auto")
    made = start.run(small, minilm, here).store
    assert made.manifest.recipe.precision == ("full" if first == "fp32" else "half")
    measured["cpu"] = later
    again = start.run(small, minilm, here)
    assert (again.store.name, again.changed) == (made.name, False)
    assert start.settle(small, replace(minilm, xxxx="drop"), here)[1].precision == later  # another store
    refreshed = start.run(small, what_of(made), here)  # as it was made, not as a job would ask by default
    assert (refreshed.store.name, refreshed.changed) == (made.name, False)
    assert start.run(small, replace(minilm, precision=later), here).store.name != made.name  # a wish is a wish


def test_readers_agree(small: Dataset, cxremb: object) -> None:
    run(cxremb, small, "embed", "--model", "tiny")
    store = Store.open(small.paths.root, "tiny")
    ids, X = store.vectors()
    assert (small.paths.cache / "vectors").is_dir()
    np.testing.assert_array_equal(store.vectors()[1], X)  # from the cache
    shutil.rmtree(small.paths.cache)
    np.testing.assert_array_equal(store.vectors()[1], X)
    order = [5, 0, 17]
    np.testing.assert_array_equal(store.matrix([ids[row] for row in order]), X[order])
    with pytest.raises(Exception, match="no image vector of 1 ids: nobody"):
        store.matrix(["nobody"])
    names, tensor = store.to_torch()
    assert names == ids
    np.testing.assert_array_equal(tensor.numpy(), X)
    assert store.to_arrow().num_rows == len(ids)
    told = store.sql("select count(*) as n, any_value(typeof(embedding)) as kind from store").to_pylist()
    assert told == [{"n": 24, "kind": "FLOAT[32]"}]


def test_a_damaged_matrix_in_the_cache_is_made_again(small: Dataset, cxremb: object) -> None:
    run(cxremb, small, "embed", "--model", "tiny")
    store = open_store(small, "tiny")
    _, X = store.vectors()
    for path in (small.paths.cache / "vectors").rglob("*.npy"):
        path.write_bytes(path.read_bytes()[:-7])
    np.testing.assert_array_equal(store.vectors()[1], X)
    for path in (small.paths.cache / "vectors").rglob("*.parquet"):
        path.unlink()
    np.testing.assert_array_equal(store.vectors()[1], X)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("embed",), "either --model or --job"),
        (("embed", "--model", "tiny", "--job", "x.toml"), "either --model or --job"),
        (("embed", "--model", "tiny", "--shard", "3/3"), "no share"),
        (("embed", "--model", "tiny", "--engine", "spark"), "neither local nor ray"),
    ],
)
def test_wrong_usage(small: Dataset, cxremb: object, words: tuple[str, ...], said: str) -> None:
    result = run(cxremb, small, *words)
    assert result.code == 2
    assert said in " ".join(result.err.replace("│", " ").split())


def test_an_aspect_that_is_none(small: Dataset, cxremb: object) -> None:
    result = run(cxremb, small, "embed", "--model", "tiny", "--aspect", "stretch")
    assert result.code == 1
    assert "unknown aspect 'stretch'" in result.err


@pytest.mark.parametrize("path", sorted((JOBS / "launch").glob("*.sh")), ids=lambda path: path.stem)
def test_launchers_are_short_and_clean(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 40
    assert subprocess.run(["sh", "-n", path], check=False).returncode == 0
    if checker := shutil.which("shellcheck"):
        done = subprocess.run([checker, path], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_the_local_launcher_runs(small: Dataset, tmp_path: Path, cxremb: object) -> None:
    assert callable(cxremb)
    (tmp_path / "job.toml").write_text("[[encode]]\nmodel = 'tiny'\n")
    shim = tmp_path / "bin" / "cxremb"
    shim.parent.mkdir()
    shim.write_text('#!/bin/sh\necho "$@"\n')
    shim.chmod(0o755)
    environment = {"PATH": f"{shim.parent}:/usr/bin:/bin"}
    done = subprocess.run(
        [JOBS / "launch" / "local.sh", tmp_path / "job.toml", "--keep-pixels"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    words = done.stdout.split()
    assert words[:5] == ["embed", "--job", str(tmp_path / "job.toml"), "--device", "auto"]
    assert words[-1] == "--keep-pixels"


def test_the_slurm_launcher_submits_an_array_and_its_commit(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text("")
    shim = tmp_path / "bin" / "sbatch"
    shim.parent.mkdir()
    shim.write_text('#!/bin/sh\nprintf "%s|" "$@" >> calls; echo >> calls; echo 77\n')
    shim.chmod(0o755)
    environment = {"PATH": f"{shim.parent}:/usr/bin:/bin"}
    subprocess.run([JOBS / "launch" / "slurm.sh", "job.toml", "4"], env=environment, cwd=tmp_path, check=True)
    array, commit = (tmp_path / "calls").read_text().splitlines()
    assert "--array=0-3" in array
    assert "--shard $SLURM_ARRAY_TASK_ID/4" in array
    assert "--dependency=afterany:77" in commit
    assert "--shard" not in commit


SBATCH = """#!/bin/sh
# Runs what it is given at once; the second task of an array is lost.
for word in "$@"; do
    case $word in --array=*) last=${word##*-} ;; esac
    wrap=$word
done
for task in $(seq 0 "${last:-0}"); do
    [ "$task" = 1 ] || SLURM_ARRAY_TASK_ID=$task SLURM_CPUS_PER_TASK=1 sh -c "$wrap" >> log 2>&1
done
echo 77
"""


@pytest.mark.slow
def test_what_the_slurm_launcher_submits_makes_the_store_though_a_task_is_lost(
    small: Dataset, tmp_path: Path, cxremb: object
) -> None:
    assert run(cxremb, small, "embed", "--model", "tiny").code == 0
    plain = open_store(small, "tiny")
    ids, X = plain.vectors()
    shutil.rmtree(plain.folder)
    (tmp_path / "job.toml").write_text("[[encode]]\nmodel = 'tiny'\n")
    (tmp_path / "bin").mkdir()
    for name, text in (("sbatch", SBATCH), ("cxremb", f'#!/bin/sh\nexec "{sys.executable}" -m cxremb "$@"\n')):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    here = os.pathsep.join([str(JOBS.parent), os.environ.get("PYTHONPATH", "")])
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "CXREMB_STORES": str(small.paths.root),
        "PYTHONPATH": here,
    }
    subprocess.run([JOBS / "launch" / "slurm.sh", "job.toml", "3"], env=environment, cwd=tmp_path, check=True)
    log = (tmp_path / "log").read_text()
    assert log.count("not committed") == 2, log
    store = open_store(small, "tiny")
    assert (store.name, store.version, store.failed) == (plain.name, 1, 0)
    np.testing.assert_array_equal(store.matrix(ids), X)


@pytest.mark.parametrize(("seconds", "most"), [(3.0, 3), (0.01, 64)])
def test_a_preview_stops_after_seconds_and_looks_everywhere(
    seconds: float, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock is that of the encoder: its first content builds it, and takes ten times as long."""
    clock, encoded = [0.0], []

    def encode(part: list[list[Item]]) -> None:
        clock[0] += seconds * len(part) * (1 if encoded else 10)
        encoded.extend(part)

    monkeypatch.setattr("cxremb.embedding.start.time.perf_counter", lambda: clock[0])
    groups = [[Item(str(number), "", "", "", "")] for number in range(1000)]
    assert seconds_each(groups, encode) == pytest.approx(seconds)  # type: ignore[arg-type]
    assert len(encoded) == most + 1
    places = [int(group[0].item_id) for group in encoded[1:]]
    assert len(set(places)) == most
    assert max(places) - min(places) >= (900 if most == 64 else 60)
