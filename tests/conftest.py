"""How property tests run: the same examples every time, and no clock decides.

``HYPOTHESIS_PROFILE=explore`` looks for new examples; what it finds is pinned with ``@example``.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("settled", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "settled"))
