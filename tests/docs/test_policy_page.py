"""docs/policy.md against the reader and the checks it describes."""

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import pytest

from gatewright.checks.suite import known_checks
from gatewright.kernel.canonical import Json
from gatewright.kernel.errors import BadInput
from gatewright.models.signature import Task
from gatewright.policy import policy_file, recording
from gatewright.policy.policy_file import DEFAULT_POLICY, read_policy
from gatewright.policy.rules import ACCEPTABLE, Bound, Tier
from gatewright.policy.verdict import Decision, Standing

PAGE = (Path(__file__).parents[2] / "docs" / "policy.md").read_text(encoding="utf-8")
FENCED = re.findall(r"```(toml|text)\n(.*?)```", PAGE, re.DOTALL)
PAIRS = list(zip(FENCED, [*FENCED[1:], ("", "")], strict=True))
EXAMPLES = [
    text for (kind, text), (after, _) in PAIRS if (kind, after) != ("toml", "text") and kind == "toml"
]
REFUSED = [(text, said.strip()) for (kind, text), (after, said) in PAIRS if (kind, after) == ("toml", "text")]
HEAD = """\
format = 1
title = "House rules"
[tiers]
default = "low"
[tiers.models]
credit-scoring = "high"
[approvals.low]
count = 1
owner_may_approve = true
[approvals.high]
count = 2
owner_may_approve = false
"""
RULE = '[[rules]]\ncheck = "efficiency.latency"\naccept = ["passed"]\n'
LETTERS = {Task.BINARY: "b", Task.MULTICLASS: "m", Task.REGRESSION: "r"}


def whole(example: str) -> str:
    """An example with what it leaves out, so that it can be read."""
    if "format = " in example:
        return example
    head = HEAD.split("[tiers]", maxsplit=1)[0] if "[tiers]" in example else HEAD
    return head + example + ("" if "[[rules]]" in example else RULE)


def written(value: Json) -> str:
    """A default as the page writes it."""
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f'"{value}"'
        if isinstance(value, str)
        else f"{value:g}"
    )


def row(name: str, metrics: Mapping[str, tuple[Task, ...]], parameters: Mapping[str, Json]) -> str:
    """The row of one check in the page's table."""
    notes = {
        metric: "" if set(tasks) == set(Task) else f" ({''.join(LETTERS[task] for task in tasks)})"
        for metric, tasks in metrics.items()
    }
    named = ", ".join(f"`{metric}`{note}" for metric, note in notes.items())
    settings = ", ".join(f"`{key} = {written(value)}`" for key, value in parameters.items())
    return f"| `{name}` | {named} | {settings} |"


def test_the_page_has_examples_of_both_kinds() -> None:
    """There are examples that are read and examples that are refused, so the tests below bite."""
    assert (11, 2) == (len(EXAMPLES), len(REFUSED))


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_read(example: str) -> None:
    """Each example of the page is good, and has at least one rule."""
    assert read_policy(whole(example).encode(), known=known_checks()).rules


@pytest.mark.parametrize(("example", "sentence"), REFUSED)
def test_every_refused_example_says_what_the_page_says(example: str, sentence: str) -> None:
    """Each bad example of the page is refused with exactly the sentence below it."""
    with pytest.raises(BadInput) as caught:
        read_policy(whole(example).encode(), known=known_checks())
    assert sentence == caught.value.refusal.sentence()


def test_the_page_names_every_check_metric_and_parameter() -> None:
    """The table has exactly one row for each check, with its metrics and the defaults of its parameters."""
    table = PAGE.split("## What there is to name", maxsplit=1)[1].split("\n## ", maxsplit=1)[0]
    expected = [row(name, check.metrics, check.parameters) for name, check in known_checks().items()]
    assert expected == [line for line in table.splitlines() if line.startswith("| `")]


def test_the_page_names_every_key_and_word() -> None:
    """Every key that the reader takes, and every word that can stand in a policy or a verdict, is in the page."""
    keys = {
        *policy_file.TOP_KEYS,
        *policy_file.TIER_KEYS,
        *policy_file.APPROVAL_KEYS,
        *policy_file.OUTCOME_KEYS,
        *policy_file.BOUND_KEYS,
        recording.TABLE,
        recording.KEY,
    }
    words = {*keys, *Task, *Decision, *Standing}
    quoted = {*Tier, *Bound, *ACCEPTABLE}
    assert [] == sorted(word for word in words if f"`{word}`" not in PAGE)
    assert [] == sorted(word for word in quoted if f'"{word}"' not in PAGE)


def test_the_page_tells_the_limits() -> None:
    """The limits in the page are the ones in the code."""
    for limit in (
        f"{policy_file.POLICY_BYTES:,} bytes at most",
        f"1 to {policy_file.RULES} of them",
        f"1 to {policy_file.TEXT_LENGTH} characters",
        f"0 to {policy_file.APPROVALS} at tier low, 1 to {policy_file.APPROVALS} at tier high",
    ):
        assert limit in PAGE


def test_the_default_policy_is_read_with_the_built_in_checks() -> None:
    """The shipped policy names only checks and metrics that exist; the page lists those it only shows."""
    data = files("gatewright.policy").joinpath(DEFAULT_POLICY).read_bytes()
    policy = read_policy(data, known=known_checks())
    shown = set(
        re.findall(r"`([a-z.-]+)`", PAGE.split("only shown by the default policy: ")[1].split(".\n")[0])
    )
    for task in Task:
        assert set(known_checks()) - shown == {rule.check for rule in policy.rules_for(task)}
