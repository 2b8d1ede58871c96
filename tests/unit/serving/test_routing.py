from __future__ import annotations

import json

import pytest

from gatewright.deployments.plan import Portion
from gatewright.kernel.names import Name
from gatewright.serving.admission import Admitted, Turned
from gatewright.serving.routing import Ask, Served, Table, close_table, find, make_table
from unit.serving.routes import ref, route_of

CALLER = Admitted(digest=b"", id="key-1", endpoint="tumour")
STRANGER = Admitted(digest=b"", id="key-2", endpoint="other")
TABLE = make_table(7, (route_of(ref(3), number=7),), (CALLER, STRANGER))


@pytest.mark.parametrize("version", ["", "/versions/3"])
@pytest.mark.parametrize(
    ("rest", "method", "ask"),
    [("", "GET", Ask.MODEL), ("/ready", "GET", Ask.MODEL_READY), ("/infer", "POST", Ask.INFER)],
)
def test_a_model_has_its_paths_with_and_without_its_version(
    version: str, rest: str, method: str, ask: Ask
) -> None:
    """Every path of the protocol leads to the champion, by its version or without one."""
    target, caller = find(TABLE, f"/v2/models/tumour{version}{rest}", method, (STRANGER, CALLER))

    assert (ask, CALLER) == (target.ask, caller)


@pytest.mark.parametrize(
    "path",
    [
        "/", "/v1", "/v2/models", "/v2/models/", "/v2/models/other", "/v2/models/tumour/", "/v2/models/tumour/versions/2",
        "/v2/models/tumour/versions/03/infer", "/v2/models/../models/tumour", "//v2", "/V2", "/v2/repository/index",
    ],
)  # fmt: skip
def test_other_paths_do_not_exist(path: str) -> None:
    """A path is in the table or it is a 404, without any reading of its parts."""
    with pytest.raises(Turned) as caught:
        find(TABLE, path, "GET", (CALLER,))
    assert 404 == caught.value.status


def test_a_key_of_another_endpoint_sees_nothing() -> None:
    """An endpoint that the key does not admit to is answered as one that does not exist."""
    sentences = []
    for path in ("/v2/models/tumour/infer", "/v2/models/nothing/infer"):
        with pytest.raises(Turned) as caught:
            find(TABLE, path, "POST", (STRANGER,))
        sentences.append((caught.value.status, caught.value.sentence))

    assert sentences[0] == sentences[1]


def test_the_wrong_method_is_told_the_right_one() -> None:
    """A path that exists says which method it takes."""
    with pytest.raises(Turned) as caught:
        find(TABLE, "/v2/models/tumour/infer", "GET", (CALLER,))
    assert (405, ((b"allow", b"POST"),)) == (caught.value.status, caught.value.headers)


def test_metadata_is_what_the_protocol_asks_for() -> None:
    """Metadata names versions, platform, and tensors with -1 for free dimensions."""
    found = json.loads(TABLE.routes[0].metadata)

    assert {"name", "versions", "platform", "inputs", "outputs", "parameters"} == set(found)
    assert [{"name": "X", "datatype": "FP32", "shape": [-1, 3]}] == found["inputs"]


def test_metadata_names_the_columns_of_each_input() -> None:
    """The columns that fill an input stand, in their order, in the parameters of the model."""
    found = json.loads(TABLE.routes[0].metadata)

    assert {"columns": {"X": ["radius", "texture", "area"]}} == found["parameters"]


def pinned(table: Table, version: int) -> Served | None:
    """What the path with a version leads to."""
    return find(table, f"/v2/models/tumour/versions/{version}/infer", "POST", (CALLER,))[0].pinned


def test_a_version_that_shares_the_traffic_has_its_paths() -> None:
    """The champion and a canary can be asked for by version; a shadow, a fallback and the previous one cannot."""
    canary = Portion(name=Name("canary"), release=ref(4), share=100)
    route = route_of(ref(3), canary=canary, shadow=ref(5), fallback=ref(6), previous=ref(2))
    table = make_table(7, (route,), (CALLER,))

    assert [3, 4] == [found.release.version for version in (3, 4) if (found := pinned(table, version))]
    assert find(table, "/v2/models/tumour/infer", "POST", (CALLER,))[0].pinned is None
    for version in (2, 5, 6):
        with pytest.raises(Turned) as caught:
            pinned(table, version)
        assert 404 == caught.value.status
    assert ["3", "4"] == json.loads(route.metadata)["versions"]


def test_a_closed_table_keeps_its_paths_and_has_no_routes() -> None:
    """Whoever calls is told why nothing is answered, and the server knows that it is not ready."""
    table = close_table(TABLE, "Closed.")
    target, _ = find(table, "/v2/models/tumour/infer", "POST", (CALLER,))

    assert target.route is not None
    assert ("Closed.", (), 7, TABLE.admitted) == (
        target.route.closed,
        table.routes,
        table.number,
        table.admitted,
    )
