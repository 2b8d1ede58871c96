"""Fitting: which columns fill which inputs, and what outputs mean."""

from __future__ import annotations

import pytest

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Refusal
from gatewright.models.facts import ModelFacts
from gatewright.models.fitting import fit_signature, left_over, sanitised
from gatewright.models.signature import DataType, ModelSignature, Task, TensorSpec
from gatewright.models.signature_format import decode_signature, encode_signature

NUMBERS = (("a", "number"), ("b", "integer"))
LABEL = TensorSpec(name="label", datatype=DataType.INT64, shape=(-1,))


def _spec(name: str, *shape: int, datatype: DataType = DataType.FP32) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=shape)


def _facts(*inputs: TensorSpec, outputs: tuple[TensorSpec, ...], labels: tuple[str, ...] = ()) -> ModelFacts:
    return ModelFacts(
        graph="g", producer="p", ir_version=8, opsets={}, operators={}, parameters=0, inputs=inputs,
        outputs=outputs, labels=labels, bytes=1, digest=Digest("0" * 64),
    )  # fmt: skip


def _fit(
    facts: ModelFacts,
    features: tuple[tuple[str, str], ...] = NUMBERS,
    task: Task = Task.BINARY,
    classes: tuple[str, ...] = ("0", "1"),
) -> ModelSignature:
    found = fit_signature(facts, features=features, task=task, classes=classes)
    assert isinstance(found, ModelSignature), found
    return found


def _refused(
    facts: ModelFacts,
    features: tuple[tuple[str, str], ...] = NUMBERS,
    task: Task = Task.BINARY,
    classes: tuple[str, ...] = ("0", "1"),
) -> str:
    found = fit_signature(facts, features=features, task=task, classes=classes)
    assert isinstance(found, Refusal), found
    return found.code


SCORES = _spec("p", -1, 2)


def test_a_matrix_takes_all_features_in_file_order() -> None:
    """One float matrix is filled by every numeric feature."""
    signature = _fit(_facts(_spec("X", -1, 2), outputs=(LABEL, SCORES)))

    assert ("a", "b") == signature.inputs[0].columns
    assert ("label", "p", ("0", "1")) == (
        signature.label_output,
        signature.scores_output,
        signature.classes,
    )
    assert signature == decode_signature(encode_signature(signature))


def test_inputs_named_like_columns_take_them_and_leave_the_rest() -> None:
    """Named inputs are matched exactly or as skl2onnx spells names; the rest is reported."""
    features = (("mean radius", "number"), ("id", "text"), ("7th", "integer"), ("job", "text"))
    facts = _facts(
        _spec("mean_radius", -1, 1), _spec("_7th", -1, datatype=DataType.INT64),
        _spec("job", -1, 1, datatype=DataType.BYTES), outputs=(LABEL,),
    )  # fmt: skip
    signature = _fit(facts, features)

    assert [("mean radius",), ("7th",), ("job",)] == [spec.columns for spec in signature.inputs]
    assert ("id",) == left_over(signature, features)
    assert "_7_th" == sanitised("7-th")


INPUTS = {
    "models.unknown-inputs": (_facts(_spec("a", -1, 1), _spec("zzz", -1, 1), outputs=(LABEL,)), NUMBERS),
    "models.feature-count": (_facts(_spec("X", -1, 3), outputs=(LABEL,)), NUMBERS),
    "models.text-features": (_facts(_spec("X", -1, 2), outputs=(LABEL,)), (*NUMBERS, ("t", "text"))),
    "models.fixed-rows": (_facts(_spec("X", 1, 2), outputs=(LABEL,)), NUMBERS),
    "models.input-shape": (_facts(_spec("X", -1, 2, 2), outputs=(LABEL,)), NUMBERS),
    "models.column-kind": (_facts(_spec("a", -1, 1, datatype=DataType.BYTES), outputs=(LABEL,)), NUMBERS),
}


@pytest.mark.parametrize("code", INPUTS)
def test_inputs_that_the_data_cannot_fill_are_refused(code: str) -> None:
    """Each way in which inputs and data do not fit has its own code."""
    assert code == _refused(*INPUTS[code])


def test_texts_that_are_all_digits_fill_a_text_input() -> None:
    """A column of region codes is read as whole numbers; a model that was trained on them as texts still fits."""
    codes = _facts(_spec("b", -1, 1, datatype=DataType.BYTES), outputs=(LABEL,))

    assert (DataType.BYTES, ("b",)) == (_fit(codes).inputs[0].datatype, _fit(codes).inputs[0].columns)


def test_decimals_do_not_fill_whole_number_inputs_and_ambiguous_spellings_match_none() -> None:
    """Nothing is cut to fit, and nothing is guessed between two columns."""
    whole = _facts(_spec("a", -1, 1, datatype=DataType.INT64), _spec("b", -1, 1), outputs=(LABEL,))
    two = (("x y", "number"), ("x-y", "number"))

    assert "models.column-kind" == _refused(whole)
    assert "models.unknown-inputs" == _refused(
        _facts(_spec("x_y", -1, 1), _spec("x y", -1, 1), outputs=(LABEL,)), two
    )


def test_scores_alone_one_probability_and_labels_alone_are_understood() -> None:
    """A network may give only probabilities, one probability, or only labels."""
    matrix = _spec("X", -1, 2)

    assert ("", "p") == _named(_fit(_facts(matrix, outputs=(SCORES,))))
    assert ("", "s") == _named(_fit(_facts(matrix, outputs=(_spec("s", -1, 1),))))
    assert ("label", "") == _named(_fit(_facts(matrix, outputs=(LABEL,))))
    assert ("label", "p") == _named(_fit(_facts(matrix, outputs=(_spec("p", -1, -1), LABEL))))


def _named(signature: ModelSignature) -> tuple[str, str]:
    return signature.label_output, signature.scores_output


def test_outputs_that_do_not_answer_the_task_are_refused() -> None:
    """Wrong widths and missing outputs are said."""
    matrix = _spec("X", -1, 2)

    assert "models.class-count" == _refused(_facts(matrix, outputs=(LABEL, _spec("p", -1, 3))))
    assert "models.no-class-output" == _refused(
        _facts(matrix, outputs=(_spec("v", -1, 1),)), task=Task.MULTICLASS, classes=("a", "b", "c")
    )
    assert "models.no-value-output" == _refused(
        _facts(matrix, outputs=(LABEL,)), task=Task.REGRESSION, classes=()
    )


def test_the_model_orders_its_classes_and_unknown_names_are_refused() -> None:
    """Classes stand in the model's order; positions are no names; other names do not fit."""
    matrix = _spec("X", -1, 2)
    facts = _facts(matrix, outputs=(LABEL, SCORES), labels=("yes", "no"))

    assert ("yes", "no") == _fit(facts, classes=("no", "yes")).classes
    positions = _facts(matrix, outputs=(LABEL, SCORES), labels=("0", "1"))
    assert ("no", "yes") == _fit(positions, classes=("no", "yes")).classes
    assert "models.class-names" == _refused(facts, classes=("a", "b"))


def test_regression_takes_the_first_float_vector() -> None:
    """The value of a regression is a float per row."""
    signature = _fit(
        _facts(_spec("X", -1, 2), outputs=(_spec("v", -1, 1),)), task=Task.REGRESSION, classes=()
    )

    assert ("v", "", ()) == (*_named(signature), signature.classes)
