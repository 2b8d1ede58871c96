"""What a caller sees of an answer: less of it, where the plan says so for the caller's API key.

The less precisely scores are answered, the less can be learnt from them about the model and its
training data (Tramer et al., USENIX Security 2016; Shokri et al., IEEE S&P 2017). Minimising is done
on arrays, before they are encoded: what is recorded and committed to is what the caller got.

``LABEL``: the label output alone (for a regression, the value). ``TOP`` k: the label and the scores,
where all but the k greatest of each row are 0; of equal scores the earlier class counts as greater.
``ROUNDED``: every output; scores, and every other output of floats but a classifier's label, rounded to
so many decimals. Outputs that are neither label nor scores could tell the same again (logits,
say), so ``LABEL`` and ``TOP`` do not show them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gatewright.deployments.plan import ApiKey, Showing, Shown
from gatewright.kernel.errors import Refused
from gatewright.models.signature import ModelSignature, Task
from gatewright.models.tensors import FLOATS
from gatewright.serving.admission import Turned
from gatewright.serving.codec import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one API key sees of a signature's outputs.

    ``seen`` are the places of the outputs that it may have, ``everything`` those of all; at the places
    ``cut`` all but the ``number`` greatest of a row are set to 0, those at ``rounded`` have ``number``
    decimals. ``metadata`` is what the key is told about the model.
    """

    names: tuple[str, ...]
    seen: tuple[int, ...]
    everything: tuple[int, ...]
    cut: frozenset[int] = frozenset()
    rounded: frozenset[int] = frozenset()
    number: int = 0
    metadata: bytes = b""

    def places(self, asked: tuple[int, ...], *, named: bool) -> tuple[int, ...]:
        """The places that are answered; raises Turned (400) where the caller names an unseen one.

        ``named`` says that the request names its outputs; without, it gets all that it may have.
        """
        if not named and asked == self.everything:
            return self.seen
        unseen = [self.names[place] for place in asked if place not in self.seen]
        if unseen:
            seen = ", ".join(repr(self.names[place]) for place in self.seen)
            raise Turned(400, f"This API key is not shown the output {unseen[0]!r}; it is shown {seen}.")
        return asked

    def show(self, arrays: Sequence[Array], places: tuple[int, ...]) -> list[Array]:
        """The arrays as the caller gets them; those that change are copies."""
        return [self._shown(array, place) for array, place in zip(arrays, places, strict=True)]

    def _shown(self, array: Array, place: int) -> Array:
        if place in self.cut:
            return keep_greatest(array, self.number)
        return rounded(array, self.number) if place in self.rounded else array


def keep_greatest(scores: Array, count: int) -> Array:
    """A copy of scores (rows, classes) with 0 in place of all but the ``count`` greatest of each row."""
    order = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")  # no integer can be negated safely
    kept = scores.copy()
    np.put_along_axis(kept, order[:, count:], 0, axis=1)
    return kept


def rounded(array: Array, decimals: int) -> Array:
    """A copy rounded to so many decimals, halves to even; a number too large for that has none, and stays."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.round(array.astype(np.float64), decimals).astype(array.dtype)
    return np.where(np.isfinite(found), found, array)


def view_of(signature: ModelSignature, shown: Shown) -> View | None:
    """The view of a key, None where it sees everything.

    Raises Refused (``serving.shown``) where it would see nothing, or more than the plan says: such a
    plan is not taken.
    """
    if shown.kind is Showing.FULL:
        return None
    label, scores = signature.label_output, signature.scores_output
    names = tuple(spec.name for spec in signature.outputs)
    wanted = {Showing.LABEL: {label}, Showing.TOP: {label, scores}, Showing.ROUNDED: set(names)}[shown.kind]
    kept = label if signature.task is not Task.REGRESSION else ""
    places = [place for place, name in enumerate(names) if name in wanted]
    cut = [place for place in places if shown.kind is Showing.TOP and names[place] == scores]
    rounds = [
        place
        for place in places
        if shown.kind is Showing.ROUNDED
        and names[place] != kept
        and signature.outputs[place].datatype in FLOATS
    ]
    if not places or (shown.kind is Showing.TOP and not _has_rows_of_scores(signature, cut)):
        raise Refused(
            "serving.shown",
            f"An API key is to be shown outputs as {shown.kind}, which this model does not have.",
            why="The model names no label output."
            if not places
            else "Its scores are not one for each class.",
            next="Show the key everything or rounded outputs, or release a model with a label output.",
        )
    return View(
        names=names,
        seen=tuple(places),
        everything=tuple(range(len(names))),
        cut=frozenset(cut),
        rounded=frozenset(rounds),
        number=shown.number,
    )


def _has_rows_of_scores(signature: ModelSignature, cut: Sequence[int]) -> bool:
    return bool(cut) and all(len(signature.outputs[place].shape) == 2 for place in cut)


def views_of(signature: ModelSignature, keys: Sequence[ApiKey]) -> dict[str, View]:
    """The views of the keys that do not see everything, by the key's id."""
    found = {key.id: view_of(signature, key.shown) for key in keys}
    return {name: view for name, view in found.items() if view is not None}
