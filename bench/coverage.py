"""How often the intervals of the checks hold the truth: the full counts, as a table.

Run ``python bench/coverage.py [draws]``. With 4,000 draws a true coverage of 0.95 shows as 0.943 to
0.957 (95 %). The exit code is 1 when an interval holds the truth in fewer than ``LEAST`` of the draws.
"""

from __future__ import annotations

import sys

from gatewright.testing.known_truth import WORLDS, coverage

DRAWS = 4_000
SIZES = (200, 500)
LEAST = 0.93
HEAVY = "regression, Student-t5 errors"
"""Squared t5 errors have no fourth moment: no method holds 0.95 for their mean at these sizes."""
LEAST_HEAVY = 0.90


def main(draws: int = DRAWS, seed: int = 11) -> int:
    """Print the table; returns the exit code."""
    print("| world | rows | metric | truth | coverage | all too high | all too low | method |")
    print("|---|---|---|---|---|---|---|---|")
    code = 0
    for world in WORLDS:
        for rows in SIZES:
            for one in coverage(world, rows, draws, seed):
                print(
                    f"| {one.world} | {one.rows} | {one.metric} | {one.truth:.4f} | {one.coverage:.3f} "
                    f"| {one.too_high / one.draws:.3f} | {one.too_low / one.draws:.3f} | {one.method} |",
                    flush=True,
                )
                if one.coverage < (LEAST_HEAVY if world == HEAVY else LEAST):
                    code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else DRAWS))
