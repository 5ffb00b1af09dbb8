"""The addresses of the explorer, and what each answers. Only one of them writes: a note."""

import hashlib
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

import duckdb
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from cxremb.errors import CxrembError, DataError, ImageError, StoreError
from cxremb.explorer.board import Board, Boards
from cxremb.explorer.case import case_page, neighbours_of, take_note
from cxremb.explorer.films import SIDES, ShownFilms
from cxremb.explorer.job import MapJob
from cxremb.explorer.overview import overview_page
from cxremb.explorer.pages import render
from cxremb.explorer.rows import Question, map_points
from cxremb.explorer.runs import runs_page
from cxremb.explorer.selection import Selection, selection_from
from cxremb.store.mistakes import first_lines

STATIC = {
    "explorer.css": ("cxremb.explorer", "static/explorer.css", "text/css"),
    "colours.css": ("cxremb.reporting", "drawings.css", "text/css"),
    "explorer.js": ("cxremb.explorer", "static/explorer.js", "text/javascript"),
    "map.js": ("cxremb.explorer", "static/map.js", "text/javascript"),
    "film.js": ("cxremb.explorer", "static/film.js", "text/javascript"),
    "icon.svg": ("cxremb.explorer", "static/icon.svg", "image/svg+xml"),
}
CHANGED = "load the page again if it has changed; else see what is whole: `cxremb store check`"
ROW = "SELECT item_id, view, sha256, here AND unreadable IS NULL FROM cases WHERE n = $n"
DIGITS = 9  # of the number of a row
ASK_AGAIN = "private, no-cache"  # a browser may keep it, and asks each time whether it is still the same


@dataclass(frozen=True)
class Explorer:
    """What all pages share."""

    boards: Boards
    author: str  # of notes
    films: ShownFilms = field(default_factory=ShownFilms)
    job: MapJob = field(default_factory=MapJob)

    def chosen(self, request: Request) -> tuple[Board, Selection]:
        """The board and the selection that an address names."""
        chosen = selection_from(request.query_params.multi_items())
        return self.boards.board(chosen.of, chosen.label), chosen

    def overview(self, request: Request) -> Response:
        """Rows."""
        board, chosen = self.chosen(request)
        given = request.query_params
        return HTMLResponse(overview_page(board, chosen, after=given.get("after"), before=given.get("before")))

    def runs(self, request: Request) -> Response:
        """The table of runs."""
        return HTMLResponse(runs_page(*self.chosen(request)))

    def case(self, request: Request) -> Response:
        """One case."""
        board, chosen = self.chosen(request)
        return HTMLResponse(case_page(board, chosen, request.query_params.get("id", ""), author=self.author))

    def near(self, request: Request) -> Response:
        """What lies near a case."""
        board, chosen = self.chosen(request)
        given = request.query_params
        return HTMLResponse(neighbours_of(board, chosen, given.get("id", ""), modality=given.get("by", "image")))

    def mask(self, request: Request) -> Response:
        """A bit for each row."""
        board, chosen = self.chosen(request)
        with board.asking() as con:
            return Response(Question(board, con, chosen).mask(), media_type="application/octet-stream")

    def points(self, request: Request) -> Response:
        """The map."""
        board, _ = self.chosen(request)
        with board.asking() as con:
            return Response(map_points(board, con), media_type="application/octet-stream")

    def progress(self, request: Request) -> Response:
        """How far the map is."""
        return JSONResponse({"state": self.job.state, "words": self.job.words})

    def row(self, request: Request) -> Response:
        """Which case a dot is."""
        board, _ = self.chosen(request)
        number = request.query_params.get("n", "")
        if not number.isdecimal() or len(number) > DIGITS:
            raise DataError(f"no row {number!r}", hint="point at a dot of the map")
        with board.asking() as con:
            found = con.execute(ROW, {"n": int(number)})
            rows = found.fetchall()
        if not rows:
            raise DataError(f"no row {number}", hint="load the page again: the store has changed")
        return JSONResponse(dict(zip(("id", "view", "sha256", "here"), rows[0], strict=True)))

    def film(self, request: Request) -> Response:
        """A film, small or whole, which is always the same under its digest."""
        sha256, kind = request.path_params["sha256"], request.path_params["kind"]
        tag = f'"{sha256}-{kind}"'
        if kind not in SIDES:
            raise DataError(f"no films of kind {kind!r}", hint=f"there are {', '.join(SIDES)}")
        headers = {"etag": tag, "cache-control": ASK_AGAIN}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        board, _ = self.chosen(request)
        return Response(self.films.jpeg(board, sha256, kind), media_type="image/jpeg", headers=headers)

    async def note(self, request: Request) -> Response:
        """Keep a note, and show the case again."""
        from starlette.concurrency import run_in_threadpool

        form = {name: str(text) for name, text in (await request.form()).items()}

        def write() -> Response:
            board, chosen = self.chosen(request)
            item = request.query_params.get("id", "")
            case = f"/case?{chosen.query(('id', item))}#notes"
            try:
                take_note(board, item, form, author=self.author)
            except CxrembError as error:
                return answered(request, error, back=case)
            return RedirectResponse(case, 303)

        return await run_in_threadpool(write)


def make_app(explorer: Explorer) -> Starlette:
    """The application, without its guard."""
    routes = [
        Route("/", explorer.overview),
        Route("/runs", explorer.runs),
        Route("/case", explorer.case),
        Route("/near", explorer.near),
        Route("/mask", explorer.mask),
        Route("/points", explorer.points),
        Route("/progress", explorer.progress),
        Route("/row", explorer.row),
        Route("/film/{kind}/{sha256}", explorer.film),
        Route("/note", explorer.note, methods=["POST"]),
        Route("/static/{name}", static),
    ]
    return Starlette(routes=routes, exception_handlers={CxrembError: answered, duckdb.Error: changed, 404: nothing})


def answered(request: Request, error: Exception, *, back: str = "", status: int = 400) -> Response:
    """What is wrong, and what to do, as a page; a program gets it as text."""
    if isinstance(error, ImageError) or request.url.path.startswith("/film/"):
        status = 404
    if "text/html" not in request.headers.get("accept", ""):
        return Response(f"{error}\n{getattr(error, 'hint', '')}\n", status, media_type="text/plain")
    page = render("problem.jinja", None, title=str(error), hint=getattr(error, "hint", ""), back=back)
    return HTMLResponse(page, status)


def changed(request: Request, error: Exception) -> Response:
    """Where a query of ours fails: files that it reads are gone or damaged."""
    return answered(request, StoreError(f"the store cannot be read: {first_lines(error)}", hint=CHANGED))


def nothing(request: Request, error: Exception) -> Response:
    """For an address that there is not."""
    return answered(request, DataError("there is no such page"), status=404)


def static(request: Request) -> Response:
    """A script or a style of ours: names of a table, so that no path is ever taken from an address."""
    name = request.path_params["name"]
    if name not in STATIC:
        return Response("no such file\n", 404, media_type="text/plain")
    content, tag, kind = read_static(name)
    headers = {"etag": tag, "cache-control": ASK_AGAIN}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)


@cache
def read_static(name: str) -> tuple[bytes, str, str]:
    """(content, tag, kind) of a file that comes with the package."""
    package, path, kind = STATIC[name]
    content = files(package).joinpath(path).read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"', kind
