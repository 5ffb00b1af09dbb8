"""A store root in object storage: what several machines make of it, what kills and cuts leave, what is refused."""

import json
import multiprocessing
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

pytest.importorskip("obstore", reason="needs the extra remote")
pytest.importorskip("localbucket", reason="an S3 server for tests")

from bucket import BUCKET, Bucket, serving, set_env
from conftest import collection
from test_hospital import export
from test_pseudonyms import OPTIONS

from cxremb import buckets
from cxremb.api.data import add
from cxremb.catalog import add_collection
from cxremb.embedding.job import embed
from cxremb.encoders.base import What, load_encoder
from cxremb.errors import QueryError, StoreError, VersionTaken
from cxremb.labels import store_labels
from cxremb.store import commit, manifest, remote
from cxremb.store.clean import collect, reclaimable, remove, remove_dataset
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.manifest import latest_manifest, publish
from cxremb.store.mirror import folder_of, mirror_of
from cxremb.store.notes import StoredNote, add_note, note_versions
from cxremb.store.reader import Store, open_store
from cxremb.store.sql import query
from cxremb.types import LabelSet

ADDRESS = f"s3://{BUCKET}/some/root"
Machine = Callable[[str], Path]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with serving(tmp_path / "server") as found:
        for name, value in found.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(buckets, "RETRIES", {"max_retries": 1})
        yield found


@pytest.fixture
def at(server: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The root, opened, on the machine of that name from now on."""

    def go(name: str) -> Path:
        monkeypatch.setenv("CXREMB_CACHE", str(tmp_path / name))
        return remote.opened(ADDRESS)

    return go


@pytest.fixture
def films(tmp_path: Path) -> Path:
    return tmp_path / "films"


def tiny(machine: Any = None) -> Any:
    return load_encoder(What("tiny"), machine)


def encoded(root: Path) -> Store:
    return embed(open_dataset(root), tiny()).store


def test_a_root_is_the_same_on_every_machine(server: Bucket, at: Machine, films: Path, tmp_path: Path) -> None:
    root = at("a")
    add_collection(collection(films), root)
    store = encoded(root)
    local = tmp_path / "local"
    add_collection(collection(films), local)
    there = at("b")
    assert there != root
    found = open_store(open_dataset(there), "tiny")
    assert not any(path.exists() for path in found.part_paths)  # fetched when they are read
    assert found.table().equals(store.table())
    assert found.table().equals(encoded(local).table())
    for name in ("studies", "images", "reports", "labels"):
        assert getattr(open_dataset(there), name).equals(getattr(open_dataset(local), name))
    assert stat.S_IMODE(there.stat().st_mode) == 0o700
    where = "some/root/.locations/small/"  # its films, for who sees the same folders
    assert all(key.startswith(("some/root/small/", where)) for key in server.objects())
    assert not any("cache" in key or "/." in key for key in server.objects() if where not in key)
    assert sum(where in key for key in server.objects()) == 1


def test_only_what_a_query_names_is_fetched(server: Bucket, at: Machine, films: Path) -> None:
    root = at("a")
    add_collection(collection(films), root)
    encoded(root)
    root = at("b")
    server.requests.clear()
    assert query(root, "select count(*) as n from images").to_pylist() == [{"n": 24}]
    assert query(root, "select arm from runs").num_rows == 0
    assert server.requests == []
    with pytest.raises(QueryError, match="not here"):  # nothing is ever taken for empty
        query(root, "select * from query('from ' || 'embed' || 'dings') where store = 'x'")
    assert query(root, "select count(*) as n from tiny").to_pylist() == [{"n": 24}]
    assert [method for method, _ in server.requests] == ["GET"]
    assert query(root, "select stale from stores").to_pylist() == [{"stale": False}]
    assert len(server.requests) == 1


def test_bytes_that_are_not_those_of_the_version_are_refused(server: Bucket, at: Machine, films: Path) -> None:
    root = at("a")
    add_collection(collection(films), root)
    (part,) = encoded(root).part_paths
    file = server.path(f"some/root/{part.relative_to(root).as_posix()}")
    file.write_bytes(file.read_bytes()[:-1] + b"X")
    found = open_store(open_dataset(at("b")), "tiny")
    with pytest.raises(StoreError, match="not the bytes that its version names"):
        found.table()
    assert not found.part_paths[0].exists()
    file.unlink()
    with pytest.raises(StoreError, match="gone"):
        found.table()


def test_who_loses_the_race_takes_up_what_the_winner_has(server: Bucket, at: Machine, films: Path) -> None:
    root = at("a")
    add_collection(collection(films), root)
    first = encoded(root).manifest
    there = at("b")
    theirs = open_store(open_dataset(there), "tiny").folder
    second = manifest.Manifest(**{**vars(first), "version": 2, "created": "2026-01-01T00:00:00+00:00"})
    publish(second, theirs)
    at("a")
    ours = manifest.Manifest(**{**vars(first), "version": 2})
    folder = mirror_of(root).folder / theirs.relative_to(there)  # type: ignore[union-attr]
    (folder / "000002.json").unlink()  # as it was before that machine looked
    with pytest.raises(VersionTaken, match="another writer published this version first"):
        publish(ours, folder)
    assert latest_manifest(folder) == second  # the winner's has been fetched


def test_parts_of_others_are_taken_up(
    server: Bucket, at: Machine, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that ended before its commit, on another machine: what it has written is not encoded again."""
    root = at("a")
    add_collection(collection(films), root)
    with monkeypatch.context() as patched:
        patched.setattr("cxremb.embedding.job.publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            encoded(root)
    update = embed(open_dataset(at("b")), tiny())
    assert (update.encoded, update.store.rows) == (0, 24)


def test_a_part_whose_upload_was_cut_is_kept_and_sent_by_the_next_run(server: Bucket, at: Machine, films: Path) -> None:
    root = at("a")
    add_collection(collection(films), root)
    before = server.objects()
    server.fault = lambda handler, method, key: method == "PUT" and "part-" in key and handler.cut()
    with pytest.raises(StoreError, match="connection broke"):
        encoded(root)
    assert server.objects() == before  # nothing half is visible
    server.fault = None
    update = embed(open_dataset(at("a")), tiny())
    assert update.encoded == 0
    found = open_store(open_dataset(at("b")), "tiny")
    assert found.table().num_rows == 24


def test_labels_of_two_machines_are_both_kept(
    server: Bucket, at: Machine, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = add_collection(collection(films), at("a")).dataset
    left = [1]

    def other_first(handler: Any, method: str, key: str) -> bool:
        if method == "PUT" and key.endswith("dataset.json") and left and left.pop():
            mine = os.environ["CXREMB_CACHE"]
            label(open_dataset(at("b")), "theirs")
            monkeypatch.setenv("CXREMB_CACHE", mine)
        return False

    server.fault = other_first
    label(dataset, "ours")
    found = open_dataset(at("c"))
    assert {"ours", "theirs"} <= set(found.descriptor["label_sets"])
    assert {"ours", "theirs"} <= set(found.labels["label_set"].unique().to_pylist())


def label(dataset: Dataset, name: str) -> None:
    store_labels(
        dataset,
        LabelSet(name, "binary", "odd numbers"),
        [(str(n), name, n % 2) for n in range(12)],
        origin={"file": "x.csv"},
    )


def test_a_change_of_the_tables_meanwhile_is_said(
    server: Bucket, at: Machine, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = at("a")
    add_collection(collection(films), root)
    left = [1]

    def other_first(handler: Any, method: str, key: str) -> bool:
        if method == "PUT" and key.endswith("dataset.json") and left and left.pop():
            path = server.path(key)
            path.write_text(path.read_text().replace("made by the tests", "changed by somebody"))
        return False

    server.fault = other_first
    with pytest.raises(VersionTaken, match=r"dataset.json: changed by another cxremb meanwhile") as caught:
        add_collection(collection(films, n=13), root)
    assert "run the command again" in caught.value.hint
    assert open_dataset(at("b")).descriptor["citation"] == "changed by somebody"
    assert add_collection(collection(films, n=13), at("a")).dataset.studies.num_rows == 13


def test_notes_of_two_machines(server: Bucket, at: Machine, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = add_collection(collection(films), at("a")).dataset
    second = open_dataset(at("b"))
    add_note(second, StoredNote("b", "1", text="seen there"))
    at("a")
    monkeypatch.setattr(remote, "opened", None)
    add_note(first, StoredNote("a", "1", text="seen here"))  # which knows nothing of the other one yet
    assert [path.name for path in note_versions(first)] == ["000001.parquet", "000002.parquet"]
    assert query(first.paths.root, "select author from notes order by created").num_rows == 2


def test_a_removed_store_is_gone_everywhere_and_what_is_not_ours_stays(
    server: Bucket, at: Machine, films: Path
) -> None:
    root = at("a")
    add_collection(collection(films), root)
    foreign = ["some/root/films/x.png", "some/root/small/films/y.png", "other/z", "some/root/.hidden/dataset.json"]
    for key in foreign:
        server.path(key).parent.mkdir(parents=True, exist_ok=True)
        server.path(key).write_bytes(b"film")
    store = encoded(root)
    there = at("b")
    assert not list(there.rglob("*.png"))  # what is not cxremb's is not fetched
    assert remove(open_store(open_dataset(there), "tiny").folder) > 0
    assert not any("embeddings" in key for key in server.objects())
    root = at("a")
    assert not store.folder.exists()
    remove_dataset(open_dataset(root).paths)
    assert server.objects() == sorted(foreign)
    assert not list(at("b").glob("*/dataset.json"))


def test_gc_spares_what_a_job_of_another_machine_may_be_about_to_name(server: Bucket, at: Machine, films: Path) -> None:
    root = at("a")
    add_collection(collection(films), root)
    store = encoded(root)
    stray = server.path(f"some/root/small/embeddings/{store.name}/part-{'0' * 32}.parquet")
    stray.write_bytes(store.part_paths[0].read_bytes())
    root = at("b")
    folder = open_store(open_dataset(root), "tiny").folder
    assert reclaimable(folder) == []
    week = time.time() - 8 * 86_400
    os.utime(stray, (week, week))
    assert [path.name for path in reclaimable(folder)] == [stray.name]
    assert collect(folder) == (1, stray.stat().st_size if stray.exists() else store.part_paths[0].stat().st_size)
    assert not stray.exists()
    assert open_store(open_dataset(root), "tiny").table().num_rows == 24


def test_names_that_cxremb_does_not_give_are_not_followed(server: Bucket, at: Machine, films: Path) -> None:
    root = at("a")
    add_collection(collection(films), root)
    found = mirror_of(root)
    assert found is not None
    assert not any(
        map(
            found.belongs,
            ("small/../x", "../small/runs/x", "small//x", "small/runs/a\nb", "small/.lock", "x", "a\\b/c"),
        )
    )
    assert found.belongs("small/runs/20260101T000000-01234567/run.json")


def test_a_server_without_conditions_is_refused(server: Bucket, at: Machine, films: Path) -> None:
    server.conditions = False
    with pytest.raises(StoreError, match="two writers could lose a version"):
        add_collection(collection(films), at("a"))
    assert server.objects() == []
    server.conditions = True
    add_collection(collection(films), at("a"))  # and found again when it does better


def test_who_may_only_read_can_read(server: Bucket, at: Machine, films: Path) -> None:
    root = at("a")
    add_collection(collection(films), root)
    encoded(root)
    server.fault = lambda handler, method, key: (
        method in {"PUT", "POST", "DELETE"} and handler.refuse(403, "AccessDenied")
    )
    root = at("b")
    assert open_store(open_dataset(root), "tiny").load().vectors.shape == (24, 32)
    with pytest.raises(StoreError, match="refuses these credentials"):
        label(open_dataset(root), "mine")


def test_pseudonyms_are_encoded_on_each_machine_that_has_added_them(
    server: Bucket, at: Machine, tmp_path: Path, cxremb: Any
) -> None:
    """Where films and key lie is known on the machine alone; another that adds the export does not take it away."""
    sheets = {"a": export(tmp_path / "export-a")}
    sheets["b"] = Path(shutil.copytree(tmp_path / "export-a", tmp_path / "export-b")) / sheets["a"].name
    keys = {name: tmp_path / f"{name}.key" for name in "ab"}

    def add_at(name: str) -> Path:
        root = at(name)
        more = {**OPTIONS, "images": sheets[name].parent / "Aufnahmen", "pseudonymise": keys[name]}
        add("table", sheets[name], root=root, **more)
        return root

    def known(root: Path) -> list[str]:
        return sorted(path or "" for path in open_dataset(root).images["path"].to_pylist())

    first = add_at("a")
    shutil.copy(keys["a"], keys["b"])
    paths = known(first)
    assert all(path.startswith(str(sheets["a"].parent)) for path in paths if path)
    films = len(encoded(first).table())
    second = add_at("b")
    assert known(second) == [path.replace("export-a", "export-b") for path in paths]

    again = at("a")
    assert known(again) == paths
    assert cxremb("store", "gc", "--yes", "--root", ADDRESS).code == 0
    assert known(again) == paths
    assert cxremb("store", "rm", "tiny", "--yes", "--root", ADDRESS).code == 0
    assert len(encoded(again).table()) == films
    assert not any(path and Path(path).name in key for path in paths for key in server.objects())
    assert known(at("c")) == [""] * len(paths)  # which has added nothing


def test_an_index_that_is_damaged_costs_a_fetch(server: Bucket, at: Machine, films: Path) -> None:
    root = at("a")
    add_collection(collection(films), root)
    (root / ".index").write_text('["small/dataset.json", "x"\n[1, 2]\nnonsense\n')
    root = at("a")
    label(open_dataset(root), "mine")
    assert "mine" in open_dataset(at("b")).descriptor["label_sets"]


@pytest.mark.parametrize(
    ("name", "value", "said", "hint"),
    [
        ("AWS_ACCESS_KEY_ID", "stranger", "refuses these credentials", "AWS_ACCESS_KEY_ID"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9", "cannot be reached", "network"),
        ("CXREMB_STORES", "s3://nobody/x", "s3://nobody: there is no such bucket", "check its name"),
        ("CXREMB_STORES", ADDRESS, f"{ADDRESS}: no data set", "cxremb data add"),
        ("CXREMB_STORES", "S3://films/root", "films/root: no store root has such an address", "s3://BUCKET/PREFIX"),
        ("CXREMB_STORES", "https://films/root", "films/root: no store root has such an address", "name a folder"),
        ("CXREMB_STORES", "s3://", "no store root has such an address", "s3://BUCKET/PREFIX"),
    ],
)
def test_the_command_line_says_what_is_wrong(
    at: Machine,
    cxremb: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    value: str,
    said: str,
    hint: str,
) -> None:
    at("a")
    monkeypatch.setenv("CXREMB_STORES", ADDRESS)
    monkeypatch.setenv(name, value)
    result = cxremb("data", "show")
    assert result.code == 1
    assert said in result.err
    assert hint in result.err
    assert "Traceback" not in result.err
    assert str(tmp_path) not in result.err  # the address, not the folder in front of it


def test_commands_in_messages_name_the_address(at: Machine, films: Path, cxremb: Any) -> None:
    add_collection(collection(films), at("a"))
    result = cxremb("embed", "--model", "tiny", "--root", ADDRESS)
    assert result.code == 0
    assert f"in {ADDRESS}/small/embeddings/tiny@" in result.out
    assert f"cxremb train fusion --root {ADDRESS}" in result.out
    assert cxremb("store", "check", "--root", ADDRESS).code == 0


def test_a_shell_that_asks_for_words_waits_for_no_network(
    server: Bucket, at: Machine, films: Path, cxremb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_collection(collection(films), at("a"))
    server.requests.clear()
    line = f"cxremb embed --root {ADDRESS} --dataset "
    monkeypatch.setenv("_CXREMB_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", "5")
    program = "import sys; sys.argv = ['cxremb']; from cxremb.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "small" in done.stdout
    assert server.requests == []


def test_the_same_from_python(at: Machine, films: Path) -> None:
    import cxremb as library

    add_collection(collection(films), at("a"))
    library.embed("tiny", root=ADDRESS)
    at("b")
    assert library.sql("select count(*) as n from tiny", root=ADDRESS).fetchall() == [(24,)]
    assert library.open_store("tiny", root=ADDRESS).vectors()[1].shape == (24, 32)


def test_a_local_root_is_not_touched_by_all_this(tmp_path: Path, films: Path) -> None:
    """No address: no client, no folder, the root itself."""
    root = tmp_path / "root"
    assert folder_of(root) == remote.opened(root) == root
    assert mirror_of(root) is None
    add_collection(collection(films), root)
    assert commit.unnamed_tables(open_dataset(root).paths) == []


def publish_one(number: int, cache: Path, server: dict[str, str], gate: Any, won: Any) -> None:
    """One of many machines that publish the same version at once."""
    os.environ.update(server, CXREMB_CACHE=str(cache))
    folder = open_store(open_dataset(remote.opened(ADDRESS)), "tiny").folder
    found = latest_manifest(folder)
    assert found is not None
    mine = manifest.Manifest(
        **{**vars(found), "version": 2, "provenance": {**found.provenance, "counts": {"n": number}}}
    )
    remote.sent(folder, [])
    gate.wait()
    with suppress(VersionTaken):
        publish(mine, folder)
        won.put(number)


@pytest.mark.slow
def test_of_32_machines_that_publish_together_one_wins(
    server: Bucket, at: Machine, films: Path, tmp_path: Path
) -> None:
    root = at("a")
    add_collection(collection(films), root)
    folder = encoded(root).folder
    fresh = multiprocessing.get_context("forkserver")
    fresh.set_forkserver_preload(["cxremb.store.reader"])
    gate, won = fresh.Barrier(32), fresh.Queue()
    writers = [
        fresh.Process(target=publish_one, args=(number, tmp_path / f"m{number}", server.env, gate, won))
        for number in range(32)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0] * 32
    winner = won.get(timeout=5)
    assert won.empty()
    at("b")
    found = latest_manifest(folder_of(ADDRESS) / folder.relative_to(root))
    remote.opened(ADDRESS)
    found = latest_manifest(folder_of(ADDRESS) / folder.relative_to(root))
    assert found is not None
    assert (found.version, found.provenance["counts"]) == (2, {"n": winner})


@pytest.mark.slow
def test_a_writer_that_is_killed_at_any_request_leaves_a_whole_root(
    server: Bucket, at: Machine, films: Path, tmp_path: Path
) -> None:
    """kill -9 just before, and just after, each request that changes something; then the same command again."""
    add_collection(collection(films), at("a"))
    set_env(server, tmp_path / "killed")
    words = [sys.executable, "-m", "cxremb", "embed", "--model", "tiny", "--root", ADDRESS]
    for n in range(20):
        left = [n]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def kill(handler: Any, method: str, key: str, left: list[int] = left, process: Any = process) -> bool:
            if method in {"PUT", "POST", "DELETE"}:
                if left[0] == 0:
                    process.send_signal(signal.SIGKILL)
                left[0] -= 1
            return False

        server.fault = kill
        code = process.wait(60)
        server.fault = None
        found = [path.parent.name for path in at(f"reader{n}").glob("*/embeddings/*/*.json")]
        for _ in found:
            assert open_store(open_dataset(remote.opened(ADDRESS)), "tiny").table().num_rows == 24
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert n >= 3
    assert subprocess.run(words, check=False, capture_output=True).returncode == 0
    assert remove(open_store(open_dataset(at("b")), "tiny").folder) > 0


def table_of(folder: Path) -> Path:
    """A table of 60 films whose label a head can learn, with texts."""
    rng = np.random.default_rng(0)
    rows = ["id,path,patient,abnormal,findings"]
    for number in range(60):
        pixels = rng.integers(0, 160, (80, 80))
        pixels[20:50, 20:50] += number % 2 * 60
        (folder / "films").mkdir(parents=True, exist_ok=True)
        PilImage.fromarray(pixels.astype(np.uint8)).save(folder / "films" / f"{number}.png")
        text = f"{'opacity' if number % 3 else 'clear'} of the lungs {number}"
        rows.append(f"f{number},{number}.png,p{number},{number % 2},{text}")
    (folder / "table.csv").write_text("\n".join(rows))
    return folder / "table.csv"


@pytest.mark.slow
def test_the_whole_route_gives_the_numbers_of_a_local_root(
    server: Bucket, cxremb: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = table_of(tmp_path / "data")
    figures = []
    for root in (tmp_path / "local", ADDRESS):
        monkeypatch.setenv("CXREMB_STORES", str(root))

        def run(*words: object) -> Any:
            """The command, each on another machine, so that nothing is there but what the bucket has."""
            monkeypatch.setenv("CXREMB_CACHE", str(tmp_path / "machines" / str(time.monotonic_ns())))
            result = cxremb(*words)
            assert result.code == 0, (words, result.err)
            return result

        images = ("--images", tmp_path / "data" / "films")
        columns = ("--column", "id=id", "--label", "abnormal", "--text", "findings")
        run("data", "add", "table", "--name", "small", "--table", table, *images, *columns)
        for model in ("tiny", "tiny_text"):
            run("embed", "--model", model)
        run("data", "split", "mine", "--holdout")
        run("train", "fusion", "--split", "mine")
        run("ablate", "--split", "mine", "--no-controls")
        assert "0 wrong" in run("store", "check").out
        assert "tiny_text@" in run("store", "ls").out
        name = json.loads(run("sql", "select run_id from runs where arm = 'fusion'", "--format", "json").out)[0][
            "run_id"
        ]
        run("evaluate", name)
        run("report", "--output", tmp_path / "report.html")
        run("similar", "f1")
        order = "order by all"
        figures.append(run("sql", f"select arm, metric, part, value from metrics join runs using (run_id) {order}").out)
        figures.append(run("sql", f"select item_id, part, y_prob from predictions {order}").out)
        run("store", "gc", "--yes")
        run("runs", "rm", name, "--yes")
        run("store", "rm", "tiny_text", "--yes")
        assert "tiny_text" not in run("store", "ls").out
        run("data", "rm", "small", "--yes")
    assert figures[:2] == figures[2:]
    assert server.objects() == []
