"""A trained run behind HTTP: what `cxremb serve` does."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cxremb.alignment.publish import source_of
from cxremb.api.places import store_root
from cxremb.api.runs import RunName, named_run
from cxremb.inference.choice import newest_run, ready
from cxremb.inference.judge import Judge, judge_of
from cxremb.inference.loaded import load_run
from cxremb.service.limits import Limits
from cxremb.store.dataset import data_sets
from cxremb.web.guard import Guard, Rules, new_token
from cxremb.web.server import LOOPBACK, Bound, require_web, run_server

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import ASGIApp


TOKEN = "CXREMB_TOKEN"  # in the environment: an argument would stand in every list of processes
PORT = 8000
USUAL = Limits()


@dataclass(frozen=True)
class Served:
    """What listens where, and by which run."""

    bound: Bound
    judge: Judge
    token: str | None
    made: bool  # whether the token was made for this start, and is known to nobody yet


def serve(
    *,
    run: RunName | None = None,
    neighbours: int = 5,
    host: str = LOOPBACK,
    port: int = PORT,
    limits: Limits = USUAL,
    dataset: str | None = None,
    root: "str | Path | None" = None,
    listening: Callable[[Served], None] = lambda served: None,
) -> None:
    """Judge what is sent to a port of this machine, until Ctrl-C.

    run: the newest that reads films, if left out. host: where to listen; anywhere but on loopback each request needs a
    token, that of the environment's `CXREMB_TOKEN`, else one that is made. listening: told once it can be asked. Raises
    as `predict`, and `CxrembError` without the extra `web` or where nothing can listen.
    """
    require_web()
    from cxremb.service.answers import problem
    from cxremb.service.app import HEALTH, Noticed, service_app

    judge = cache(lambda: opened_judge(run, dataset, root))
    token = os.environ.get(TOKEN) or None
    made = token is None and not is_loopback(host)
    token = new_token() if made else token

    def guarded(bound: Bound) -> "ASGIApp":
        app = service_app(judge(), limits, neighbours=neighbours, needs_token=token is not None)
        hosts = bound.hosts if is_loopback(host) else None
        return Noticed(Guard(app, Rules(hosts, token, "bearer", frozenset({HEALTH}), limits.body_bytes, problem)))

    run_server(guarded, host=host, port=port, listening=lambda bound: listening(Served(bound, judge(), token, made)))


def opened_judge(run: RunName | None, dataset: str | None, root: "str | Path | None") -> Judge:
    """The run with its encoders loaded, so that the first request waits no longer than others."""
    if run is None:
        chosen, why = newest_run(data_sets(store_root(root), dataset), {"image"})
    else:
        chosen, why = named_run(run, dataset, root), "the run that was named"
    model = ready(load_run(chosen.folder), why)
    judge = judge_of(model)
    for block, store in model.stores.items():
        model.loaded.of(source_of(model.dataset, store) if store.projected else store)
        judge.space(block)
    return judge


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
