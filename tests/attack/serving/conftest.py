"""One worker for all attacks: it must still answer after every one of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from unit.serving.rig import Rig, Running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A worker with one endpoint."""
    folder: Path = tmp_path_factory.mktemp("attacked")
    rig = Rig(folder)
    rig.publish(rig.plan(1, rig.make_release(1)))
    with rig.running() as found:
        yield found


@pytest.fixture(autouse=True)
def still_alive(server: Running) -> Iterator[None]:
    """Whatever was sent, the next good request is answered."""
    yield
    assert server.infer().status_code == 200
