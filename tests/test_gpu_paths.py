"""What runs on a GPU, on a pretended one: the order of copies, passes and waits, and that no value is read too early.

The pretended GPU computes on the CPU. What is copied from it without waiting is not a number until its moment has been
waited for, as pinned memory holds anything until the copy has arrived.
"""

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from cxremb.embedding.encode import Log, encode_groups, finished, ready_ahead, start_batch
from cxremb.embedding.pixels import open_pixels
from cxremb.embedding.plan import Item
from cxremb.encoders import device as device_module
from cxremb.encoders.base import EditedTexts, Machine, What, load_encoder
from cxremb.encoders.device import check_compiler, download, upload, whole_float32
from cxremb.encoders.forward import CPU_ROWS, FilmEncoder, FilmNet, TorchForward, pool_average
from cxremb.encoders.machine import choose_machine
from cxremb.errors import EncoderError
from cxremb.images import Film, Frame
from cxremb.store.files import sha256_of
from cxremb.store.manifest import Recipe
from cxremb.training.data import Member, Rows
from cxremb.training.heads import HEADS, NetworkSpec
from cxremb.training.inputs import tensors_of
from cxremb.training.loop import fit_members
from cxremb.training.options import Options, PixelRecipe
from cxremb.training.pixels.films import Films
from cxremb.training.pixels.loop import Training
from cxremb.training.pixels.predict import NetworkJob
from cxremb.training.stack import Stack

CUDA = Machine(("cuda",), batch_size=4)
SIDE = 32


class PretendedGpu:
    """A log of what it was given to do, in order, and copies that arrive when their moment is waited for."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.on_the_way: list[tuple[torch.Tensor, torch.Tensor]] = []

    def event(self) -> "Moment":
        """As `torch.cuda.Event`."""
        return Moment(self)


class Moment:
    """After what was copied before it was recorded."""

    def __init__(self, gpu: PretendedGpu) -> None:
        self.gpu = gpu
        self.copies: list[tuple[torch.Tensor, torch.Tensor]] = []

    def record(self, stream: object) -> None:
        self.copies, self.gpu.on_the_way = self.gpu.on_the_way, []

    def synchronize(self) -> None:
        self.gpu.log.append("wait")
        for here, there in self.copies:
            here.numpy()[...] = there.numpy()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedGpu]:
    pretended, tensor_to, module_to = PretendedGpu(), torch.Tensor.to, torch.nn.Module.to

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        pretended.log.append("pin")
        return tensor

    def to(tensor: torch.Tensor, *words: Any, **options: Any) -> torch.Tensor:
        without_waiting = options.pop("non_blocking", False)
        if words[:1] == ("cuda",):
            pretended.log.append("copy in" if without_waiting else "slow copy in")
            return tensor.clone()
        if words[:1] == ("cpu",) and without_waiting:
            pretended.log.append("copy out")
            here = torch.full_like(tensor, torch.nan)
            pretended.on_the_way.append((here, tensor))
            return here
        return tensor_to(tensor, *words, **options)

    def move(module: torch.nn.Module, *words: Any, **options: Any) -> torch.nn.Module:
        return module if words[:1] == ("cuda",) else module_to(module, *words, **options)

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", to)
    monkeypatch.setattr(torch.nn.Module, "to", move)
    monkeypatch.setattr(torch.cuda, "Event", pretended.event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: device)
    monkeypatch.setattr(torch, "autocast", lambda *words, **options: nullcontext())  # there is none for it here
    return pretended


class Counted(torch.nn.Module):
    """Films to (mean, spread) of their pixels; logs each pass with how many films it was of."""

    def __init__(self, log: list[str], room: int = 1000) -> None:
        super().__init__()
        self.log, self.room = log, room

    def forward(self, films: torch.Tensor) -> tuple[torch.Tensor]:
        if len(films) > self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        self.log.append(f"pass of {len(films)}")
        flat = films.flatten(1).double()
        return (torch.stack([flat.mean(1), flat.std(1)], dim=1),)


def films(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, SIDE, SIDE), dtype=np.uint8)


def wanted(pixels: np.ndarray) -> np.ndarray:
    flat = pixels.reshape(len(pixels), -1).astype(float)
    return np.stack([flat.mean(1), flat.std(1, ddof=1)], axis=1).astype(np.float32)


def encoder(gpu: PretendedGpu, machine: Machine = CUDA, room: int = 1000) -> FilmEncoder:
    recipe = Recipe("counted", "counted", "0", "image", 2, ("avg",), {}, "full")
    return FilmEncoder(recipe, Frame(SIDE), "none", machine, lambda: Counted(gpu.log, room))  # type: ignore[arg-type]


def groups_of(n: int, folder: Path) -> list[tuple[Item, ...]]:
    """Of films whose pixels are kept: their files only have to be there, and be what they were."""
    files = [folder / f"{number}.film" for number in range(n)]
    for number, path in enumerate(files):
        path.write_bytes(bytes([number]))
    return [(Item(path.stem, path.stem, "image", sha256_of(path), str(path)),) for path in files]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Films 0 to 9 in a pixel cache."""
    kept = open_pixels(tmp_path, Frame(SIDE))
    for group, film in zip(groups_of(10, tmp_path), films(10), strict=True):
        kept.keep(Film(film, group[0].content))
    kept.flush()
    return tmp_path


def test_what_is_copied_from_a_gpu_is_read_when_it_has_arrived(gpu: PretendedGpu) -> None:
    there = upload(np.arange(3, dtype=np.float32), "cuda")
    first, second = download([there, there + 1], "cuda"), download([there + 2], "cuda")
    assert gpu.log == ["pin", "copy in", "copy out", "copy out", "copy out"]
    assert np.isnan(second.arrays[0]).all()
    np.testing.assert_array_equal(second.wait()[0], [2, 3, 4])
    assert np.isnan(first.arrays[0]).all()  # a moment is waited for by itself, not by all that came later
    np.testing.assert_array_equal(first.wait(), [[0, 1, 2], [1, 2, 3]])
    np.testing.assert_array_equal(first.wait(), [[0, 1, 2], [1, 2, 3]])
    assert gpu.log[5:] == ["wait", "wait"]  # once for each


def test_a_pass_is_started_before_the_last_one_is_waited_for(gpu: PretendedGpu, cache: Path) -> None:
    log, seen = Log(), []
    for groups, vectors in encode_groups(groups_of(10, cache), encoder(gpu), CUDA, log=log, cache=cache):
        gpu.log.append(f"{len(groups)} vectors")
        seen.append(vectors["avg"].copy())
    start = ["pin", "copy in"]
    assert gpu.log == [
        *start, "pass of 4", "copy out",
        *start, "pass of 4", "copy out", "wait", "4 vectors",
        *start, "pass of 2", "copy out", "wait", "4 vectors",
        "wait", "2 vectors",
    ]  # fmt: skip
    np.testing.assert_allclose(np.concatenate(seen), wanted(films(10)), rtol=1e-6)  # in order, and no NaN among them
    assert set(log.seconds) == {"decode", "forward"}


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_elsewhere_a_batch_is_done_before_the_next(device: str) -> None:
    order: list[str] = []

    def batches() -> Iterator[tuple[Sequence[Any], list[Callable[[], Any]]]]:
        for number in range(3):
            order.append(f"start {number}")
            yield [], [lambda number=number: {"avg": np.full((1, 1), number)}]

    for _, vectors in finished(batches(), Machine((device,)), Log()):
        order.append(f"done {int(vectors['avg'][0, 0])}")
    assert order == ["start 0", "done 0", "start 1", "done 1", "start 2", "done 2"]


def test_at_most_two_batches_are_under_way(gpu: PretendedGpu) -> None:
    started: list[int] = []

    def batches() -> Iterator[tuple[Sequence[Any], list[Callable[[], Any]]]]:
        for number in range(5):
            started.append(number)
            yield [], [lambda number=number: {"avg": np.full((1, 1), number)}]

    for done, (_, vectors) in enumerate(finished(batches(), CUDA, Log())):
        assert vectors["avg"][0, 0] == done
        assert len(started) - done <= 2
    assert done == 4


def test_what_is_read_ahead_ends_with_the_job() -> None:
    """A thread may be reading a batch when the job is stopped: it is waited for, and then its source is closed."""
    events: list[str] = []

    def batches() -> Generator[Any, None, None]:
        try:
            for number in range(5):
                events.append(f"read {number}")
                yield [], np.full((1, 1), number)
        finally:
            events.append("closed")

    ready = ready_ahead(batches(), CUDA)
    assert next(ready)[1][0, 0] == 0
    ready.close()
    assert events == ["read 0", "read 1", "closed"]
    assert [int(films[0, 0]) for _, films in ready_ahead(batches(), CUDA)] == [0, 1, 2, 3, 4]


def test_an_error_of_what_is_read_ahead_is_raised() -> None:
    def batches() -> Generator[Any, None, None]:
        yield [], np.zeros((1, 1))
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(ready_ahead(batches(), CUDA))


def test_out_of_memory_halves_the_batch_and_loses_no_vector(gpu: PretendedGpu, cache: Path) -> None:
    log = Log()
    small = encoder(gpu, room=3)
    found = [vectors["avg"] for _, vectors in encode_groups(groups_of(10, cache), small, CUDA, log=log, cache=cache)]
    np.testing.assert_allclose(np.concatenate(found), wanted(films(10)), rtol=1e-6)
    assert log.counts["batch_size_that_fits"] == 2
    assert [line for line in gpu.log if line.startswith("pass")] == ["pass of 2"] * 5
    with pytest.raises(EncoderError, match="not enough memory for one item"):
        start_batch(encoder(gpu, room=0), films(4), size=4)


def test_an_encoder_without_a_start_is_encoded_at_once(cache: Path) -> None:
    plain = load_encoder(What("tiny_text"))
    texts = ["no acute findings", "XXXX year old"]
    waiting, size = start_batch(plain, texts, size=2)
    assert size == 2
    np.testing.assert_array_equal(waiting[0]()["mean"], plain.encode(texts)["mean"])
    edited = EditedTexts(plain, "drop")  # type: ignore[arg-type]
    np.testing.assert_array_equal(edited.start(texts)()["mean"], edited.encode(texts)["mean"])


@pytest.fixture
def tf32() -> Iterator[Callable[[bool], None]]:
    """Sets both of torch's switches; they are put back in the end."""
    places = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [place.allow_tf32 for place in places]

    def switch(value: bool) -> None:
        for place in places:
            place.allow_tf32 = value

    yield switch
    for place, value in zip(places, before, strict=True):
        place.allow_tf32 = value


@pytest.mark.parametrize("value", [True, False])
def test_float32_is_whole_and_what_was_set_is_put_back(value: bool, tf32: Callable[[bool], None]) -> None:
    def read() -> tuple[bool, bool]:
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    tf32(value)
    with whole_float32():
        assert read() == (False, False)
    assert read() == (value, value)
    with pytest.raises(ValueError, match="inside"), whole_float32():
        raise ValueError("inside")
    assert read() == (value, value)


@pytest.mark.parametrize(("precision", "whole"), [("fp32", True), ("bf16", False)])
def test_a_pass_in_full_precision_on_a_gpu_is_whole(
    precision: str, whole: bool, gpu: PretendedGpu, tf32: Callable[[bool], None]
) -> None:
    tf32(True)
    met: list[tuple[bool, bool]] = []

    class Asked(torch.nn.Module):
        def forward(self, films: torch.Tensor) -> tuple[torch.Tensor]:
            met.append((not torch.backends.cudnn.allow_tf32, torch.backends.cuda.cudnn_sdp_enabled()))
            return (films.flatten(1)[:, :2].float(),)

    TorchForward(Asked(), replace(CUDA, precision=precision))(films(1))
    assert met == [(whole, whole)]  # in half precision cuDNN, which plans for each length of text, has no attention
    assert torch.backends.cudnn.allow_tf32
    assert torch.backends.cuda.cudnn_sdp_enabled()


def test_a_compiled_network_of_films_meets_one_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[bool] = []

    def compile_it(module: torch.nn.Module, dynamic: bool) -> torch.nn.Module:
        compiled.append(dynamic)
        return module

    monkeypatch.setattr(torch, "compile", compile_it)
    monkeypatch.setattr("cxremb.encoders.forward.check_compiler", lambda device: None)
    machine, log = Machine(compiled=True), []
    forward = TorchForward(Counted(log), machine, rows=CPU_ROWS)
    pixels = films(CPU_ROWS + 3)
    np.testing.assert_allclose(forward(pixels)[0], wanted(pixels), rtol=1e-6)
    np.testing.assert_allclose(forward(pixels[:1])[0], wanted(pixels[:1]), rtol=1e-6)
    assert log == [f"pass of {CPU_ROWS}"] * 3  # what is filled up is dropped again
    TorchForward(Counted(log), machine, films=False)(pixels)
    assert log[3:] == [f"pass of {len(pixels)}"]
    assert compiled == [False, True]  # texts may be of any length


def test_a_compiled_batch_that_does_not_fit_is_not_filled_up_again(
    gpu: PretendedGpu, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda module, dynamic: module)
    monkeypatch.setattr("cxremb.encoders.forward.check_compiler", lambda device: None)
    machine = replace(CUDA, compiled=True)
    small = encoder(gpu, machine, room=3)
    found = [
        vectors["avg"] for _, vectors in encode_groups(groups_of(9, cache), small, machine, log=Log(), cache=cache)
    ]
    np.testing.assert_allclose(np.concatenate(found), wanted(films(9)), rtol=1e-6)
    assert [line for line in gpu.log if line.startswith("pass")] == ["pass of 2"] * 5


def test_without_a_compiler_compiling_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(EncoderError, match=r"needs a compiler, and there is no g\+\+ or clang\+\+") as caught:
        choose_machine(["cpu"], compiled=True)
    assert "leave --compile out" in caught.value.hint
    monkeypatch.setattr(device_module, "find_spec", lambda name: None)
    with pytest.raises(EncoderError, match="needs Triton"):
        check_compiler("cuda:1")
    monkeypatch.setattr(device_module, "find_spec", lambda name: object())
    with pytest.raises(EncoderError, match="there is no gcc or clang or cc"):
        check_compiler("cuda")
    monkeypatch.setattr(device_module, "which", lambda name: name == "mine")
    monkeypatch.setenv("CC", "mine")
    check_compiler("cuda")


def test_batches_follow_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxremb.encoders.machine.check_device", lambda device: None)
    found = {}
    for device in ("cpu", "cuda:1", "mps"):
        machine = choose_machine([device])
        found[device] = machine.batch_size, machine.token_budget
    assert found == {"cpu": (32, 1024), "cuda:1": (256, 65_536), "mps": (128, 16_384)}
    assert choose_machine(["cuda"], batch_size=7).batch_size == 7


def test_on_a_cpu_the_vectors_are_those_of_the_module() -> None:
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", pretrained=False, num_classes=0).eval()
    module = FilmNet(network, pool_average, (0.5,) * 3, (0.5,) * 3)
    pixels = films(CPU_ROWS)
    with torch.inference_mode():
        expected = module(torch.from_numpy(pixels))[0].numpy()
    np.testing.assert_allclose(
        TorchForward(module, Machine(), rows=CPU_ROWS)(pixels)[0], expected, rtol=1e-5, atol=1e-6
    )


def rows_of(n: int) -> Rows:
    random = np.random.default_rng(0)
    y = random.integers(0, 2, (n, 1)).astype(np.float64)
    X = random.normal(size=(n, 6)).astype(np.float32) + y.astype(np.float32)
    return Rows({"image": X}, {"image": np.ones(n, bool)}, y, "binary", np.arange(n).astype(np.str_))


def test_an_epoch_of_heads_is_fetched_with_one_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fetches a value from a device, other than the one copy of all members' sums, is counted."""
    rows, fetched, copy = rows_of(60), [], torch.Tensor.cpu
    index = np.arange(60)
    members = [Member(index[:40], index[40:], seed) for seed in range(3)]
    options = replace(Options(), epochs=2, batch_size=16, select="last", patience=None)
    stack = Stack(tensors_of(rows, HEADS["image"]), members, HEADS["image"], options=options, dtype=torch.float32)

    def counting(name: str) -> Callable[..., Any]:
        original = getattr(torch.Tensor, name)

        def fetch(tensor: torch.Tensor, *words: Any) -> Any:
            fetched.append(name)
            return original(tensor, *words)

        return fetch

    for name in ("item", "tolist", "__float__", "__bool__", "__int__"):
        monkeypatch.setattr(torch.Tensor, name, counting(name))

    def counted_copy(tensor: torch.Tensor) -> torch.Tensor:
        fetched.append(tuple(tensor.shape))
        return copy(tensor)

    monkeypatch.setattr(torch.Tensor, "cpu", counted_copy)
    stack.run_epoch(1)
    assert fetched == [(6, 6)]  # two parts of three members: loss, accuracy and four counts of each
    stack.run_epoch(2)
    assert fetched == [(6, 6)] * 2
    monkeypatch.undo()
    for learner in stack.learners:
        [alone] = fit_members(rows, [learner.member], HEADS["image"], options=replace(options, precision="fp32"))
        assert [one.epoch for one in learner.history] == [1, 1, 2, 2]
        for mine, other in zip(learner.history, alone.history, strict=True):
            assert mine.loss == pytest.approx(other.loss, abs=1e-6)


def test_a_network_on_a_gpu_waits_for_no_step(gpu: PretendedGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """Films and rows go there without waiting, the loss is computed there, and nothing comes back in between."""
    rows = rows_of(12)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 16), dtype=np.uint8)
    held = Films(PixelRecipe(side=16), None, [], np.arange(12), pixels)
    job = NetworkJob(
        NetworkSpec(widths=(4,)), PixelRecipe(side=16), Options(batch_size=5, precision="fp32"), device="cuda"
    )
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: nullcontext())
    monkeypatch.setattr("cxremb.training.pixels.predict.native_bf16", lambda device: True)
    training = Training(job, held, tensors_of(rows), member=Member(np.arange(10), np.arange(10, 12), 0))
    monkeypatch.setattr(training, "close_epoch", lambda epoch: None)
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: pytest.fail("a copy that waits"))
    gpu.log.clear()
    for _ in training.run_epoch(1):
        gpu.log.append("step")
    assert [line for line in gpu.log if line != "slow copy in"] == ["pin", "copy in", "pin", "copy in", "step"] * 2
