"""What imports cannot show: the core calls no clock, no disk, no randomness, and prints nothing."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from architecture.source_tree import Module, core, dotted, parse

FORBIDDEN_CALLS = frozenset(
    {
        "open",
        "io.open",
        "print",
        "input",
        "eval",
        "exec",
        "compile",
        "breakpoint",
        "__import__",
        "uuid4",
        "numpy.load",
        "numpy.save",
        "numpy.savez",
        "numpy.loadtxt",
        "numpy.savetxt",
        "numpy.genfromtxt",
        "numpy.fromfile",
        "numpy.memmap",
    }
)
FORBIDDEN_TAILS = frozenset(
    {
        "datetime.now",
        "datetime.utcnow",
        "datetime.today",
        "date.today",
        "os.urandom",
        "os.getenv",
        "time.time",
        "uuid.uuid4",
    }
)
# Methods that reach a disk whatever they are called on.
FORBIDDEN_METHODS = frozenset(
    {"read_text", "read_bytes", "write_text", "write_bytes", "unlink", "mkdir", "rglob", "iterdir", "tofile"}
)
# NumPy's generators that are given a seed, and their types; every other name there draws from hidden state.
SEEDED = frozenset({"default_rng", "Generator", "SeedSequence", "PCG64", "Philox"})


def offence(call: ast.Call) -> str:
    """What a call does that the core may not; empty text where it is innocent."""
    name = dotted(call.func)
    if name.startswith("np."):
        name = "numpy." + name.removeprefix("np.")
    head, _, tail = name.rpartition(".")
    if name in FORBIDDEN_CALLS or any(("." + name).endswith("." + each) for each in FORBIDDEN_TAILS):
        return name
    if isinstance(call.func, ast.Attribute) and call.func.attr in FORBIDDEN_METHODS:
        return call.func.attr
    if head == "numpy.random" and tail not in SEEDED:
        return name
    if tail == "default_rng" and not (call.args or call.keywords):
        return f"{name} without a seed"
    return ""


def offences(module: Module) -> list[str]:
    """Every call and every change of module state in one module that the core may not make."""
    return [
        f"{module.place(node)} {found}"
        for node in ast.walk(module.tree)
        if (found := offence(node) if isinstance(node, ast.Call) else "")
    ] + [
        f"{module.place(node)} global state" for node in ast.walk(module.tree) if isinstance(node, ast.Global)
    ]


def test_the_core_does_nothing() -> None:
    """No module of the core opens, prints, reads a clock, draws without a seed or keeps global state."""
    assert [] == [found for module in core() for found in offences(module)]


@pytest.mark.parametrize(
    "line",
    [
        "open('x')",
        "print(1)",
        "datetime.now(UTC)",
        "datetime.datetime.now()",
        "time.time()",
        "uuid4()",
        "os.urandom(8)",
        "Path('x').read_text()",
        "path.write_bytes(b'')",
        "np.random.rand(3)",
        "np.random.default_rng()",
        "np.load('x')",
    ],
)
def test_forbidden_calls_are_seen(line: str) -> None:
    """Each way of doing something is found in a planted line."""
    assert offences(parse(Path("planted.py"), line))


@pytest.mark.parametrize("line", ["np.random.default_rng(seed)", "x.now", "table.open_row(1)", "f.compile()"])
def test_innocent_calls_pass(line: str) -> None:
    """A seeded generator and a name that merely resembles a forbidden one are left alone."""
    assert [] == offences(parse(Path("planted.py"), line))
