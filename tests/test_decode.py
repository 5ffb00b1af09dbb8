"""Worker processes: the same films in the same order, whatever happens to a worker."""

import io
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from conftest import collection, save_film
from dicom_files import dataset, written
from pydicom.uid import JPEGLSLossless

from cxremb.audit.pixels import read_pixels
from cxremb.catalog import add_collection
from cxremb.embedding import decode as module
from cxremb.embedding.decode import FEW, Answer, Decoders, Files, all_failed, decode, look
from cxremb.embedding.job import embed
from cxremb.encoders.base import Machine, What, load_encoder
from cxremb.images import Fetched, Film, FilmFile, Frame, decode_file, resize
from cxremb.store.files import sha256_of
from cxremb.types import unwatched

FRAME = Frame(24)
DECODE = partial(decode, frame=FRAME)


def film_of(answer: Answer) -> np.ndarray:
    assert isinstance(answer, Film), answer
    return answer.pixels


def tasks(folder: Path, n: int) -> list[Files]:
    paths = [save_film(folder / f"{number}.png", number) for number in range(n)]
    return [[FilmFile(str(path), sha256_of(path))] for path in paths]


@pytest.mark.parametrize("processes", [False, True])
def test_answers_come_in_order(tmp_path: Path, processes: bool) -> None:
    asked = tasks(tmp_path, 30)
    expected = [resize(decode_file(Path(task[0][0]))[0], FRAME) for task in asked]
    decoders = Decoders(DECODE, all_failed, 2, processes)
    answers = [film_of(answer) for answer in decoders.run(asked, 7)]
    decoders.close()
    np.testing.assert_array_equal(np.stack(answers), np.stack(expected))


def test_no_more_than_the_limit_is_under_way(tmp_path: Path) -> None:
    taken = 0

    def counted() -> object:
        nonlocal taken
        for task in asked:
            taken += 1
            yield task

    asked = tasks(tmp_path, 30)
    decoders = Decoders(DECODE, all_failed, 2, processes=False)
    answers = decoders.run(counted(), 5)  # type: ignore[arg-type]
    for given in range(1, 20):
        next(answers)
        assert taken <= given + 4
    decoders.close()


def test_a_copy_stands_in_for_a_file_that_is_gone(tmp_path: Path) -> None:
    first, second = (save_film(tmp_path / name, 1) for name in ("a.png", "b.png"))
    task = [FilmFile(str(first), sha256_of(first)), FilmFile(str(second), sha256_of(second))]
    first.unlink()
    np.testing.assert_array_equal(film_of(decode(task, FRAME)), resize(decode_file(second)[0], FRAME))
    second.write_bytes(save_film(tmp_path / "c.png", 2).read_bytes())
    for task_of in (partial(decode, frame=FRAME), look):
        gone, changed = task_of(task)  # each file with what is wrong with it
        assert (gone.stage, str(gone)) == ("read", f"{first}: cannot be read (No such file or directory)")
        assert (changed.stage, str(changed)) == ("read", f"{second}: changed since it was added")


def test_a_film_that_was_altered_is_said_to_be_whatever_it_holds_now(tmp_path: Path) -> None:
    path = save_film(tmp_path / "a.png", 1)
    task = [FilmFile(str(path), sha256_of(path))]
    path.write_bytes(path.read_bytes()[:60])  # decodes no more
    assert [[str(error) for error in of(task)] for of in (lambda its: decode(its, FRAME), look)] == [
        [f"{path}: changed since it was added"]
    ] * 2
    damaged = [FilmFile(str(path), sha256_of(path))]  # it was so when it was added
    assert "not a readable image" in str(decode(damaged, FRAME)[0])


def test_a_film_whose_pixels_are_known_is_only_looked_at(tmp_path: Path) -> None:
    first, second = (save_film(tmp_path / name, 1) for name in ("a.png", "b.png"))
    task = [FilmFile(str(first), sha256_of(first)), FilmFile(str(second), sha256_of(second))]
    first.unlink()
    found = look(task)
    assert isinstance(found, Film)
    assert (found.sha256, found.pixels.size) == (task[1][1], 0)


def test_a_worker_that_is_killed_costs_nothing(tmp_path: Path) -> None:
    asked = tasks(tmp_path, 40)
    expected = np.stack([resize(decode_file(Path(task[0][0]))[0], FRAME) for task in asked])
    decoders = Decoders(DECODE, all_failed, 2, processes=True)
    answers = []
    for answer in decoders.run(asked, 8):
        answers.append(answer)
        if len(answers) == 10:
            for worker in list(decoders.pool._processes):  # type: ignore[attr-defined]
                os.kill(worker, signal.SIGKILL)
    decoders.close()
    np.testing.assert_array_equal(np.stack([film_of(answer) for answer in answers]), expected)


def test_a_film_that_kills_its_decoder_fails_alone(tmp_path: Path) -> None:
    asked = tasks(tmp_path, 6)
    (tmp_path / "killer.npy").write_bytes(b"")
    killer = [FilmFile(str(tmp_path / "killer.npy"), "x")]
    decoders = Killed(DECODE, all_failed, 1, True)
    answers = list(decoders.run([*asked[:3], killer, *asked[3:]], 3))
    decoders.close()
    assert [isinstance(answer, Film) for answer in answers] == [True] * 3 + [False] + [True] * 3
    assert ["killer.npy: the process that decoded it was killed" in str(error) for error in answers[3]] == [True]
    expected = np.stack([film_of(decode(task, FRAME)) for task in asked])
    np.testing.assert_array_equal(np.stack([film_of(answer) for answer in [*answers[:3], *answers[4:]]]), expected)


def test_a_script_without_a_guard_is_run_once(tmp_path: Path) -> None:
    """Workers must not import it: they would start it over, and none of them would ever decode a film."""
    data = add_collection(collection(tmp_path / "films", n=FEW // 2 + 5), tmp_path / "root").dataset
    (tmp_path / "script.py").write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from cxremb.embedding.start import run\n"
        "from cxremb.encoders.base import Machine, What\n"
        "from cxremb.store.dataset import open_dataset\n"
        "print('started', flush=True)\n"
        "machine = Machine(workers=2)\n"
        "done = run(open_dataset(Path(sys.argv[1]), 'small'), What('tiny'), machine)\n"
        "print(done.added, len(done.failures), sys.modules['__main__'].machine is machine)\n"
    )
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py", data.paths.root],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout.splitlines() == ["started", f"{FEW + 10} 0 True"], done.stderr


class Killed(Decoders):
    """Decoders whose processes die on a file called killer, as a crash in a codec would have it."""

    def start(self, workers: int) -> object:  # type: ignore[override]
        pool = super().start(workers)
        pool._initializer = die_on_killer  # type: ignore[union-attr]
        return pool


def die_on_killer(*_: object) -> None:
    plain = module.images.decode_file

    def decode_file(path: Path, frame: Frame | None = None, fetched: Fetched | None = None) -> object:
        if path.stem == "killer":
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(path, frame, fetched)

    module.images.decode_file = decode_file  # type: ignore[assignment]


def crashing(path: Path) -> Path:
    """A JPEG-LS film with one byte of its header altered: the library that decodes it aborts the process."""
    film = pydicom.dcmread(io.BytesIO(written(dataset(np.arange(2000, dtype=np.uint16).reshape(40, 50)))))
    film.compress(JPEGLSLossless, generate_instance_uid=False)
    film.save_as(path, enforce_file_format=True)
    content = bytearray(path.read_bytes())
    content[content.find(b"\xff\xd8\xff\xf7") + 6] = 0xFF  # bits of a sample
    path.write_bytes(content)
    return path


def test_a_codec_that_crashes_costs_one_film_of_a_few(tmp_path: Path) -> None:
    """Embedding goes on, and so does the audit."""
    given = collection(tmp_path / "films", n=4)
    images = [replace(given.images[0], path=crashing(tmp_path / "bad.dcm")), *given.images[1:]]
    data = add_collection(replace(given, images=images), tmp_path / "root").dataset
    script = "import pathlib, sys, cxremb.images as images; images.decode_file(pathlib.Path(sys.argv[1]))"
    alone = subprocess.run([sys.executable, "-c", script, tmp_path / "bad.dcm"], capture_output=True, check=False)
    assert alone.returncode < 0  # it is such a film: without a process of its own the job would end here
    done = embed(data, load_encoder(What("tiny")), Machine(workers=2))
    assert [(failure.item.item_id, failure.stage) for failure in done.failures] == [
        (given.images[0].image_id, "decode")
    ]
    assert "bad.dcm: the process that decoded it was killed" in done.failures[0].message
    assert done.added == 7
    assert read_pixels(data, unwatched).unreadable.keys() == {given.images[0].image_id}


def test_a_film_that_takes_too_long_is_a_failure(tmp_path: Path) -> None:
    asked = [*tasks(tmp_path, 3), [FilmFile(str(tmp_path / "slow.tif"), "x")]]
    (tmp_path / "slow.tif").write_bytes(b"II*\0")
    decoders = Decoders(asleep, all_failed, 1, processes=False, seconds=1.0)
    answers = list(decoders.run(asked, 8))
    decoders.close()
    assert [isinstance(answer, Film) for answer in answers] == [True] * 3 + [False]
    assert "slow.tif: not decoded in 1 seconds" in str(answers[3][0])


def asleep(files: Files) -> Answer:
    """As `decode`; of a film called slow a codec that never ends."""
    while "slow" in files[0][0]:
        pass
    return decode(files, FRAME)


@pytest.mark.parametrize("processes", [False, True])
def test_a_film_without_a_digest_is_a_failure(tmp_path: Path, processes: bool, cxremb: Callable[..., Any]) -> None:
    """It could not be read when it was added; it may be there now, and may be the only one or among many."""
    given = collection(tmp_path / "films", n=FEW // 2 + 1 if processes else 12)
    content = given.images[0].path.read_bytes()
    given.images[0].path.unlink()
    data = add_collection(given, tmp_path / "root").dataset
    for there in (False, True):
        if there:
            given.images[0].path.write_bytes(content)
        done = embed(data, load_encoder(What("tiny")), Machine(workers=2))
        assert [failure.item.item_id for failure in done.failures] == [given.images[0].image_id]
        assert ("cannot be read", "changed since it was added")[there] in done.failures[0].message
    assert read_pixels(data, unwatched).unreadable.keys() == {given.images[0].image_id}
    for words in ("audit", "train image --split image-80-20 --allow-leaky", "sql 'from failures'", "store ls"):
        assert "Traceback" not in cxremb(*shlex.split(words), "--root", tmp_path / "root").err
