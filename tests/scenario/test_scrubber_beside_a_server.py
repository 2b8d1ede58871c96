"""The scrubber in the background: nobody calls it, and it finds what does not hold, and what holds again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scenario.conftest import NewHome
from scenario.world import Home
from unit.serving.rig import wait_for

WATCH = """
from pathlib import Path
from gatewright.assembly.collecting import watch_home
from gatewright.assembly.scrubbing import Pace
watch_home(Path.cwd(), Pace(first_s=0.0, between_s=0.0))
"""


@contextmanager
def collecting(home: Home, said: Path) -> Iterator[None]:
    """A collector of the home whose scrubber begins at once and goes on without end."""
    with said.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", WATCH], cwd=home.root, stdin=subprocess.PIPE, stderr=output
        )
        try:
            yield
            process.communicate(timeout=60)
            assert 0 == process.returncode
        finally:
            process.kill()
            process.wait()


def test_a_collector_finds_damage_by_itself_and_what_holds_again(new_home: NewHome, tmp_path: Path) -> None:
    """A flipped bit is recorded, shown and said while nobody asks; put right, that is recorded too."""
    home = new_home("live")
    blob = max((home.folder / "blobs").rglob("??*/*"), key=lambda path: path.stat().st_size)
    place = blob.relative_to(home.folder).as_posix()
    content = blob.read_bytes()
    said = tmp_path / "said"
    with collecting(home, said):
        wait_for(lambda: bool((home.do("status")["scrubbed"] or {}).get("finished")))
        blob.write_bytes(content[:-9] + bytes((content[-9] ^ 1,)) + content[-8:])
        wait_for(lambda: "storage.damaged" in home.kinds())
        assert [place] == [each["place"] for each in home.do("status")["damaged"]]
        blob.write_bytes(content)
        wait_for(lambda: "storage.repaired" in home.kinds())
        assert [] == home.do("status")["damaged"]
    assert [1, 1] == [home.kinds().count(f"storage.{what}") for what in ("damaged", "repaired")]
    told = said.read_text("utf-8")
    assert f"scrubber: damaged: content {place}" in told
    assert f"scrubber: holds again: {place}" in told
