"""``serve``: the data plane, and the collector that brings its records into the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatewright.cli import options

HOST = "127.0.0.1"
PORT = 8620


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command()(example)
    app.command(hidden=True)(collect)


def serve(
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = PORT,
    host: Annotated[str, typer.Option(help="Loopback address to listen on.")] = HOST,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="Host name that callers may use; may be repeated."),
    ] = None,
) -> int:
    """Answer predictions over HTTP.

    Open Inference Protocol v2, REST, from the signed traffic plan.

    Loopback only until TLS exists; one server per home.

    Example: gatewright serve --port 8620
    """
    from gatewright.assembly.serving import serve_home

    return serve_home(Path.cwd(), host=host, port=port, allowed_hosts=tuple(allow_host or ()))


def example(
    endpoint: Annotated[str, typer.Argument(help="Endpoint to call.")], json: options.Json = False
) -> None:
    """Show a call that an endpoint answers.

    Made from the first row of its training split.

    Example: gatewright example loans
    """
    from json import dumps

    from gatewright.cli import show
    from gatewright.operations.example import example as make

    with options.home_beside_others() as home:
        made = make(home, endpoint)
    if json:
        show.as_json({"path": made.path, "body": made.body})
        return
    show.line(f"curl http://{HOST}:{PORT}{made.path} \\")
    show.line("  -H 'Authorization: Bearer API_KEY' -H 'Content-Type: application/json' \\")
    body = dumps(made.body, ensure_ascii=False).replace("'", "'\\''")
    show.line(f"  -d '{body}'")


def collect(
    watch: Annotated[bool, typer.Option("--watch", help="Go on until the parent process ends.")] = False,
) -> None:
    """Bring sealed segments into the ledger; ``serve`` does so by itself.

    Example: gatewright collect
    """
    from gatewright.assembly.collecting import collect_home, watch_home

    if watch:
        watch_home(Path.cwd())
    else:
        collect_home(Path.cwd())
