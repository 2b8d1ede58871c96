"""``model``: adding model versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewright.cli import options

if TYPE_CHECKING:
    from gatewright.operations.catalogue import ModelVersion

JUDGED = {
    "allow": "[green]✓ rules hold[/]",
    "needs-approval": "[green]✓ rules hold[/]",
    "deny": "[red]✗ denied[/]",
}

app = typer.Typer(help="Models: add, list, show.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="The model, as ONNX with its weights inside.")],
    name: Annotated[str, typer.Option(help="Name of the model.")],
    trained_on: Annotated[
        str,
        typer.Option(
            "--trained-on", help="Dataset whose train split it learned from, or a file of its training rows."
        ),
    ] = "",
    data: Annotated[
        str, typer.Option("--data", help="Dataset to test on (default: the one trained on).")
    ] = "",
    json: options.Json = False,
) -> None:
    """Add a model version: read passively, never run, tied to its data.

    Example: gatewright model add model.onnx --name loans --trained-on loans
    """
    from gatewright.cli import show
    from gatewright.operations import models

    with options.home() as home:
        version = models.add(home, file, name, models.Declared(trained_on=trained_on, dataset=data))
    if json:
        show.as_json(plain(version))
        return
    show.done(
        f"{version.ref} is added: {version.bytes:,} bytes, sha256 {version.model.short}…, to be tested on {version.dataset}."
    )
    if version.trained_on is None:
        show.line(
            "  Its training rows are not declared, so leakage stays unknown and the policy will refuse it.",
            style="yellow",
        )
        show.line("  Add it again with --trained-on DATASET or --trained-on rows.csv.", style="yellow")
    show.hint(f"Next: gatewright check {version.ref}   or all the way: gatewright ship {version.ref}")


@app.command("list")
def list_(json: options.Json = False) -> None:
    """List every model version.

    Example: gatewright model list
    """
    from gatewright.cli import show
    from gatewright.operations import models
    from gatewright.operations.catalogue import CheckedVersion, find

    with options.home_beside_others() as home:
        versions = models.versions(home)
        checked = {v.ref: find(home, "checked", v.ref, CheckedVersion) for v in versions}
    if json:
        show.as_json([plain(version) for version in versions])
        return
    show.table(
        ("model", "bytes", "sha256", "tested on", "policy"),
        (
            (
                v.ref,
                f"{v.bytes:,}",
                v.model.short,
                v.dataset,
                "not checked" if entry is None else JUDGED[entry.decision],
            )
            for v in versions
            for entry in (checked[v.ref],)
        ),
    )


@app.command("show")
def show_(
    name: Annotated[str, typer.Argument(help="NAME or NAME@VERSION.")], json: options.Json = False
) -> None:
    """Show what one model version takes, gives and is made of.

    Example: gatewright model show loans@2
    """
    from gatewright.cli import show
    from gatewright.cli.show import escape
    from gatewright.kernel import canonical
    from gatewright.models.signature_format import decode_signature
    from gatewright.operations import models

    with options.home_beside_others() as home:
        version = models.model(home, name)
        facts = canonical.decode(home.blobs.get(version.facts))
        signature_bytes = home.blobs.get(version.signature)
    signature = decode_signature(signature_bytes)
    if json:
        show.as_json({**plain(version), "facts": facts, "signature": canonical.decode(signature_bytes)})
        return
    show.line(f"{version.ref}   {version.bytes:,} bytes   {version.model}")
    show.table(
        ("tensor", "type", "shape", "columns"),
        (
            (escape(t.name), t.datatype.value, str(list(t.shape)), escape(", ".join(t.columns)))
            for t in (*signature.inputs, *signature.outputs)
        ),
    )
    if signature.classes:
        show.line(f"Classes: {', '.join(signature.classes)}")


def plain(version: ModelVersion) -> dict[str, Any]:
    """The JSON form of a model version."""
    from gatewright.operations.catalogue import body_of

    return {**body_of(version), "ref": version.ref}
