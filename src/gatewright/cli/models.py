"""``model``: adding model versions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewright.cli import options

if TYPE_CHECKING:
    from gatewright.integrations.mlflow_folder import Brought
    from gatewright.operations.catalogue import ModelVersion

JUDGED = {
    "allow": "[green]✓ rules hold[/]",
    "needs-approval": "[green]✓ rules hold[/]",
    "deny": "[red]✗ denied[/]",
}

app = typer.Typer(help="Models: add, list, show.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def add(
    name: Annotated[str, typer.Option(help="Name of the model.")],
    file: Annotated[
        str,
        typer.Argument(
            help="The model, as ONNX with its weights inside, or mlflow:FOLDER, mlflow:models:/NAME/3 or "
            "mlflow:models:/NAME@ALIAS; none where --recipe makes it."
        ),
    ] = "",
    trained_on: Annotated[
        str,
        typer.Option(
            "--trained-on", help="Dataset whose train split it learned from, or a file of its training rows."
        ),
    ] = "",
    data: Annotated[
        str, typer.Option("--data", help="Dataset to test on (default: the one trained on).")
    ] = "",
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="Python file with train(rows, seed): run in a sandbox, or only declared if FILE is given."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the recipe.", min=0, max=2**32 - 1)] = 0,
    tracking: Annotated[
        str,
        typer.Option(
            help="MLflow's tracking store: a folder or sqlite:///FILE.", envvar="MLFLOW_TRACKING_URI"
        ),
    ] = "",
    json: options.Json = False,
) -> None:
    """Add a model version: read passively, tied to its data; or train it here with a recipe.

    Example: gatewright model add model.onnx --name loans --trained-on loans
    """
    from gatewright.cli import show, training
    from gatewright.operations import models

    declared = models.Declared(trained_on=trained_on, dataset=data, recipe=training.read(recipe), seed=seed)
    if not file:
        training.train_and_add(name, declared, json=json)
        return
    brought = _from_mlflow(file, tracking)
    with options.home() as home:
        if brought is None:
            version = models.add(home, Path(file), name, declared)
        else:
            declared = replace(declared, origin=brought.origin)
            version = models.add_content(home, brought.content, name, declared)
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


def _from_mlflow(file: str, tracking: str) -> Brought | None:
    """What ``mlflow:`` names, or None for a plain file."""
    if not file.startswith("mlflow:"):
        return None
    from gatewright.integrations.mlflow_folder import SCHEME, bring

    return bring(file.removeprefix(SCHEME), tracking=tracking, start=Path.cwd())


@app.command()
def inspect(
    files: Annotated[list[Path], typer.Argument(help="Files of any kind.")], json: options.Json = False
) -> int:
    """Look at files as an intake would, by their content, and keep nothing. Needs no home.

    Exit code 1 where one can carry code, or is an ONNX model that would be refused. Files that are no
    models pass.

    Example: gatewright model inspect model.onnx
    """
    from gatewright.cli import show
    from gatewright.operations.inspect_files import Standing, inspect_file

    found = [inspect_file(file) for file in files]
    if json:
        show.as_json(
            [
                {
                    "file": each.file,
                    "format": each.format.value,
                    "standing": each.standing.value,
                    "why": each.refusal.sentence() if each.refusal else "",
                }
                for each in found
            ]
        )
    else:
        show.table(
            ("file", "what it is", ""),
            ((show.escape(each.file), each.format.value, show.mark(each.standing.value)) for each in found),
        )
        for each in found:
            if each.refusal is not None:
                show.line(f"{each.file}: {each.refusal.sentence()}")
    return int(any(each.standing is Standing.REFUSED for each in found))


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
    if version.recipe is not None:
        show.line(f"Recipe: sha256 {version.recipe.short}…, seed {version.seed}")
    if version.origin:
        show.table(
            ("said elsewhere", ""), ((escape(key), escape(text)) for key, text in version.origin.items())
        )


def plain(version: ModelVersion) -> dict[str, Any]:
    """The JSON form of a model version."""
    from gatewright.operations.catalogue import body_of

    return {**body_of(version), "ref": version.ref}
