"""The pytest plugin: behavioural tests of models as functions of a few lines.

Loaded with every run of pytest where Gatewright is installed, so nothing is imported here until a
test asks for ``model``.

Example::

    @pytest.mark.gatewright("loans")
    def test_income_does_not_depend_on_sex(model):
        model.invariance("sex", {"Male": "Female"}).holds(at_most=0.01)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gatewright.integrations.behaviour import ModelUnderTest

SETTINGS = {
    "model": "Model under behavioural test: NAME, NAME@VERSION or a path of an ONNX file.",
    "rows": "File of rows to try it on (default: the test rows that the version is judged on).",
    "target": "Column of the rows that an ONNX file predicts.",
}
MARK = "gatewright(model, rows='', target=''): the model that the fixture 'model' gives, and the rows it is tried on"
_MODELS: pytest.StashKey[dict[tuple[str, str, str], ModelUnderTest]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options on the command line, and the same as settings of the project."""
    group = parser.getgroup("gatewright", "behavioural tests of models")
    for name, text in SETTINGS.items():
        group.addoption(f"--gatewright-{name}", default="", help=text)
        parser.addini(f"gatewright_{name}", text, default="")


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", MARK)


@pytest.fixture
def model(request: pytest.FixtureRequest) -> ModelUnderTest:
    """The model under behavioural test: named on the command line, by the mark or in the settings.

    Made once for a session. A project's own fixture of this name takes its place.
    """
    from gatewright.integrations import models_under_test  # noqa: PLC0415 - only where a test asks
    from gatewright.kernel.errors import GatewrightError  # noqa: PLC0415

    chosen = _chosen(request)
    if not chosen[0]:
        pytest.fail(
            "No model is named for this test. Write @pytest.mark.gatewright('NAME') above it, set gatewright_model, "
            "or run with --gatewright-model NAME.",
            pytrace=False,
        )
    made = request.config.stash.setdefault(_MODELS, {})
    refused = ""
    if chosen not in made:
        try:
            made[chosen] = models_under_test.named(
                chosen[0], rows=chosen[1], target=chosen[2], start=request.config.rootpath
            )
        except GatewrightError as error:
            refused = error.refusal.sentence()
    if refused:
        pytest.fail(refused, pytrace=False)
    return made[chosen]


def _chosen(request: pytest.FixtureRequest) -> tuple[str, str, str]:
    """Model, rows and target: from the command line, else the nearest mark, else the settings."""
    mark = request.node.get_closest_marker("gatewright")
    marked = {} if mark is None else dict(zip(SETTINGS, mark.args, strict=False)) | mark.kwargs
    config = request.config
    found = [
        config.getoption(f"--gatewright-{name}")
        or marked.get(name, "")
        or config.getini(f"gatewright_{name}")
        for name in SETTINGS
    ]
    return str(found[0]), str(found[1]), str(found[2])
