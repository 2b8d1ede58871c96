"""The yardstick of the endpoint: an application that reads a body and answers another, and does no more.

Run ``python bench/echo.py PORT BYTES``. The server's settings are those of the product's worker
(uvloop, httptools, no access log), without its limits.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn


class Echo:
    """Answers ``size`` bytes to every request, once its body has come."""

    def __init__(self, size: int) -> None:
        self._body = b"x" * size
        self._headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % size)]

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        del scope
        while (await receive()).get("more_body", False):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body})


def main(port: int, size: int) -> None:
    """Serve until told to stop."""
    uvicorn.run(
        Echo(size),
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=1_024,
        timeout_keep_alive=120,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
