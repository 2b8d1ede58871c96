"""``witness``: keep one, and have a home's log cosigned by others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from gatewright.cli import options
from gatewright.kernel.plurals import many

if TYPE_CHECKING:
    from gatewright.assembly.witness_calls import Witnesses
    from gatewright.operations.cosigning import Round
    from gatewright.operations.witness import Seen

PORT = 8640

app = typer.Typer(
    help="Witnesses: keep one for other people's logs, or have your own log cosigned.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Folder: TypeAlias = Annotated[Path, typer.Argument(help="Folder of the witness.")]


@app.command()
def init(
    folder: Annotated[
        Path, typer.Argument(help="New folder, on a machine that the log's owner does not run.")
    ],
    name: Annotated[str, typer.Option(help="Name in its cosignatures, such as audit.example/w1.")],
    json: options.Json = False,
) -> None:
    """Make a witness: two cosigning keys, and no log that it knows yet.

    Example: gatewright witness init w1 --name audit.example/w1
    """
    from gatewright.assembly.witnesses import create_witness
    from gatewright.cli import show

    made = create_witness(folder, name)
    if json:
        show.as_json({"folder": str(made.folder), "name": made.name, "keys": list(made.keys)})
        return
    show.done(f"The witness {made.name} lies in {made.folder}.")
    show.line(f"Its keys, for the owners of logs: {folder / 'witness.pub'}")
    show.hint(f"Say whose log it watches: gatewright witness trust {folder} trust.json")


@app.command()
def trust(
    folder: Folder,
    log: Annotated[
        list[str],
        typer.Argument(help="The trust.json of a log's owner; or keys of a log, each itself or in a file."),
    ],
    json: options.Json = False,
) -> None:
    """Know a log by its keys from now on.

    Give all keys of a log at once: for a log that is known already they replace those from before. What
    was cosigned stays in force.

    Example: gatewright witness trust w1 trust.json
    """
    from gatewright.assembly.witnesses import keys_given, open_witness
    from gatewright.cli import show
    from gatewright.operations import witness

    found = witness.trust(open_witness(folder), keys_given(log))
    if json:
        show.as_json([{"origin": one.origin, "keys": [key.text() for key in one.keys]} for one in found])
        return
    for one in found:
        show.done(f"The witness knows the log {one.origin} by {many(len(one.keys), 'key')}.")
    show.hint(f"Serve it: gatewright witness serve {folder} --port {PORT}")


@app.command()
def serve(
    folder: Folder,
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = PORT,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    tls_cert: Annotated[Path | None, typer.Option(help="PEM chain of this server.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="With --tls-cert: its private key, PEM.")] = None,
    tls_ended_by: Annotated[
        str, typer.Option(help="Plain text beyond this machine: the words name what ends TLS in front.")
    ] = "",
) -> int:
    """Cosign heads that logs submit, over HTTP (C2SP tlog-witness).

    One process per witness. Beyond the loopback TLS 1.3 is spoken, with a certificate of yours.

    Example: gatewright witness serve w1 --port 8640
    """
    from gatewright.assembly.witnesses import witness_place
    from gatewright.cli import show
    from gatewright.http.witness import serve_witness

    with witness_place(
        folder, host=host, port=port, tls_cert=tls_cert, tls_key=tls_key, tls_ended_by=tls_ended_by
    ) as place:
        serve_witness(
            place,
            lambda url: show.out.print(f"The witness {place.witness.name} answers at {url}", soft_wrap=True),
        )
    return 0


@app.command("show")
def show_(folder: Folder, json: options.Json = False) -> None:
    """Show a witness: the ids of its keys, and what it cosigned last of each log.

    The keys themselves stand in FOLDER/witness.pub, and under --json.

    Example: gatewright witness show w1
    """
    from gatewright.assembly.witnesses import open_witness
    from gatewright.cli import show
    from gatewright.operations import witness

    opened = open_witness(folder)
    seen = tuple(witness.seen(opened))
    keys = tuple(key.text() for key in opened.keys)
    if json:
        show.as_json({"name": opened.name, "keys": list(keys), "logs": [_plain(one) for one in seen]})
        return
    show.line(f"Witness {opened.name}, knows {many(len(seen), 'log')}.")
    ids = ", ".join(key.id.hex() for key in opened.keys)
    show.line(f"Its keys: {ids}; for the owners of logs: {folder / 'witness.pub'}")
    for one in seen:
        when = f"{one.head.size:,} records, at {_moment(one.time)}" if one.head.size else "nothing yet"
        show.line(f"{one.log.origin}: cosigned {when}.")


Quorum: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=0, help="How many witnesses must have cosigned a head.", show_default="as before, at least one"
    ),
]

Root: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--root", metavar="FOLDER", help="Folder with the root keys, where they are kept elsewhere."
    ),
]


@app.command()
def use(
    url: Annotated[str, typer.Argument(help="Address of the witness, as https://audit.example:8640.")],
    key: Annotated[list[str], typer.Argument(help="Its keys, each itself, or its file witness.pub.")],
    quorum: Quorum = None,
    root: Root = None,
    json: options.Json = False,
) -> None:
    """Have the log of this home cosigned by a witness.

    Its keys enter the home's public keys, in a new version of trust.json: tell the verifiers its
    fingerprint. Its address stands in gatewright.toml.

    Example: gatewright witness use https://audit.example:8640 w1.pub
    """
    from gatewright.assembly.witness_calls import use_witness

    _tell_witnesses(use_witness(Path.cwd(), url, key, quorum=quorum, root=root), json=json)


@app.command()
def drop(
    name: Annotated[str, typer.Argument(help="Name of the witness.")],
    quorum: Quorum = None,
    root: Root = None,
    json: options.Json = False,
) -> None:
    """Have the log of this home cosigned by a witness no more. What it cosigned stays.

    Example: gatewright witness drop audit.example/w1
    """
    from gatewright.assembly.witness_calls import drop_witness

    _tell_witnesses(drop_witness(Path.cwd(), name, quorum=quorum, root=root), json=json)


def _tell_witnesses(found: Witnesses, *, json: bool) -> None:
    from gatewright.cli import show

    if json:
        facts = {"quorum": found.quorum, "version": found.version, "fingerprint": found.fingerprint}
        show.as_json({"witnesses": dict(found.addresses), **facts})
        return
    for name, url in sorted(found.addresses.items()):
        show.line(f"{name} at {url}")
    count = len(found.addresses)
    show.done(f"{many(count, 'witness', 'witnesses')}, of whom {found.quorum} must have cosigned.")
    show.line(f"  The public keys have version {found.version}; fingerprint {found.fingerprint}")
    if count:
        show.hint(
            "A witness that does not know this log's keys yet needs .gatewright/trust.json "
            "(gatewright witness trust FOLDER trust.json). Then run: gatewright collect"
        )


def told_round(asked: Round) -> dict[str, object]:
    """What came of asking the witnesses, for machines."""
    return {
        "records": asked.size,
        "cosigned": list(asked.cosigned),
        "problems": {name: one.sentence() for name, one in sorted(asked.problems.items())},
    }


def tell_round(asked: Round | None) -> None:
    """The same for people."""
    from gatewright.cli import show

    if asked is None:
        return
    for name in asked.cosigned:
        show.done(f"{name} cosigned all {asked.size:,} records.")
    for _, problem in sorted(asked.problems.items()):
        show.err.print(f"[red]✗[/] {show.escape(problem.sentence())}")


def round_exit(asked: Round | None) -> int:
    """3 where a witness contradicts the log, 4 where one did not cosign, else 0."""
    from gatewright.cli import exits

    codes = set() if asked is None else {one.code for one in asked.problems.values()}
    if "operations.log-contradicted" in codes:
        return exits.TAMPERED
    return exits.FAILED if codes else exits.DONE


def _plain(one: Seen) -> dict[str, object]:
    return {
        "origin": one.log.origin,
        "keys": [key.text() for key in one.log.keys],
        "size": one.head.size,
        "root": one.head.root.hex(),
        "time": _moment(one.time),
    }


def _moment(time: int) -> str:
    from gatewright.operations.witnessed import moment

    return moment(time)
