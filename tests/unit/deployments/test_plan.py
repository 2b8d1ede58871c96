from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.deployments.plan import (
    ENDPOINTS,
    KEYS_PER_ENDPOINT,
    PLAN_TYPE,
    ApiKey,
    EndpointPlan,
    ReleaseRef,
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
endpoints = st.builds(
    EndpointPlan,
    endpoint=names,
    champion=releases,
    previous=st.none() | releases,
    keys=st.lists(st.builds(ApiKey, id=texts, digest=digests), max_size=3, unique_by=lambda key: key.id).map(
        tuple
    ),
)
plans = st.builds(
    TrafficPlan,
    number=st.integers(1, 2**53 - 1),
    issued=st.integers(0, 4 * 10**18).map(Instant),
    endpoints=st.lists(endpoints, max_size=3, unique_by=lambda found: found.endpoint).map(tuple),
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
        (("format",), 2),
        (("format",), True),
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
        ((*ONE, "recording"), "asynchronous"),
        ((*ONE, "recording"), None),
    ],
)
def test_a_changed_plan_is_refused(
    path: tuple[str | int, ...], to: object, plan_of: Callable[..., TrafficPlan]
) -> None:
    """A plan with an unknown, mistyped or impossible field is refused as bad input."""
    with pytest.raises(BadInput):
        decode_plan(changed(plan_of(("a", 2, 1)), *path, to=to))


def test_asynchronous_recording_is_refused_by_name(plan_of: Callable[..., TrafficPlan]) -> None:
    """A plan that asks for recording after the answer is refused with that reason."""
    with pytest.raises(BadInput) as caught:
        decode_plan(changed(plan_of(("a", 2, 1)), *ONE, "recording", to="asynchronous"))
    assert "deployments.recording" == caught.value.code


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
