"""Every limit on data that arrives, by name."""

from __future__ import annotations

FILE_BYTES = 4 * 1024**3
COLUMNS = 10_000
COLUMN_NAME_CHARACTERS = 200
CELLS = 50_000_000
CELL_CHARACTERS = 131_072  # what the csv module reads by default; raising it would change global state
LARGEST_EXACT_INTEGER = 2**53  # beyond it float64 no longer tells neighbours apart
CLASSES = 50
SCHEMA_CATEGORIES = 100
