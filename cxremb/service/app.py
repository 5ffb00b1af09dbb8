"""The service as an ASGI application: one door for studies, and four to look through."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, File, Form, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cxremb.errors import CxrembError
from cxremb.inference.judge import Judge
from cxremb.inference.results import NOTICE, Judgements
from cxremb.service.answers import NOTICE_HEADER, Addresses, Health, ProblemDetails, problem, problems
from cxremb.service.batches import Batches, Full, Unable
from cxremb.service.limits import Limits, RateLimit
from cxremb.service.metrics import KIND, Metrics
from cxremb.service.study import SentFilm, SentStudy
from cxremb.version import VERSION
from cxremb.web.guard import SHORTER

ABOUT = f"""Judges films and reports as `cxremb predict` does, by one trained run.

**{NOTICE}** Nothing of what is sent is kept or logged. A request is one study.
"""
FILMS = "The films of one study: PNG, JPEG, TIFF, DICOM or NumPy."
REPORT = "Its report: the text that the run learned from, such as findings and impression, without headings."
AGAIN_SECONDS = 1  # after which to ask again where too many wait
BACK_SECONDS = 60  # after which to ask again where it ends: to start anew takes it that long at most, with its encoders
PREDICT, HEALTH = "/predict", "/health"
FORM = "send a form (multipart/form-data) with `films`, `report_text`, or both"
ELSE = "GET / says what is where"
HINTS = {400: FORM, 405: "{path} takes {allowed}; GET / says what is where", 413: SHORTER}


def service_app(judge: Judge, limits: Limits, *, neighbours: int, needs_token: bool) -> ASGIApp:
    """The application, without the guard around it. It judges from its start to its end."""
    metrics = Metrics()
    batches = Batches(judge, waiting=limits.waiting, neighbours=neighbours, metrics=metrics)
    MultiPartParser.spool_max_size = limits.body_bytes  # so that no film is written to the disk while it arrives
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # else a line for each form that is none

    @asynccontextmanager
    async def judging(_: FastAPI) -> AsyncIterator[None]:
        batches.start()
        yield
        await run_in_threadpool(batches.end)

    app = FastAPI(
        title="A run of cxremb",
        version=VERSION,
        description=ABOUT,
        lifespan=judging,
        docs_url=None,  # its page would come from another server
        redoc_url=None,
    )
    refused = (401, 403, 413, 421) if needs_token else (403, 413, 421)
    add_predict(app, batches, responses=problems(400, *refused, 422, 429, 500, 503))
    add_looks(app, judge, batches, responses=problems(*refused))
    add_problems(app)
    describe(app, needs_token=needs_token)
    return Limited(app, RateLimit(limits.per_minute), batches)


def add_predict(app: FastAPI, batches: Batches, *, responses: dict[int | str, dict[str, Any]]) -> None:
    """POST /predict."""

    @app.post(PREDICT, responses=responses, summary="Judge one study")
    async def predict(
        films: Annotated[list[UploadFile] | None, File(description=FILMS)] = None,
        report_text: Annotated[str | None, Form(description=REPORT)] = None,
    ) -> Judgements:
        """Probabilities, thresholds, what is unusual and the nearest training cases, as `cxremb predict` gives them."""
        sent = [SentFilm(film.filename or "", await film.read()) for film in films or []]
        study = await run_in_threadpool(SentStudy, sent, report_text)
        try:
            answer = await asyncio.wrap_future(batches.submit(study))
        finally:
            study.close()
        if isinstance(answer, CxrembError):
            raise answer
        return answer  # type: ignore[return-value]  # a dictionary of just this shape, which FastAPI checks


def add_looks(app: FastAPI, judge: Judge, batches: Batches, *, responses: dict[int | str, dict[str, Any]]) -> None:
    """GET /, /health and /metrics."""
    model = judge.model

    @app.get("/", responses=responses, summary="What is where")
    async def addresses() -> Addresses:
        """The addresses of this service."""
        return Addresses()

    @app.get(HEALTH, responses=problems(403, 413, 421), summary="Whether it judges, and by what")
    async def health() -> Health:
        """Needs no token."""
        return Health(
            status="ends" if batches.ended else "ok",
            run_id=model.run.run_id,
            arm=model.run.arm,
            dataset=model.dataset.name,
            reads=list(model.reads),
            labels=list(model.bundle.labels),
            waiting=batches.waiting.qsize(),
            version=VERSION,
        )

    @app.get("/metrics", responses=responses, response_class=PlainTextResponse, summary="Counts for Prometheus")
    async def counts() -> PlainTextResponse:
        """In its text format."""
        return PlainTextResponse(batches.metrics.text(batches.waiting.qsize()), media_type=KIND)


def add_problems(app: FastAPI) -> None:
    """Errors as problems, none of which names a path or a line of code."""

    @app.exception_handler(CxrembError)
    async def of_study(_: Request, error: CxrembError) -> JSONResponse:
        return problem(500 if isinstance(error, Unable) else 422, str(error), hint=error.hint or "")

    @app.exception_handler(Full)
    async def of_queue(_: Request, __: Full) -> JSONResponse:
        return busy()

    @app.exception_handler(RequestValidationError)
    async def of_field(_: Request, error: RequestValidationError) -> JSONResponse:
        fields = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors())
        return problem(422, fields, hint=FORM)

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        known, headers = HINTS.get(error.status_code, ELSE), error.headers or {}
        hint = known.format(path=request.url.path, allowed=headers.get("Allow", ""))
        answer = problem(error.status_code, str(error.detail), hint)
        answer.headers.update(headers)
        return answer

    @app.exception_handler(Exception)
    async def of_us(_: Request, __: Exception) -> JSONResponse:
        return problem(500, "a fault in cxremb", hint="tell who runs the service")


def busy() -> JSONResponse:
    """Too many wait."""
    return problem(503, "too many studies wait", hint="ask again in a second", retry_after=AGAIN_SECONDS)


def ending() -> JSONResponse:
    """The server ends before the study is judged."""
    return problem(503, "this service is ending", hint="ask again once it is back", retry_after=BACK_SECONDS)


def describe(app: FastAPI, *, needs_token: bool) -> None:
    """The OpenAPI document, with the shape of problems, and the token where one is needed."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = made()
            shapes = document["components"]["schemas"]
            shapes["ProblemDetails"] = ProblemDetails.model_json_schema()
            for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own, which `ProblemDetails` stands for
                shapes.pop(name, None)
            if needs_token:
                document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
                document["security"] = [{"token": []}]
                document["paths"][HEALTH]["get"]["security"] = []
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI documents it


class Limited:
    """An application that is not asked to judge too often, nor while too many wait: known before a film is read."""

    def __init__(self, app: ASGIApp, rate: RateLimit, batches: Batches) -> None:
        self.app, self.rate, self.batches = app, rate, batches

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and count what became of it."""
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("POST", PREDICT):
            await self.app(scope, receive, send)
            return

        begun = False

        async def counting(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self.batches.metrics.answered(message["status"])
            await send(message)

        try:
            await (self.refusal(scope) or self.app)(scope, receive, counting)
        except asyncio.CancelledError:  # the server ends, and what was under way has had its time
            if begun:
                raise
            await ending()(scope, receive, counting)

    def refusal(self, scope: Scope) -> JSONResponse | None:
        """Why not to go on, if so."""
        sender = scope["client"][0] if scope.get("client") else ""
        if seconds := self.rate.wait(sender):
            what = f"more than {self.rate.per_minute} requests a minute"
            return problem(429, what, hint=f"ask again in {seconds} s", retry_after=seconds)
        return busy() if self.batches.full else None


class Noticed:
    """An application whose every answer says in a header what it is not for."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def noticed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[NOTICE_HEADER] = NOTICE
            await send(message)

        await self.app(scope, receive, noticed)
