"""The witness's decision: strict bodies, every ground in its order, and the laws over any sequence of requests."""

from __future__ import annotations

import base64
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.kernel.errors import BadInput, Tampered
from gatewright.ledger.checkpoints import Checkpoint, Note, read_checkpoint_text
from gatewright.ledger.notes import NoteKey, SignatureType, add_signatures, signed_by
from gatewright.ledger.proofs import verify_consistency
from gatewright.ledger.witnessing import (
    LOG_KEYS,
    PROOF_LINES,
    SUBMISSION_BYTES,
    Declined,
    Extension,
    Ground,
    KnownLog,
    Submission,
    cosign,
    decide,
    empty_head,
    latest_time,
    read_response,
    read_submission,
    response_lines,
)
from unit.ledger.submitting_log import (
    LOG_TYPES,
    ORIGIN,
    TIME,
    WITNESS,
    WITNESS_KEYS,
    WITNESS_TYPES,
    SubmittingLog,
    cosigners,
)

LOG = SubmittingLog()
HASH = base64.b64encode(bytes(32)).decode()
CURVE_ONLY = SubmittingLog(types=(SignatureType.ED25519,))


def ground(found: Extension | Declined) -> str:
    """The ground of a refusal; nothing for an extension."""
    return found.ground.value if isinstance(found, Declined) else ""


# ---- bodies ---------------------------------------------------------------------------------------


@given(
    old=st.integers(0, 2**63 - 1),
    proof=st.lists(st.binary(min_size=32, max_size=32), max_size=PROOF_LINES),
    note=st.binary(max_size=300),
)
def test_what_is_written_is_read_again(old: int, proof: list[bytes], note: bytes) -> None:
    """A submission survives its request body, whatever stands in the place of the checkpoint."""
    submission = Submission(old=old, proof=tuple(proof), note=note)
    assert submission == read_submission(submission.encode())


@given(body=st.binary(max_size=400))
def test_any_bytes_are_read_or_refused_and_have_one_spelling(body: bytes) -> None:
    """Whatever arrives is malformed, or is exactly what the submission it means would be written as."""
    found = read_submission(body)
    if isinstance(found, Submission):
        assert body == found.encode()
    else:
        assert Ground.MALFORMED is found.ground


MALFORMED = {
    "nothing": b"",
    "no empty line": f"old 3\n{HASH}\n".encode(),
    "no old line": f"{HASH}\n\nnote".encode(),
    "a leading zero": b"old 03\n\nnote",
    "a sign": b"old +3\n\nnote",
    "two spaces": b"old  3\n\nnote",
    "a space behind": b"old 3 \n\nnote",
    "carriage returns": b"old 3\r\n\r\nnote",
    "another word": b"new 3\n\nnote",
    "digits that are not ASCII": "old ٣\n\nnote".encode(),
    "beyond the largest tree": b"old 9223372036854775808\n\nnote",
    "twenty digits": b"old 10000000000000000000\n\nnote",
    "a proof line too short": f"old 3\n{base64.b64encode(bytes(31)).decode()}\n\nnote".encode(),
    "a proof line too long": f"old 3\n{base64.b64encode(bytes(33)).decode()}\n\nnote".encode(),
    "base64 that is not canonical": f"old 3\n{HASH[:-2]}B=\n\nnote".encode(),
    "base64 without padding": f"old 3\n{HASH[:-1]}\n\nnote".encode(),
    "base64 for addresses": f"old 3\n{'_' * 43}=\n\nnote".encode(),
    "64 proof lines": f"old 3\n{(HASH + chr(10)) * 64}\nnote".encode(),
    "a body beyond the limit": b"old 3\n\n" + b"x" * SUBMISSION_BYTES,
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_body_is_refused(what: str) -> None:
    """Each malformed body is refused as that."""
    assert Declined.__name__ == type(read_submission(MALFORMED[what])).__name__


def test_63_proof_lines_are_read() -> None:
    """The largest proof that the standard allows is read."""
    submission = Submission(old=3, proof=(bytes(32),) * PROOF_LINES, note=b"note")
    assert submission == read_submission(submission.encode())


# ---- the decision ---------------------------------------------------------------------------------


def decided(
    submission: Submission, *, log: KnownLog | None = LOG.known, latest: Checkpoint | None = None
) -> str:
    """The ground, for a witness that knows the log and cosigned ``latest`` of it."""
    return ground(decide(submission, log, latest or empty_head(ORIGIN)))


def test_an_extension_is_accepted() -> None:
    """The first head, a larger one and the same one again are accepted, with the log's own lines alone."""
    for old, size in ((0, 0), (0, 1), (0, 7), (3, 7), (4, 7), (7, 7), (7, 64)):
        submission = LOG.submission(old, size)
        found = decide(submission, LOG.known, LOG.head(old))
        assert isinstance(found, Extension), (old, size)
        assert (LOG.head(size), Note.decode(submission.note)) == (found.head, found.note)


def test_lines_of_unknown_keys_are_left_out() -> None:
    """What others signed beside the log is neither minded nor kept."""
    own = LOG.note(7)
    note = cosign(own, cosigners("nobody.example", WITNESS_TYPES), TIME)
    found = decide(Submission(old=0, proof=(), note=note.encode()), LOG.known, empty_head(ORIGIN))
    assert isinstance(found, Extension)
    assert own == found.note


def test_a_line_that_comes_a_hundred_times_is_kept_once() -> None:
    """A note full of the log's own line leaves room for the cosignatures."""
    note = CURVE_ONLY.note(7)
    full = Note(text=note.text, signatures=note.signatures * 100)
    found = decide(Submission(old=0, proof=(), note=full.encode()), CURVE_ONLY.known, empty_head(ORIGIN))
    assert isinstance(found, Extension)
    assert note == found.note


def test_every_ground_has_its_case() -> None:
    """Unknown log, unknown key, too large an old size, not the latest, another root, bad proof: each by name."""
    forked = SubmittingLog(fork="other", differs=5)
    cases = {
        "a note that is none": (replace(LOG.submission(0, 7), note=b"note"), LOG.known, None),
        "an old size beyond the head": (LOG.submission(9, 7), LOG.known, LOG.head(9)),
        "a log that is not known": (LOG.submission(0, 7), None, None),
        "another log's origin": (LOG.submission(0, 7), SubmittingLog(origin="log.example/two").known, None),
        "another key": (SubmittingLog(seed="stolen").submission(0, 7), LOG.known, None),
        "not the latest": (LOG.submission(3, 7), LOG.known, LOG.head(5)),
        "never cosigned": (LOG.submission(3, 7), LOG.known, None),
        "the same size, another root": (forked.submission(7, 7), LOG.known, LOG.head(7)),
        "a fork": (forked.submission(7, 9), LOG.known, LOG.head(7)),
        "a proof where none belongs": (
            Submission(old=0, proof=(bytes(32),), note=LOG.note(7).encode()), LOG.known, None,
        ),
        "a proof of the same": (
            Submission(old=7, proof=(bytes(32),), note=LOG.note(7).encode()), LOG.known, LOG.head(7),
        ),
        "a proof without its last hash": (
            Submission(old=3, proof=LOG.proof(3, 7)[:-1], note=LOG.note(7).encode()), LOG.known, LOG.head(3),
        ),
    }  # fmt: skip
    expected = [
        "malformed", "malformed", "unknown-log", "unknown-log", "unknown-key", "not-latest", "not-latest",
        "other-root", "bad-proof", "bad-proof", "bad-proof", "bad-proof",
    ]  # fmt: skip
    found = [decided(submission, log=log, latest=latest) for submission, log, latest in cases.values()]
    assert dict(zip(cases, expected, strict=True)) == dict(zip(cases, found, strict=True))


def test_the_size_that_was_cosigned_last_is_told() -> None:
    """Who is behind learns from where to go on."""
    found = decide(LOG.submission(3, 7), LOG.known, LOG.head(5))
    assert isinstance(found, Declined)
    assert 5 == found.latest


def test_every_type_of_key_that_is_known_must_have_signed() -> None:
    """A head with the Ed25519 signature alone does not do where the log's ML-DSA-44 key is known."""
    (curve, lattice) = LOG.signers
    for by in ((curve,), (lattice,), ()):
        if by:
            submission = Submission(old=0, proof=(), note=LOG.note(7, by=by).encode())
            assert "unknown-key" == decided(submission)
    alone = Submission(old=0, proof=(), note=CURVE_ONLY.note(7).encode())
    assert "" == decided(alone, log=CURVE_ONLY.known)


def test_one_bad_signature_of_a_known_key_refuses_the_head() -> None:
    """A right and a wrong signature of known keys together are no signature."""
    note = LOG.note(7)
    first = note.signatures[0]
    flipped = replace(first, signature=bytes([first.signature[0] ^ 1]) + first.signature[1:])
    for lines in ((flipped, note.signatures[1]), (*note.signatures, flipped)):
        spoiled = Note(text=note.text, signatures=lines)
        assert "unknown-key" == decided(Submission(old=0, proof=(), note=spoiled.encode()))


def test_a_log_changes_its_keys_and_goes_on() -> None:
    """Whoever knows the old keys and the new takes heads signed by either set, each type once."""
    new = SubmittingLog(seed="rotated")
    both = KnownLog(origin=ORIGIN, keys=(*LOG.known.keys, *new.known.keys))
    assert "" == decided(new.submission(3, 7), log=both, latest=LOG.head(3))
    assert "" == decided(LOG.submission(3, 7), log=both, latest=LOG.head(3))


@pytest.mark.parametrize(
    "keys",
    [
        (),
        (LOG.known.keys[0],) * 2,
        (WITNESS_KEYS[0],),
        tuple(cosigners(ORIGIN, (SignatureType.ED25519,), str(seed))[0].key for seed in range(LOG_KEYS + 1)),
        (cosigners("log.example/two", LOG_TYPES)[0].key,),
    ],
)
def test_what_is_no_key_of_a_log_is_refused(keys: tuple[NoteKey, ...]) -> None:
    """No key, one twice, a witness's, too many and another log's keys do not make a known log."""
    with pytest.raises(BadInput):
        KnownLog(origin=ORIGIN, keys=keys)


# ---- the laws -------------------------------------------------------------------------------------

REQUEST = st.tuples(
    st.sampled_from(["honest", "forked", "rewritten"]),
    st.integers(0, 12),
    st.integers(0, 12),
    st.booleans(),
)


@settings(max_examples=60)
@given(requests=st.lists(REQUEST, min_size=1, max_size=14))
def test_no_sequence_of_requests_gets_two_histories_cosigned(
    requests: list[tuple[str, int, int, bool]],
) -> None:
    """Of all heads that one witness cosigned each begins with the one before; no size has two roots."""
    logs = {
        "honest": CURVE_ONLY,
        "forked": replace(CURVE_ONLY, fork="forked", differs=4),
        "rewritten": replace(CURVE_ONLY, story="rewritten"),
    }
    latest = empty_head(ORIGIN)
    cosigned: list[tuple[str, Checkpoint]] = []
    for which, old, size, follow in requests:
        log = logs[which]
        submission = log.submission(latest.size if follow else old, size)
        found = decide(submission, CURVE_ONLY.known, latest)
        if isinstance(found, Extension):
            cosigned.append((which, found.head))
            latest = found.head
    roots: dict[int, bytes] = {}
    for (_, before), (which, after) in pairwise(cosigned):
        assert before.size <= after.size
        assert verify_consistency(
            first=before.size,
            second=after.size,
            first_root=before.root,
            second_root=after.root,
            path=logs[which].proof(before.size, after.size),
        )
    for _, head in cosigned:
        assert head.root == roots.setdefault(head.size, head.root)


# ---- cosignatures ---------------------------------------------------------------------------------


def test_a_response_is_read_by_whoever_knows_the_keys() -> None:
    """Both cosignatures travel as two lines, hold for the note, and carry the time."""
    lines = response_lines(cosign(LOG.note(7), WITNESS, TIME), WITNESS_KEYS)
    assert [b"\xe2\x80\x94 audit.example/w1"] * 2 == [line[:20] for line in lines.splitlines()]
    found = read_response(LOG.note(7), lines, WITNESS_KEYS)
    assert set(WITNESS_KEYS) == set(signed_by(found.encode(), WITNESS_KEYS))
    assert TIME == latest_time(found, WITNESS_KEYS)
    assert LOG.head(7) == read_checkpoint_text(found.text)


def test_a_response_for_another_head_or_of_another_key_is_refused() -> None:
    """Lines about another head do not hold, those of strangers alone are none, and no lines are no response."""
    other = response_lines(cosign(LOG.note(8), WITNESS, TIME), WITNESS_KEYS)
    with pytest.raises(Tampered, match="does not match the note"):
        read_response(LOG.note(7), other, WITNESS_KEYS)
    strangers = cosigners("audit.example/w1", WITNESS_TYPES, "stranger")
    lines = response_lines(cosign(LOG.note(7), strangers, TIME), [each.key for each in strangers])
    with pytest.raises(Tampered, match="No known key"):
        read_response(LOG.note(7), lines, WITNESS_KEYS)
    for nothing in (b"", b"\n", b"ok\n", b"{}"):
        with pytest.raises(BadInput):
            read_response(LOG.note(7), nothing, WITNESS_KEYS)


def test_a_cosignature_twice_is_one() -> None:
    """Merging the same answer again adds no line."""
    once = cosign(LOG.note(7), WITNESS, TIME)
    assert once == add_signatures(once, once.signatures)
