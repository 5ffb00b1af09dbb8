"""Who may ask a page or a service: Host, Origin, token; what browsers are told; how a server begins and ends."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from served import ask, served
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from cxremb.errors import CxrembError
from cxremb.web import server
from cxremb.web.guard import Guard, Rules, cookie_name, local, new_token, with_port
from cxremb.web.server import Bound, run_server

TOKEN = "the-right-token"


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.url.path} {request.url.query} {(await request.body()).decode()}")


def guarded(by: Any, **rules: Any) -> Any:
    app = Starlette(routes=[Route("/{path:path}", echo, methods=["GET", "POST"])])
    return lambda bound: Guard(app, Rules(hosts=bound.hosts, token=TOKEN, by=by, body_bytes=100, **rules))


@pytest.fixture(scope="module")
def pages() -> Iterator[Bound]:
    with served(guarded("cookie")) as bound:
        yield bound


@pytest.fixture(scope="module")
def service() -> Iterator[Bound]:
    with served(guarded("bearer", without_token=frozenset({"/health"}))) as bound:
        yield bound


def cookie(bound: Bound, token: str = TOKEN) -> dict[str, str]:
    return {"Cookie": f"{cookie_name({'server': (bound.host, bound.port)})}={token}"}


def test_the_token_becomes_a_cookie_and_leaves_the_address(pages: Bound) -> None:
    first = ask(pages, f"/case?token={TOKEN}&id=a%26b")
    assert (first.status, first.headers["location"]) == (303, "/case?id=a%26b")
    assert first.headers["set-cookie"] == f"cxremb_{pages.port}={TOKEN}; HttpOnly; Path=/; SameSite=strict"
    second = ask(pages, first.headers["location"], headers=cookie(pages))
    assert (second.status, second.text) == (200, "/case id=a%26b ")


@pytest.mark.parametrize("path", ["/", "/?token=", "/?token=wrong", "/?token=the-right-tokem", "/?token=%C3%A9"])
def test_without_the_right_token_there_is_nothing(pages: Bound, path: str) -> None:
    answer = ask(pages, path)
    assert (answer.status, "set-cookie" in answer.headers) == (401, False)
    assert "open the address that the terminal shows" in answer.text
    assert ask(pages, path, headers=cookie(pages, "wrong")).status == 401


def test_a_wrong_token_is_refused_whatever_the_cookie_says(pages: Bound) -> None:
    assert ask(pages, "/?token=wrong", headers=cookie(pages)).status == 401


def test_the_way_from_the_token_leads_nowhere_else(pages: Bound) -> None:
    assert ask(pages, f"//evil.example/x?token={TOKEN}").headers["location"] == "/evil.example/x"
    assert local("/\\evil.example") == "/evil.example"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1:1", "127.0.0.1", ""])
def test_another_host_is_refused(pages: Bound, host: str) -> None:
    answer = ask(pages, f"/?token={TOKEN}", headers={"Host": host.format(port=pages.port), **cookie(pages)})
    assert (answer.status, "set-cookie" in answer.headers) == (421, False)
    assert ask(pages, "/", headers={"Host": f"localhost:{pages.port}", **cookie(pages)}).status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1"])
def test_a_page_of_another_site_is_refused(pages: Bound, origin: str) -> None:
    headers = {"Origin": origin.format(port=pages.port), **cookie(pages)}
    assert ask(pages, "/", headers=headers).status == 403
    assert ask(pages, "/", method="POST", headers=headers, body="x").status == 403


def test_what_changes_something_comes_from_a_page_of_this_server(pages: Bound) -> None:
    assert ask(pages, "/", method="POST", headers=cookie(pages), body="x").status == 403
    own = {"Origin": f"http://{pages.named}", **cookie(pages)}
    assert ask(pages, "/note", method="POST", headers=own, body="x").text == "/note  x"
    assert ask(pages, f"/?token={TOKEN}", method="POST", headers={"Origin": own["Origin"]}, body="x").status == 401


def test_a_form_without_referrer_is_told_by_the_browser(pages: Bound) -> None:
    for site, status in (("same-origin", 200), ("cross-site", 403), ("same-site", 403), ("none", 403)):
        headers = {"Origin": "null", "Sec-Fetch-Site": site, **cookie(pages)}
        assert ask(pages, "/", method="POST", headers=headers, body="x").status == status, site
    other = {"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin", **cookie(pages)}
    assert ask(pages, "/", method="POST", headers=other, body="x").status == 403


def test_a_service_reads_the_token_of_a_header(service: Bound) -> None:
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert ask(service, "/x", headers=right).status == 200
    assert ask(service, "/x", method="POST", headers=right, body="film").text == "/x  film"
    assert ask(service, "/health").status == 200
    for wrong in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, cookie(service)):
        answer = ask(service, f"/x?token={TOKEN}", headers=wrong)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.text == ("cxremb: the token is missing or wrong; send the header `Authorization: Bearer TOKEN`\n")
    assert ask(service, "/x", headers={**right, "Origin": "http://evil.example"}).status == 403


def test_a_long_request_is_refused_whatever_it_says_of_its_length(service: Bound) -> None:
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert ask(service, "/x", method="POST", headers=right, body="x" * 100).status == 200
    assert ask(service, "/x", method="POST", headers=right, body="x" * 101).status == 413
    pieces = (b"x" * 60 for _ in range(2))  # sent in chunks: no length is said
    assert ask(service, "/x", method="POST", headers=right, body=pieces).status == 413


@pytest.mark.parametrize("path", ["/", "/?token=wrong"])
def test_browsers_keep_every_answer_to_themselves(pages: Bound, path: str) -> None:
    headers = ask(pages, path, headers=cookie(pages)).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


def test_a_host_may_leave_out_port_80() -> None:
    assert [with_port(host) for host in ("localhost", "[::1]", "[::1]:9", "a:1")] == [
        *("localhost:80", "[::1]:80", "[::1]:9", "a:1")
    ]
    assert Bound("::1", 9).address == "http://[::1]:9/"


def test_tokens_differ() -> None:
    assert len({new_token() for _ in range(20)}) == 20
    assert min(len(new_token()) for _ in range(20)) >= 40


def test_a_port_that_is_taken_is_an_error_that_says_what_to_do() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CxrembError, match=f"port {port} is taken") as caught:
            run_server(guarded("cookie"), port=port)
    assert "--port" in caught.value.hint
    with pytest.raises(CxrembError, match=r"cannot listen on 192\.0\.2\.1"):
        run_server(guarded("cookie"), host="192.0.2.1")


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "find_spec", lambda name: None if name == "uvicorn" else find_spec(name))
    with pytest.raises(CxrembError, match="uvicorn is not installed") as caught:
        run_server(guarded("cookie"))
    assert caught.value.hint == 'pip install "cxremb[web]"'


SCRIPT = """
from test_web import guarded
from cxremb.web.server import run_server
run_server(guarded("cookie"), listening=lambda bound: print(bound.port, flush=True))
print("ended")
"""


def test_ctrl_c_ends_it_in_order_and_nothing_is_logged() -> None:
    folder = __file__.rpartition("/")[0]
    started = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    bound = Bound("127.0.0.1", int(started.stdout.readline()))
    for path in (f"/?token={TOKEN}", "/?token=wrong"):
        ask(bound, path)
    ended = time.monotonic()
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=30)
    assert (started.returncode, out, err) == (0, "ended\n", "")
    assert time.monotonic() - ended < 10
