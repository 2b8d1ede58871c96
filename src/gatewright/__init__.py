"""From a trained model to a production endpoint its owner can answer for.

    import gatewright as gw

Importing this is instant: each name below is fetched from ``gatewright.client`` when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatewright.client.conversion import convert
    from gatewright.client.model import Model, model
    from gatewright.client.opening import init
    from gatewright.client.server import serve
    from gatewright.client.submit import recipe, submit
    from gatewright.datasets.datasheet import Datasheet

__all__ = ["Datasheet", "Model", "convert", "init", "model", "recipe", "serve", "submit"]

_PLACES = {
    "Datasheet": "gatewright.datasets.datasheet",
    "Model": "gatewright.client.model",
    "convert": "gatewright.client.conversion",
    "init": "gatewright.client.opening",
    "model": "gatewright.client.model",
    "recipe": "gatewright.client.submit",
    "serve": "gatewright.client.server",
    "submit": "gatewright.client.submit",
}


def __getattr__(name: str) -> Any:
    """The public name, fetched now and kept."""
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'gatewright' has no attribute {name!r}")
    found = getattr(import_module(place), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
