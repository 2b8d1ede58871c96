"""``compare``: two model versions on the same rows, and what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gatewright.cli import options

if TYPE_CHECKING:
    from gatewright.checks.comparison import Comparison, Measured, SliceDifference
    from gatewright.operations.compare import Compared

SHOWN = 6
"""Most slices and rows that are shown to people."""
WIDE = 96
"""From this many columns of the terminal on, tables hold the difference beside its interval."""
_SAID = {
    "": "was not checked",
    "allow": "allowed by the policy when it was last checked",
    "needs-approval": "allowed by the policy when it was last checked, with approvals",
    "deny": "denied by the policy when it was last checked",
}
_TINY_P = 0.001
_LARGE = 1e6


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(compare)


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="NAME or NAME@VERSION: what there is.")],
    b: Annotated[str, typer.Argument(metavar="B", help="NAME or NAME@VERSION: what might replace it.")],
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Compare two model versions on the same locked test rows, and say which to keep.

    Differences are paired, row by row; the tests hold together. Exit code 0 when it was made.

    Example: gatewright compare loans@1 loans@2
    """
    from gatewright.cli import show
    from gatewright.operations.catalogue import body_of
    from gatewright.operations.compare import compare as run

    with options.home_beside_others() as home:
        compared = run(home, a, b, seed=seed, progress=options.quiet if json else show.progress)
    if json:
        show.as_json(
            {
                **body_of(compared.entry),
                "decisions": list(compared.decisions),
                "live": [list(names) for names in compared.live],
                "comparison_document": body_of(compared.comparison),
            }
        )
        return
    tell(compared)


def tell(compared: Compared) -> None:
    """Show a comparison to people."""
    from gatewright.cli import show

    found, entry = compared.comparison, compared.entry
    show.line()
    show.out.print(
        f"  [bold]A[/] {show.escape(found.a)}   [bold]B[/] {show.escape(found.b)}   "
        f"[dim]{found.disagreement.rows:,} test rows of {show.escape(entry.dataset)}[/]"
    )
    for letter, ref, said, names in zip(
        "AB", (found.a, found.b), compared.decisions, compared.live, strict=True
    ):
        live = f"live on {', '.join(names)}" if names else "not live"
        denied = "yellow" if said == "deny" else "dim"
        show.line(f"  {letter} {ref}: {_SAID.get(said, said)}; {live}", style=denied)
    _tell_measures(found)
    _tell_costs(found)
    _tell_disagreement(found)
    _tell_slices(found)
    sign = {"a": "[yellow]•[/]", "b": "[green]✓[/]", "neither": "[cyan]=[/]"}.get(
        found.recommended, "[yellow]?[/]"
    )
    show.out.print(f"{sign} [bold]{show.escape(found.sentence)}[/]")
    decision = compared.decisions[1]
    if found.recommended == "b":
        show.hint(
            f"Next: gatewright {'ship' if decision in ('allow', 'needs-approval') else 'check'} {found.b}"
        )


def number(value: float, *, signed: bool = False) -> str:
    """Four decimals, or four digits where the value is large or tiny."""
    plain = value == 0 or 1e-3 <= abs(value) < 1e2
    sign = "+" if signed else ""
    return format(value, f"{sign}.4f" if plain else f"{sign}.4g")


def amount(value: float, unit: str) -> str:
    """A cost with its unit; sizes in KiB or MiB."""
    if unit != "bytes":
        return f"{value:.3f} {unit}"
    return f"{value / 1024**2:,.1f} MiB" if value >= _LARGE else f"{value / 1024:,.1f} KiB"


def _p(value: float) -> str:
    return "< 0.001" if value < _TINY_P else f"{value:.3f}"


def _better(which: str) -> str:
    return {"a": "[yellow]A[/]", "b": "[green]B[/]"}.get(which, "[dim]not shown[/]")


def _change() -> tuple[str, ...]:
    """The headings of the difference; a narrow terminal has its interval alone, so that no name is broken."""
    from gatewright.cli import show

    return ("B − A", "95 % interval") if show.out.width >= WIDE else ("B − A, 95 %",)


def _changed(each: Measured | SliceDifference) -> tuple[str, ...]:
    low, high = number(each.low, signed=True), number(each.high, signed=True)
    if len(_change()) == 1:
        return (f"{low}…{high}",)
    return number(each.difference, signed=True), f"{low} to {high}"


def _tell_measures(found: Comparison) -> None:
    from gatewright.cli import show

    show.table(
        ("measure", "A", "B", *_change(), "p", "better"),
        (
            (
                each.name + ("" if each.higher_is_better else "\u00a0↓"),
                number(each.a),
                number(each.b),
                *_changed(each),
                _p(each.p),
                _better(each.better),
            )
            for each in found.measures
        ),
        right=("A", "B", *_change(), "p"),
    )
    show.line("  ↓ less is better; p after Holm's correction over the measures", style="dim")


def _tell_costs(found: Comparison) -> None:
    from gatewright.cli import show

    if found.costs:
        show.table(
            ("cost", "A", "B", "cheaper"),
            (
                (each.name, amount(each.a, each.unit), amount(each.b, each.unit), _better(each.cheaper))
                for each in found.costs
            ),
            right=("A", "B"),
        )


def _tell_disagreement(found: Comparison) -> None:
    from gatewright.cli import show

    these = found.disagreement
    if not these.differ:
        show.line("  They give the same answer on every row.")
        return
    if any(each.name == "mae" for each in found.measures):
        show.line("  They differ most on these rows:")
    else:
        show.line(
            f"  They disagree on {these.differ:,} of {these.rows:,} rows "
            f"({these.differ / these.rows:.1%}; 95 %: {these.low:.1%} to {these.high:.1%}): "
            f"only A is right on {these.only_a_right:,}, only B on {these.only_b_right:,}."
        )
    for each in these.named[:SHOWN]:
        show.line(
            f"    test row {each.row}: A says {each.a}, B says {each.b}; it is {each.truth}", style="dim"
        )
    if these.differ > SHOWN:
        show.line(f"    --json names {len(these.named)} of them", style="dim")


def _tell_slices(found: Comparison) -> None:
    from gatewright.cli import show

    if not found.slices:
        show.line(f"  No slice of {found.slices_tested} is shown to differ between them.")
        return
    show.table(
        ("slice", "rows", "A", "B", *_change(), "better"),
        (
            (
                show.escape(each.slice),
                f"{each.rows:,}",
                number(each.a),
                number(each.b),
                *_changed(each),
                _better(each.better),
            )
            for each in found.slices[:SHOWN]
        ),
        title=f"Where they differ: {found.slices[0].measure}, {found.slices_tested} slices tested",
        right=("rows", "A", "B", *_change()),
    )
