"""``backup``, ``restore``, ``recover`` and ``scrub``: keeping what a home holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatewright.cli import options

KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file", metavar="FILE", help="Key of the backup, kept apart from it and from the home."
    ),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", metavar="FILE", help="File with the passphrase of the backup."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (backup, restore, recover, scrub):
        app.command()(command)


def backup(
    file: Annotated[Path, typer.Argument(help="New file to write.")],
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="Put the private keys in, too; whoever opens it can sign.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Write everything that a home keeps into one encrypted file, read back and verified.

    A key file that is not there is made. Serving and other commands go on meanwhile.

    Example: gatewright backup /mnt/safe/loans.backup --key-file /mnt/other/backup.key
    """
    from gatewright.assembly.backups import back_up, opener
    from gatewright.cli import show

    kind = "file" if passphrase_file is None else "passphrase"
    made = back_up(
        Path.cwd(), file, lambda: opener(passphrase_file, key_file, make=True)(kind), with_keys=with_keys
    )
    if json:
        show.as_json(
            {
                "file": str(made.file),
                "records": made.records,
                "files": made.files,
                "bytes": made.bytes,
                "size": made.size,
                "keys": made.keys,
                "fingerprint": made.fingerprint,
            }
        )
        return
    show.done(f"{made.records:,} records and {made.files:,} files ({made.bytes:,} bytes) are in {made.file}.")
    show.line("  It was read back from the disk, and every file in it has its digest.")
    if key_file is not None:
        show.line(f"  Only {key_file} opens it: keep that elsewhere, and a copy of it.")
    if not made.keys:
        show.line(
            "  The private keys are not in it: keep a copy of .gatewright/keys elsewhere.", style="yellow"
        )
    show.hint(f"Try it: gatewright restore {file} --to NEW-FOLDER")


def restore(
    file: Annotated[Path, typer.Argument(help="Backup that 'gatewright backup' wrote.")],
    to: Annotated[Path, typer.Option(help="New folder for the home.")],
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    fingerprint: Annotated[
        str, typer.Option("--fingerprint", help="Fingerprint that the home's keys must have.")
    ] = "",
    json: options.Json = False,
) -> None:
    """Make a home from a backup: verified, and whole or not there at all.

    The home is marked: it serves what it served, and nothing is recorded in it until a person says so
    with 'gatewright recover', for what was recorded after the backup is missing.

    Example: gatewright restore /mnt/safe/loans.backup --to loans --key-file /mnt/other/backup.key
    """
    from gatewright.assembly.backups import opener
    from gatewright.assembly.backups import restore as remake
    from gatewright.cli import show

    def say(sentence: str) -> None:
        if not json:
            show.done(sentence)

    made = remake(file, to, opener(passphrase_file, key_file), fingerprint=fingerprint, say=say)
    if json:
        show.as_json(
            {
                "folder": str(made.folder),
                "origin": made.origin,
                "records": made.records,
                "made": made.made,
                "keys": made.keys,
                "fingerprint": made.fingerprint,
                "verified": list(made.held),
                "not_verified": made.missing,
            }
        )
        return
    show.done(
        f"The home {made.origin} of {show.seconds(made.made)}, {made.records:,} records, is in {made.folder}."
    )
    if made.missing:
        show.line(f"… {made.missing}", style="yellow")
    if not fingerprint:
        show.line(f"  Compare the fingerprint of its keys: {made.fingerprint}")
    if not made.keys:
        show.line(f"  The private keys were not in the backup: put them into {made.folder}/.gatewright/keys.")
    show.line(
        "  Records made after the backup are missing; where a newer state is left, bring that back instead."
    )
    show.hint("Record that it was put back, in its folder: gatewright recover --as NAME --reason 'WHY'")


def recover(
    as_: Annotated[str, typer.Option("--as", help="Who says so.")],
    reason: Annotated[str, typer.Option("--reason", help="Why the newer state is lost; kept encrypted.")],
    root: Annotated[
        Path | None,
        typer.Option(
            "--root", metavar="FOLDER", help="Folder with the root keys, where they are kept elsewhere."
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Record that this home was put back to an older state, and go on.

    Until then nothing is recorded in such a home. What was taken back since stays so as far as the
    newest traffic plan shows it; look at what this command names.

    Example: gatewright recover --as ada --reason "Disk of the server lost on 3 March."
    """
    from gatewright.assembly.recovering import recover_home
    from gatewright.cli import show
    from gatewright.operations.catalogue import body_of

    made = recover_home(Path.cwd(), name=as_, reason=reason, root=root)
    if json:
        show.as_json(
            {
                **body_of(made.entry),
                "missing": made.missing,
                "segments": made.segments,
                "stopped": list(made.stopped),
                "look": list(made.look),
            }
        )
        return
    show.done(f"It is recorded that the home was put back. Missing: {made.missing}.")
    if made.entry.continues != made.entry.origin:
        show.line(f"  The log goes on as {made.entry.continues}.")
    if made.segments:
        show.line(f"  {made.segments} sealed segments that the ledger did not know will be collected again.")
    if made.stopped:
        show.line(f"  Stopped, because they stood differently: {', '.join(made.stopped)}.", style="yellow")
    for each in made.look:
        show.line(f"  – {each}")


def scrub(json: options.Json = False) -> None:
    """Read and verify every stored byte now, as the collector does in the background; record what is damaged.

    Exit code 3 where something does not hold. What holds again is recorded as repaired.

    Example: gatewright scrub
    """
    from gatewright.assembly.scrubbing import scrub_home
    from gatewright.cli import exits, show
    from gatewright.operations.catalogue import body_of

    done = scrub_home(Path.cwd())
    if json:
        show.as_json(
            {
                "pieces": done.pieces,
                "bytes": done.bytes,
                "damaged": [body_of(each) for each in done.damaged],
                "repaired": list(done.repaired),
            }
        )
    else:
        show.line(f"{done.pieces:,} stored things, {done.bytes:,} bytes, were read and verified.")
        for place in done.repaired:
            show.done(f"{place} holds again.")
        for each in done.damaged:
            show.line(f"✗ {each.what} {each.place}: {each.found}", style="red")
    if done.damaged:
        if not json:
            show.hint(
                "Put it back from a backup (gatewright restore BACKUP --to ELSEWHERE), then scrub again."
            )
        raise typer.Exit(exits.TAMPERED)
