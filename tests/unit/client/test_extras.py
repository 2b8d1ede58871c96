"""Libraries that only an extra installs."""

from __future__ import annotations

import pytest

from gatewright.client.extras import need_extra
from gatewright.kernel.errors import DependencyFailed


def test_an_absent_library_is_told_with_its_extra() -> None:
    """The error says what to install; a library that is there says nothing."""
    need_extra("numpy", "trees")
    with pytest.raises(DependencyFailed, match=r"pip install 'gatewright\[trees\]'") as caught:
        need_extra("no_such_library", "trees")
    assert "client.extra-absent" == caught.value.code
