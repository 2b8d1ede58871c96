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
    app.command()(ready)
    app.command()(example)
    app.command(hidden=True)(collect)


def serve(
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = PORT,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = HOST,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="Host name that callers may use; may be repeated."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Serve this folder of 'release mount', without a home.")
    ] = None,
    keys: Annotated[Path | None, typer.Option(help="With --folder: folder of its secrets.")] = None,
    segments: Annotated[
        Path | None, typer.Option(help="With --folder: writable folder for the records.")
    ] = None,
    fingerprint: Annotated[
        str, typer.Option(help="With --folder: fingerprint of the home's public keys.")
    ] = "",
) -> int:
    """Answer predictions over HTTP.

    Open Inference Protocol v2, REST, from the signed traffic plan.

    A home is served on the loopback only; one server per home. A mounted folder may be served on any
    address, which is named with --host: traffic is not encrypted, so put TLS in front.

    Example: gatewright serve --port 8620
    """
    from gatewright.assembly.serving import serve_folder, serve_home
    from gatewright.kernel.errors import Misuse

    hosts = tuple(allow_host or ())
    if folder is None:
        if keys or segments or fingerprint:
            raise Misuse(
                "cli.folder-missing",
                "--keys, --segments and --fingerprint belong to a mounted folder.",
                next="Name it with --folder, or leave them out to serve the home.",
            )
        return serve_home(Path.cwd(), host=host, port=port, allowed_hosts=hosts)
    if keys is None or segments is None:
        raise Misuse(
            "cli.folder-parts",
            "A mounted folder is served with --keys and --segments.",
            why="The worker needs its key, and a place for the record of every answer.",
            next="See docs/container.md.",
        )
    return serve_folder(
        folder,
        keys=keys,
        segments=segments,
        fingerprint=fingerprint,
        host=host,
        port=port,
        allowed_hosts=hosts,
    )


def ready(
    port: Annotated[int, typer.Option(help="Port of the server, on this machine.", min=1, max=65535)] = PORT,
    key_file: Annotated[
        Path | None, typer.Option(help="File with an API key: ask for readiness, not only for life.")
    ] = None,
    json: options.Json = False,
) -> int:
    """Ask a server on this machine whether it lives, or with a key whether it is ready: for probes.

    Exit 0 when it says yes, 4 when it says no or does not answer.

    Example: gatewright ready --port 8620
    """
    from gatewright.assembly.probing import ask
    from gatewright.cli import show

    said = ask(port, key_file)
    if json:
        show.as_json({"path": said.path, "status": said.status})
    else:
        show.done(f"{said.path} answers {said.status}.")
    return 0


def example(
    endpoint: Annotated[str, typer.Argument(help="Endpoint to call.")], json: options.Json = False
) -> None:
    """Show a call that an endpoint answers.

    Made from the first row of its training split.

    Example: gatewright example loans
    """
    import sys
    from json import dumps

    from gatewright.cli import show
    from gatewright.operations.example import example as make

    with options.home_beside_others() as home:
        made = make(home, endpoint)
    if json:
        show.as_json({"path": made.path, "body": made.body})
        return
    body = dumps(made.body).replace("'", "'\\''")  # ASCII: nothing in it can move the terminal
    sys.stdout.write(
        f"curl http://{HOST}:{PORT}{made.path} \\\n"
        "  -H 'Authorization: Bearer API_KEY' -H 'Content-Type: application/json' \\\n"
        f"  -d '{body}'\n"
    )


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
