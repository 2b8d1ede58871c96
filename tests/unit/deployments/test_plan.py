from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.deployments.plan import (
    ARMS,
    DECIMALS_MOST,
    ENDPOINTS,
    KEYS_PER_ENDPOINT,
    PLAN_TYPE,
    QUOTA_MOST,
    RATE_MOST,
    TOP_MOST,
    WHOLE,
    ApiKey,
    EndpointPlan,
    Portion,
    Recording,
    ReleaseRef,
    Showing,
    Shown,
    TrafficPlan,
    decode_plan,
    encode_plan,
    read_plan,
)
from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Tampered
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import Name
from gatewright.releases.envelope import IN_TOTO_PAYLOAD, sealed

digests = st.binary(min_size=32, max_size=32).map(Digest.from_raw)
names = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True).map(Name)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
releases = st.builds(
    ReleaseRef,
    root=digests,
    model=names,
    version=st.integers(1, 2**53 - 1),
    resources=st.dictionaries(texts, digests, max_size=3),
    bundle=digests,
    statements=st.lists(digests, max_size=3).map(tuple),
)
shown = (
    st.sampled_from([Shown(), Shown(kind=Showing.LABEL)])
    | st.builds(Shown, kind=st.just(Showing.TOP), number=st.integers(1, TOP_MOST))
    | st.builds(Shown, kind=st.just(Showing.ROUNDED), number=st.integers(0, DECIMALS_MOST))
)
api_keys = st.builds(
    ApiKey,
    id=texts,
    digest=digests,
    rate=st.integers(0, RATE_MOST),
    quota=st.integers(0, QUOTA_MOST),
    shown=shown,
)
portions = st.builds(Portion, name=names, release=releases, share=st.integers(1, WHOLE // 3))
experiments = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"canary": portions}),
    st.fixed_dictionaries(
        {"arms": st.lists(portions, max_size=3, unique_by=lambda arm: arm.name).map(tuple)}
    ),
)


@st.composite
def _endpoints(draw: st.DrawFn) -> EndpointPlan:
    return EndpointPlan(
        endpoint=draw(names),
        champion=draw(releases),
        previous=draw(st.none() | releases),
        keys=tuple(draw(st.lists(api_keys, max_size=3, unique_by=lambda key: key.id))),
        recording=draw(st.sampled_from(Recording)),
        shadow=draw(st.none() | releases),
        fallback=draw(st.none() | releases),
        stopped=draw(st.booleans()),
        rate=draw(st.integers(0, RATE_MOST)),
        **draw(experiments),
    )


endpoints = _endpoints()
plans = st.builds(
    TrafficPlan,
    number=st.integers(1, 2**53 - 1),
    issued=st.integers(0, 4 * 10**18).map(Instant),
    endpoints=st.lists(endpoints, max_size=3, unique_by=lambda found: found.endpoint).map(tuple),
    expires=st.none() | st.integers(4 * 10**18 + 1, 5 * 10**18).map(Instant),
)


@settings(max_examples=60, deadline=None)
@given(plan=plans)
def test_a_plan_survives_being_stored(plan: TrafficPlan) -> None:
    """Reading what was written gives the same plan and the same bytes."""
    data = encode_plan(plan)
    assert plan == decode_plan(data)
    assert data == encode_plan(decode_plan(data))


def test_a_plan_finds_its_endpoint(plan_of: Callable[..., TrafficPlan]) -> None:
    """An endpoint is found by its name, and one that is not there is None."""
    plan = plan_of(("a", 2, 1), ("b", 3, 0))
    assert plan.endpoints[1] == plan.endpoint("b")
    assert plan.endpoint("c") is None


def test_endpoint_names_are_distinct(plan_of: Callable[..., TrafficPlan]) -> None:
    """Two endpoints of one name cannot stand in a plan."""
    with pytest.raises(BadInput, match="twice"):
        plan_of(("a", 2, 1), ("a", 3, 0))


def test_a_release_is_not_its_own_predecessor(plan_of: Callable[..., TrafficPlan]) -> None:
    """An endpoint whose champion and previous release are one root cannot be built."""
    with pytest.raises(BadInput, match="as champion and as previous"):
        plan_of(("a", 2, 2))


@pytest.mark.parametrize("number", [0, -1])
def test_numbers_begin_at_one(number: int, plan_of: Callable[..., TrafficPlan]) -> None:
    """A plan number below one is refused."""
    with pytest.raises(BadInput, match="begin at 1"):
        plan_of(number=number)


def test_versions_begin_at_one(release_of: Callable[..., ReleaseRef]) -> None:
    """A model version below one is refused."""
    with pytest.raises(BadInput, match="begin at 1"):
        release_of(0)


def test_api_keys_are_distinct_and_limited(plan_of: Callable[..., TrafficPlan]) -> None:
    """One id, or one secret, twice, and too many keys, are refused."""
    endpoint = plan_of(("a", 1, 0)).endpoints[0]
    key = endpoint.keys[0]
    crowd = tuple(ApiKey(id=str(n), digest=Digest.of(b"%d" % n)) for n in range(KEYS_PER_ENDPOINT + 1))
    for keys in (
        (key, replace(key, digest=Digest.of(b"another"))),
        (key, replace(key, id="another")),
        crowd,
    ):
        with pytest.raises(BadInput):
            replace(endpoint, keys=keys)


def test_endpoints_are_limited(plan_of: Callable[..., TrafficPlan]) -> None:
    """A plan with more endpoints than the limit is refused."""
    with pytest.raises(BadInput, match="more than"):
        plan_of(*((f"e{n}", 1, 0) for n in range(ENDPOINTS + 1)))


def test_a_plan_that_no_envelope_holds_is_not_written(plan_of: Callable[..., TrafficPlan]) -> None:
    """A plan too large to be read again is refused before it is signed."""
    with pytest.raises(BadInput, match="the limit is"):
        encode_plan(plan_of(*((f"e{n}", 2, 1) for n in range(ENDPOINTS))))


def changed(plan: TrafficPlan, *path: str | int, to: object) -> bytes:
    """The plan's bytes with one place set to something else."""
    value: Any = canonical.decode(encode_plan(plan))
    inner = value
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = to
    return canonical.encode(value)


ONE = ("endpoints", 0)


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("format",), 3),
        (("format",), 0),
        (("format",), 1),
        (("format",), True),
        (("format",), 2.5),
        (("format",), "1"),
        (("number",), 0),
        (("number",), True),
        (("number",), "1"),
        (("number",), 1.5),
        (("issued",), "2026-01-01"),
        (("issued",), 3),
        (("endpoints",), {}),
        (("endpoints",), [None]),
        (("extra",), 1),
        ((*ONE, "endpoint"), "Bad Name"),
        ((*ONE, "extra"), 1),
        ((*ONE, "champion"), None),
        ((*ONE, "previous"), 0),
        ((*ONE, "keys"), None),
        ((*ONE, "keys"), [{"id": "k"}]),
        ((*ONE, "keys", 0, "secret"), "x"),
        ((*ONE, "keys", 0, "id"), 1),
        ((*ONE, "keys", 0, "digest"), "00"),
        ((*ONE, "champion", "root"), "sha256:" + "0" * 64),
        ((*ONE, "champion", "version"), 0),
        ((*ONE, "champion", "version"), True),
        ((*ONE, "champion", "model"), 1),
        ((*ONE, "champion", "resources"), []),
        ((*ONE, "champion", "resources", "model.onnx"), 1),
        ((*ONE, "champion", "statements"), "x"),
        ((*ONE, "champion", "statements"), [1]),
        ((*ONE, "champion", "statements"), ["00"]),
        ((*ONE, "champion", "bundle"), None),
        ((*ONE, "recording"), "sometimes"),
        ((*ONE, "recording"), None),
        (("expires",), "1970-01-01T00:00:00Z"),
        (("expires",), 7),
        ((*ONE, "stopped"), 1),
        ((*ONE, "stopped"), None),
        ((*ONE, "rate"), -1),
        ((*ONE, "rate"), RATE_MOST + 1),
        ((*ONE, "rate"), True),
        ((*ONE, "arms"), None),
        ((*ONE, "arms"), [{}]),
        ((*ONE, "canary"), []),
        ((*ONE, "canary"), {"name": "canary", "share": 100}),
        ((*ONE, "shadow"), "x"),
        ((*ONE, "fallback"), 3),
        ((*ONE, "keys", 0, "quota"), QUOTA_MOST + 1),
        ((*ONE, "keys", 0, "quota"), -1),
        ((*ONE, "keys", 0, "rate"), 1.5),
        ((*ONE, "keys", 0, "shown"), "full"),
        ((*ONE, "keys", 0, "shown"), {"kind": "full", "number": 1}),
        ((*ONE, "keys", 0, "shown"), {"kind": "top", "number": 0}),
        ((*ONE, "keys", 0, "shown"), {"kind": "rounded", "number": DECIMALS_MOST + 1}),
        ((*ONE, "keys", 0, "shown"), {"kind": "none", "number": 0}),
    ],
)
def test_a_changed_plan_is_refused(
    path: tuple[str | int, ...], to: object, plan_of: Callable[..., TrafficPlan]
) -> None:
    """A plan with an unknown, mistyped or impossible field is refused as bad input."""
    with pytest.raises(BadInput):
        decode_plan(changed(plan_of(("a", 2, 1)), *path, to=to))


def _portioned(release_of: Callable[..., ReleaseRef], *shares: int) -> tuple[Portion, ...]:
    return tuple(
        Portion(name=Name(f"arm-{at}"), release=release_of(10 + at), share=share)
        for at, share in enumerate(shares)
    )


@pytest.mark.parametrize("shares", [(1001,), (0,), (-1,), (600, 401), (1,) * (ARMS + 1)])
def test_shares_are_parts_of_one_whole(
    shares: tuple[int, ...], plan_of: Callable[..., TrafficPlan], release_of: Callable[..., ReleaseRef]
) -> None:
    """A share of nothing, shares that are more than all, and too many arms are refused."""
    with pytest.raises(BadInput):
        replace(plan_of(("a", 2, 1)).endpoints[0], arms=_portioned(release_of, *shares))


def test_arms_may_take_everything(
    plan_of: Callable[..., TrafficPlan], release_of: Callable[..., ReleaseRef]
) -> None:
    """Arms whose shares are the whole traffic leave the champion none."""
    arms = _portioned(release_of, 400, 600)
    assert arms == replace(plan_of(("a", 2, 1)).endpoints[0], arms=arms).arms


def test_an_endpoint_has_a_canary_or_arms(
    plan_of: Callable[..., TrafficPlan], release_of: Callable[..., ReleaseRef]
) -> None:
    """Both at once are refused, and so are two arms of one name."""
    one, other = _portioned(release_of, 100, 100)
    endpoint = plan_of(("a", 2, 1)).endpoints[0]
    with pytest.raises(BadInput, match="one or the other"):
        replace(endpoint, canary=one, arms=(other,))
    with pytest.raises(BadInput, match="two of one name"):
        replace(endpoint, arms=(one, replace(other, name=one.name)))


@pytest.mark.parametrize("place", ["canary", "arms", "shadow", "fallback"])
def test_the_champion_stands_in_one_place(
    place: str, plan_of: Callable[..., TrafficPlan], release_of: Callable[..., ReleaseRef]
) -> None:
    """A champion that is its own canary, arm, shadow or fallback is refused."""
    portion = Portion(name=Name("same"), release=release_of(2), share=100)
    value = {"canary": portion, "arms": (portion,)}.get(place, release_of(2))
    with pytest.raises(BadInput, match="in a second place"):
        replace(plan_of(("a", 2, 1)).endpoints[0], **{place: value})


def test_every_release_is_named_and_those_that_answer_are_told_apart(
    plan_of: Callable[..., TrafficPlan], release_of: Callable[..., ReleaseRef]
) -> None:
    """All releases are listed, the champion first; the previous one and the shadow answer nobody."""
    (canary,) = _portioned(release_of, 100)
    endpoint = replace(
        plan_of(("a", 2, 1)).endpoints[0], canary=canary, shadow=release_of(3), fallback=release_of(4)
    )
    assert [2, 1, 10, 4, 3] == [each.version for each in endpoint.releases()]
    assert [2, 10, 4] == [each.version for each in endpoint.answering()]


def test_a_plan_does_not_expire_before_it_is_issued(plan_of: Callable[..., TrafficPlan]) -> None:
    """An expiry that is not after the issue is refused."""
    with pytest.raises(BadInput, match="expires before"):
        replace(plan_of(("a", 1, 0)), expires=Instant(1))


FORMAT_1 = (
    b'{"endpoints":[{"champion":{"bundle":"'
    + b"b" * 64
    + b'","model":"loans","resources":{"model.onnx":"'
    + b"a" * 64
    + b'"},"root":"'
    + b"2" * 64
    + b'","statements":["'
    + b"c" * 64
    + b'"],"version":2},"endpoint":"loans","keys":[{"digest":"'
    + b"d" * 64
    + b'","id":"k1"}],"previous":{"bundle":"'
    + b"b" * 64
    + b'","model":"loans","resources":{},"root":"'
    + b"1" * 64
    + b'","statements":[],"version":1},"recording":"durable"}],'
    b'"format":1,"issued":"2026-03-03T14:05:00Z","number":7}'
)
"""A plan as format 1 wrote it: frozen."""


def test_a_plan_of_format_1_is_read() -> None:
    """The frozen bytes give champion, previous release and key, and none of what came later."""
    plan = decode_plan(FORMAT_1)
    (endpoint,) = plan.endpoints
    assert (7, None, "2026-03-03T14:05:00Z") == (plan.number, plan.expires, str(plan.issued))
    assert ("2" * 64, 2, "1" * 64) == (
        endpoint.champion.root.hex,
        endpoint.champion.version,
        endpoint.previous.root.hex if endpoint.previous else "",
    )
    assert (ApiKey(id="k1", digest=Digest("d" * 64)),) == endpoint.keys
    assert (Recording.DURABLE, None, (), None, None, False, 0) == (
        endpoint.recording, endpoint.canary, endpoint.arms, endpoint.shadow, endpoint.fallback, endpoint.stopped, endpoint.rate,
    )  # fmt: skip
    assert plan == decode_plan(encode_plan(plan))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"durable"', b'"asynchronous"'),
        (b'"format":1', b'"format":2'),
        (b'"number":7', b'"expires":null,"number":7'),
        (b'"id":"k1"', b'"id":"k1","rate":0'),
        (b'"endpoint":"loans"', b'"canary":null,"endpoint":"loans"'),
    ],
)
def test_format_1_is_frozen(old: bytes, new: bytes) -> None:
    """Nothing of format 2 is taken in a plan of format 1, nor the other way round."""
    changed_bytes = FORMAT_1.replace(old, new)
    assert FORMAT_1 != changed_bytes
    with pytest.raises(BadInput):
        decode_plan(changed_bytes)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=60), at=st.integers(0, 600))
def test_hostile_bytes_are_bad_input(data: bytes, at: int) -> None:
    """Bytes put over a plan give the plan that they spell, or bad input: never another error."""
    content = FORMAT_1[:at] + data + FORMAT_1[at + len(data) :]
    try:
        found = decode_plan(content)
    except BadInput:
        return
    assert found == decode_plan(encode_plan(found))


@pytest.mark.parametrize("data", [b"", b"[]", b"7", b"{}", b"\xff", b'{"format": 1}'])
def test_bytes_that_are_no_plan_are_refused(data: bytes) -> None:
    """Bytes of another kind are bad input, never another error."""
    with pytest.raises(BadInput):
        decode_plan(data)


def test_a_plan_signed_by_both_keys_is_read(plan_of: Callable[..., TrafficPlan], keys: Any) -> None:
    """An envelope with both release signatures gives the plan."""
    plan = plan_of(("a", 2, 1))
    envelope = sealed(PLAN_TYPE, encode_plan(plan), (keys.release, keys.release_pq)).encode()
    assert plan == read_plan(envelope, keys.trust)


@pytest.mark.parametrize(
    "signers",
    [
        ("release",),
        ("release_pq",),
        ("release", "stranger_pq"),
        ("stranger", "release_pq"),
        ("stranger", "stranger_pq"),
    ],
)
def test_a_plan_needs_both_signatures(
    signers: tuple[str, ...], plan_of: Callable[..., TrafficPlan], keys: Any
) -> None:
    """An envelope that lacks one of the two trusted signatures is refused as tampering."""
    held = tuple(getattr(keys, name) for name in signers)
    envelope = sealed(PLAN_TYPE, encode_plan(plan_of(("a", 2, 1))), held).encode()
    with pytest.raises(Tampered):
        read_plan(envelope, keys.trust)


def test_a_plan_of_another_type_is_refused(plan_of: Callable[..., TrafficPlan], keys: Any) -> None:
    """A well-signed envelope that does not say it holds a plan is refused."""
    both = (keys.release, keys.release_pq)
    envelope = sealed(IN_TOTO_PAYLOAD, encode_plan(plan_of(("a", 2, 1))), both).encode()
    with pytest.raises(Tampered, match="not a traffic plan"):
        read_plan(envelope, keys.trust)


def test_a_plan_changed_after_signing_is_refused(plan_of: Callable[..., TrafficPlan], keys: Any) -> None:
    """Another plan under the old signatures is refused as tampering."""
    both = (keys.release, keys.release_pq)
    envelope = sealed(PLAN_TYPE, encode_plan(plan_of(("a", 2, 1))), both)
    forged = replace(envelope, payload=encode_plan(plan_of(("a", 1, 2))))
    with pytest.raises(Tampered):
        read_plan(forged.encode(), keys.trust)


def test_bytes_that_are_no_envelope_are_refused(keys: Any) -> None:
    """Bytes that are no envelope are bad input."""
    with pytest.raises(BadInput):
        read_plan(b"{}", keys.trust)
