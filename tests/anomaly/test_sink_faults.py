"""The disk of the records is full, read-only, or cannot sync, while predictions are asked for.

No answer goes without its record; the server lives on, says that it is not ready, and goes on by
itself when the disk is well again. The figures of many rounds come from ``make campaign``.
"""

from __future__ import annotations

import re
import resource
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from anomaly.fault_injection import build, unavailable
from anomaly.serving_home import make_serving_home
from anomaly.sick_disk import POLICY_MORE, Disk, World

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "-")

PROMISED = 40


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home with a live endpoint, and its key; the library lies in it."""
    folder = tmp_path_factory.mktemp("template")
    key = make_serving_home(folder, more_policy=POLICY_MORE)
    build(folder / "faults.so")
    return folder, key


@pytest.fixture
def home(template: tuple[Path, str], tmp_path: Path) -> tuple[Path, str]:
    """A copy of it."""
    folder, key = template
    return shutil.copytree(folder, tmp_path / "home"), key


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is ended after the test."""
    with ExitStack() as entered:
        yield entered


@pytest.mark.parametrize("ill", [Disk.FULL, Disk.READ_ONLY, Disk.NO_SYNC])
def test_a_sick_disk_withholds_every_answer_and_nothing_else(
    ill: Disk, home: tuple[Path, str], stack: ExitStack
) -> None:
    """From the first request on 503 by REST and gRPC, alive but not ready; well again, it goes on by itself."""
    world = World(*home, stack)
    for _ in range(2):
        assert {200} == world.ask()
        world.disk.be(ill)
        assert {503} == world.ask()
        assert 200 == world.server.probe("live")
        world.wait_until_ready_is(503)
        assert {503} == world.ask()
        assert 200 == world.server.probe("live")
        world.disk.be(Disk.FINE)
        world.wait_until_ready_is(200)
    assert {200} == world.ask()
    assert 0 == world.server.stop()
    assert set(world.held().items()) == world.disk.recorded()
    assert any(failed for failed, _, _ in world.disk.calls())
    assert [] == world.disk.written_after_a_failed_sync()


def test_a_file_that_may_not_grow_is_as_a_full_disk(home: tuple[Path, str], stack: ExitStack) -> None:
    """The kernel's own refusal, by a limit on the size of files: the same, without any library in between."""
    world = World(*home, stack)
    assert world.server.process is not None
    process = world.server.process.pid
    before = resource.prlimit(process, resource.RLIMIT_FSIZE)
    assert {200} == world.ask()
    resource.prlimit(process, resource.RLIMIT_FSIZE, (0, before[1]))
    assert {503} == world.ask()
    assert 200 == world.server.probe("live")
    world.wait_until_ready_is(503)
    resource.prlimit(process, resource.RLIMIT_FSIZE, before)
    world.wait_until_ready_is(200)
    assert {200} == world.ask()
    assert 0 == world.server.stop()
    assert set(world.held().items()) == world.disk.recorded()


@pytest.mark.parametrize("ill", [Disk.FULL, Disk.NO_SYNC])
def test_promises_that_a_sick_disk_breaks_are_counted_and_told(
    ill: Disk, home: tuple[Path, str], stack: ExitStack
) -> None:
    """Answered before the record: each that could not be recorded is counted, and nobody is answered for long."""
    world = World(*home, stack, asynchronous=True)
    assert {200} == world.ask()
    world.disk.be(ill)
    assert 503 in world.ask(PROMISED)
    world.wait_until_ready_is(503)
    assert {503} == world.ask()
    assert 200 == world.server.probe("live")
    world.disk.be(Disk.FINE)
    world.wait_until_ready_is(200)
    assert {200} == world.ask()
    lost = world.metric("records_lost_total")
    assert 0 == world.server.stop()
    promised, recorded = set(world.held().items()), world.disk.recorded()
    assert recorded <= promised
    assert lost == len(promised - recorded)
    said = (world.server.folder / "serve.log").read_text("utf-8")
    told = re.findall(r"([\d,]+) predictions were answered and could not be recorded", said)
    assert lost == sum(int(number.replace(",", "")) for number in told)
    assert lost > 0
    assert [] == world.disk.written_after_a_failed_sync()
