"""Nobody says what a model was trained on: leakage is unknown, and unknown never passes."""

from __future__ import annotations

from scenario.conftest import NewHome
from scenario.world import classifier, inside


def test_unknown_leakage_is_refused_and_the_way_out_is_said(new_home: NewHome) -> None:
    """The model can be added and checked, not released; declaring the rows opens the way."""
    home = new_home("registered")
    (home.root / "m.onnx").write_bytes(classifier())
    added = inside(home.root, "model", "add", "m.onnx", "--name", "loans", "--data", "loans")
    assert 0 == added.code
    assert "--trained-on" in added.out
    checked = home.run("check", "loans")
    assert (1, "unknown", "deny") == (
        checked.code,
        checked.document["outcomes"]["data.leakage"],
        checked.document["decision"],
    )
    refused = home.run("release", "create", "loans")
    assert (1, "operations.verdict-denies") == (refused.code, refused.error["code"])
    assert "data.leakage" in refused.said
    home.do("model", "add", "m.onnx", "--name", "loans", "--trained-on", "loans")
    assert "loans@2" == home.do("ship", "loans")["ref"]
