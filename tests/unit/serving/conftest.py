"""The governed world, once for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from unit.serving.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Keys, blobs and folders, with nothing published yet."""
    return Rig(tmp_path)
