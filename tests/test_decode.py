"""Worker processes: the same films in the same order, whatever happens to a worker."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import collection, save_film

from cxremb.catalog import add_collection
from cxremb.embedding import decode as module
from cxremb.embedding.decode import FEW, Answer, Decoders, Files, decode
from cxremb.errors import ImageError
from cxremb.images import Frame, decode_file, resize
from cxremb.store.files import sha256_of

FRAME = Frame(24)


def film_of(answer: Answer) -> np.ndarray:
    assert not isinstance(answer, ImageError), answer
    return answer.pixels


def tasks(folder: Path, n: int) -> list[Files]:
    paths = [save_film(folder / f"{number}.png", number) for number in range(n)]
    return [[(str(path), sha256_of(path))] for path in paths]


@pytest.mark.parametrize("processes", [False, True])
def test_answers_come_in_order(tmp_path: Path, processes: bool) -> None:
    asked = tasks(tmp_path, 30)
    expected = [resize(decode_file(Path(task[0][0]))[0], FRAME) for task in asked]
    decoders = Decoders(FRAME, 2, processes)
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
    decoders = Decoders(FRAME, 2, processes=False)
    answers = decoders.run(counted(), 5)  # type: ignore[arg-type]
    for given in range(1, 20):
        next(answers)
        assert taken <= given + 4
    decoders.close()


def test_a_copy_stands_in_for_a_file_that_is_gone(tmp_path: Path) -> None:
    first, second = (save_film(tmp_path / name, 1) for name in ("a.png", "b.png"))
    task = [(str(first), sha256_of(first)), (str(second), sha256_of(second))]
    first.unlink()
    np.testing.assert_array_equal(film_of(decode(task, FRAME)), resize(decode_file(second)[0], FRAME))
    second.write_bytes(save_film(tmp_path / "c.png", 2).read_bytes())
    refusal = decode(task, FRAME)
    assert isinstance(refusal, ImageError)
    assert (refusal.stage, "a.png: cannot be read" in str(refusal)) == ("read", True)
    changed = decode([(str(second), task[1][1])], FRAME)
    assert isinstance(changed, ImageError)
    assert (changed.stage, str(changed)) == ("read", f"{second}: changed since it was added")


def test_a_worker_that_is_killed_costs_nothing(tmp_path: Path) -> None:
    asked = tasks(tmp_path, 40)
    expected = np.stack([resize(decode_file(Path(task[0][0]))[0], FRAME) for task in asked])
    decoders = Decoders(FRAME, 2, processes=True)
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
    killer = [(str(tmp_path / "killer.npy"), "x")]
    decoders = Killed(FRAME, 1, True)
    answers = list(decoders.run([*asked[:3], killer, *asked[3:]], 3))
    decoders.close()
    refused = [answer for answer in answers if isinstance(answer, ImageError)]
    assert len(refused) == 1
    assert refused[0] is answers[3]
    assert "killer.npy: the process that decoded it was killed" in str(refused[0])
    expected = np.stack([film_of(decode(task, FRAME)) for task in asked])
    np.testing.assert_array_equal(np.stack([film_of(answer) for answer in [*answers[:3], *answers[4:]]]), expected)


def test_a_script_without_a_guard_is_run_once(tmp_path: Path) -> None:
    """Workers must not import it: they would start it over, and none of them would ever decode a film."""
    dataset = add_collection(collection(tmp_path / "films", n=FEW // 2 + 5), tmp_path / "root").dataset
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
        [sys.executable, tmp_path / "script.py", dataset.paths.root],
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


def die_on_killer() -> None:
    plain = module.images.decode_file

    def decode_file(path: Path, frame: Frame | None = None) -> object:
        if path.stem == "killer":
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(path, frame)

    module.images.decode_file = decode_file  # type: ignore[assignment]
