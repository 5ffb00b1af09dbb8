"""Devices, precision and engines: what is chosen, that OpenVINO equals torch, and what happens where it does not."""

import csv
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from conftest import film
from hypothesis import given
from hypothesis import strategies as st

from cxremb.embedding.encode import WASTE, token_batches
from cxremb.encoders import forward as forward_module
from cxremb.encoders import machine as machine_module
from cxremb.encoders.base import Machine, What, load_encoder
from cxremb.encoders.forward import CPU_ROWS, FilmNet, TorchForward, choose_forward, least_cosine, pool_average
from cxremb.encoders.machine import (
    choose_machine,
    installed_engine,
    measured_precision,
    openvino_version,
    with_precision,
)
from cxremb.errors import EncoderError
from cxremb.images import Frame, resize

pytestmark = pytest.mark.arithmetic

needs_openvino = pytest.mark.skipif(not openvino_version(), reason='pip install "cxremb[openvino]" to test it')
REPORTS = [
    "No acute findings.",
    "Large left pleural effusion with atelectasis of the lower lobe. Heart enlarged.",
    "The lungs are clear bilaterally. Specifically, no evidence of focal consolidation, pneumothorax, or effusion. "
    * 3,
]


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.stack([resize(film(seed), Frame(240)) for seed in range(CPU_ROWS + 3)])


@needs_openvino
def test_openvino_equals_torch_on_films(pictures: np.ndarray) -> None:
    torch_ones = load_encoder(What("efficientnet_lite1")).encode(pictures)["avg"]
    encoder = load_encoder(What("efficientnet_lite1"), Machine(engine="openvino"))
    vectors = encoder.encode(pictures)["avg"]
    assert least_cosine([vectors], [torch_ones]) > 0.99999
    assert encoder.notes == []
    assert encoder.recipe.key == load_encoder(What("efficientnet_lite1")).recipe.key  # WHERE is not in the key
    one = np.concatenate([encoder.encode(picture[None])["avg"] for picture in pictures])
    np.testing.assert_array_equal(one, vectors)  # the same bits at any batch size


@needs_openvino
def test_a_text_network_is_traced_in_silence() -> None:
    """In a process of its own: transformers says a thing once, to the stderr that it found when it was imported."""
    script = (
        "from cxremb.encoders.base import Machine, What, load_encoder\n"
        "encoder = load_encoder(What('minilm'), Machine(engine='openvino'))\n"
        "print(encoder.encode(['No acute findings.'])['mean'].shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("(1, 384)\n", "")


@needs_openvino
def test_half_precision_is_kept_only_within_tolerance(pictures: np.ndarray) -> None:
    """lite1 loses more to bfloat16 than is allowed, in torch as well: openvino then computes in float32 and says so."""
    full = load_encoder(What("efficientnet_lite1")).encode(pictures)["avg"]
    encoder = load_encoder(What("efficientnet_lite1"), Machine(precision="bf16", engine="auto"))
    vectors = encoder.encode(pictures)["avg"]
    assert least_cosine([vectors], [full]) > forward_module.AGREEMENT
    if any("in float32 is used" in note for note in encoder.notes):
        assert least_cosine([vectors], [full]) > 0.99999
    assert encoder.recipe.precision == "half"


@needs_openvino
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_openvino_equals_torch_on_texts_of_any_length(precision: str) -> None:
    plain = load_encoder(What("minilm"))
    encoder = load_encoder(What("minilm"), Machine(precision=precision, engine="openvino"))
    for texts in (REPORTS[:1], REPORTS, REPORTS[1:2]):  # the first decides; the others have shapes it has not seen
        got, want = encoder.encode(texts), plain.encode(texts)
        assert least_cosine(list(got.values()), list(want.values())) > (0.99999 if precision == "fp32" else 0.999)
    assert encoder.notes == []


def small_net() -> FilmNet:
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", pretrained=False, num_classes=0).eval()
    return FilmNet(network, pool_average, (0.5,) * 3, (0.5,) * 3)


@needs_openvino
def test_out_of_tolerance_falls_back_to_torch_and_says_so(
    pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, notes = pictures[:, ::4, ::4], []
    within = choose_forward(small_net(), Machine(engine="auto"), [(small,)], notes=notes, rows=CPU_ROWS)
    assert not isinstance(within, TorchForward)
    assert notes == []
    monkeypatch.setattr(forward_module, "AGREEMENT", 1.1)
    run = choose_forward(small_net(), Machine(engine="auto"), [(small,)], notes=notes, rows=CPU_ROWS)
    np.testing.assert_array_equal(run(small), TorchForward(small_net(), Machine(), CPU_ROWS)(small))
    assert len(notes) == 1
    assert "torch, not openvino" in notes[0]
    assert "1.1 is wanted" in notes[0]
    with pytest.raises(EncoderError, match="openvino cannot run this encoder") as caught:
        choose_forward(small_net(), Machine(engine="openvino"), [(small,)], notes=[], rows=CPU_ROWS)
    assert "--runtime torch" in caught.value.hint


class Unconvertible(torch.nn.Module):
    """What no other runtime can be expected to do."""

    def forward(self, films: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (torch.linalg.eigvalsh(films.float() @ films.float().mT),)


@needs_openvino
def test_what_openvino_cannot_convert_falls_back(pictures: np.ndarray) -> None:
    small = pictures[:, :6, :6]
    notes: list[str] = []
    level = logging.getLogger().level
    run = choose_forward(Unconvertible(), Machine(engine="auto"), [(small,)], notes=notes, rows=CPU_ROWS)
    assert isinstance(run, TorchForward)
    assert len(notes) == 1
    assert notes[0].startswith("torch, not openvino")
    assert logging.getLogger().level == level  # else what others remark from here on is lost
    product = small[0].astype(float) @ small[0].astype(float).T
    np.testing.assert_allclose(run(small)[0][0], np.linalg.eigvalsh(product), rtol=1e-3, atol=1)


@needs_openvino
def test_openvino_phones_nobody_and_writes_nothing_at_home(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "bad = []\n"
        "def watch(event, args):\n"
        "    if event in {'socket.connect', 'socket.getaddrinfo', 'socket.sendto', 'subprocess.Popen', 'os.fork'}:\n"
        "        bad.append((event, args))\n"
        "sys.addaudithook(watch)\n"
        "import numpy as np\n"
        "from cxremb.encoders.base import Machine, What, load_encoder\n"
        "encoder = load_encoder(What('minilm'), Machine(engine='openvino'))\n"
        "encoder.encode(['Clear lungs.'])\n"
        "assert not encoder.notes and 'openvino' in sys.modules\n"
        "from openvino.tools.ovc import telemetry_utils\n"
        "assert telemetry_utils.tm.__name__.endswith('telemetry_stub')\n"
        "assert not [b for b in bad if b[0].startswith('socket')], bad\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("*telemetry*")) + list(tmp_path.rglob("*cid*"))


def test_weights_cast_once_give_the_numbers_of_autocast(pictures: np.ndarray) -> None:
    small = pictures[:3, ::4, ::4]
    module = small_net().to(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = module(torch.from_numpy(small))[0].float().numpy()
    got = TorchForward(module, Machine(precision="bf16"))(small)[0]
    np.testing.assert_array_equal(got, expected)
    assert module.network.conv1[0].weight.dtype == torch.bfloat16
    assert module.network.bn1.weight.dtype == torch.float32


def test_auto_precision_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {torch.float32: 3.0, torch.bfloat16: 1.0}
    monkeypatch.setattr(machine_module, "native_bf16", lambda device: True)
    monkeypatch.setattr(machine_module, "product_seconds", lambda device, dtype: seconds[dtype])
    here = choose_machine(["cpu"])
    chosen = with_precision(here, "auto")
    assert (chosen.precision, chosen.precision_class) == ("bf16", "half")
    assert "3.0 times as fast" in measured_precision("cpu")[1]
    seconds[torch.bfloat16] = 2.9
    assert with_precision(here, "auto").precision == "fp32"
    monkeypatch.setattr(machine_module, "native_bf16", lambda device: False)
    seconds[torch.bfloat16] = 0.1
    chosen = with_precision(here, "auto")
    assert (chosen.precision, chosen.precision_class) == ("fp32", "full")


def test_auto_engine_is_openvino_on_a_cpu_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_module, "openvino_version", lambda: "2026.1")
    monkeypatch.setattr(machine_module, "check_compiler", lambda device: None)  # whether there is one or not
    assert choose_machine(["cpu"]).engine == "auto"
    assert choose_machine(["cpu"], compiled=True).engine == "torch"
    assert choose_machine(["cpu"], engine="openvino").engine == "openvino"
    monkeypatch.setattr(machine_module, "openvino_version", lambda: "")
    assert choose_machine(["cpu"]).engine == "torch"
    engine, why = installed_engine("cpu", compiled=False)
    assert (engine, "cxremb[openvino]" in why) == ("torch", True)
    with pytest.raises(EncoderError, match="not installed"):
        choose_machine(["cpu"], engine="openvino")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("cuda:99", "fp32", "auto"), "device 'cuda:99' cannot be used"),
        (("nonsense", "fp32", "auto"), "device 'nonsense' cannot be used"),
        (("cpu", "fp8", "auto"), "unknown precision"),
        (("cpu", "fp32", "onnx"), "unknown runtime"),
        (("cpu", "fp16", "auto"), "fp16 is not for CPUs"),
    ],
)
def test_what_cannot_be_chosen(given: tuple[str, str, str], words: str) -> None:
    device, precision, engine = given
    with pytest.raises(EncoderError, match=words):
        with_precision(choose_machine([device], engine=engine), precision)


def test_product_seconds_of_this_machine_are_seconds() -> None:
    assert 0 < machine_module.product_seconds("cpu", torch.float32) < 5


@given(st.lists(st.integers(1, 512), max_size=200), st.integers(1, 4096))
def test_batches_hold_every_text_once_under_the_budget(lengths: list[int], budget: int) -> None:
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    batches = list(token_batches(order, lengths, budget))
    assert [index for batch in batches for index in batch] == order
    for batch in batches:
        padded = len(batch) * max(lengths[index] for index in batch)
        assert len(batch) == 1 or padded <= budget
        assert padded <= WASTE * sum(lengths[index] for index in batch)


def test_real_reports_are_hardly_padded_and_batches_are_not_small(real_data: Path) -> None:
    with (real_data / "iu_xray" / "indiana_reports.csv").open(encoding="utf-8") as file:
        texts = {f"{row['findings']} {row['impression']}".strip() for row in csv.DictReader(file)} - {""}
    lengths = [len(text.split()) for text in texts]
    batches = list(token_batches(sorted(range(len(lengths)), key=lengths.__getitem__), lengths, 1024))
    forwarded = sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)
    assert forwarded / sum(lengths) < 1.02
    assert forwarded / len(batches) > 800  # tokens in a batch: the bound on waste does not cut them to pieces


@pytest.mark.parametrize(
    ("told", "native"),
    [
        ({"architecture": "x86_64", "avx512_bf16": True, "amx_bf16": False}, True),
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}, False),  # AVX-512 alone emulates it
        ({"architecture": "aarch64"}, True),
        ({}, True),
    ],
)
def test_emulated_bfloat16_is_not_native(monkeypatch, told, native):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    assert machine_module.native_bf16("cpu") is native
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert not machine_module.native_bf16("cpu")


@pytest.mark.parametrize(("most", "native"), [("AVX2", False), ("avx512_core", False), ("AVX512_CORE_BF16", True)])
def test_bfloat16_that_onednn_may_not_use_is_not_native(monkeypatch, most, native):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", most)
    assert machine_module.native_bf16("cpu") is native
