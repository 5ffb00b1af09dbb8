"""What the service answers: the result of `predict`, its state, and problems as RFC 9457 has them.

The first is the dataclass that `predict` gives, which FastAPI takes as its schema: there is no second one.
"""

from http import HTTPStatus
from typing import Any, Literal

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from cxremb.inference.results import NOTICE

PROBLEM = "application/problem+json"
NOTICE_HEADER = "x-notice"  # on every answer, also of those that have no room for words
WHY = {
    400: "the request is no form with films and a report",
    401: "the token is missing or wrong",
    403: "sent by a page of another site",
    413: "the request is too long",
    421: "meant for another host",
    422: "nothing of it could be judged, or a field is wrong",
    429: "too many requests of one sender",
    500: "the run cannot judge any more",
    503: "too many studies wait, or the service ends",
}


class ProblemDetails(BaseModel):
    """What is wrong, and what to do."""

    type: str = "about:blank"
    title: str = Field(description="the status in words")
    status: int
    detail: str = Field(description="what is wrong")
    hint: str = Field(default="", description="what to do")
    notice: str = NOTICE


class Health(BaseModel):
    """Whether it judges, and by what."""

    status: Literal["ok", "ends"]
    run_id: str
    arm: str
    dataset: str
    reads: list[str] = Field(description="image, text or both")
    labels: list[str]
    waiting: int = Field(description="studies that wait")
    version: str
    notice: str = NOTICE


class Addresses(BaseModel):
    """What is where."""

    predict: str = "POST /predict: a form with `films`, `report_text`, or both, which are of one study"
    health: str = "GET /health: whether it judges, and by what"
    metrics: str = "GET /metrics: counts for Prometheus"
    document: str = "GET /openapi.json: all of it, with the shape of the answers"
    notice: str = NOTICE


def problem(status: int, detail: str, hint: str = "", *, retry_after: int | None = None) -> JSONResponse:
    """An answer that says what is wrong. retry_after: seconds after which the same may be asked again."""
    about = ProblemDetails(title=HTTPStatus(status).phrase, status=status, detail=detail, hint=hint)
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    return JSONResponse(about.model_dump(), status, headers=headers, media_type=PROBLEM)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These problems for the OpenAPI document."""
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    found: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        found[status] = {"description": WHY[status], "content": {PROBLEM: {"schema": schema}}}
        if status in {429, 503}:
            found[status]["headers"] = {
                "Retry-After": {"description": "seconds to wait", "schema": {"type": "integer", "minimum": 1}}
            }
    return found
