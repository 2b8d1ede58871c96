"""What a crash left: open segments, cut at their last whole batch and sealed before the worker begins."""

from __future__ import annotations

from collections.abc import Callable

from gatewright.kernel.errors import Refusal, Tampered
from gatewright.ledger.segments import scan
from gatewright.serving.composing import Composer
from gatewright.serving.segment_disk import SegmentDisk


def recover(disk: SegmentDisk, composer: Composer, report: Callable[[Refusal], None]) -> None:
    """Seal every open segment; one that cannot be read is kept apart, one that fails is reported."""
    for name in disk.leftovers():
        try:
            _recover(disk, name, composer, report)
        except OSError as error:
            report(
                Refusal(
                    code="serving.segment-leftover",
                    what=f"Segment {name} of an earlier run could not be sealed.",
                    why=error.strerror or type(error).__name__,
                )
            )


def _recover(disk: SegmentDisk, name: str, composer: Composer, report: Callable[[Refusal], None]) -> None:
    data = disk.read(name)
    try:
        found = scan(data)
    except Tampered as error:
        report(error.refusal)
        disk.set_aside(name)
        return
    if found.torn is not None:
        report(found.torn)
        disk.keep_tail(name, data[found.good_bytes :])
    if not found.leaves:
        disk.discard(name)
        return
    good = data[: found.good_bytes]
    if not found.sealed:
        good += composer.seal(found.header.segment, len(found.leaves), found.root)
    disk.rewrite(name, good)
