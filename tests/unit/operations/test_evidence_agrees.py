"""The one-file verifier of a pack judges keys, heads, certificates and statements as the product does."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, GatewrightError
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import Name
from gatewright.ledger.checkpoints import Note
from gatewright.ledger.notes import SignatureType
from gatewright.ledger.witnessing import cosign
from gatewright.models.signature import DataType, TensorSpec
from gatewright.models.tensors import dtype_of, encode_typed, raw_of
from gatewright.operations.answers import inputs_are, outputs_encoding, request_in, saved_in
from gatewright.operations.evidence_answers import encoded, saved
from gatewright.operations.evidence_releases import check_release
from gatewright.operations.evidence_verifier import (
    Broken,
    Envelope,
    Json,
    Log,
    Missing,
    Pack,
    check_head,
    check_trust,
    check_workers,
    next_version,
    now,
)
from gatewright.releases.bundle import sealed_bundle
from gatewright.releases.heads import open_head
from gatewright.releases.judgements import Revocation, RevocationReason, Role, Waiver
from gatewright.releases.manifest import VERDICT
from gatewright.releases.statement import Claim, Countersignature, WorkerKey
from gatewright.releases.summaries import VerificationSummary
from gatewright.releases.trust import RevokedWorker, TrustRoot
from gatewright.releases.trust_chain import next_trust, seal_step
from gatewright.releases.verification import require_deployable, verify_release
from gatewright.releases.worker_keys import certify, verify_worker_key
from unit.ledger.submitting_log import cosigners
from unit.releases.key_sets import DAY, ORIGIN, KeySet
from unit.releases.workshop import ENDPOINT, NOW, Made, MemorySigner, digests, ed, resources, sealed_bytes
from unit.releases.workshop import signature as model_signature

OLD = KeySet()
NEW = OLD.with_new("release", "log")
STRANGER = KeySet()
LATER = Instant(NOW.ns + DAY)
NEVER_AGAIN = Instant(NOW.ns - 1)
BEFORE = OLD.trust()
RETIRED = NEW.trust(2, past=(OLD.era(until=LATER),))
REVOKED = NEW.trust(2, past=(OLD.era("log", "release", until=LATER),))
EXPIRED = replace(NEW.trust(2, past=(OLD.era(),)), expires=NEVER_AGAIN)
EARLY = NEW.trust(2, past=(OLD.era(until=NEVER_AGAIN),))
MIDDLE = OLD.with_new("log")
TWICE = MIDDLE.with_new("release").trust(3, past=(OLD.era(), MIDDLE.era("release")))
ROOTS = {
    "before": BEFORE,
    "retired": RETIRED,
    "revoked": REVOKED,
    "expired": EXPIRED,
    "early": EARLY,
    "twice": TWICE,
}
WITNESSES = cosigners("w.example/1", (SignatureType.ED25519_COSIGNATURE, SignatureType.ML_DSA_44_COSIGNATURE))


def pack_of(files: Mapping[str, bytes]) -> Pack:
    """A pack in memory."""
    found = Pack({name: len(data) for name, data in files.items()}, lambda name: io.BytesIO(files[name]))
    found.digests = {name: Digest.of(data).hex for name, data in files.items()}
    return found


def read(trust: TrustRoot) -> Json:
    """A trust root as the one file reads it."""
    return check_trust(pack_of({"trust.json": trust.encode()}), trust.fingerprint().hex)


def passes(judge: Callable[[], object]) -> bool:
    """Whether nothing is refused."""
    try:
        judge()
    except (GatewrightError, Broken, LookupError, ValueError):  # what cannot be read does not hold
        return False
    return True


def both(product: Callable[[], object], one_file: Callable[[], object]) -> bool:
    """What both of them say; they must say the same."""
    now.at, now.unverified = "", []
    said = passes(product)
    assert (said, []) == (passes(one_file), now.unverified)
    return said


# ---- releases --------------------------------------------------------------------------------------------


def claims(made: Made) -> dict[str, Claim]:
    """Claims about a release, true and untrue, by name."""
    files, said = digests(made.files), made.decision()
    summary = VerificationSummary(
        root=made.root, origin=ORIGIN, version="0.1", time=NOW, model=Name("breast-cancer"), model_version=2, tier=Name("low"),
        policy=files["policy.toml"], report=files["report.json"], verdict=files["verdict.json"],
    )  # fmt: skip
    return {
        "decision": said,
        "late decision": replace(said, time=Instant(LATER.ns + 1)),
        "other verdict": replace(said, verdict=Digest.of(b"other")),
        "countersignature": Countersignature(root=made.root),
        "other root": Countersignature(root=Digest.of(b"other")),
        "revocation": Revocation(
            root=made.root, reason=RevocationReason.DATA, words=Digest.of(b""), time=NOW
        ),
        "summary": summary,
        "other tier": replace(summary, tier=Name("high")),
        "other model": replace(summary, model=Name("loans")),
        "other version": replace(summary, model_version=3),
        "other policy": replace(summary, policy=Digest.of(b"other")),
        "waived": replace(summary, waived=True),
        "waiver": waiver(made),
    }


def waiver(made: Made, until: Instant = LATER) -> Waiver:
    """A waiver of a rule."""
    return Waiver(
        root=made.root, rule="a rule", principal="p" * 32, role=Role.APPROVER, words=Digest.of(b""), until=until, time=NOW
    )  # fmt: skip


def released(keys: KeySet, files: Mapping[str, bytes] | None = None) -> Made:
    """A release with a bundle only."""
    found = resources() if files is None else files
    return Made(files=found, bundle=sealed_bundle(digests(found), keys.release))


def deployable(made: Made, trust: TrustRoot) -> None:
    """What the product asks of a release that is to answer."""
    found = verify_release(resources=made.files, bundle=made.bundle, statements=made.statements, trust=trust)
    require_deployable(found, made.statements, trust, ENDPOINT)


def in_a_pack(made: Made, trust: TrustRoot, people: Sequence[MemorySigner] = ()) -> None:
    """What the one file asks of the same."""
    base = f"releases/{made.root.hex}/"
    files = {f"{base}release/{name}": data for name, data in made.files.items()}
    files[f"{base}model.sig"] = made.bundle
    files |= {f"{base}statements/{at}.dsse.json": data for at, data in enumerate(made.statements)}
    log = Log(1, b"")
    body = {
        "root": made.root.hex,
        "ref": "breast-cancer@2",
        "bundle": Digest.of(made.bundle).hex,
        "resources": {name: digest.hex for name, digest in digests(made.files).items()},
    }
    log.kinds["release.created"] = [{"kind": "release.created", "seq": 0, "time": str(NOW), "body": body}]
    known = dict.fromkeys(["p" * 32] * len(people), *((each.public.text(), "grace") for each in people))
    found = check_release(pack_of(files), made.root.hex, log, read(trust), known)
    if not any(endpoint == ENDPOINT for endpoint, _ in found["decided"].values()):
        raise Broken("Nothing was decided.", base)


SIGNED: Mapping[str, tuple[tuple[str, tuple[MemorySigner, ...]], ...]] = {
    "one pair": (("countersignature", OLD.releases), ("decision", OLD.releases)),
    "half a countersignature": (("countersignature", (OLD.release_pq,)), ("decision", OLD.releases)),
    "the other half": (("countersignature", (OLD.release,)), ("decision", OLD.releases)),
    "again by the new pair": (
        ("countersignature", OLD.releases), ("decision", OLD.releases),
        ("countersignature", NEW.releases), ("decision", NEW.releases),
    ),
    "again by half": (("countersignature", OLD.releases), ("decision", OLD.releases), ("countersignature", (NEW.release,))),
    "again by a mixed pair": (
        ("countersignature", OLD.releases), ("decision", OLD.releases),
        ("countersignature", (NEW.release, OLD.release_pq)), ("decision", (NEW.release, OLD.release_pq)),
    ),
    "decided late": (("countersignature", OLD.releases), ("late decision", OLD.releases)),
    "decided late by the new pair": (("countersignature", OLD.releases), ("late decision", NEW.releases)),
    "decided by one key": (("countersignature", OLD.releases), ("decision", (OLD.release,))),
    "not decided": (("countersignature", OLD.releases),),
    "by a stranger": (("countersignature", STRANGER.releases), ("decision", STRANGER.releases)),
}  # fmt: skip
BESIDE: Mapping[str, tuple[str, tuple[MemorySigner, ...]]] = {
    f"{name} {how}": (name, keys)
    for name in (
        "revocation", "summary", "other tier", "other model", "other version", "other policy", "waived", "waiver",
        "other verdict", "other root",
    )
    for how, keys in (("by both", OLD.releases), ("by one", (OLD.release,)), ("by a stranger", STRANGER.releases))
}  # fmt: skip


@pytest.mark.parametrize("trust", ROOTS)
@pytest.mark.parametrize("signed", SIGNED)
def test_releases_are_judged_alike(signed: str, trust: str) -> None:
    """Retired, revoked, expired keys, and keys that vouch again: both give the same verdict about a release."""
    made = released(OLD)
    made = made.beside(*(sealed_bytes(claims(made)[name], *keys) for name, keys in SIGNED[signed]))
    both(lambda: deployable(made, ROOTS[trust]), lambda: in_a_pack(made, ROOTS[trust]))


def test_what_was_vouched_for_again_holds_and_nothing_less() -> None:
    """The verdicts of the cases that matter, by name, so that both cannot be wrong alike."""
    found = {
        (signed, trust): passes(lambda: in_a_pack(made, ROOTS[trust]))  # noqa: B023 - called at once
        for signed in ("one pair", "again by the new pair", "again by a mixed pair", "decided late")
        for made in [released(OLD)]
        for made in [made.beside(*(sealed_bytes(claims(made)[name], *keys) for name, keys in SIGNED[signed]))]
        for trust in ("retired", "revoked", "early")
    }
    holding = {
        ("one pair", "retired"),
        ("again by the new pair", "retired"),
        ("again by the new pair", "revoked"),
    }
    holding |= {("again by a mixed pair", "retired")}
    assert holding == {case for case, held in found.items() if held}


@pytest.mark.parametrize("beside", BESIDE)
def test_statements_beside_a_release_are_judged_alike(beside: str) -> None:
    """A summary, waiver or revocation that contradicts the root, or that too few signed, is refused by both."""
    made = released(OLD)
    name, keys = BESIDE[beside]
    said = {**claims(made)}
    made = made.beside(
        *(sealed_bytes(said[each], *OLD.releases) for each in ("countersignature", "decision"))
    )
    made = made.beside(sealed_bytes(said[name], *keys))
    held = both(lambda: deployable(made, BEFORE), lambda: in_a_pack(made, BEFORE))
    passed_over = {"other verdict by one", "other verdict by a stranger"}  # as what strangers say
    assert held == (beside in {"summary by both", *passed_over})


@pytest.mark.parametrize(
    ("listed", "until", "holds"),
    [("the same", LATER, True), ("the same", NOW, False), ("none", LATER, False), ("another", LATER, False)],
)
def test_waivers_are_judged_alike(listed: str, until: Instant, *, holds: bool) -> None:
    """A waiver must be one that the verdict names, and a decision must be within it."""
    person, files = STRANGER.release, resources()
    shown = waiver(released(OLD), until)
    document = {
        "principal": shown.principal, "role": "approver", "rule": shown.rule if listed == "the same" else "another",
        "time": str(shown.time), "until": str(shown.until),
    }  # fmt: skip
    if listed != "none":
        files[VERDICT] = canonical.encode({**canonical.decode(files[VERDICT]), "waivers": [document]})
    made = released(OLD, files)
    said = (Countersignature(root=made.root), made.decision(), replace(shown, root=made.root))
    made = made.beside(*(sealed_bytes(each, *OLD.releases, person) for each in said))
    held = both(lambda: deployable(made, BEFORE), lambda: in_a_pack(made, BEFORE, [person]))
    assert holds == held


# ---- workers, heads, steps -------------------------------------------------------------------------------


@pytest.mark.parametrize("trust", ROOTS)
@pytest.mark.parametrize(
    "keys", [OLD, NEW, STRANGER, replace(NEW, release=OLD.release)], ids=["old", "new", "stranger", "mixed"]
)
@pytest.mark.parametrize("start", [NOW, LATER, Instant(LATER.ns + 1)], ids=["now", "later", "too late"])
@pytest.mark.parametrize("origin", [ORIGIN, "gatewright/other"])
def test_certificates_are_judged_alike(trust: str, keys: KeySet, start: Instant, origin: str) -> None:
    """A worker's certificate counts for both or for neither, by keys, time and home."""
    worker = WorkerKey(
        public=ed().public, valid_from=start, origin=origin, valid_until=Instant(start.ns + DAY)
    )
    data, root = certify(worker, keys.releases), ROOTS[trust]
    both(
        lambda: verify_worker_key(data, root), lambda: check_workers(pack_of({"workers/1": data}), read(root))
    )


HEADS = {
    "bare": (),
    "cosigned before": ((WITNESSES, NOW),),
    "cosigned later": ((WITNESSES, Instant(LATER.ns + 2 * 10**9)),),
    "one key of the witness": ((WITNESSES[:1], NOW),),
    "another witness": ((cosigners("w.example/2", (SignatureType.ED25519_COSIGNATURE,)), NOW),),
}


@pytest.mark.parametrize("quorum", [0, 1])
@pytest.mark.parametrize("seen", HEADS)
@pytest.mark.parametrize(
    "keys", [OLD, NEW, replace(NEW, log=OLD.log), STRANGER], ids=["old", "new", "mixed", "stranger"]
)
@pytest.mark.parametrize("trust", ["retired", "revoked", "early"])
def test_heads_are_judged_alike(trust: str, keys: KeySet, seen: str, quorum: int) -> None:
    """A head of retired, revoked or mixed log keys counts for both or for neither; so do its witnesses."""
    root = replace(ROOTS[trust], witnesses=tuple(each.key.text() for each in WITNESSES), quorum=quorum)
    note = Note.decode(keys.head())
    for signers, time in HEADS[seen]:
        note = cosign(note, signers, time.ns // 10**9)
    data = note.encode()
    if both(lambda: open_head(data, root), lambda: check_head(data, read(root))):
        assert [each.witness for each in open_head(data, root).cosigned] == sorted(
            check_head(data, read(root)).seen
        )


def test_a_witnessed_head_of_revoked_keys_counts() -> None:
    """What a witness saw before the revocation is proven; what it saw afterwards, or nobody, is not."""
    root = read(replace(REVOKED, witnesses=tuple(each.key.text() for each in WITNESSES), quorum=1))
    found = {
        name: passes(lambda: check_head(cosign(Note.decode(OLD.head()), *seen[0]).encode(), root))  # noqa: B023
        for name, seen in {
            "before": ((WITNESSES, NOW.ns // 10**9),), "later": ((WITNESSES, LATER.ns // 10**9 + 1),)
        }.items()
    }  # fmt: skip
    assert {"before": True, "later": False} == found


def test_a_retired_log_key_speaks_for_its_own_time_alone() -> None:
    """A head with more records than the log had when its keys were replaced is refused; of revoked ones, nothing that was kept is compared."""
    data = OLD.head(4)
    assert [True, False] == [
        both(lambda: open_head(data, root), lambda: check_head(data, read(root)))  # noqa: B023 - called at once
        for root in (BEFORE, RETIRED)
    ]
    with pytest.raises(Missing):
        check_head(data, read(REVOKED), kept=True)
    assert 4 == check_head(data, read(RETIRED), kept=True).size


@pytest.mark.parametrize("time", [0, 253_402_300_800, 2**62])
def test_an_odd_time_of_a_witness_breaks_nothing(time: int) -> None:
    """A cosignature of the year 1970, or of one after 9999, is told with a time that can be written."""
    root = replace(RETIRED, witnesses=tuple(each.key.text() for each in WITNESSES))
    note = cosign(Note.decode(NEW.head()), WITNESSES, time).encode()
    assert min(time, 1) == int(check_head(note, read(root)).seen["w.example/1"] > "1970-01-01T00:00:00Z")


def test_one_key_under_two_names_is_one_witness() -> None:
    """A quorum of two is not one key that is named twice."""
    key = WITNESSES[0].key
    data = canonical.decode(RETIRED.encode())
    data |= {"witnesses": [key.text(), replace(key, name="w.example/2").text()], "quorum": 2}
    said = canonical.encode(data)
    with pytest.raises(Broken):
        check_trust(pack_of({"trust.json": said}), Digest.of(said).hex)


def test_a_head_cannot_be_stripped_of_a_signature() -> None:
    """Where a key set of former times had the same Ed25519 key alone, a head without the ML-DSA-44 line is refused."""
    root = read(replace(RETIRED, past=(replace(NEW.era(records=9), log_pq=None),)))
    text, _, lines = NEW.head().rpartition(b"\n\n")
    with pytest.raises(Broken):
        check_head(text + b"\n\n" + lines.splitlines(keepends=True)[0], root)


GONE = RevokedWorker(key="a" * 32, time=NOW, records=3)
ROTATED = MIDDLE.trust(2, past=(OLD.era(),))
MARKED = replace(MIDDLE.trust(2, past=(OLD.era("log"),)), revoked_workers=(GONE,))
NEW_ROOT = OLD.with_new("root")
STEPS: Mapping[str, tuple[TrustRoot, TrustRoot, Sequence[MemorySigner], bool]] = {
    "proper": (BEFORE, ROTATED, OLD.roots, True),
    "the root replaced": (BEFORE, NEW_ROOT.trust(2), (*OLD.roots, *NEW_ROOT.roots), True),
    "marked later": (ROTATED, replace(MIDDLE.trust(3), past=(OLD.era("log"),)), OLD.roots, True),
    "arbitrary new keys": (BEFORE, STRANGER.trust(2, past=(OLD.era(),)), STRANGER.roots, False),
    "by the release keys": (BEFORE, ROTATED, OLD.releases, False),
    "by one root key": (BEFORE, ROTATED, (OLD.root,), False),
    "the root replaced by itself": (BEFORE, NEW_ROOT.trust(2), NEW_ROOT.roots, False),
    "a version skipped": (BEFORE, replace(ROTATED, version=3), OLD.roots, False),
    "the same version": (BEFORE, BEFORE, OLD.roots, False),
    "made before": (BEFORE, replace(ROTATED, made=Instant(NOW.ns - DAY)), OLD.roots, False),
    "an era left out": (BEFORE, replace(ROTATED, past=()), OLD.roots, False),
    "a past of other keys": (BEFORE, replace(ROTATED, past=(STRANGER.era(),)), OLD.roots, False),
    "an era put in": (BEFORE, replace(ROTATED, past=(STRANGER.era(), OLD.era())), OLD.roots, False),
    "another origin": (BEFORE, OLD.trust(2, origin="gatewright/other"), OLD.roots, False),
    "a mark taken back": (MARKED, replace(MARKED, version=3, past=(OLD.era(),)), OLD.roots, False),
    "a worker taken back": (MARKED, replace(MARKED, version=3, revoked_workers=()), OLD.roots, False),
    "a worker changed": (MARKED, replace(MARKED, version=3, revoked_workers=(replace(GONE, records=9),)), OLD.roots, False),
}  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_steps_of_the_keys_are_judged_alike(step: str) -> None:
    """Each way to change the keys of a home is taken by both or refused by both."""
    before, after, signers, holds = STEPS[step]
    data = seal_step(after, signers)
    ours = canonical.decode(before.encode())
    assert holds == both(lambda: next_trust(before, data), lambda: next_version(ours, Envelope(data)))


def test_a_revoked_key_in_force_is_refused() -> None:
    """Keys that say of themselves that they were revoked are no keys, for both."""
    data = canonical.decode(RETIRED.encode())
    data["past"][0]["revoked"] = ["release"]
    for part in ("release", "release-pq"):
        data["keys"][part] = data["past"][0]["keys"][part]
    said = canonical.encode(data)
    assert not both(
        lambda: TrustRoot.decode(said),
        lambda: check_trust(pack_of({"trust.json": said}), Digest.of(said).hex),
    )


# ---- tensors ---------------------------------------------------------------------------------------------

VALUES: Mapping[str, list[object]] = {
    "numbers": [0.1, -2.5, 1e39, 0.0],
    "small": [1e-8, 6.1e-5, 65519.9, 65520.0],
    "whole": [1, 2.0, -3, 16777217],
    "large": [2**53 + 1, 1, 2, 3],
    "null": [None, 1.0, 2.0, 3.0],
    "truth": [True, False, True, True],
    "texts": ["a", "ä", "", "long"],
    "nested": [[0.5, 1.5], [2.5, 3.5]],
    "nested wrongly": [[0.5], [1.5, 2.5, 3.5]],
    "too few": [1.0],
}


@pytest.mark.parametrize("sent", list(DataType))
@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("gaps", [False, True])
def test_json_tensors_are_encoded_alike(values: str, sent: DataType, *, gaps: bool) -> None:
    """Values of every kind, in every type, sent and held: the same bytes from both, or refused by both."""
    told = {"name": "x", "datatype": sent.value, "shape": [2, 2], "data": VALUES[values]}
    floats = [kind for kind in DataType if "FP" in kind or "BF" in kind]
    whole = [kind for kind in DataType if "INT" in kind]
    held = floats if sent in floats else [*whole, *floats] if sent in whole else [sent]
    for kind in held if gaps else [sent]:
        assert _product(told, kind, gaps=gaps) == _one_file(told, kind, gaps=gaps), kind


def _product(told: Json, held: DataType, *, gaps: bool) -> bytes | None:
    try:
        if not gaps:
            return outputs_encoding({"outputs": [told]})
        (tensor,) = request_in(json.dumps({"inputs": [told]}).encode())
        signature = replace(model_signature(), inputs=(TensorSpec(name="x", datatype=held, shape=(2, 2)),))
        found: list[bytes] = []

        def keep(encoding: bytes) -> bool:
            found.append(encoding)
            return True

        inputs_are([tensor], signature, keep)
        return found[0] if found else None
    except BadInput:
        return None


def _one_file(told: Json, held: DataType, *, gaps: bool) -> bytes | None:
    try:
        return encoded([(told, held.value)], gaps=gaps)
    except (ArithmeticError, LookupError, TypeError, ValueError, struct.error):
        return None


@pytest.mark.parametrize("kind", DataType)
@pytest.mark.parametrize("rest", [b"", b"\n", b"more"])
def test_binary_answers_are_read_alike(kind: DataType, rest: bytes) -> None:
    """JSON with binary data behind it, whole, padded, cut or lengthened, is read by both as the same, or by neither."""
    values = (
        np.array([1, 0, 1], dtype=dtype_of(kind))
        if kind is not DataType.BYTES
        else np.array([b"a", b"bc", b""], object)
    )
    data = raw_of(values, kind)
    told = {"name": "x", "datatype": kind.value, "shape": [3], "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"outputs": [told], "parameters": {"receipt": "gwr1.x"}}).encode()
    for body in (head + data, head + rest + data, head + data + rest, head + data[:-1], head + rest):
        try:
            product = saved_in(body)
        except BadInput:
            product = None
        try:
            ours, whole = saved(body, "outputs")
        except Missing:
            assert product is None
            continue
        assert product is not None
        assert product.head_only is not whole
        if whole:
            wanted = encode_typed([("x", kind, values)])
            assert (wanted, wanted) == (
                outputs_encoding(product.answer or {}),
                encoded([(ours["outputs"][0], kind.value)]),
            )


def test_a_receipt_alone_is_read() -> None:
    """A saved token, bare or as a JSON string, is a receipt without an answer."""
    for body in (b"gwr1.abc\n", b'"gwr1.abc"', b'{"receipt":"gwr1.abc"}'):
        assert saved_in(body).token == saved(body, "outputs")[0]["receipt"]
