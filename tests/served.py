"""A real HTTP server on loopback in a thread, and requests to it with every header as the test has it."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cxremb.web.server import LOOPBACK, Bound, bound_socket, new_server


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]  # names in small letters
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@contextmanager
def served(make: Callable[[Bound], Any]) -> Iterator[Bound]:
    """Where the application that `make` makes of the address is served, as `run_server` serves it."""
    with bound_socket(LOOPBACK, 0) as listener:
        bound = Bound(LOOPBACK, listener.getsockname()[1])
        server = new_server(make(bound))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield bound
        finally:
            server.should_exit = True
            thread.join(timeout=30)
            assert not thread.is_alive()


def ask(
    bound: Bound, path: str, *, method: str = "GET", headers: dict[str, str] | None = None, body: Any = None
) -> Answer:
    """The answer to one request; no redirection is followed."""
    connection = http.client.HTTPConnection(LOOPBACK, bound.port, timeout=60)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()
