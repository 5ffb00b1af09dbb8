"""A server on this machine: a socket, an application that knows its address, and an end by Ctrl-C."""

import errno
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from cxremb.errors import CxrembError, reason

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from uvicorn import Server

LOOPBACK = "127.0.0.1"
WAITING = 128  # connections that wait until they are taken
GRACE_SECONDS = 2  # that a request under way has when the server ends


@dataclass(frozen=True)
class Bound:
    """Where a server listens."""

    host: str
    port: int

    @property
    def named(self) -> str:
        """Host and port, as the header Host has them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def address(self) -> str:
        """What a browser opens."""
        return f"http://{self.named}/"

    @property
    def hosts(self) -> frozenset[str]:
        """What the header Host of a request may be, on loopback."""
        return frozenset({self.named, f"localhost:{self.port}"})


def require_web() -> None:
    """Raises `CxrembError` with what to install where the extra `web` is missing."""
    for package in ("fastapi", "uvicorn"):
        if find_spec(package) is None:
            raise CxrembError(f"{package} is not installed", hint='pip install "cxremb[web]"')


def run_server(
    make: Callable[[Bound], "ASGIApp"],
    *,
    host: str = LOOPBACK,
    port: int | None = None,
    listening: Callable[[Bound], None] = lambda bound: None,
) -> None:
    """Serve what `make` makes of the address until Ctrl-C, or a signal to end.

    port: None is one that is free. make: called once the port is ours, so that nobody waits for an application whose
    port is taken. listening: told the address once connections are taken. No request is logged: its address may hold a
    token or an id. Raises `CxrembError` where nothing can listen there, or without the extra `web`.
    """
    require_web()
    with bound_socket(host, port or 0) as listener:
        bound = Bound(host, listener.getsockname()[1])
        server = new_server(make(bound))
        with ended_as_by_ctrl_c():
            listening(bound)
            server.run(sockets=[listener])


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, so that what is around the server ends in order too.

    uvicorn hears both, ends in order, and sends the signal again to who listened before: by itself SIGTERM would end
    Python there and then.
    """
    own = threading.current_thread() is threading.main_thread()  # no other may set a handler
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if own else None
    try:
        yield
    except KeyboardInterrupt:
        return
    finally:
        if own:
            signal.signal(signal.SIGTERM, before)


def new_server(app: "ASGIApp") -> "Server":
    """A server of an application, which keeps no log of requests and believes no proxy."""
    from uvicorn import Config, Server

    return Server(
        Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises `CxrembError` where the port is taken or the host is not this machine's."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        if os.name == "posix":  # a server that has just ended may begin again; elsewhere this would share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(WAITING)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise CxrembError(
                f"port {port} is taken", hint="name another with --port; `--port 0` takes one that is free"
            ) from None
        hint = "ports below 1024 are the system's: name another with --port" if error.errno == errno.EACCES else ""
        raise CxrembError(f"cannot listen on {host}, port {port}: {reason(error)}", hint=hint) from None
    return listener
