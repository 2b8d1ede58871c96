"""``serve``: the data plane, and the collector that brings its records into the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from gatewright.cli import options

HOST = "127.0.0.1"
PORT = 8620

_Folder: TypeAlias = Annotated[
    Path | None, typer.Option(help="Serve this folder of 'release mount', without a home.")
]
_Segments: TypeAlias = Annotated[
    Path | None, typer.Option(help="With --folder: writable folder for the records.")
]
_Fingerprint: TypeAlias = Annotated[
    str, typer.Option(help="With --folder: fingerprint of the home's public keys.")
]
_Certificate: TypeAlias = Annotated[
    Path | None, typer.Option(help="PEM chain of this server; without it a home makes one.")
]
_ClientAuthority: TypeAlias = Annotated[
    Path | None, typer.Option(help="PEM authorities: callers need a certificate of theirs.")
]
_EndedBy: TypeAlias = Annotated[
    str, typer.Option(help="Plain text beyond this machine: the words name what ends TLS in front.")
]
_Proxy: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--proxy", help="Address or network of a proxy whose X-Forwarded-For is believed."),
]
_MetricsKey: TypeAlias = Annotated[
    Path | None, typer.Option(help="File with a secret that may read /metrics; without it nobody may.")
]
_OneIn: TypeAlias = Annotated[int, typer.Option(help="With --traces: one in so many requests.", min=1)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command()(ready)
    app.command()(example)
    app.command()(collect)


def serve(
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = PORT,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = HOST,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="Host name that callers may use; may be repeated."),
    ] = None,
    grpc_port: Annotated[
        int | None, typer.Option(help="Port for gRPC, too; 0 for any free one.", min=0, max=65535)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Worker processes.", min=1, show_default="one for each core")
    ] = None,
    folder: _Folder = None,
    keys: Annotated[Path | None, typer.Option(help="With --folder: folder of its secrets.")] = None,
    segments: _Segments = None,
    fingerprint: _Fingerprint = "",
    tls: Annotated[bool, typer.Option("--tls", help="Speak TLS on the loopback, too.")] = False,
    tls_cert: _Certificate = None,
    tls_key: Annotated[Path | None, typer.Option(help="With --tls-cert: its private key, PEM.")] = None,
    client_ca: _ClientAuthority = None,
    tls_ended_by: _EndedBy = "",
    proxy: _Proxy = None,
    metrics_key_file: _MetricsKey = None,
    log: Annotated[str, typer.Option(help="Form of what is said on standard error: text or json.")] = "text",
    traces: Annotated[str, typer.Option(help="OTLP address of the collector that takes traces.")] = "",
    trace_one_in: _OneIn = 1_000,
) -> int:
    """Answer predictions over HTTP.

    Open Inference Protocol v2, REST and with --grpc-port gRPC, from the signed traffic plan.

    One server per home. On the loopback traffic is plain; beyond it TLS 1.3 is spoken. A home makes
    its own certificate where none is given; a mounted folder needs one. Files of certificates are
    watched: new ones are taken without a restart.

    Example: gatewright serve --port 8620
    """
    from gatewright.assembly.supervising import serve as serve_asked

    asked = {
        "host": host,
        "port": port,
        "allowed_hosts": tuple(allow_host or ()),
        "tls": tls,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "client_ca": client_ca,
        "tls_ended_by": tls_ended_by,
        "grpc_port": grpc_port,
        "log": log,
        "metrics_key_file": metrics_key_file,
        "proxies": tuple(proxy or ()),
        "traces": traces,
        "trace_one_in": trace_one_in,
    }
    return serve_asked({**asked, **_place(folder, keys, segments, fingerprint)}, workers)


def _place(
    folder: Path | None, keys: Path | None, segments: Path | None, fingerprint: str
) -> dict[str, object]:
    """What is served: the home here, or a mounted folder with its parts."""
    from gatewright.kernel.errors import Misuse

    if folder is None:
        if keys or segments or fingerprint:
            raise Misuse(
                "cli.folder-missing",
                "--keys, --segments and --fingerprint belong to a mounted folder.",
                next="Name it with --folder, or leave them out to serve the home.",
            )
        return {"start": Path.cwd()}
    if keys is None or segments is None:
        raise Misuse(
            "cli.folder-parts",
            "A mounted folder is served with --keys and --segments.",
            why="The worker needs its key, and a place for the record of every answer.",
            next="See docs/container.md.",
        )
    return {"folder": folder, "keys": keys, "segments": segments, "fingerprint": fingerprint}


def ready(
    port: Annotated[int, typer.Option(help="Port of the server.", min=1, max=65535)] = PORT,
    host: Annotated[
        str | None,
        typer.Option(
            help="Address of the server.", show_default=f"where the home's server listens, else {HOST}"
        ),
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(help="File with an API key: ask for readiness, not only for life.")
    ] = None,
    tls_ca: Annotated[
        Path | None, typer.Option(help="Ask over TLS; PEM file of the authority to trust.")
    ] = None,
    tls_name: Annotated[
        str, typer.Option(help="With --tls-ca: a name that the server's certificate carries.")
    ] = "localhost",
    client_cert: Annotated[
        Path | None, typer.Option(help="With --tls-ca: PEM file with a certificate and key of the caller.")
    ] = None,
    json: options.Json = False,
) -> int:
    """Ask a server whether it lives, or with a key whether it is ready: for probes.

    Exit 0 when it says yes, 4 when it says no or does not answer.

    Example: gatewright ready --port 8620
    """
    from gatewright.assembly.calling import Trust
    from gatewright.assembly.probing import ask, served_address
    from gatewright.cli import show

    trust = None if tls_ca is None else Trust(authority=tls_ca, name=tls_name, certificate=client_cert)
    said = ask(host or served_address(Path.cwd()), port, key_file, trust)
    if json:
        show.as_json({"path": said.path, "status": said.status})
    else:
        show.done(f"{said.path} answers {said.status}.")
    return 0


def example(
    endpoint: Annotated[str, typer.Argument(help="Endpoint to call.")], json: options.Json = False
) -> None:
    """Show a call that an endpoint answers.

    Made from the first row of its training split, for the address where this home's server answers.

    Example: gatewright example loans
    """
    import sys
    from json import dumps

    from gatewright.cli import show
    from gatewright.operations.example import example as make
    from gatewright.operations.status import serving_url

    with options.home_beside_others() as home:
        made, url = make(home, endpoint), serving_url(home.segments)
    if json:
        show.as_json({"path": made.path, "body": made.body})
        return
    body = dumps(made.body).replace("'", "'\\''")  # ASCII: nothing in it can move the terminal
    sys.stdout.write(
        f"curl {url or f'http://{HOST}:{PORT}'}{made.path} \\\n"
        "  -H 'Authorization: Bearer API_KEY' -H 'Content-Type: application/json' \\\n"
        f"  -d '{body}'\n"
    )


def collect(
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on, round after round, until standard input ends.")
    ] = False,
    json: options.Json = False,
) -> int:
    """Bring sealed prediction records into the ledger.

    'gatewright serve' does so by itself. This is for records that were copied from elsewhere, and for
    those that a server left. What is recorded already changes nothing. Exit 3 where a file does not hold: it
    stays where it is. Then the home's witnesses are asked to cosign: exit 4 where one does not answer,
    3 where one has seen what this log does not hold.

    Example: gatewright collect
    """
    from gatewright.assembly.collecting import collect_home, watch_home
    from gatewright.assembly.witness_calls import cosign_home
    from gatewright.cli import exits, show
    from gatewright.cli.witnesses import round_exit, tell_round, told_round

    if watch:
        watch_home(Path.cwd())
        return exits.DONE
    found = collect_home(Path.cwd())
    asked = cosign_home(Path.cwd())
    if json:
        facts = {
            "segments": found.segments,
            "predictions": found.predictions,
            "problems": list(found.problems),
        }
        show.as_json(facts if asked is None else {**facts, "witnesses": told_round(asked)})
    else:
        segments = f"{found.segments:,} segment{'s' if found.segments != 1 else ''}"
        predictions = f"{found.predictions:,} prediction{'s' if found.predictions != 1 else ''}"
        show.done(f"{segments}, {predictions} recorded.")
        for problem in found.problems:
            show.err.print(f"[red]✗[/] {show.escape(problem)}")
        tell_round(asked)
    return exits.TAMPERED if found.problems else round_exit(asked)
