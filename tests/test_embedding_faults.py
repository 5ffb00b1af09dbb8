"""Faults while embedding: killed, interrupted, no disk, no memory, a race. Nothing committed is lost or wrong."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Container
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import collection, save_film

from cxremb.catalog import add_collection
from cxremb.embedding import engines
from cxremb.embedding.engines import fill, fill_share
from cxremb.embedding.job import embed
from cxremb.embedding.plan import orphans
from cxremb.encoders.base import Machine, What, load_encoder
from cxremb.errors import EncoderError, StoreError, VersionTaken
from cxremb.store.check import check_store
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.manifest import Manifest, latest_manifest, manifest_paths
from cxremb.store.reader import Store, open_store

SCRIPT = """
import sys, pathlib
from cxremb.store.dataset import open_dataset
from cxremb.encoders.base import Machine, What, load_encoder
from cxremb.embedding.job import embed
print("ready", flush=True)
embed(open_dataset(pathlib.Path(sys.argv[1])), load_encoder(What("tiny")), Machine(batch_size=2, part_items=5))
print("done", flush=True)
"""


def rows(store: Store) -> dict[str, bytes]:
    """Item id -> its vector's bytes; every id once."""
    ids, vectors = store.vectors()
    assert len(set(ids)) == len(ids)
    return {name: vector.tobytes() for name, vector in zip(ids, vectors, strict=True)}


def start(root: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def interrupted_at(count: int) -> Any:
    """A progress that stands for Ctrl-C after so many items."""

    def progress(items: Any, total: int, what: object) -> Any:
        for number, item in enumerate(items):
            if number == count:
                raise KeyboardInterrupt
            yield item

    return progress


@pytest.mark.slow
def test_killed_again_and_again(tmp_path: Path) -> None:
    """Kill -9 at 20 random moments, the last runs included in a commit or between two; then compare row by row."""
    data = add_collection(collection(tmp_path / "films", 200), tmp_path / "root").dataset
    random = np.random.default_rng(0)
    kills = 0
    for attempt in range(60):
        process = start(tmp_path / "root")
        # short lives first, so that the work is not done before twenty of them have ended
        time.sleep(float(random.uniform(0, 0.03 + 0.02 * attempt)))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        process.stdout.close()  # type: ignore[union-attr]
        folder = next(iter(data.paths.embeddings.glob("*@*")), None)
        if folder is not None and latest_manifest(folder) is not None:
            assert [problem for problem in check_store(folder) if not problem.harmless] == []
        if kills >= 20:
            break
    assert kills >= 20
    outcome = embed(open_dataset(tmp_path / "root"), load_encoder(What("tiny")))
    other = add_collection(collection(tmp_path / "films", 200), tmp_path / "other").dataset
    assert rows(outcome.store) == rows(embed(other, load_encoder(What("tiny"))).store)
    assert [problem for problem in check_store(outcome.store.folder) if not problem.harmless] == []


BUSY = """
import sys, time
from cxremb.embedding import decode
from cxremb.cli.main import main

class Slow(decode.Decoders):  # films arrive one by one, so that there is time for a signal
    def __post_init__(self):
        self.processes = True
        super().__post_init__()

    def answer(self, waiting):
        time.sleep(0.05)
        self.told += 1
        if self.told == 1:
            print(*self.pool._processes, flush=True)
        if self.told == 12:
            print("some are encoded", flush=True)
        return super().answer(waiting)

    told = 0

decode.Decoders = Slow
sys.argv = ["cxremb", "embed", "--model", "tiny", "--batch-size", "4", "--workers", "2", "--root", sys.argv[1]]
main()
"""


def busy(root: Path) -> "tuple[subprocess.Popen[str], list[int]]":
    """A job that has begun, and its workers."""
    words = [sys.executable, "-c", BUSY, str(root)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    workers = [int(number) for number in process.stdout.readline().split()]
    assert len(workers) == 2
    return process, workers


def gone(numbers: list[int], seconds: float = 60) -> bool:
    """Whether these processes end in that time."""
    end = time.monotonic() + seconds
    while any(Path(f"/proc/{number}").exists() for number in numbers):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_sigterm_keeps_what_is_finished_and_has_a_code_of_its_own(tmp_path: Path) -> None:
    """As a batch system ends a job: every process of it is told."""
    data = add_collection(collection(tmp_path / "films", 100), tmp_path / "root").dataset
    process, workers = busy(tmp_path / "root")
    assert process.stdout is not None
    assert process.stdout.readline() == "some are encoded\n"
    os.killpg(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (143, "")
    assert "stopped: what is finished is kept" in err
    assert "Traceback" not in err
    assert gone(workers)
    outcome = embed(data, load_encoder(What("tiny")))
    assert 0 < outcome.reused < 200
    assert len(rows(outcome.store)) == 200


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    add_collection(collection(tmp_path / "films", 100), tmp_path / "root")
    process, workers = busy(tmp_path / "root")
    process.kill()
    process.communicate(timeout=60)
    assert gone(workers)


def test_interrupted_it_writes_what_is_finished(small: Dataset) -> None:
    with pytest.raises(KeyboardInterrupt):
        embed(small, load_encoder(What("tiny")), Machine(batch_size=4, part_items=1000), progress=interrupted_at(17))
    folder = next(small.paths.embeddings.glob("*@*"))
    assert latest_manifest(folder) is None
    outcome = embed(small, load_encoder(What("tiny")))
    assert outcome.reused >= 16
    assert len(rows(outcome.store)) == 24


def test_a_full_disk(tmp_path: Path) -> None:
    """A file system of 400 kB: the job stops with a message, and goes on when there is room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this user cannot mount a small file system")
    try:
        data = add_collection(collection(tmp_path / "films", 300), disk / "root").dataset
        used = os.statvfs(disk)
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * max(used.f_bavail * used.f_frsize - 40_000, 0))
        with pytest.raises(StoreError, match=r"cannot be written .*No space left on device") as caught:
            embed(data, load_encoder(What("tiny")), Machine(part_items=50))
        assert "free space" in caught.value.hint
        folder = next(data.paths.embeddings.glob("*@*"))
        assert not list(folder.glob(".*.parquet"))  # no draft takes the room that is left
        ballast.unlink()
        outcome = embed(data, load_encoder(What("tiny")), Machine(part_items=50))
        assert len(rows(outcome.store)) == 600
        assert [problem for problem in check_store(folder) if not problem.harmless] == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_root_that_is_a_file_system_to_read_from(tmp_path: Path) -> None:
    data = add_collection(collection(tmp_path / "films"), tmp_path / "root").dataset
    outcome = embed(data, load_encoder(What("tiny")))
    bound = subprocess.run(
        f"mount --bind {tmp_path}/root {tmp_path}/root && mount -o remount,ro,bind {tmp_path}/root",
        shell=True,
        check=False,
        capture_output=True,
    )
    if bound.returncode:
        pytest.skip("this user cannot mount")
    try:
        assert rows(open_store(open_dataset(tmp_path / "root"), "tiny")) == rows(
            outcome.store
        )  # no cache, and no error
        with pytest.raises(StoreError, match="cannot be written"):
            embed(data, load_encoder(What("tiny_text")))
    finally:
        subprocess.run(["umount", tmp_path / "root"], check=True)


def test_a_device_that_runs_out_of_memory_gets_smaller_batches(small: Dataset) -> None:
    plain = load_encoder(What("tiny"))
    seen = []

    class Small:
        """Holds five films at a time."""

        recipe, licence, frame, notes = plain.recipe, plain.licence, plain.frame, plain.notes

        def encode(self, films: np.ndarray) -> object:
            seen.append(len(films))
            if len(films) > 5:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return plain.encode(films)

    outcome = embed(small, Small(), Machine(batch_size=16))  # type: ignore[arg-type]
    assert seen[:3] == [16, 8, 4]
    assert max(seen[2:]) == 4
    assert outcome.store.manifest.provenance["counts"]["batch_size_that_fits"] == 4
    expected = embed(small, plain)
    assert not expected.changed
    assert len(rows(outcome.store)) == 24


def test_a_device_that_holds_nothing_says_so(small: Dataset) -> None:
    plain = load_encoder(What("tiny"))

    class Full:
        recipe, licence, frame, notes = plain.recipe, plain.licence, plain.frame, plain.notes

        def encode(self, films: np.ndarray) -> object:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(EncoderError, match="not enough memory for one item"):
        embed(small, Full())  # type: ignore[arg-type]


def test_a_film_that_changes_and_one_that_vanishes_during_the_job(small: Dataset) -> None:
    paths = [Path(path) for path in small.images["path"].to_pylist()]

    def meddle(items: object, total: int, what: object) -> object:
        for count, item in enumerate(items):  # type: ignore[arg-type]
            if count == 0:
                save_film(paths[20], 500)
                paths[21].unlink()
            yield item

    options = Machine(batch_size=1, workers=1)
    failures = embed(small, load_encoder(What("tiny")), options, progress=meddle).failures  # type: ignore[arg-type]
    assert [(failure.stage, failure.item.source) for failure in failures] == [
        ("read", str(paths[20])),
        ("read", str(paths[21])),
    ]


@pytest.mark.parametrize("new", [False, True], ids=["as it was", "with one film more"])
def test_a_damaged_part_is_named_with_what_to_do(small: Dataset, tmp_path: Path, new: bool) -> None:
    store = embed(small, load_encoder(What("tiny")), Machine()).store
    part = store.part_paths[0]
    whole = part.read_bytes()
    part.write_bytes(whole[:200] + bytes(40) + whole[240:])
    if new:
        small = add_collection(collection(tmp_path / "more", 9), small.paths.root).dataset
    with pytest.raises(StoreError, match=rf"{part.name}: cannot be read") as caught:
        embed(small, load_encoder(What("tiny")), Machine())
    assert f"cxremb store check {store.name}" in (caught.value.hint or "")


def test_who_comes_second_takes_up_its_own_parts(small: Dataset) -> None:
    """Another writer commits half of the films while this one is at work: nothing is lost, nothing is there twice."""
    half = replace(small)
    object.__setattr__(half, "images", small.images.slice(0, 12))

    def slower(folder: object, *args: object, **kwargs: object) -> None:
        fill(folder, *args, **kwargs)  # type: ignore[arg-type]
        if not manifest_paths(folder):  # type: ignore[arg-type]
            embed(half, load_encoder(What("tiny")))

    outcome = embed(small, load_encoder(What("tiny")), Machine(part_items=3), engine=slower)  # type: ignore[arg-type]
    assert outcome.store.version == 2
    assert len(rows(outcome.store)) == 24
    assert check_store(outcome.store.folder) == [] or all(p.harmless for p in check_store(outcome.store.folder))


@pytest.mark.parametrize("moment", ["while this one writes", "while this one plans"])
def test_parts_that_another_writer_has_published_meanwhile_are_not_missed(
    small: Dataset, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """A stopped job left parts that this one counts on, and another writer takes them up in a version of its own."""

    with pytest.raises(KeyboardInterrupt):
        embed(small, load_encoder(What("tiny")), Machine(batch_size=4, part_items=4), progress=interrupted_at(16))
    half = replace(small)
    object.__setattr__(half, "images", small.images.slice(0, 12))
    folder = next(small.paths.embeddings.glob("*@*"))

    def overtake() -> None:
        monkeypatch.undo()
        if not manifest_paths(folder):
            assert not embed(half, load_encoder(What("tiny"))).encoded

    def slower(*args: object, **kwargs: object) -> None:
        fill(*args, **kwargs)  # type: ignore[arg-type]
        overtake()

    def late(folder: Path) -> list[Path]:
        overtake()
        return orphans(folder)

    if moment == "while this one plans":
        monkeypatch.setattr("cxremb.embedding.plan.orphans", late)
    update = embed(small, load_encoder(What("tiny")), engine=slower)
    assert (update.store.version, update.asked, len(update.failures)) == (2, 24, 0)
    assert len(rows(update.store)) == 24
    assert check_store(folder) == [] or all(problem.harmless for problem in check_store(folder))


@pytest.mark.slow
def test_two_processes_at_once(tmp_path: Path) -> None:
    data = add_collection(collection(tmp_path / "films", 60), tmp_path / "root").dataset
    both = [start(tmp_path / "root") for _ in range(2)]
    for process in both:
        assert "done" in process.communicate(timeout=120)[0]
        assert process.returncode == 0
    store = open_store(data, "tiny")
    other = add_collection(collection(tmp_path / "films", 60), tmp_path / "other").dataset
    assert rows(store) == rows(embed(other, load_encoder(What("tiny"))).store)
    assert [problem for problem in check_store(store.folder) if not problem.harmless] == []


def test_who_is_overtaken_every_time_gives_up(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def overtaken(manifest: Manifest, folder: Path) -> None:
        tried.append(manifest.version)
        raise VersionTaken("another writer published this version first")

    monkeypatch.setattr("cxremb.embedding.job.publish", overtaken)
    with pytest.raises(VersionTaken):
        embed(small, load_encoder(What("tiny")))
    monkeypatch.undo()
    outcome = embed(small, load_encoder(What("tiny")))
    assert (len(tried), outcome.reused, outcome.encoded) == (5, 24, 0)  # its parts are there all the same


@pytest.mark.slow
def test_shares_are_written_anywhere_and_committed_once(tmp_path: Path) -> None:
    data = add_collection(collection(tmp_path / "films", 40), tmp_path / "root").dataset
    bad = Path(data.images["path"][3].as_py())
    bad.write_bytes(b"damaged")
    shares = [
        fill_share(tmp_path / "root", "small", What("tiny"), machine=Machine(), share=(number, 3))
        for number in range(3)
    ]
    folder = next(data.paths.embeddings.glob("*@*"))
    assert latest_manifest(folder) is None
    assert sum(share.encoded for share in shares) == 79  # 80 films, one of them twice
    assert len(orphans(folder)) == 3
    assert sum(len(share.failures) for share in shares) == 1
    outcome = embed(data, load_encoder(What("tiny")))
    assert (outcome.asked, outcome.reused, outcome.encoded, len(outcome.failures)) == (80, 79, 1, 1)


@pytest.mark.slow
def test_devices_write_the_same_store(tmp_path: Path) -> None:
    """Two processes, as for two GPUs."""
    compare_engine(tmp_path, "fill_on_devices", "Machine(devices=('cpu', 'cpu'))")


@pytest.mark.slow
def test_ray_writes_the_same_store(tmp_path: Path) -> None:
    """A local cluster of two workers."""
    pytest.importorskip("ray")
    compare_engine(
        tmp_path, "fill_on_ray", "Machine(ray_workers=2)", "import ray; ray.init(num_cpus=2, include_dashboard=False)"
    )


KILLED_ONCE = """
    import ray
    from cxremb.embedding import engines
    def killed_once(root, dataset, what, *, machine, share):
        import os, signal
        from contextlib import suppress
        from cxremb.embedding.engines import fill_share
        from cxremb.embedding.parts import PartWriter
        with suppress(FileExistsError):
            os.close(os.open(os.path.join(root, "killed"), os.O_CREAT | os.O_EXCL))
            def write(self, table, write=PartWriter.write):
                write(self, table)
                os.kill(os.getpid(), signal.SIGKILL)  # its first part is there, the others are not
            PartWriter.write = write
        return fill_share(root, dataset, what, machine=machine, share=share)
    engines.fill_share = killed_once
    ray.init(num_cpus=2, include_dashboard=False)"""


@pytest.mark.slow
def test_a_ray_worker_that_is_killed_costs_what_it_had_not_written(tmp_path: Path) -> None:
    """Killed after its first part: Ray starts its share again, in another process, which goes on from that part."""
    pytest.importorskip("ray")
    compare_engine(
        tmp_path,
        "fill_on_ray",
        "Machine(ray_workers=2, part_items=4, batch_size=4)",
        KILLED_ONCE,
        encoded=range(70, 79),
    )
    assert (tmp_path / "root" / "killed").exists()


ENGINE = """
import sys, pathlib
from functools import partial
from cxremb.embedding.engines import fill_on_devices, fill_on_ray
from cxremb.embedding.job import embed
from cxremb.encoders.base import Machine, What, load_encoder
from cxremb.store.dataset import open_dataset
if __name__ == "__main__":
    {before}
    engine = partial({engine}, what=What("tiny"))
    data = open_dataset(pathlib.Path(sys.argv[1]))
    print(embed(data, load_encoder(What("tiny")), {machine}, engine=engine).encoded)
"""


def compare_engine(
    tmp_path: Path, engine: str, machine: str, before: str = "pass", *, encoded: Container[int] = (79,)
) -> None:
    """The store that an engine writes, in a process of its own, against that of the plain job; one film is damaged."""
    films = tmp_path / "films"
    plain = embed(add_collection(collection(films, 40), tmp_path / "plain").dataset, load_encoder(What("tiny")))
    data = add_collection(collection(films, 40), tmp_path / "root").dataset
    Path(data.images["path"][3].as_py()).write_bytes(b"damaged")
    script = tmp_path / "script.py"
    script.write_text(ENGINE.format(engine=engine, machine=machine, before=before))
    here = os.pathsep.join([str(Path(engines.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, script, tmp_path / "root"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": here},
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) in encoded  # in the end; what a process wrote that was killed is not told
    store = open_store(data, "tiny")
    assert store.name == plain.store.name
    failures = pq.read_table(store.failure_path).to_pylist()
    assert [failure["item_id"] for failure in failures] == ["1_Lateral"]
    expected = rows(plain.store)
    del expected["1_Lateral"]
    assert rows(store) == expected
