"""Page views over all workers of a WSGI server: a counter, and a row per path, without a server beside them.

    gunicorn -c examples/gunicorn_counter/gunicorn.conf.py --chdir examples/gunicorn_counter app:application

Without fridge each worker would count its own share and forget it at the next restart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import fridge

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

# Opened before the workers are forked (preload_app): handles are safe to use after fork.
f = fridge.open(name="gunicorn_counter")
hits = f.counter("page_hits")
pages = f.table("page_views", {"views": "int64"}, capacity=10_000)


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Count, and say which view this is."""
    total = hits.increment()
    try:
        views = pages.incr(environ["PATH_INFO"] or "/", "views", 1)
    except fridge.FridgeError:  # more paths than rows, or one that is no key: the total counts all the same
        views = 0
    body = f"view {views} of this page, {total} of all\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]
