"""Draw the README's picture: run the demo and keep what it prints, as an SVG.

python bench/picture.py
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "demo.svg"
COLUMNS = 100
FROM, TO = "2  A first model", "7  What happened"
# Dark ink on a quiet ground reads well on a light page and on a dark one.
THEME = TerminalTheme(
    (24, 28, 36),
    (222, 226, 233),
    [
        (24, 28, 36),
        (240, 113, 120),
        (127, 200, 140),
        (229, 192, 110),
        (110, 160, 240),
        (190, 140, 230),
        (80, 190, 200),
        (222, 226, 233),
    ],
    [
        (120, 128, 140),
        (240, 113, 120),
        (127, 200, 140),
        (229, 192, 110),
        (110, 160, 240),
        (190, 140, 230),
        (80, 190, 200),
        (250, 250, 250),
    ],
)


def main() -> None:
    """Run the demo, keep acts 2 to 6, write the picture."""
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS)}
    ran = subprocess.run(
        [sys.executable, "-m", "gatewright", "demo", "--no-stay"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    told = Text.from_ansi(ran.stdout)
    start = told.plain.index(FROM)
    kept = told[start : told.plain.index(TO)]
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print("[bold cyan]$ make demo[/]")
    console.print(kept)
    drawn = console.export_svg(title="Gatewright", theme=THEME)
    drawn = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)  # no fonts from elsewhere
    drawn = drawn.replace("Fira Code", "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas")
    PICTURE.write_text(drawn, "utf-8")


if __name__ == "__main__":
    main()
