"""``policy``: reading policy files before they judge anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gatewright.cli import options

app = typer.Typer(help="Policies: check.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def policy() -> None:
    """Policies: the rules by which models are judged."""


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Policy files, as TOML.")],
    json: options.Json = False,
) -> int:
    """Read policy files as a gate would, and judge nothing. Needs no home.

    Exit code 2 where one cannot be read, with the place and what to write.

    Example: gatewright policy check policy.toml
    """
    from gatewright.checks.suite import known_checks
    from gatewright.cli import exits, show
    from gatewright.kernel.errors import BadInput
    from gatewright.models.signature import Task
    from gatewright.operations.files import POLICY_BYTES, read_file
    from gatewright.policy.policy_file import read_policy

    known = known_checks()
    told: list[dict[str, Any]] = []
    for file in files:
        try:
            read = read_policy(read_file(file, limit=POLICY_BYTES), known=known)
        except BadInput as error:
            told.append({"file": str(file), "readable": False, "why": error.refusal.sentence()})
        else:
            told.append(
                {
                    "file": str(file),
                    "readable": True,
                    "title": read.title,
                    "rules": len(read.rules),
                    "applying": {task.value: len(read.rules_for(task)) for task in Task},
                }
            )
    if json:
        show.as_json(told)
    for each in told if not json else ():
        if each["readable"]:
            apply = ", ".join(f"{number} to {task}" for task, number in each["applying"].items())
            show.done(f"{each['file']}: {each['title']}, {each['rules']} rules, of which {apply} apply.")
        else:
            show.err.print(f"[red]✗[/] {show.escape(each['file'])}: {show.escape(each['why'])}")
    return exits.DONE if all(each["readable"] for each in told) else exits.WRONG_USE
