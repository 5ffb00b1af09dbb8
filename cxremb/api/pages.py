"""Pages in a browser: what `cxremb explore` does."""

import getpass
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cxremb.api.places import data_set, store_root


def unwatched_words(words: str) -> None:
    """Nobody is told."""


def explore(
    *,
    port: int | None = None,
    author: str | None = None,
    make_map: bool = True,
    dataset: str | None = None,
    root: str | Path | None = None,
    listening: Callable[[str], None] = print,
    progress: Callable[[str], None] = unwatched_words,
) -> None:
    """Serve pages over a data set on this machine until Ctrl-C: films, cases, runs, a map. Only notes are written.

    port: one that is free if left out. author: of the notes, who is logged in if left out. make_map: make a map of the
    newest store, and distances to training, where there are none, in a process beside. listening: told the address to
    open, with a token that is new each time. progress: told how far that process is. Raises `DataError` for an unknown
    data set, `CxrembError` without the extra `web` or where the port is taken.
    """
    from cxremb.explorer.board import Boards
    from cxremb.web.server import require_web, run_server

    require_web()
    found = data_set(dataset, root)
    boards = Boards(store_root(root), found.name)
    with ThreadPoolExecutor(1) as beside:
        opened = beside.submit(boards.board)  # while what serves pages is imported: each takes half a second
        from starlette.types import ASGIApp

        from cxremb.explorer.app import Explorer, make_app
        from cxremb.explorer.job import NOT_ASKED, MapJob
        from cxremb.web.guard import TOKEN, Guard, Rules, new_token
        from cxremb.web.server import Bound

        token = new_token()
        job = MapJob(watching=progress) if make_map else MapJob(words=NOT_ASKED)
        explorer = Explorer(boards, author or getpass.getuser(), job=job)

        def make(bound: Bound) -> ASGIApp:
            return Guard(make_app(explorer), Rules(hosts=bound.hosts, token=token, by="cookie"))

        def ready(bound: Bound) -> None:
            board = opened.result()
            listening(f"{bound.address}?{TOKEN}={token}")
            if make_map:
                explorer.job.start_where_needed(found, board.unit, board.runs.main.split if board.runs.main else None)

        try:
            run_server(make, port=port, listening=ready)
        finally:
            explorer.job.stop()
            explorer.films.close()
