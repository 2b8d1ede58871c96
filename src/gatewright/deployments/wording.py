"""A plan in words: how people write shares and shown outputs, and what a change changed.

Laws: ``parse_share(share_text(n)) == n``; ``parse_shown(shown_text(s)) == s``; a change that changes
something is told by at least one sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from gatewright.deployments.plan import (
    WHOLE,
    ApiKey,
    EndpointPlan,
    Portion,
    Recording,
    ReleaseRef,
    Showing,
    Shown,
)
from gatewright.kernel.errors import BadInput, Misuse

_SHARE = re.compile(r"(\d{1,3}(?:\.\d)?) ?%", re.ASCII)
_SHOWN = re.compile(r"(full|label|top|round)(?::(\d{1,4}))?", re.ASCII)
_KINDS = {"full": Showing.FULL, "label": Showing.LABEL, "top": Showing.TOP, "round": Showing.ROUNDED}
_WORDS = {kind: word for word, kind in _KINDS.items()}
_NUMBERED = (Showing.TOP, Showing.ROUNDED)


def parse_share(text: str) -> int:
    """Thousandths of the traffic, from a percentage with at most one decimal (``10%``, ``2.5%``)."""
    found = _SHARE.fullmatch(text.strip())
    share = int(Decimal(found[1]) * 10) if found else 0
    if not 1 <= share <= WHOLE:
        raise Misuse(
            "deployments.share",
            f"{text[:40]!r} is no share of the traffic.",
            why="A share is a percentage from 0.1% to 100%, with at most one decimal.",
            next="Write for example: 10%",
        )
    return share


def share_text(share: int) -> str:
    """Thousandths as a percentage: ``10%``, ``2.5%``."""
    whole, rest = divmod(share, 10)
    return f"{whole}.{rest}%" if rest else f"{whole}%"


def parse_shown(text: str) -> Shown:
    """What a caller is shown: ``full``, ``label``, ``top:3`` (classes) or ``round:2`` (decimals)."""
    found = _SHOWN.fullmatch(text.strip())
    if found and (_KINDS[found[1]] in _NUMBERED) == (found[2] is not None):
        try:
            return Shown(kind=_KINDS[found[1]], number=int(found[2] or 0))
        except BadInput:
            pass
    raise Misuse(
        "deployments.shown",
        f"{text[:40]!r} does not say what a caller is shown.",
        next="Write full, label, top:K (the K best classes) or round:N (N decimals).",
    )


def shown_text(shown: Shown) -> str:
    """The same as people write it."""
    word = _WORDS[shown.kind]
    return f"{word}:{shown.number}" if shown.kind in _NUMBERED else word


def ref_text(release: ReleaseRef) -> str:
    """``name@version``."""
    return f"{release.model}@{release.version}"


def told(before: EndpointPlan | None, after: EndpointPlan | None) -> tuple[str, ...]:
    """What a change of an endpoint changed, a sentence for each thing, without full stops."""
    if after is None:
        return () if before is None else ("the endpoint is withdrawn: nothing answers",)
    found = [*_line(before, after), *_portions(before, after), *_companions(before, after)]
    return (*found, *_settings(before, after), *_keys(before, after))


def _line(before: EndpointPlan | None, after: EndpointPlan) -> Iterator[str]:
    if before is None or before.champion.root != after.champion.root:
        yield f"{ref_text(after.champion)} is the champion"
    if after.previous is not None and (before is None or before.previous != after.previous):
        yield f"{ref_text(after.previous)} stays warm for a rollback"
    if after.previous is None and before is not None and before.previous is not None:
        yield "no release stands behind the champion"


def _shares(found: EndpointPlan | None) -> dict[str, Portion]:
    if found is None:
        return {}
    if found.canary is not None:
        return {"the canary": found.canary}
    return {f"arm {arm.name}": arm for arm in found.arms}


def _portions(before: EndpointPlan | None, after: EndpointPlan) -> Iterator[str]:
    old, new = _shares(before), _shares(after)
    for name, portion in old.items():
        if name not in new:
            yield f"{name} {ref_text(portion.release)} left"
    of = "requests" if after.canary is not None else "subjects"
    for name, portion in new.items():
        if old.get(name) != portion:
            yield f"{name} {ref_text(portion.release)} takes {share_text(portion.share)} of the {of}"


def _companions(before: EndpointPlan | None, after: EndpointPlan) -> Iterator[str]:
    pairs = (
        ("shadow", None if before is None else before.shadow, after.shadow, "sees a copy of every request"),
        (
            "fallback",
            None if before is None else before.fallback,
            after.fallback,
            "answers where others fail",
        ),
    )
    for name, old, new, does in pairs:
        if new is not None and new != old:
            yield f"the {name} {ref_text(new)} {does}"
        elif old is not None and new is None:
            yield f"the {name} {ref_text(old)} left"


def _settings(before: EndpointPlan | None, after: EndpointPlan) -> Iterator[str]:
    if after.stopped != (before is not None and before.stopped):
        yield (
            "the endpoint is stopped: every request is refused"
            if after.stopped
            else "the endpoint answers again"
        )
    if after.recording is not (Recording.DURABLE if before is None else before.recording):
        yield f"recording is {after.recording}"
    if after.rate != (0 if before is None else before.rate):
        yield bound_text(after.rate, "requests a second", "over all callers")


def bound_text(number: int, what: str, over: str = "") -> str:
    """A limit in words; 0 is none."""
    most = f"at most {number:,} {what}" if number else f"no bound on {what}"
    return f"{most} {over}".rstrip()


def _keys(before: EndpointPlan | None, after: EndpointPlan) -> Iterator[str]:
    old = {} if before is None else {key.id: key for key in before.keys}
    new = {key.id: key for key in after.keys}
    yield from (f"key {name} was revoked" for name in old if name not in new)
    for name, key in new.items():
        if name not in old:
            yield f"key {name} was added"
        elif key != old[name]:
            yield from (f"key {name}: {each}" for each in _key_limits(old[name], key))


def _key_limits(before: ApiKey, after: ApiKey) -> Iterator[str]:
    if before.rate != after.rate:
        yield bound_text(after.rate, "requests a second")
    if before.quota != after.quota:
        yield bound_text(after.quota, "requests a day")
    if before.shown != after.shown:
        yield f"shows {shown_text(after.shown)}"
