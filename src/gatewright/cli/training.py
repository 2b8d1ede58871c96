"""``train``: a version's recipe run again, to see whether the same model comes out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewright.cli import options

if TYPE_CHECKING:
    from gatewright.operations.models import Declared
    from gatewright.operations.recipes import Reproduced

SIGNS = {"same": "[green]✓ same[/]", "alike": "[green]✓ alike[/]", "different": "[red]✗ different[/]"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(train)


def train(
    model: Annotated[str, typer.Argument(help="NAME or NAME@VERSION, added with a recipe.")],
    seed: Annotated[
        int | None,
        typer.Option(
            help="Another seed than the recorded one, to see how much hangs on it.", min=0, max=2**32 - 1
        ),
    ] = None,
    json: options.Json = False,
) -> int:
    """Train a version again in the sandbox and say whether the same model comes out.

    Same bytes are the same; other bytes with the same answers on the test rows are alike. Nothing is
    recorded. Exit code 1 when the answers differ.

    Example: gatewright train loans@2
    """
    from gatewright.cli import show
    from gatewright.operations import recipes

    with options.home_beside_others() as home:
        found = recipes.reproduce(home, model, seed=seed, progress=options.quiet if json else show.progress)
    if json:
        show.as_json(_plain(found))
    else:
        _tell(found)
    return int(found.sameness is recipes.Sameness.DIFFERENT)


def read(path: Path | None) -> bytes | None:
    """The recipe's file, or None where none is named."""
    from gatewright.operations.files import read_file
    from gatewright.operations.recipes import RECIPE_BYTES

    return None if path is None else read_file(path, limit=RECIPE_BYTES)


def train_and_add(name: str, declared: Declared, *, json: bool) -> None:
    """Run a recipe and add what it returns, for ``model add --recipe``."""
    from gatewright.cli import show
    from gatewright.kernel.errors import Misuse
    from gatewright.operations import recipes
    from gatewright.operations.catalogue import body_of

    if declared.recipe is None:
        raise Misuse(
            "cli.no-model",
            "There is neither a model nor a recipe to add.",
            next="Name a file, or a recipe with --recipe train.py.",
        )
    with options.home_beside_others() as home:
        added = recipes.train_and_add(
            home, declared.recipe, name, declared, progress=options.quiet if json else show.progress
        )
    version = added.version
    if json:
        show.as_json({**body_of(version), "ref": version.ref})
        return
    show.done(
        f"{version.ref} is trained in {added.trained.seconds:.1f} s and added: {version.bytes:,} bytes, "
        f"sha256 {version.model.short}…, seed {version.seed}."
    )
    _tell_protections(added.trained.protections)
    show.hint(
        f"Next: gatewright check {version.ref}   and whether it comes out again: gatewright train {version.ref}"
    )


def _tell_protections(protections: tuple[str, ...]) -> None:
    from gatewright.cli import show
    from gatewright.operations.sandbox import NAMESPACE, SCRATCH

    mark = "limit on "
    limits = [each.removeprefix(mark) for each in protections if each.startswith(mark)]
    walls = [each for each in protections if not each.startswith(mark)]
    show.line(f"  The sandbox: {', '.join(walls)}; limits on {', '.join(limits)}.", style="dim")
    if NAMESPACE not in protections:
        show.line(
            "  This kernel gave no network namespace; the system-call filter alone keeps sockets away.",
            style="yellow",
        )
    if SCRATCH not in protections:
        show.line(
            "  Without a scratch folder of its own the recipe could write no file at all.", style="yellow"
        )


def _plain(found: Reproduced) -> dict[str, Any]:
    return {
        "labels_differ": found.labels_differ,
        "largest": found.largest,
        "libraries": {name: list(texts) for name, texts in found.libraries.items()},
        "model": found.model.hex,
        "protections": list(found.trained.protections),
        "reason": found.reason,
        "ref": found.ref,
        "result": found.sameness.value,
        "rows": found.rows,
        "seconds": found.trained.seconds,
        "seed": found.seed,
    }


def _tell(found: Reproduced) -> None:
    from gatewright.cli import show

    show.out.print(f"{SIGNS[found.sameness.value]}: {show.escape(_sentence(found))}")
    for name, (was, now) in found.libraries.items():
        show.line(f"  {name} was {was} and is {now} now.", style="yellow")
    _tell_protections(found.trained.protections)


def _sentence(found: Reproduced) -> str:
    again = f"{found.ref}, trained again with seed {found.seed} in {found.trained.seconds:.1f} s"
    if found.reason:
        return f"{again}, gives a model that cannot stand in its place. {found.reason}"
    if found.labels_differ is None:
        return f"{again}, is the same file, byte for byte (sha256 {found.model.short}…)."
    return (
        f"{again}, has other bytes; on {found.rows:,} test rows {found.labels_differ:,} answers differ, "
        f"and the numbers by at most {found.largest:.2g}."
    )
