"""``python -m gatewright`` is the command line."""

from __future__ import annotations

from gatewright.cli.main import main

if __name__ == "__main__":
    main()
