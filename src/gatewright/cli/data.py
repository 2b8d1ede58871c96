"""``data``: registering datasets whose splits are locked before training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewright.cli import options

if TYPE_CHECKING:
    from gatewright.operations.catalogue import DatasetVersion
    from gatewright.operations.data import Description

app = typer.Typer(help="Datasets: add, split, list, show.", no_args_is_help=True, rich_markup_mode=None)

Target = Annotated[str, typer.Option("--target", help="Column that holds the true answer.")]
TaskName = Annotated[
    str,
    typer.Option(
        "--task",
        help="binary-classification, multiclass-classification or regression (default: from the data).",
    ),
]
Sensitive = Annotated[
    list[str] | None,
    typer.Option("--sensitive", help="Column that describes a protected group; may be repeated."),
]
Slice = Annotated[
    list[str] | None, typer.Option("--slice", help="Further column to slice by; may be repeated.")
]
Drop = Annotated[
    list[str] | None,
    typer.Option("--drop", help="Column that is no feature (an id, a name), taken out; may be repeated."),
]
Title = Annotated[str, typer.Option(help="Datasheet: what the data are.")]
What = Annotated[str, typer.Option("--description", help="Datasheet: how the rows were chosen and made.")]
Origin = Annotated[str, typer.Option(help="Datasheet: where the data come from.")]
Licence = Annotated[str, typer.Option(help="Datasheet: SPDX licence id, for example CC-BY-4.0.")]
Uses = Annotated[
    list[str] | None,
    typer.Option("--allowed-use", help="Datasheet: what the data may be used for; may be repeated."),
]
Basis = Annotated[str, typer.Option("--legal-basis", help="Datasheet: legal basis of processing.")]
Retention = Annotated[str, typer.Option(help="Datasheet: how long the data are kept.")]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the dataset.")],
    train: Annotated[Path, typer.Option(help="CSV or Parquet file of training rows.")],
    test: Annotated[Path, typer.Option(help="CSV or Parquet file of test rows.")],
    target: Target,
    task: TaskName = "",
    sensitive: Sensitive = None,
    slices: Slice = None,
    drop: Drop = None,
    title: Title = "",
    description: What = "",
    origin: Origin = "",
    licence: Licence = "",
    allowed_uses: Uses = None,
    legal_basis: Basis = "",
    retention: Retention = "",
    json: options.Json = False,
) -> None:
    """Register a dataset with a train and a test file. Both are locked from now on.

    Example: gatewright data add loans --train train.csv --test test.csv --target repaid
    """
    from gatewright.cli import show
    from gatewright.operations import data

    about = _about(
        target,
        task,
        sensitive,
        slices,
        drop,
        {
            "title": title,
            "description": description,
            "origin": origin,
            "licence": licence,
            "legal_basis": legal_basis,
            "retention": retention,
        },
        allowed_uses,
    )
    with options.home() as home:
        version = data.add(home, name, train=train, test=test, about=about)
    if json:
        show.as_json(_plain(version))
        return
    _told(version)


@app.command()
def split(
    source: Annotated[Path, typer.Argument(help="CSV or Parquet file with all rows.")],
    name: Annotated[str, typer.Option(help="Name of the dataset.")],
    target: Target,
    seed: options.Seed = 7,
    test_share: Annotated[float, typer.Option(help="Share of rows kept for the test.")] = 0.3,
    out: Annotated[Path, typer.Option(help="Folder for the two files; made when absent.")] = Path(),
    task: TaskName = "",
    sensitive: Sensitive = None,
    slices: Slice = None,
    drop: Drop = None,
    title: Title = "",
    description: What = "",
    origin: Origin = "",
    licence: Licence = "",
    allowed_uses: Uses = None,
    legal_basis: Basis = "",
    retention: Retention = "",
    json: options.Json = False,
) -> None:
    """Split a file before training, lock the split, and write the two files.

    Rows that repeat stay on one side. Train on NAME-train.csv only (NAME-2-train.csv for version 2).
    Both files are readable by their owner alone.

    Example: gatewright data split loans.csv --name loans --target repaid --seed 7
    """
    from gatewright.cli import show
    from gatewright.operations import data

    about = _about(
        target,
        task,
        sensitive,
        slices,
        drop,
        {
            "title": title,
            "description": description,
            "origin": origin,
            "licence": licence,
            "legal_basis": legal_basis,
            "retention": retention,
        },
        allowed_uses,
    )
    with options.home() as home:
        version, train, test = data.split_file(
            home, name, source=source, seed=seed, test_share=test_share, out=out, about=about
        )
    if json:
        show.as_json({**_plain(version), "files": {"train": str(train), "test": str(test)}})
        return
    _told(version)
    show.line(f"  {train} and {test} are readable by you alone (mode 0600).")
    show.hint(
        f"Train on {train} only; {test} is for the check. Then: gatewright model add MODEL.onnx --name NAME --trained-on {name}"
    )


@app.command("list")
def list_(json: options.Json = False) -> None:
    """List every dataset version.

    Example: gatewright data list
    """
    from gatewright.cli import show
    from gatewright.cli.show import escape
    from gatewright.operations import data

    with options.home_beside_others() as home:
        versions = data.versions(home)
    if json:
        show.as_json([_plain(version) for version in versions])
        return
    show.table(
        ("dataset", "task", "target", "train", "test", "sensitive"),
        (
            (
                v.ref,
                v.target_kind,
                escape(v.target),
                f"{v.train_rows:,}",
                f"{v.test_rows:,}",
                escape(", ".join(v.sensitive)),
            )
            for v in versions
        ),
        right=("train", "test"),
    )


@app.command("show")
def show_(
    name: Annotated[str, typer.Argument(help="NAME or NAME@VERSION.")], json: options.Json = False
) -> None:
    """Show one dataset version with its datasheet and schema.

    Example: gatewright data show loans
    """
    from gatewright.cli import show
    from gatewright.cli.show import escape
    from gatewright.kernel import canonical
    from gatewright.operations import catalogue
    from gatewright.operations.catalogue import DatasetVersion

    with options.home_beside_others() as home:
        version = catalogue.resolve(home, "datasets", name, DatasetVersion)
        datasheet = canonical.decode(home.blobs.get(version.datasheet))
        schema = canonical.decode(home.blobs.get(version.schema))
    if json:
        show.as_json({**_plain(version), "datasheet": datasheet, "schema": schema})
        return
    _told(version)
    show.table(
        ("datasheet", ""),
        (
            (key.replace("_", " "), escape(_said(value)))
            for key, value in datasheet.items()
            if key != "v"  # the format's number, not the owner's word
        ),
    )
    show.table(("feature", "kind"), ((escape(feature), kind) for feature, kind in version.features))


def _about(
    target: str,
    task: str,
    sensitive: list[str] | None,
    slices: list[str] | None,
    drop: list[str] | None,
    sheet: dict[str, str],
    allowed_uses: list[str] | None,
) -> Description:
    from gatewright.datasets.datasheet import Datasheet
    from gatewright.datasets.target import TargetKind
    from gatewright.kernel.errors import Misuse
    from gatewright.operations.data import Description

    kinds = [kind.value for kind in TargetKind]
    if task and task not in kinds:
        raise Misuse("cli.task", f"{task!r} is not a task.", next=f"Choose one of: {', '.join(kinds)}.")
    return Description(
        target=target,
        target_kind=TargetKind(task) if task else None,
        sensitive=tuple(sensitive or ()),
        slices=tuple(slices or ()),
        dropped=tuple(dict.fromkeys(drop or ())),
        datasheet=Datasheet(
            **{field: said for field, said in sheet.items() if said},
            allowed_uses=tuple(allowed_uses or ()),
            sensitive_columns=tuple(sensitive or ()),
        ),
    )


def _said(answer: str | list[str]) -> str:
    from gatewright.datasets.datasheet import NOT_STATED

    return answer if isinstance(answer, str) else ", ".join(answer) or NOT_STATED


def _plain(version: DatasetVersion) -> dict[str, Any]:
    from gatewright.operations.catalogue import body_of

    return {**body_of(version), "ref": version.ref}


def _told(version: DatasetVersion) -> None:
    from gatewright.cli import show

    show.done(
        f"{version.ref}: {version.train_rows:,} training and {version.test_rows:,} test rows are locked; "
        f"{len(version.features)} features; target {version.target} ({version.target_kind})."
    )
    if version.dropped:
        show.line(f"  Taken out, and no features: {', '.join(version.dropped)}.")
    if version.unstated:
        show.line(f"  The datasheet does not state: {', '.join(version.unstated)}.", style="yellow")
