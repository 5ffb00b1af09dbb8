"""A training that was stopped is kept while somebody may go on with it, and never freed under one at work."""

import os
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from conftest import Result

from cxremb.errors import StoreError
from cxremb.store.dataset import Dataset
from cxremb.training.runs import list_runs
from cxremb.training.stopped import (
    OLD_DAYS,
    Checkpoint,
    free,
    leftovers,
    read_checkpoint,
    resumable,
    write_checkpoint,
)

Command = Callable[..., Result]


def stop(dataset: Dataset, key: str, days: float = 0) -> Path:
    """A training that was stopped so many days ago after its first checkpoint."""
    with suppress(KeyboardInterrupt), resumable(dataset, key) as folder:
        (folder / "one.safetensors").write_bytes(bytes(1000))
        raise KeyboardInterrupt
    age(folder, days)
    return folder


def age(folder: Path, days: float) -> None:
    then = time.time() - days * 86_400
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (then, then))


def test_a_training_that_ends_leaves_nothing(small: Dataset) -> None:
    with resumable(small, "done") as folder:
        (folder / "one.safetensors").write_bytes(b"x")
    with pytest.raises(ZeroDivisionError), resumable(small, "before the first checkpoint"):
        raise ZeroDivisionError
    assert leftovers(small) == []
    assert list(small.paths.runs.iterdir()) == []


def test_only_what_is_old_is_freed(small: Dataset, cxremb: Command) -> None:
    new, old = stop(small, "new", OLD_DAYS - 0.1), stop(small, "old", OLD_DAYS + 0.1)
    (draft := small.paths.runs / ".draft-half").mkdir()
    (draft / "history.csv").write_text("epoch")
    age(draft, OLD_DAYS + 1)
    assert [(left.folder, left.old) for left in leftovers(small)] == [(draft, True), (old, True), (new, False)]
    assert [left.size_bytes for left in leftovers(small)] == [5, 1000, 1000]
    told = cxremb("store", "gc", "--root", small.paths.root).out
    assert f"trainings stopped {OLD_DAYS} days ago or more: 2, 1.0 kB" in told
    assert f"kept, 1.0 kB: train the same again to go on, or remove {new}" in told
    assert all(folder.is_dir() for folder in (new, old, draft))
    freed = cxremb("store", "gc", "--yes", "--root", small.paths.root)
    assert freed.code == 0
    assert f"remove {new}" in freed.out
    assert [path.name for path in small.paths.runs.iterdir()] == [new.name]
    assert (new / "one.safetensors").is_file()
    assert list_runs(small) == []
    with resumable(small, "new") as folder:
        assert (folder / "one.safetensors").is_file()  # it goes on
    assert leftovers(small) == []


def test_one_at_work_is_not_freed(small: Dataset, cxremb: Command) -> None:
    folder = stop(small, "long", OLD_DAYS + 1)
    with resumable(small, "long"):
        age(folder, OLD_DAYS + 1)
        refused = cxremb("store", "gc", "--yes", "--root", small.paths.root)
        assert refused.code == 1
        assert "in use by another cxremb" in refused.err
        assert (folder / "one.safetensors").is_file()
    assert not folder.exists()


def test_what_is_freed_is_gone(small: Dataset) -> None:
    stop(small, "old", OLD_DAYS)
    free(leftovers(small)[0])
    assert list(small.paths.runs.iterdir()) == []


def test_a_checkpoint_that_finds_no_room_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    """safetensors makes another error of it than Python."""
    checkpoint = Checkpoint({"w": torch.zeros(100_000)}, {}, {}, {"epoch": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(StoreError, match=r"cannot be written .*File too large"):
            write_checkpoint(tmp_path / "checkpoint.safetensors", checkpoint)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    write_checkpoint(tmp_path / "checkpoint.safetensors", checkpoint)
    found = read_checkpoint(tmp_path / "checkpoint.safetensors")
    assert found is not None
    assert (found.record, len(found.network["w"])) == ({"epoch": 1}, 100_000)
