"""Model folders and stores in MLflow's form, written by hand: what is read, bounded and refused."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gatewright.integrations import mlflow_store
from gatewright.integrations.mlflow_folder import TEXT_BYTES, TEXTS, bring
from gatewright.integrations.mlflow_store import FileStore
from gatewright.kernel.errors import GatewrightError, Refused

CONTENT = b"\x08\x09 the bytes of a model"
ONNX = "flavors:\n  onnx:\n    data: model.onnx\n  python_function: {}\nrun_id: abc\nmlflow_version: 3.17.2\n"

BOMB = "a0: &a0 [lol, lol]\n" + "".join(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 10}]\n" for n in range(1, 8))
"""Seven lines that stand for twenty million texts."""


def folder_of(root: Path, description: str = ONNX) -> Path:
    """A model folder."""
    folder = root / "model"
    folder.mkdir(parents=True)
    (folder / "MLmodel").write_text(description, "utf-8")
    (folder / "model.onnx").write_bytes(CONTENT)
    return folder


def file_store(root: Path, place: str, *, parameters: int = 1) -> Path:
    """A store of files with one registered version, an alias and a run."""
    store = root / "mlruns"
    version, run = store / "models" / "loans" / "version-1", store / "0" / "abc"
    for made in (version, version.parent / "aliases", run / "params", run / "metrics" / "val"):
        made.mkdir(parents=True)
    (version / "meta.yaml").write_text(f"source: {place}\nrun_id: abc\n", "utf-8")
    (version.parent / "aliases" / "best").write_text("1", "utf-8")
    (run / "meta.yaml").write_text("run_id: abc\n", "utf-8")
    for number in range(parameters):
        (run / "params" / f"p{number:04}").write_text("é" * 500, "utf-8")
    (run / "metrics" / "val" / "auc").write_text("1 0.5 0\n2 0.75 1\n", "utf-8")
    return store


def database(root: Path, place: str, *, view: bool = False) -> Path:
    """A database with one registered version; with ``view`` the table never ends."""
    path = root / "mlflow.db"
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
    with closing(sqlite3.connect(path)) as made, made:
        if view:
            columns = "'loans' name, -x version, '' storage_location, '' source, '' run_id"
            made.execute(f"CREATE VIEW model_versions AS {endless} SELECT {columns} FROM n")  # noqa: S608 - ours
            return path
        made.execute("CREATE TABLE model_versions (name, version INTEGER, storage_location, source, run_id)")
        made.execute("CREATE TABLE registered_model_aliases (name, alias, version)")
        made.execute("CREATE TABLE params (key, value, run_uuid)")
        made.execute("CREATE TABLE latest_metrics (key, value, run_uuid)")
        made.execute("INSERT INTO model_versions VALUES ('loans', 1, ?, 'x', 'abc')", (place,))
        made.execute("INSERT INTO registered_model_aliases VALUES ('loans', 'best', 1)")
        made.execute("INSERT INTO params VALUES ('C', '1.0', 'abc'), ('other', 'x', 'other')")
        made.execute("INSERT INTO latest_metrics VALUES ('auc', 0.75, 'abc')")
    return path


def refused(text: str, start: Path, tracking: str = "") -> GatewrightError:
    """The error that an address ends with."""
    with pytest.raises(GatewrightError) as found:
        bring(text, tracking=tracking, start=start)
    return found.value


@pytest.mark.parametrize("form", ["{}", "file://{}", "file:{}", "model"])
def test_a_folder_is_read_however_it_is_spelled(tmp_path: Path, form: str) -> None:
    """A path, an address of a file and a relative path give the same bytes and lineage."""
    folder = folder_of(tmp_path)
    brought = bring(form.format(folder), tracking="", start=tmp_path)
    assert CONTENT == brought.content
    assert ("abc", "3.17.2") == (brought.origin["run"], brought.origin["mlflow"])


def test_a_blank_in_an_address_is_undone(tmp_path: Path) -> None:
    """An escaped blank of a ``file:`` address is a blank of the path."""
    folder_of(tmp_path / "my models")
    assert CONTENT == bring(f"file://{tmp_path}/my%20models/model", tracking="", start=tmp_path).content


@pytest.mark.parametrize("address", ["models:/loans/1", "models:/loans@best"])
def test_both_stores_say_the_same(tmp_path: Path, address: str) -> None:
    """A store of files and a database lead to the same folder, and MLflow's defaults are found."""
    folder = folder_of(tmp_path)
    file_store(tmp_path, str(folder))
    files = bring(address, tracking="", start=tmp_path)
    database(tmp_path, str(folder))
    rows = bring(address, tracking="", start=tmp_path)
    named = bring(address, tracking="sqlite:///mlflow.db", start=tmp_path)
    assert CONTENT == files.content == rows.content
    assert ("0.75", "1") == (files.origin["metric val/auc"], files.origin["registered-version"])
    assert {"0.75", "1.0"} == {rows.origin["metric auc"], rows.origin["parameter C"]}
    assert rows == named
    assert not any("other" in name for name in rows.origin)


def test_lineage_is_bounded(tmp_path: Path) -> None:
    """Of a run with hundreds of long parameters, a bounded part is kept, and how many were left out."""
    store = file_store(tmp_path, str(folder_of(tmp_path)), parameters=500)
    origin = bring("models:/loans/1", tracking=str(store), start=tmp_path).origin
    assert TEXTS == len(origin)
    assert max(len(text.encode()) for text in origin.values()) <= TEXT_BYTES
    kept = sum(name.startswith("parameter ") for name in origin)
    assert f"{500 - kept} further parameters" == origin["left-out"]


def test_a_store_elsewhere_is_not_asked_about_a_folder_at_hand(tmp_path: Path) -> None:
    """A tracking server in the environment does not stand in the way of a local folder."""
    folder = folder_of(tmp_path)
    assert CONTENT == bring(str(folder), tracking="http://tracking.example", start=tmp_path).content


@pytest.mark.parametrize(
    ("description", "code"),
    [
        ("flavors:\n  sklearn:\n    pickled_model: model.pkl\n", "integrations.mlflow-flavour"),
        ("flavors:\n  python_function:\n    loader_module: evil\n", "integrations.mlflow-flavour"),
        ("flavors:\n  onnx:\n    data: 7\n", "integrations.mlflow-flavour"),
        ("flavors:\n  onnx:\n    data: ../secret.onnx\n", "integrations.mlflow-outside"),
        ("flavors:\n  onnx:\n    data: /etc/passwd\n", "integrations.mlflow-outside"),
        ("flavors:\n  onnx:\n    data: link.onnx\n", "integrations.mlflow-outside"),
        ("flavors:\n  onnx:\n    data: none.onnx\n", "integrations.mlflow-incomplete"),
        ("flavors: {}\n", "integrations.mlflow-yaml"),
        ("- a list\n", "integrations.mlflow-yaml"),
        ("flavors: [\n", "integrations.mlflow-yaml"),
        ("flavors: !!python/object/apply:os.system ['true']\n", "integrations.mlflow-yaml"),
        ("[" * 100_000, "integrations.mlflow-yaml"),
        (BOMB + ONNX.replace("abc", "*a7"), "integrations.mlflow-alias"),
        (ONNX + "unused: &anchor 1\n", "integrations.mlflow-alias"),
        (ONNX + "m0: &m0 {k: v}\nm1: {<<: [*m0, *m0]}\n", "integrations.mlflow-alias"),
        (ONNX.replace("abc", "[[a]]"), "integrations.mlflow-yaml"),
        (ONNX.replace("abc", "{a: b}"), "integrations.mlflow-yaml"),
        (ONNX.replace("abc", "x" * 1_001), "integrations.mlflow-yaml"),
        (ONNX.replace("abc", "0x" + "F" * 20_000), "integrations.mlflow-yaml"),
        (ONNX.replace("3.17.2", "[3, 17]"), "integrations.mlflow-yaml"),
        (ONNX.replace("3.17.2", "0x" + "F" * 20_000), "integrations.mlflow-yaml"),
        (ONNX.replace("model.onnx", "0x" + "F" * 20_000), "integrations.mlflow-flavour"),
        ("flavors:\n  ? [[a, b], c]\n  : x\n", "integrations.mlflow-yaml"),
        ("flavors:\n  ? [a, b]\n  : x\n", "integrations.mlflow-yaml"),
        (ONNX.replace("flavors:", "flavors:\n  ? [a, b]\n  : x"), "integrations.mlflow-yaml"),
        ('flavors: {onnx: {data: "a\\0b"}}\n', "integrations.mlflow-unreadable"),
        ("flavors: {onnx: {data: " + "a" * 5_000 + "}}\n", "integrations.mlflow-unreadable"),
        ("a: " + "x" * mlflow_store.YAML_BYTES, "operations.file-too-large"),
    ],
)
def test_bad_folders_are_named(tmp_path: Path, description: str, code: str) -> None:
    """Another flavour, a file outside the folder, a climbing link and YAML that is none are told apart."""
    folder = folder_of(tmp_path, description)
    (tmp_path / "secret.onnx").write_bytes(CONTENT)
    (folder / "link.onnx").symlink_to(tmp_path / "secret.onnx")
    assert code == refused(str(folder), tmp_path).code


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("17", "17"),
        ("0.5", "0.5"),
        ("true", "True"),
        ("2026-01-02 03:04:05", "2026-01-02 03:04:05"),
        ("a b", "a b"),
    ],
)
def test_short_values_are_kept(tmp_path: Path, value: str, kept: str) -> None:
    """A text, a number, a truth value and a time, as YAML reads them, are lineage."""
    folder = folder_of(tmp_path, ONNX.replace("3.17.2", value))
    assert kept == bring(str(folder), tracking="", start=tmp_path).origin["mlflow"]


@pytest.mark.parametrize("address", ["a\0b", "a" * 5_000, "file:a%00b"])
def test_an_address_that_no_path_can_be_is_refused(tmp_path: Path, address: str) -> None:
    """A zero byte, and a name longer than any, are a refusal and no crash."""
    assert refused(address, tmp_path).code in {
        "integrations.mlflow-unreadable",
        "integrations.mlflow-no-folder",
    }


@pytest.mark.parametrize("place", ["a\0b", "a" * 5_000])
def test_a_registered_place_that_no_path_can_be_is_refused(tmp_path: Path, place: str) -> None:
    """What a registry gives as a version's folder may be no path at all."""
    path = database(tmp_path, place)
    error = refused("models:/loans/1", tmp_path, f"sqlite:///{path}")
    assert error.code in {"integrations.mlflow-unreadable", "integrations.mlflow-no-folder"}


def test_a_link_to_the_description_is_refused(tmp_path: Path) -> None:
    """The description itself may not be a link that leaves the folder."""
    folder = folder_of(tmp_path)
    (folder / "MLmodel").rename(tmp_path / "MLmodel")
    (folder / "MLmodel").symlink_to(tmp_path / "MLmodel")
    assert isinstance(refused(str(folder), tmp_path), Refused)


def test_a_refusal_shows_no_hidden_characters_of_a_flavour(tmp_path: Path) -> None:
    """The names of flavours come from the file, and reach the terminal as text."""
    folder = folder_of(tmp_path, 'flavors:\n  "\\e[2Jevil": {}\n')
    assert "<U+001B>[2Jevil" in str(refused(str(folder), tmp_path))


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("http://tracking.example/models", "integrations.mlflow-remote"),
        ("s3://bucket/model", "integrations.mlflow-remote"),
        ("runs:/abc/model", "integrations.mlflow-remote"),
        ("none", "integrations.mlflow-no-folder"),
        ("", "integrations.mlflow-remote"),
        ("models:/loans", "integrations.mlflow-address"),
        ("models:/loans/Production", "integrations.mlflow-address"),
        ("models:/loans@", "integrations.mlflow-address"),
        ("models:/loans/2", "integrations.mlflow-no-version"),
        ("models:/loans@worst", "integrations.mlflow-no-version"),
        ("models:/nobody/1", "integrations.mlflow-no-version"),
        ("models:/../1", "integrations.mlflow-name"),
        ("models:/lo*ns/1", "integrations.mlflow-name"),
        ("models:/loans@../../x", "integrations.mlflow-address"),
    ],
)
def test_bad_addresses_are_named(tmp_path: Path, address: str, code: str) -> None:
    """What is not there, lies elsewhere or would leave the store is told apart."""
    file_store(tmp_path, str(folder_of(tmp_path)))
    assert code == refused(address, tmp_path).code


@pytest.mark.parametrize(
    ("tracking", "code"),
    [
        ("http://tracking.example", "integrations.mlflow-remote"),
        ("postgresql://host/db", "integrations.mlflow-remote"),
        ("databricks", "integrations.mlflow-remote"),
        ("nowhere", "integrations.mlflow-no-store"),
        ("sqlite:///nowhere.db", "integrations.mlflow-no-store"),
        ("sqlite:///text.db", "integrations.mlflow-database"),
    ],
)
def test_bad_stores_are_named(tmp_path: Path, tracking: str, code: str) -> None:
    """A server, a missing store and a file that is no database are told apart."""
    (tmp_path / "text.db").write_text("not a database, and long enough to be looked at\n" * 100, "utf-8")
    assert code == refused("models:/loans/1", tmp_path, tracking).code


def test_a_registered_place_that_is_gone_is_named(tmp_path: Path) -> None:
    """A version whose folder was moved away says that the registry points there."""
    file_store(tmp_path, str(tmp_path / "gone"))
    error = refused("models:/loans/1", tmp_path)
    assert ("integrations.mlflow-no-folder", "The registry says it is there.") == (
        error.code,
        error.refusal.why,
    )


def test_an_endless_view_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database whose table is an endless query is given up after a bounded number of steps."""
    monkeypatch.setattr(mlflow_store, "DATABASE_STEPS", 100_000)
    path = database(tmp_path, "", view=True)
    assert "integrations.mlflow-database" == refused("models:/loans/1", tmp_path, f"sqlite:///{path}").code


def test_the_store_is_not_written(tmp_path: Path) -> None:
    """Reading a database leaves its bytes as they were, with no file beside it."""
    path = database(tmp_path, str(folder_of(tmp_path)))
    before: dict[str, Any] = {str(each): each.stat().st_mtime_ns for each in tmp_path.iterdir()}
    bring("models:/loans/1", tracking=f"sqlite:///{path}", start=tmp_path)
    assert before == {str(each): each.stat().st_mtime_ns for each in tmp_path.iterdir()}


def test_links_in_a_store_are_not_followed(tmp_path: Path) -> None:
    """A parameter that is a link to a file elsewhere is not read."""
    store = file_store(tmp_path, str(folder_of(tmp_path)))
    (tmp_path / "secret").write_text("secret", "utf-8")
    (store / "0" / "abc" / "params" / "stolen").symlink_to(tmp_path / "secret")
    assert "stolen" not in FileStore(root=store).run("abc").parameters


@pytest.mark.parametrize("meta", [BOMB + "source: x\nrun_id: *a7\n", "source: x\nrun_id: [[a]]\n"])
def test_a_store_of_files_that_unfolds_is_refused(tmp_path: Path, meta: str) -> None:
    """The description of a version holds no aliases, and its run is a text."""
    store = file_store(tmp_path, str(folder_of(tmp_path)))
    (store / "models" / "loans" / "version-1" / "meta.yaml").write_text(meta, "utf-8")
    assert refused("models:/loans/1", tmp_path).code in {
        "integrations.mlflow-alias",
        "integrations.mlflow-yaml",
    }


@pytest.mark.parametrize("size", [3_000_000, 900_000_000])
def test_a_view_with_a_huge_value_is_refused(tmp_path: Path, size: int) -> None:
    """SQLite makes no value beyond the limit, whatever a view asks it to make."""
    path = database(tmp_path, str(folder_of(tmp_path)))
    with closing(sqlite3.connect(path)) as made, made:
        made.execute("DROP TABLE params")
        made.execute(
            f"CREATE VIEW params AS SELECT 'abc' run_uuid, 'k' key, CAST(zeroblob({size}) AS TEXT) value"
        )
    assert "integrations.mlflow-database" == refused("models:/loans/1", tmp_path).code
