"""``python -m ratchet.flows.servers.prefect_server``: Prefect's server, closed to web pages.

Prefect checks neither Host nor Origin. Here both must name this server, on HTTP and on websockets, before Prefect sees a
request; then Prefect requires the token in PREFECT_SERVER_API_AUTH_STRING and, for every change, a CSRF token as well.
"""

import argparse
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ratchet.flows.servers.api_token import SERVER_VARIABLE, SIGN_IN_PATH
from ratchet.flows.servers.watcher import vanished
from ratchet.flows.settings import apply_defaults

OWN_NAMES = "127.0.0.1,localhost"
SECONDS_TO_STOP = 5
SETTINGS = {
    "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
    # No page needs another origin: the UI calls /api at the address it came from. "*" is Prefect's default.
    "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": "http://127.0.0.1",
    "PREFECT_SERVER_UI_API_URL": "/api",
}
# FastAPI's pages load scripts from a CDN, unpinned, into the origin whose storage contains the token.
PAGES_OFF = ("/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json")

# The token is in the fragment, which browsers do not send, and is stored where Prefect's own login page would store it.
SIGN_IN_PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Ratchet</title>
<p>Signing in&hellip;</p>
<script>
  const credentials = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  fetch("/api/admin/version", {headers: {Authorization: `Basic ${credentials}`}}).then(reply => {
    if (!reply.ok) throw new Error(reply.status);
    localStorage.setItem("prefect-password", credentials);
    location.replace("/");
  }).catch(() => document.querySelector("p").textContent = "This link has expired. Open the one that ratchet ui prints.");
</script>
"""


class SameOrigin:
    """Reject requests from pages of another origin, and framing by them.

    Browsers always set Origin if a page sends another origin a change or opens a websocket to it.
    A request without one is not from a script in a page: Prefect's client, curl, or a followed link.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def unframed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Frame-Options"] = "DENY"
                headers["Content-Security-Policy"] = "frame-ancestors 'none'"
            await send(message)

        if scope["type"] == "lifespan" or is_same_origin(Headers(scope=scope)):
            await self.app(scope, receive, unframed)
        else:
            await PlainTextResponse("pages of another origin may not send this request", 403)(scope, receive, send)


def is_same_origin(headers: Headers) -> bool:
    """Whether every Origin, if there is one, is the address in Host."""
    host = headers.get("host", "").lower()
    return all(origin.lower() in {f"http://{host}", f"https://{host}"} for origin in headers.getlist("origin"))


async def sign_in(request: Request) -> HTMLResponse:
    """The page that takes the token from the link of ``ratchet ui`` into the browser's storage for this origin."""
    return HTMLResponse(SIGN_IN_PAGE, headers={"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})


async def not_found(request: Request) -> PlainTextResponse:
    """For what Prefect's application has and ours has not."""
    return PlainTextResponse("Not Found", 404)


def guarded(app: ASGIApp, names: Sequence[str]) -> ASGIApp:
    """An application that answers only under these host names, and only to its own origin's pages.

    Wrapped around it, not inside it: Prefect's own services call the application in memory, under a host name that is theirs.
    """
    return TrustedHostMiddleware(SameOrigin(app), allowed_hosts=names, www_redirect=False)


def application(names: Sequence[str], temporary: bool) -> ASGIApp:
    """Prefect's application behind the guard; a temporary one has no UI and no scheduler."""
    # Before importing Prefect, which reads them. Not as arguments of create_app: Prefect's services find the application in its
    # cache, which they query without arguments.
    apply_defaults()  # a server that an operator starts has no parent that did
    os.environ.update(SETTINGS, PREFECT__SERVER_EPHEMERAL="1" if temporary else "")
    from prefect.server.api.server import create_app

    app = create_app(final=True)
    add_routes(app)
    return guarded(app, names)


def add_routes(app: Starlette) -> None:
    """Our routes, before Prefect's, and before the UI, which answers every other path."""
    app.router.routes[:0] = [Route(SIGN_IN_PATH, sign_in), *(Route(path, not_found) for path in PAGES_OFF)]


def end_with_parent(parent: int) -> None:
    """Stop once standard input ends or the parent is gone, even if a surviving fork of it holds the pipe open."""
    vanished(parent)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(2 * SECONDS_TO_STOP)
    os._exit(1)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ratchet.flows.servers.prefect_server", description="Prefect behind a guard."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=4200)
    parser.add_argument("--names", default=OWN_NAMES, help="host names that callers may use, separated by commas")
    parser.add_argument("--temporary", action="store_true", help="for a single run: no UI, no scheduler")
    parser.add_argument(
        "--child",
        type=int,
        nargs=2,
        metavar=("FD", "PID"),
        help="listen on this open socket; exit with this parent process",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if ":" not in os.environ.get(SERVER_VARIABLE, ""):
        sys.exit(f"{SERVER_VARIABLE} is not set. Without it, anyone could start runs. Set it to user:password.")
    config = uvicorn.Config(
        application(options.names.split(","), options.temporary),
        host=options.host,
        port=options.port,
        lifespan="on",
        log_level=os.environ.get("PREFECT_SERVER_LOGGING_LEVEL", "WARNING").lower(),
        timeout_graceful_shutdown=SECONDS_TO_STOP,
    )
    if options.child is None:
        uvicorn.Server(config).run()
    else:
        descriptor, parent = options.child
        threading.Thread(target=end_with_parent, args=(parent,), daemon=True).start()
        uvicorn.Server(config).run([socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    main()
