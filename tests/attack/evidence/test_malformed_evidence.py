"""AU-03 (Rekor CVE-2023-33199, CVE-2026-23831: a malformed entry ends in a panic): every verifying command, every file.

Each file of evidence is emptied, cut, doubled, re-encoded, deepened, and each of its JSON fields is
replaced by values of other types. The answer is a sentence and exit 2 or 3; never a traceback, exit 70 or
"it holds".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from attack.evidence.conftest import Canary, Given, refused, verified
from scenario.world import Ran, inside

MARK = "\ufeff".encode()
DEEP = 100_000
Change = Callable[[bytes], bytes]

BYTES: dict[str, Change] = {
    "nothing": lambda _: b"",
    "one zero byte": lambda _: b"\0",
    "open brace": lambda _: b"{",
    "null": lambda _: b"null",
    "empty list": lambda _: b"[]",
    "empty object": lambda _: b"{}",
    "empty text": lambda _: b'""',
    "not a number": lambda _: b"NaN",
    "huge number": lambda _: b"1" * 5_000,
    "huge exponent": lambda _: b'{"v":1e999}',
    "deep lists": lambda _: b"[" * DEEP,
    "deep objects": lambda _: b'{"a":' * DEEP,
    "lone surrogate": lambda _: b'"\\ud800"',
    "no text": lambda _: b"\xff\xfe\xfd",
    "line ends": lambda _: b"\n\n\n\n",
    "half": lambda data: data[: len(data) // 2],
    "last byte gone": lambda data: data[:-1],
    "one byte more": lambda data: data + b"x",
    "a zero more": lambda data: data + b"\0",
    "twice": lambda data: data + data,
    "byte order mark": lambda data: MARK + data,
    "UTF-16": lambda data: data.decode("latin-1").encode("utf-16"),
    "first byte flipped": lambda data: bytes((data[0] ^ 0x80,)) + data[1:],
}
JSON: dict[str, Change] = {
    "key twice": lambda data: data.replace(b"{", b'{"v":1,"v":1,', 1),
    "other order": lambda data: json.dumps(dict(reversed(json.loads(data).items()))).encode(),
    "spaces": lambda data: json.dumps(json.loads(data), indent=1).encode(),
    "escaped letter": lambda data: data.replace(b'"', b'"\\u0061', 1).replace(b"\\u0061a", b"\\u0061", 1),
    "comment": lambda data: b"/* */" + data,
    "line end": lambda data: data + b"\n",
}
SHARE = 3
"""Each file meets one change of so many; the next file meets the next ones."""
TURNS = 24
"""Each field meets one value of so many; the next field meets the next ones."""
VALUES: tuple[Any, ...] = (None, True, -1, 1.5, 10**30, "", "\0", "../../x", [], [[]], {}, {"a": None})

SIGNED = {
    "certificate": ("owner/workers/*.dsse.json", ("answer.json", "--trust", "owner")),
    "statement": ("export/statements/countersignature.dsse.json", ("export", "--trust", "owner")),
    "decision": ("export/statements/decision-*.dsse.json", ("export", "--trust", "owner")),
    "bundle": ("export/model.sig", ("export", "--trust", "owner")),
    "manifest": ("export/release/release.json", ("export", "--trust", "owner")),
    "signature": ("export/release/signature.json", ("export", "--trust", "owner")),
    "verdict": ("export/release/verdict.json", ("export", "--trust", "owner")),
    "trust": ("owner/trust.json", ("answer.json", "--trust", "owner")),
    "proof": ("answer.proof.json", ("answer.proof.json", "--trust", "owner")),
}
"""JSON that somebody signed, or whose digest people compare: only its exact bytes count."""
OTHERS = {
    "model": ("export/release/model.onnx", ("export", "--trust", "owner")),
    "policy": ("export/release/policy.toml", ("export", "--trust", "owner")),
    "checkpoint": ("log/checkpoint", ("log", "--trust", "owner")),
    "kept": ("kept", ("log", "--trust", "owner", "--kept", "kept")),
    "hashes": ("log/tile/0/000.p/*", ("log", "--trust", "owner")),
    "pack": ("pack.zip", ("pack.zip", "--trust", "owner")),
    "entries": ("log/tile/entries/000.p/*", ("log", "--trust", "owner")),
}
TOLERANT = {"bundle", "decision", "statement"}
"""Where a protocol lets other spellings, unknown fields or keys stand: they must change nothing."""
FREE = {"sent": ("request.json", ("answer.json", "--trust", "owner", "--request", "request.json"))}


@pytest.fixture(scope="module")
def place(given: Given, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy for this page, with a kept checkpoint."""
    copied = given.copy(tmp_path_factory.mktemp("malformed") / "auditor")
    (copied / "kept").write_bytes((copied / "log" / "checkpoint").read_bytes())
    return copied


@contextmanager
def spoilt(place: Path, pattern: str, change: Change) -> Iterator[bool]:
    """The file of a pattern, changed until the end of the block; says whether its bytes are other ones."""
    (path,) = place.glob(pattern)
    whole = path.read_bytes()
    path.write_bytes(change(whole))
    try:
        yield path.read_bytes() != whole
    finally:
        path.write_bytes(whole)


def test_what_is_spoilt_below_holds_before(place: Path) -> None:
    """Each command below is content with the files as they are."""
    for _, arguments in (SIGNED | OTHERS | FREE).values():
        ran = verified(place, *arguments)
        assert 0 == ran.code, ran.out


@pytest.mark.parametrize("file", [*SIGNED, *OTHERS])
def test_au03_malformed_bytes_are_refused(place: Path, canary: Canary, file: str) -> None:
    """Whatever stands in the place of a file of evidence, the command refuses it cleanly."""
    pattern, arguments = (SIGNED | OTHERS)[file]
    before = verified(place, *arguments).document
    turn = [*SIGNED, *OTHERS].index(file) % SHARE
    for change in [*(BYTES | (JSON if file in SIGNED else {})).values()][turn::SHARE]:
        with spoilt(place, pattern, change):
            _refused_or_same(verified(place, *arguments), before, file, canary)


def _refused_or_same(ran: Ran, before: Any, file: str, canary: Canary) -> None:
    """Refused; where other spellings are allowed, it may also say exactly what it said before."""
    if file in TOLERANT and ran.code == 0:
        assert before == ran.document
    else:
        refused(ran, canary)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a JSON value, outermost first; of a list the first two."""
    if path:
        yield path
    inner = (
        value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    )
    for key, below in inner:
        yield from _paths(below, (*path, key))


def _with(data: bytes, path: tuple[Any, ...], value: Any, *, gone: bool = False) -> bytes:
    document = json.loads(data)
    here = document
    for key in path[:-1]:
        here = here[key]
    if gone:
        del here[path[-1]]
    else:
        here[path[-1]] = value
    return json.dumps(document, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def _odd(whole: bytes) -> Iterator[bytes]:
    """The document with each field in turn left out, and with a few values of other types in its place."""
    for number, field in enumerate(_paths(json.loads(whole))):
        values = VALUES[number % TURNS :: TURNS]
        for changed in (
            _with(whole, field, None, gone=True),
            *(_with(whole, field, each) for each in values),
        ):
            if json.loads(changed) != json.loads(whole):
                yield changed


@pytest.mark.parametrize("file", [each for each in SIGNED if each not in {"signature", "verdict"}])
def test_au03_fields_of_other_types_are_refused(place: Path, canary: Canary, file: str) -> None:
    """Each field left out, or of another type, is refused cleanly."""
    pattern, arguments = SIGNED[file]
    (path,) = place.glob(pattern)
    whole = path.read_bytes()
    before = verified(place, *arguments).document
    for changed in _odd(whole):
        with spoilt(place, pattern, lambda _, changed=changed: changed):  # type: ignore[misc]
            _refused_or_same(verified(place, *arguments), before, file, canary)


@pytest.mark.parametrize("file", ["answer.json", "request.json"])
def test_au03_fields_of_an_answer_end_in_no_fault(place: Path, canary: Canary, file: str) -> None:
    """An answer is not signed as text: what is left of it is compared, and nothing in it is a fault of ours."""
    arguments = ("answer.json", "--trust", "owner", "--request", "request.json")
    whole = (place / file).read_bytes()
    seen = set()
    for changed in _odd(whole):
        with spoilt(place, file, lambda _, changed=changed: changed):  # type: ignore[misc]
            ran = verified(place, *arguments)
        seen.add(ran.code)
        if ran.code:
            refused(ran, canary)
    assert {2, 3} <= seen


def test_au03_malformed_receipts_and_answers_are_refused(place: Path, canary: Canary) -> None:
    """What is no receipt is said to be none, by both commands that read one."""
    answer = (place / "answer.json").read_bytes()
    token = json.loads(answer)["parameters"]["receipt"]
    texts = {
        "prefix": "gwr1.", "other version": "gwr9" + token[4:], "cut": token[:-5], "longer": token + "AAAA",
        "padded": token + "==", "other alphabet": token.replace("-", "+").replace("_", "/") + " ",
        "line end inside": token[:50] + "\n" + token[50:], "huge": "gwr1." + "A" * 200_000,
        "empty parts": "gwr1." + "A" * 100,
    }  # fmt: skip
    for name, text in texts.items():
        (place / "token").write_text(text, "utf-8")
        ran = verified(place, "token", "--trust", "owner")
        assert ran.code, name
        refused(ran, canary)
    for change in BYTES.values():
        with spoilt(place, "answer.json", change):
            ran = verified(place, "answer.json", "--trust", "owner")
            if ran.code:
                refused(ran, canary)


def test_au03_a_damaged_database_is_refused(given: Given, place: Path, canary: Canary) -> None:
    """A ledger.db of other bytes, cut, or with fields of other types is refused cleanly."""
    whole = (given.home.folder / "ledger.db").read_bytes()
    file = place / "ledger.db"
    for change in BYTES.values():
        file.write_bytes(change(whole))
        ran = verified(place, "ledger.db", "--trust", "owner")
        if ran.code:
            refused(ran, canary, codes=(2, 3, 4))
    for at in range(0, len(whole), max(1, len(whole) // 24)):
        file.write_bytes(whole[:at] + bytes(64) + whole[at + 64 :])
        ran = verified(place, "ledger.db", "--trust", "owner")
        if ran.code:
            refused(ran, canary, codes=(2, 3, 4))


def test_au03_the_story_of_no_receipt(given: Given, canary: Canary) -> None:
    """``why`` refuses what is no receipt as ``verify`` does."""
    for change in (*BYTES.values(), *JSON.values()):
        (given.home.root / "odd.json").write_bytes(change((given.place / "answer.json").read_bytes()))
        ran = inside(given.home.root, "why", "odd.json", "--json")
        if ran.code:
            refused(ran, canary)
