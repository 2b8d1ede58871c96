import re
from collections.abc import Callable
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.report import Report
from gatewright.kernel.errors import BadInput
from gatewright.models.signature import Task
from gatewright.policy.policy_file import DEFAULT_POLICY, POLICY_BYTES, RULES, read_policy
from gatewright.policy.rules import ApprovalNeed, Bound, BoundRule, KnownChecks, OutcomeRule, Policy, Tier
from gatewright.policy.verdict import Decision, Verdict

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
LEAKAGE = '[[rules]]\ncheck = "data.leakage"\naccept = ["passed"]\n'
METRIC = (
    '[[rules]]\ncheck = "performance.metrics"\nmetric = "balanced-accuracy"\nat_least = 0.5\n'
    'applies_to = ["binary-classification"]\n'
)
DEFAULT = files("gatewright.policy").joinpath(DEFAULT_POLICY).read_bytes()


def test_a_policy_is_read_whole(read: Callable[[str], Policy]) -> None:
    """Every key of the language arrives in the value."""
    text = HEAD + LEAKAGE + METRIC + 'bound = "high"\n' + '[checks."data.leakage"]\nnear_distance = 1\n'
    expected = Policy(
        title="House rules",
        default_tier=Tier.LOW,
        tiers={"credit-scoring": Tier.HIGH},
        approvals={
            Tier.LOW: ApprovalNeed(count=1, owner_may_approve=True),
            Tier.HIGH: ApprovalNeed(count=2, owner_may_approve=False),
        },
        rules=(
            OutcomeRule(check="data.leakage", accept=(Outcome.PASSED,)),
            BoundRule(
                check="performance.metrics",
                metric="balanced-accuracy",
                at_least=0.5,
                bound=Bound.HIGH,
                applies_to=(Task.BINARY,),
            ),
        ),
        parameters={"data.leakage": {"near_distance": 1}},
    )
    assert expected == read(text)


SLIPS = {
    "unknown top key": (HEAD.replace("title", "titel") + LEAKAGE, "the top of the file", "'title'"),
    "no title": (HEAD.replace('title = "House rules"\n', "") + LEAKAGE, "the top of the file", "title ="),
    "empty title": (HEAD.replace("House rules", "") + LEAKAGE, "the top of the file", "title ="),
    "no format": (HEAD.replace("format = 1\n", "") + LEAKAGE, "the top of the file", "format = 1"),
    "newer format": (HEAD.replace("format = 1", "format = 2") + LEAKAGE, "the top of the file", "format = 1"),
    "true format": (HEAD.replace("format = 1", "format = true") + LEAKAGE, "the top", "format = 1"),
    "unknown tier": (HEAD.replace('default = "low"', 'default = "lwo"') + LEAKAGE, "[tiers]", "'low'"),
    "no default tier": (HEAD.replace('default = "low"\n', "") + LEAKAGE, "[tiers]", "default ="),
    "unknown tier key": (HEAD.replace("default =", "defalt =") + LEAKAGE, "[tiers]", "'default'"),
    "bad model name": (HEAD.replace("credit-scoring", "Credit") + LEAKAGE, "[tiers.models]", "'credit'"),
    "models no table": (
        HEAD.replace("[tiers.models]\ncredit-scoring = ", "models = ") + LEAKAGE,
        "[tiers.models]",
        "high",
    ),
    "no approvals": (
        HEAD[: HEAD.index("[approvals.low]")] + LEAKAGE,
        "the top of the file",
        "[approvals.low]",
    ),
    "no high approvals": (
        HEAD[: HEAD.index("[approvals.high]")] + LEAKAGE,
        "[approvals]",
        "[approvals.high]",
    ),
    "third tier": (HEAD + "[approvals.middle]\ncount = 1\n" + LEAKAGE, "[approvals]", "high, low"),
    "no count": (HEAD.replace("count = 2\n", "") + LEAKAGE, "[approvals.high]", "count = 1"),
    "count zero at high": (HEAD.replace("count = 2", "count = 0") + LEAKAGE, "[approvals.high]", "count"),
    "count text": (HEAD.replace("count = 2", 'count = "2"') + LEAKAGE, "[approvals.high]", "count"),
    "count true": (HEAD.replace("count = 2", "count = true") + LEAKAGE, "[approvals.high]", "count"),
    "count beyond": (HEAD.replace("count = 2", "count = 21") + LEAKAGE, "[approvals.high]", "20"),
    "owner not flag": (
        HEAD.replace("owner_may_approve = false", "owner_may_approve = 0") + LEAKAGE,
        "[approvals.high]",
        "true",
    ),
    "misspelt owner": (
        HEAD.replace("owner_may_approve = false", "owner_may_aprove = false") + LEAKAGE,
        "[approvals.high]",
        "'owner_may_approve'",
    ),
    "no rules": (HEAD, "rules", "[[rules]]"),
    "empty rules": ("rules = []\n" + HEAD, "rules", "[[rules]]"),
    "rules no list": ("rules = 7\n" + HEAD, "rules", "[[rules]]"),
    "one rule table": (HEAD + '[rules]\ncheck = "data.leakage"\n', "rules", "[[rules]]"),
    "unknown check": (
        HEAD + LEAKAGE + LEAKAGE.replace("leakage", "leekage"),
        "[[rules]] number 2, line 16",
        "'data.leakage'",
    ),
    "no check": (HEAD + '[[rules]]\naccept = ["passed"]\n', "[[rules]] number 1, line 13", "check ="),
    "check no text": (HEAD + LEAKAGE.replace('"data.leakage"', "3"), "[[rules]] number 1", "check ="),
    "only a check": (HEAD + '[[rules]]\ncheck = "data.leakage"\n', "[[rules]] number 1", "accept ="),
    "both forms": (HEAD + LEAKAGE + 'metric = "leaked-rows"\n', "[[rules]] number 1", "two rules"),
    "unknown rule key": (HEAD + LEAKAGE + "acept = 1\n", "[[rules]] number 1", "'accept'"),
    "misspelt accept": (HEAD + LEAKAGE.replace("accept", "acept"), "[[rules]] number 1", "'accept'"),
    "accept text": (HEAD + LEAKAGE.replace('["passed"]', '"passed"'), "[[rules]] number 1", '["passed"]'),
    "accept nothing": (HEAD + LEAKAGE.replace('["passed"]', "[]"), "[[rules]] number 1", '["passed"]'),
    "accept number": (HEAD + LEAKAGE.replace('["passed"]', "[1]"), "[[rules]] number 1", '["passed"]'),
    "accept unknown": (HEAD + LEAKAGE.replace("passed", "unknown"), "[[rules]] number 1", "never passes"),
    "accept broken": (HEAD + LEAKAGE.replace('d"]', 'd", "broken"]'), "[[rules]] number 1", "never passes"),
    "accept failed": (HEAD + LEAKAGE.replace("passed", "failed"), "[[rules]] number 1", "never passes"),
    "accept misspelt": (HEAD + LEAKAGE.replace("passed", "pased"), "[[rules]] number 1", "'passed'"),
    "accept twice": (HEAD + LEAKAGE.replace('["', '["passed", "'), "[[rules]] number 1", "once"),
    "misspelt metric": (
        HEAD + METRIC.replace("balanced-accuracy", "balanced-acuracy"),
        "[[rules]] number 1",
        "'balanced-accuracy'",
    ),
    "metric of none": (HEAD + METRIC.replace("performance.metrics", "data.schema"), "[[rules]]", "none"),
    "metric elsewhere": (
        HEAD + METRIC.replace("binary-classification", "regression"),
        "[[rules]]",
        "applies_to",
    ),
    "metric everywhere": (HEAD + METRIC[: METRIC.index("applies_to")], "[[rules]] number 1", "applies_to"),
    "misspelt task": (HEAD + METRIC.replace("binary-", "binray-"), "[[rules]]", "'binary-classification'"),
    "empty tasks": (HEAD + METRIC.replace('["binary-classification"]', "[]"), "[[rules]]", "applies_to"),
    "bound text": (HEAD + METRIC.replace("0.5", '"0.5"'), "[[rules]] number 1", "at_least ="),
    "bound true": (HEAD + METRIC.replace("0.5", "true"), "[[rules]] number 1", "at_least ="),
    "bound nan": (HEAD + METRIC.replace("0.5", "nan"), "[[rules]] number 1", "finite"),
    "bound infinite": (HEAD + METRIC.replace("0.5", "-inf"), "[[rules]] number 1", "finite"),
    "bound huge": (HEAD + METRIC.replace("0.5", "9" * 400), "[[rules]] number 1", "finite"),
    "no bound": (HEAD + METRIC.replace("at_least = 0.5\n", ""), "[[rules]] number 1", "exactly one"),
    "two bounds": (HEAD + METRIC + "at_most = 0.9\n", "[[rules]] number 1", "exactly one"),
    "misspelt bound key": (HEAD + METRIC.replace("at_least", "at_leest"), "[[rules]]", "'at_least'"),
    "unknown end": (HEAD + METRIC + 'bound = "middle"\n', "[[rules]] number 1", "high, low"),
    "empty slice": (HEAD + METRIC + 'slice = ""\n', "[[rules]] number 1", 'slice = "*"'),
    "duplicate": (HEAD + LEAKAGE + METRIC + LEAKAGE, "[[rules]] number 3, line 21", "number 1"),
    "near duplicate": (HEAD + METRIC + METRIC.replace("0.5", "0.6"), "[[rules]] number 2", "stricter"),
    "unknown parameter": (
        HEAD + LEAKAGE + '[checks."data.leakage"]\nnear_distanse = 1\n',
        "[checks.data.leakage]",
        "'near_distance'",
    ),
    "parameter of none": (HEAD + LEAKAGE + '[checks."data.schema"]\nx = 1\n', "[checks.data.schema]", "none"),
    "parameters of none": (HEAD + LEAKAGE + '[checks."data.leak"]\nx = 1\n', "[checks]", "'data.leakage'"),
    "parameters no table": (HEAD + LEAKAGE + '[checks]\n"data.leakage" = 1\n', "[checks", "table"),
}


@pytest.mark.parametrize(("text", "place", "help_"), SLIPS.values(), ids=SLIPS)
def test_a_slip_is_named_with_its_place_and_the_way_out(
    text: str, place: str, help_: str, read: Callable[[str], Policy]
) -> None:
    """A policy with one slip is refused, and the refusal says where and what to write."""
    with pytest.raises(BadInput) as caught:
        read(text)
    assert caught.value.refusal.place.startswith(place)
    assert help_ in caught.value.refusal.sentence()


@pytest.mark.parametrize(
    ("line", "good"),
    [
        ("near_distance = 0.5", True),
        ("near_distance = 1", True),
        ("near_distance = true", False),
        ("near_distance = nan", False),
        ('near_distance = "1"', False),
        ('columns = ["b"]', True),
        ("columns = 2026-01-01", False),
        ("columns = [2026-01-01]", False),
        ("strict = false", True),
        ("strict = 0", False),
        ("most = 4", True),
        ("most = 4.5", False),
        ("most = true", False),
        ('note = "x"', True),
        ("note = 2026-01-01", False),
    ],
)
def test_parameters_keep_the_type_of_their_default(
    line: str, good: bool, read: Callable[[str], Policy]
) -> None:
    """A parameter of another type than its default is refused."""
    text = f'{HEAD}{LEAKAGE}[checks."data.leakage"]\n{line}\n'
    if good:
        assert list(read(text).parameters["data.leakage"]) == [line.split(" ", maxsplit=1)[0]]
        return
    with pytest.raises(BadInput, match="wrong type"):
        read(text)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe",
        b"rules = [",
        b"a = 1\na = 2\n",
        b"a = " + b"[" * 5_000,
        b"#" * (POLICY_BYTES + 1),
        b"\x00",
    ],
    ids=["no UTF-8", "no TOML", "key twice", "deep", "large", "NUL"],
)
def test_what_is_not_toml_is_refused(data: bytes, known: KnownChecks) -> None:
    """Bytes that are no TOML text within the limits are refused."""
    with pytest.raises(BadInput):
        read_policy(data, known=known)


def test_the_number_of_rules_is_limited(read: Callable[[str], Policy]) -> None:
    """A policy with more rules than the limit is refused."""
    with pytest.raises(BadInput, match="the limit is 500"):
        read(HEAD + LEAKAGE * (RULES + 1))


def test_rules_that_differ_in_slice_or_side_are_no_duplicates(read: Callable[[str], Policy]) -> None:
    """A range, and a stricter rule for one slice, are written as several rules."""
    upper = METRIC.replace("at_least = 0.5", "at_most = 0.9")
    assert 3 == len(read(HEAD + METRIC + upper + METRIC + 'slice = "sex=f"\n').rules)


def test_a_header_inside_text_does_not_mislead(read: Callable[[str], Policy]) -> None:
    """Where headers cannot be counted the place has no line rather than a wrong one."""
    text = HEAD.replace('"House rules"', '"""\n[[rules]]\n"""') + LEAKAGE + LEAKAGE
    with pytest.raises(BadInput) as caught:
        read(text)
    assert "[[rules]] number 2" == caught.value.refusal.place


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, len(HEAD + LEAKAGE + METRIC) - 1), letter=st.characters(codec="utf-8"))
def test_a_slip_of_one_letter_is_read_or_refused(
    position: int, letter: str, read: Callable[[str], Policy]
) -> None:
    """Whatever letter is changed, the reader gives a policy with rules or a BadInput."""
    text = HEAD + LEAKAGE + METRIC
    try:
        policy = read(text[:position] + letter + text[position + 1 :])
    except BadInput:
        return
    assert policy.rules


def test_the_default_policy_is_read(known: KnownChecks) -> None:
    """The policy that is shipped is good, and asks what its comments say."""
    policy = read_policy(DEFAULT, known=known)
    assert ApprovalNeed(count=1, owner_may_approve=True) == policy.approvals[Tier.LOW]
    assert ApprovalNeed(count=2, owner_may_approve=False) == policy.approvals[Tier.HIGH]


@pytest.mark.parametrize("task", list(Task))
def test_the_default_policy_has_rules_for_every_task(task: Task, known: KnownChecks) -> None:
    """Each task has rules on data, quality, slices and cost."""
    asked = {rule.check for rule in read_policy(DEFAULT, known=known).rules_for(task)}
    assert set(known) == asked


def test_the_default_policy_explains_every_rule() -> None:
    """Each rule of the shipped file stands under a comment."""
    blocks = re.split(r"\n\s*\n", DEFAULT.decode())
    rules = [block for block in blocks if "\n[[rules]]" in f"\n{block}"]
    assert len(rules) == len([block for block in rules if block.lstrip().startswith("#")])


@pytest.mark.parametrize(
    ("task", "name", "low", "high", "expected"),
    [
        (Task.BINARY, "balanced-accuracy", 0.85, 0.93, Decision.NEEDS_APPROVAL),
        (Task.BINARY, "balanced-accuracy", 0.45, 0.55, Decision.DENY),
        (Task.MULTICLASS, "balanced-accuracy", 0.6, 0.7, Decision.NEEDS_APPROVAL),
        (Task.MULTICLASS, "balanced-accuracy", 0.3, 0.36, Decision.DENY),
        (Task.REGRESSION, "r2", 0.3, 0.5, Decision.NEEDS_APPROVAL),
        (Task.REGRESSION, "r2", -0.02, 0.03, Decision.DENY),
    ],
)
def test_the_default_policy_tells_useful_from_useless(
    *,
    task: Task,
    name: str,
    low: float,
    high: float,
    expected: Decision,
    known: KnownChecks,
    metric: Callable[..., Metric],
    report_of: Callable[..., Report],
    judged: Callable[..., Verdict],
) -> None:
    """A model better than guessing goes on to approval; one that guesses is denied."""
    found = Finding(
        check="performance.metrics", outcome=Outcome.PASSED, summary="s",
        metrics=(metric(name, low, high), metric("calibration-error", 0.02, 0.08)),
    )  # fmt: skip
    others = [
        Finding(check=check, outcome=Outcome.PASSED, summary="s")
        for check in known
        if check != "performance.metrics"
    ]
    assert (
        expected is judged(read_policy(DEFAULT, known=known), report_of(found, *others), task=task).decision
    )
