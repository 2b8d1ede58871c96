"""The way of a prediction that REST and gRPC share: may it run, which release runs it, its record.

``enter`` and ``leave`` stand around every prediction, on whatever thread. Between them: ``predict``
(waiting) or ``begin`` (not waiting) choose and run; ``record`` (on the event loop) or
``record_soon`` ask for the record, without which no answer may be given.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from time import perf_counter
from typing import TypeAlias

from gatewright.models.tensors import settled
from gatewright.serving.admission import Admitted, Turned
from gatewright.serving.batching import Outcome, Threads, cores
from gatewright.serving.codec import Array, Asked
from gatewright.serving.composing import Then as Recorded
from gatewright.serving.engine import Engine
from gatewright.serving.overload import Load, Place
from gatewright.serving.recorder import Recorder
from gatewright.serving.routing import Route, Served
from gatewright.serving.seen import Seen
from gatewright.serving.shadow import Mirrored, Shadow
from gatewright.serving.traffic import answer, checked, choose

RETRY = ((b"retry-after", b"1"),)
RETRY_CLOSED = ((b"retry-after", b"60"),)
"""A stopped or expired endpoint waits for a person: nobody gains by asking each second."""


@dataclass(slots=True)
class Predicted:
    """An answer that is not recorded yet.

    ``arrays`` are the outputs that the caller gets, at ``places`` of the signature; ``parts``,
    ``came`` and ``went`` are what its record is made of. ``seconds`` is what the model took of a thread;
    ``mirrored`` is the copy for a shadow.
    """

    served: Served
    arrays: list[Array]
    places: tuple[int, ...]
    request: str
    parts: tuple[str, str, str]
    came: bytes
    went: bytes
    seconds: float = 0.0
    mirrored: Mirrored | None = None


Steps: TypeAlias = Generator[Engine, Outcome, Predicted]
"""The way of one prediction: gives each engine that is to run, takes what came of it, ends with the answer."""
Then: TypeAlias = Callable[[Predicted | Exception], None]


@dataclass(slots=True)
class _Going:
    """A prediction on its way; ``seconds`` is what models took for it so far."""

    steps: Steps
    asked: Asked
    threads: Threads
    then: Then
    seconds: float = 0.0

    def on(self, outcome: Outcome | None) -> Predicted | None:
        """Take its steps, up to the first that another thread has to make (None) or to its end."""
        asked = self.asked
        while True:
            try:
                engine = next(self.steps) if outcome is None else self.steps.send(outcome)
            except StopIteration as end:
                found: Predicted = end.value
                found.seconds = self.seconds
                return found
            if not engine.is_quick(asked.inputs):
                engine.begin(asked.inputs, asked.outputs, self.threads, partial(self._came, engine))
                return None
            begun = perf_counter()
            try:
                outcome = engine.run(asked.inputs, asked.outputs)
            except Exception as error:  # noqa: BLE001 - ONNX Runtime raises classes of its own
                outcome = error
            self.seconds += perf_counter() - begun

    def _came(self, engine: Engine, outcome: Outcome) -> None:
        """Go on, in a thread, with what the engine gave."""
        self.seconds += engine.recent_seconds
        try:
            found = self.on(outcome)
        except Exception as error:  # noqa: BLE001 - whoever waits is to hear of it
            self.then(error)
        else:
            if found is not None:
                self.then(found)


class Answering:
    """What every prediction passes, whatever it came over.

    ``threads`` is how many run models that are not run inline: one for each core of the process, where
    nothing is said. Without ``shadow`` nothing is mirrored. ``soon`` has the event loop do something after
    what lies before it now.
    """

    def __init__(
        self,
        recorder: Recorder,
        threads: int | None = None,
        seen: Seen | None = None,
        shadow: Shadow | None = None,
        soon: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self.recorder = recorder
        self.shadow = shadow
        self.seen = seen or Seen.alone()
        self._soon = soon
        self._line: list[tuple[Served, Admitted, Asked, Then]] = []
        self._threads = Threads(threads or cores())
        self.load = Load(width=self._threads.number)

    def close(self) -> None:
        """End the threads, once no request is in work."""
        self._threads.close()

    def enter(self, route: Route, caller: Admitted) -> Place:
        """Count a request in, before its body is read; raises Turned where it may not run now."""
        if route.closed:
            raise Turned(503, route.closed, RETRY_CLOSED, reason="stopped" if route.stopped else "expired")
        if not self.recorder.healthy:
            raise not_recorded()
        place = self.load.enter(route.endpoint, caller.digest, route.champion.release.engine.recent_seconds)
        allowance = route.allowances.get(caller.id)
        if allowance is not None:
            try:
                allowance.take()
            except Turned:
                self.load.leave(place)
                raise
        return place

    def leave(self, place: Place) -> None:
        """Count it out; exactly once for each ``enter`` that returned."""
        self.load.leave(place)

    def predict(self, route: Route, caller: Admitted, asked: Asked, pinned: Served | None) -> Predicted:
        """Choose a release, run it, and make the encodings for the record, waiting; raises Turned (500).

        Not on the event loop: see :meth:`begin`.
        """
        gate: SimpleQueue[Predicted | Exception] = SimpleQueue()
        found = self.begin(route, caller, asked, pinned, gate.put) or gate.get()
        if isinstance(found, Exception):
            raise found
        return found

    def begin(
        self,
        route: Route,
        caller: Admitted,
        asked: Asked,
        pinned: Served | None,
        then: Then,
        *,
        on_loop: bool = False,
    ) -> Predicted | None:
        """The same without waiting for other threads: the answer, or None, and ``then`` takes it later.

        ``then`` is called by one of the threads that run models; or, where this is called ``on_loop`` while
        other requests are in work, by the event loop. Raises Turned only where it answers at once.
        """
        served = pinned or route.champion
        engine = served.release.engine
        if not route.simple or not engine.is_quick(asked.inputs):
            return _Going(self._steps(route, caller, asked, pinned), asked, self._threads, then).on(None)
        if on_loop and self.load.requests > 1 and self._soon is not None:
            if not self._line:
                self._soon(self._answer_line)
            self._line.append((served, caller, asked, then))
            return None
        return self._at_once(served, caller, asked)

    def _at_once(self, served: Served, caller: Admitted, asked: Asked) -> Predicted:
        """The usual way, straight: one release answers everybody in full, and nothing stands beside it."""
        begun = perf_counter()
        outcome = _outcome(served, asked)
        return _answered(served, caller, asked, outcome, perf_counter() - begun)

    def _answer_line(self) -> None:
        """The same for all requests that came together, step by step: models, then encodings, then records.

        Each step's code and tables stay in the processor's caches so: about a quarter less time than
        request by request.
        """
        line, self._line = self._line, []
        begun = perf_counter()
        outcomes = [_outcome(served, asked) for served, _, asked, _ in line]
        seconds = (perf_counter() - begun) / len(line)
        found: list[Predicted | Exception] = []
        for (served, caller, asked, _), outcome in zip(line, outcomes, strict=True):
            try:
                found.append(_answered(served, caller, asked, outcome, seconds))
            except Exception as error:  # noqa: BLE001 - one request's fault is not the next one's
                found.append(error)
        for (*_, then), each in zip(line, found, strict=True):
            with suppress(Exception):  # nor is what becomes of its answer
                then(each)

    def _steps(self, route: Route, caller: Admitted, asked: Asked, pinned: Served | None) -> Steps:
        """Choose a release, have it run, and make the encodings for the record.

        Raises Turned: 400 for outputs that the caller is not shown, 500 where no release can answer.
        """
        view = route.views.get(caller.id) if route.views else None
        if view is not None:
            asked.outputs = view.places(asked.outputs, named=asked.named)
        chosen = pinned or choose(route, asked.subject, caller.id)
        served, arrays = yield from answer(chosen, asked, pinned=pinned is not None)
        if asked.binary:
            arrays = [settled(each) for each in arrays]
        shown = arrays if view is None else view.show(arrays, asked.outputs)
        mirrored = None
        if route.shadow is not None and self.shadow is not None:
            mirrored = Mirrored(route, caller.id, asked, arrays)
        found = _predicted(served, shown, caller, asked)
        found.mirrored = mirrored
        return found

    def record(self, found: Predicted, then: Recorded) -> None:
        """Ask for the record, on the event loop; ``then`` takes the receipt's token, None without one."""
        if found.mirrored is not None and self.shadow is not None:
            then = self.shadow.after(found.mirrored, then)
        self.recorder.submit(
            found.parts, found.request, found.came, found.went, then, promised=found.served.promised
        )

    def record_soon(self, found: Predicted, then: Recorded) -> None:
        """The same from any other thread; ``then`` is still called on the event loop."""
        if found.mirrored is not None and self.shadow is not None:
            then = self.shadow.after(found.mirrored, then)
        self.recorder.submit_from_thread(
            found.parts, found.request, found.came, found.went, then, promised=found.served.promised
        )


def _outcome(served: Served, asked: Asked) -> Outcome:
    """What the release's engine gives, here and now."""
    try:
        return served.release.engine.run(asked.inputs, asked.outputs)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime raises classes of its own
        return error


def _answered(served: Served, caller: Admitted, asked: Asked, outcome: Outcome, seconds: float) -> Predicted:
    """What an engine gave, as an answer; raises Turned where it is none."""
    arrays = checked(served.release, asked, outcome)
    shown = [settled(each) for each in arrays] if asked.binary else arrays
    found = _predicted(served, shown, caller, asked)
    found.seconds = seconds
    return found


def _predicted(served: Served, shown: list[Array], caller: Admitted, asked: Asked) -> Predicted:
    """The answer of a release, with the encodings for its record."""
    codec = served.release.codec
    return Predicted(
        served,
        shown,
        asked.outputs,
        asked.id or "",
        served.parts[caller.id],
        codec.inputs_encoding(asked.inputs),
        codec.outputs_encoding(shown, asked.outputs),
    )


def not_recorded() -> Turned:
    """The refusal of an answer that has no durable record."""
    return Turned(
        503,
        "The prediction could not be recorded, so it is not given; try again.",
        RETRY,
        reason="not-recorded",
    )
