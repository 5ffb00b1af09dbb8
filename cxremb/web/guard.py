"""Who may ask, and what a browser may do with the answer: around any ASGI application.

A page of another site cannot read what is here: it does not know the token, and its requests name another origin.
A name of another site that was pointed at this machine (DNS rebinding) is another Host. Both are refused first.
"""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN = "token"  # of the address that is opened first
BODY_BYTES = 64 * 1024  # of a request, where nobody says how long one may be: a note is shorter
READING = {"GET", "HEAD"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
MISSING = "the token is missing or wrong"
SHORTER = "send less in one request"
NOT_KEPT = {"cache-control": "no-store"}  # unless the application says otherwise, as of a script


def in_words(status: int, why: str, hint: str) -> Response:
    """A refusal for a person."""
    return Response(f"cxremb: {why}; {hint}\n", status, media_type="text/plain")


@dataclass(frozen=True)
class Rules:
    """What a request must bring.

    hosts: what its header Host may be, with port; None: anything, for a service that others reach by names of theirs.
    token: None where no token is asked for. by: `cookie` for pages, which get it by the address that is opened first;
    `bearer` for programs, which send it in the header Authorization. without_token: paths that need none.
    body_bytes: the longest request. refuse: the answer of this status, which
    says why and what to do.
    """

    hosts: frozenset[str] | None
    token: str | None
    by: Literal["cookie", "bearer"]
    without_token: frozenset[str] = frozenset()
    body_bytes: int = BODY_BYTES
    refuse: Callable[[int, str, str], Response] = in_words


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(32)


class Guard:
    """An application that is asked only what `rules` allow, and whose answers browsers keep to themselves."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self.app, self.rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            refused = self.refusal(scope)
            app = self.app if refused is None else refused
            await app(scope, counted(receive, self.rules.body_bytes), sealed(send))
        else:  # a web socket: nothing here has one
            await send({"type": "websocket.close", "code": 1008})

    def refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that goes no further, or that brings its token; else None."""
        rules, headers = self.rules, Headers(scope=scope)
        host = with_port(headers.get("host", ""))
        if rules.hosts is not None and host not in rules.hosts:
            names = " or ".join(sorted(rules.hosts))
            return rules.refuse(421, f"this server is {names}", "through a tunnel, use the same port at both ends")
        origin = headers.get("origin")
        # a form of a page without referrer has the origin `null`; that it is ours only the browser can say
        ours = origin == "null" and headers.get("sec-fetch-site") == "same-origin"
        if origin is not None and origin != f"http://{headers.get('host')}" and not ours:
            return rules.refuse(
                403, "this was sent by a page of another site", "send it by a program, or a page of ours"
            )
        if origin is None and rules.by == "cookie" and scope["method"] not in READING:
            why = "a request that changes something must come from a page of this server"
            return rules.refuse(403, why, "open the page, and do it there")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > rules.body_bytes:
            return rules.refuse(413, f"a request may be {rules.body_bytes:,} bytes long", SHORTER)
        if rules.token is None or scope["path"] in rules.without_token:
            return None
        return self.bearer(headers) if rules.by == "bearer" else self.cookie(scope, headers)

    def bearer(self, headers: Headers) -> Response | None:
        """None for the right token in the header Authorization, else the refusal."""
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.right(given.strip()):
            return None
        answer = self.rules.refuse(401, MISSING, "send the header `Authorization: Bearer TOKEN`")
        answer.headers["www-authenticate"] = "Bearer"
        return answer

    def cookie(self, scope: Scope, headers: Headers) -> Response | None:
        """None for the right cookie. The right token in the address becomes a cookie, and the address loses it."""
        name = cookie_name(scope)
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = next((value for key, value in pairs if key == TOKEN), None)
        if given is not None and self.right(given) and scope["method"] in READING:
            rest = urlencode([(key, value) for key, value in pairs if key != TOKEN])
            answer = RedirectResponse(local(scope["path"]) + (f"?{rest}" if rest else ""), 303)
            answer.set_cookie(name, given, httponly=True, samesite="strict", path="/")
            return answer
        if given is None and self.right(cookie_parser(headers.get("cookie", "")).get(name, "")):
            return None
        hint = "open the address that the terminal shows: it carries a token that is new each time"
        return self.rules.refuse(401, MISSING, hint)

    def right(self, given: str) -> bool:
        """Whether it is the token; wrong ones all take the same time."""
        return secrets.compare_digest(given.encode(), str(self.rules.token).encode())


def with_port(host: str) -> str:
    """A header Host with its port, which browsers leave out where it is 80."""
    return host if host.rpartition("]")[2].count(":") else f"{host}:80"


def local(path: str) -> str:
    """A path of this server: `//evil.example` would be the address of another."""
    return "/" + path.lstrip("/\\")


def cookie_name(scope: Scope) -> str:
    """The cookie's name has the port in it, since browsers send cookies to every port of a host."""
    return f"cxremb_{scope['server'][1]}"


def sealed(send: Send) -> Send:
    """`send`, with the headers that keep an answer where it belongs."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in {**NOT_KEPT, **HEADERS}.items():
                headers.setdefault(name, value)
        await send(message)

    return sending


def counted(receive: Receive, most: int) -> Callable[[], Awaitable[Message]]:
    """`receive`, which answers 413 as soon as more than `most` bytes came, whatever the request said of its length."""
    came = 0

    async def receiving() -> Message:
        nonlocal came
        message = await receive()
        came += len(message.get("body", b""))
        if came > most:
            raise HTTPException(413, f"a request may be {most:,} bytes long")
        return message

    return receiving
