"""Every data type over gRPC, raw and in its typed field, and what its receipt proves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from contract.every_type import model_of, signature_of, values_of
from gatewright.ledger.receipts import Receipt, commit, verify_receipt
from gatewright.models.signature import DataType
from gatewright.models.tensors import encode_typed, raw_of, settled
from gatewright.serving.grpc_tensors import CONTENTS
from unit.serving.grpc_caller import Caller, calling, row_request
from unit.serving.rig import Rig, Running

KINDS = tuple(kind for kind in DataType if kind is not DataType.BF16)


def is_typed(kind: DataType) -> bool:
    """Whether the protocol has a field for values of a type."""
    return str(kind) in CONTENTS


@pytest.fixture(scope="module", params=[KINDS, (DataType.BF16,)], ids=["all but BF16", "BF16"])
def kinds(request: pytest.FixtureRequest) -> tuple[DataType, ...]:
    """The types of one model."""
    found: tuple[DataType, ...] = request.param
    return found


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory, kinds: tuple[DataType, ...]) -> Iterator[Running]:
    """A model whose outputs are its inputs, served over gRPC."""
    rig = Rig(tmp_path_factory.mktemp("types"))
    release = rig.make_release(1, model=model_of(kinds), signature=signature_of(kinds))
    rig.publish(rig.plan(1, release))
    with rig.running(grpc_port=0) as found:
        yield found


@pytest.fixture
def caller(identities: Running) -> Iterator[Caller]:
    """A caller with the key."""
    found = calling(identities)
    yield found
    found.close()


def raw_request(arrays: dict[DataType, np.ndarray[Any, Any]]) -> Any:
    """A request with every tensor in bytes."""
    return row_request(
        inputs=[{"name": f"in {kind}", "datatype": str(kind), "shape": [2, 2]} for kind in arrays],
        raw_input_contents=[raw_of(array, kind) for kind, array in arrays.items()],
    )


def outputs_of(answer: Any) -> dict[str, bytes]:
    """The raw outputs of an answer, by the name of their type."""
    names = [each.name.removeprefix("out ") for each in answer.outputs]
    return dict(zip(names, answer.raw_output_contents, strict=True))


def test_every_type_travels_raw(caller: Caller, kinds: tuple[DataType, ...]) -> None:
    """The edges of every type come back from the model as they went in, byte for byte."""
    arrays = {kind: values_of(kind) for kind in kinds}
    answer = caller.infer(raw_request(arrays))

    assert {str(kind): raw_of(array, kind) for kind, array in arrays.items()} == outputs_of(answer)
    assert [str(kind) for kind in kinds] == [each.datatype for each in answer.outputs]


def test_every_type_with_a_field_travels_in_it(caller: Caller, kinds: tuple[DataType, ...]) -> None:
    """The same values in their typed fields are the same tensors; the two without a field come in others."""
    arrays = {kind: values_of(kind) for kind in kinds}
    inputs = []
    for kind, array in arrays.items():
        sent = kind if is_typed(kind) else DataType.FP32
        values = array.ravel().tolist()
        contents = {CONTENTS[str(sent)]: values}
        inputs.append({"name": f"in {kind}", "datatype": str(sent), "shape": [2, 2], "contents": contents})
    answer = caller.infer(row_request(inputs=inputs, raw_input_contents=[]))

    assert {str(kind): raw_of(array, kind) for kind, array in arrays.items()} == outputs_of(answer)


def test_the_receipt_commits_to_what_was_sent_and_answered(
    identities: Running, caller: Caller, kinds: tuple[DataType, ...]
) -> None:
    """The receipt of an answer verifies offline, and commits to the tensors as they came and went."""
    arrays = {kind: settled(values_of(kind)) for kind in kinds}
    answer = caller.infer(raw_request(arrays))
    held = Receipt.parse(answer.parameters["receipt"].string_param)
    record = verify_receipt(held, identities.rig.worker.public)

    def encoding(place: str) -> bytes:
        return encode_typed([(f"{place} {kind}", kind, array) for kind, array in arrays.items()])

    assert "q-1" == record.request
    assert commit(held.input_salt, encoding("in")) == record.input
    assert commit(held.output_salt, encoding("out")) == record.output
