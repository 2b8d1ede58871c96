"""The program of one worker among several: started by ``serve``, not by people.

``python -m gatewright.cli.worker JSON``; it leaves out the command line's parser, so that it starts sooner.
"""

from __future__ import annotations

import os
import sys

from gatewright.assembly.supervising import serve_command
from gatewright.cli import exits
from gatewright.kernel.errors import GatewrightError


def main(text: str) -> int:
    """Serve as the parent said; returns the exit code of :mod:`gatewright.cli.exits`."""
    try:
        return serve_command(text)
    except GatewrightError as error:
        sys.stderr.write(error.refusal.sentence() + "\n")
        return exits.exit_code(error)
    except Exception as error:
        if os.environ.get("GATEWRIGHT_TRACEBACK"):
            raise
        sys.stderr.write(
            f"Something went wrong inside a worker: {type(error).__name__}: {str(error)[:300]}\n"
        )
        return exits.INTERNAL


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
