from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.deployments.plan import (
    DECIMALS_MOST,
    TOP_MOST,
    WHOLE,
    ApiKey,
    Portion,
    Recording,
    ReleaseRef,
    Showing,
    Shown,
    TrafficPlan,
)
from gatewright.deployments.wording import parse_share, parse_shown, share_text, shown_text, told
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Misuse
from gatewright.kernel.names import Name


@given(share=st.integers(1, WHOLE))
def test_a_share_is_read_as_it_is_written(share: int) -> None:
    """Reading what was written gives the same thousandths."""
    assert share == parse_share(share_text(share))


@pytest.mark.parametrize(
    ("text", "share"), [("10%", 100), ("2.5%", 25), ("100%", 1000), ("0.1%", 1), (" 7 % ", 70)]
)
def test_shares_are_percentages(text: str, share: int) -> None:
    """A percentage is ten times as many thousandths."""
    assert share == parse_share(text)


@pytest.mark.parametrize(
    "text",
    ["", "10", "0%", "0.0%", "100.1%", "-5%", "1e1%", "2.55%", "10%%", "%", "\u0661\u0660%", "1000%", "ten%"],
)
def test_what_is_no_share_is_refused(text: str) -> None:
    """Everything else is wrong use, with an example of what to write."""
    with pytest.raises(Misuse, match="10%"):
        parse_share(text)


shown = (
    st.sampled_from([Shown(), Shown(kind=Showing.LABEL)])
    | st.builds(Shown, kind=st.just(Showing.TOP), number=st.integers(1, TOP_MOST))
    | st.builds(Shown, kind=st.just(Showing.ROUNDED), number=st.integers(0, DECIMALS_MOST))
)


@given(value=shown)
def test_what_is_shown_is_read_as_it_is_written(value: Shown) -> None:
    """Reading what was written gives the same value."""
    assert value == parse_shown(shown_text(value))


@pytest.mark.parametrize(
    "text",
    ["", "all", "top", "top:0", "top:1001", "round", "round:18", "label:1", "full:0", "top:-1", "top:x"],
)
def test_what_cannot_be_shown_is_refused(text: str) -> None:
    """Everything else is wrong use, with all the words."""
    with pytest.raises(Misuse, match="round:N"):
        parse_shown(text)


def test_each_change_is_told_in_a_sentence(
    plan_of: Callable[..., TrafficPlan], release_of: Callable[..., ReleaseRef]
) -> None:
    """Whatever of an endpoint changes is said, and nothing else."""
    before = plan_of(("a", 2, 1)).endpoints[0]
    key = before.keys[0]
    canary = Portion(name=Name("canary"), release=release_of(3), share=100)
    arm = Portion(name=Name("blue"), release=release_of(3), share=255)
    expected = {
        "the canary breast-cancer@3 takes 10% of the requests": {"canary": canary},
        "arm blue breast-cancer@3 takes 25.5% of the subjects": {"arms": (arm,)},
        "the shadow breast-cancer@3 sees a copy of every request": {"shadow": release_of(3)},
        "the fallback breast-cancer@3 answers where others fail": {"fallback": release_of(3)},
        "the endpoint is stopped: every request is refused": {"stopped": True},
        "recording is asynchronous": {"recording": Recording.ASYNCHRONOUS},
        "at most 1,000 requests a second over all callers": {"rate": 1000},
        "key k1 was revoked": {"keys": ()},
        "key k2 was added": {"keys": (key, ApiKey(id="k2", digest=Digest.of(b"2")))},
        "key k1: at most 5 requests a second": {"keys": (replace(key, rate=5),)},
        "key k1: at most 9 requests a day": {"keys": (replace(key, quota=9),)},
        "key k1: shows label": {"keys": (replace(key, shown=Shown(kind=Showing.LABEL)),)},
    }
    assert [(words,) for words in expected] == [
        told(before, replace(before, **values)) for values in expected.values()
    ]
    back = {told(replace(before, **values), before) for values in expected.values()}
    assert () not in back
    assert len(expected) == len(back)
    assert () == told(before, before)


def test_the_first_and_the_last_of_an_endpoint_are_told(plan_of: Callable[..., TrafficPlan]) -> None:
    """A new endpoint names its champion and its key; a withdrawn one says that nothing answers."""
    endpoint = plan_of(("a", 2, 0)).endpoints[0]
    assert ("breast-cancer@2 is the champion", "key k1 was added") == told(None, endpoint)
    assert ("the endpoint is withdrawn: nothing answers",) == told(endpoint, None)
