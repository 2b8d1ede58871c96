"""The verdict inside a root as a SLSA verification summary, which other tools read.

A summary repeats, in the public form, what the root already binds: which policy judged which report
with which result. It adds nothing that a verifier of ours relies on, and it may not contradict the
root: ``verification.py`` compares them.

``verifiedLevels`` says ``SLSA_BUILD_LEVEL_0``, because nothing is claimed about how the model was
built, and the tier of the policy in a word of our own, ``POLICY_TIER_…``, which ends in
``_WITH_WAIVERS`` where a rule was waived.

Source: slsa.dev/spec/v1.1/verification_summary, predicate type ``https://slsa.dev/verification_summary/v1``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import Name
from gatewright.releases.fields import Fields
from gatewright.releases.in_toto import ORIGIN_LENGTH, RELEASE_SUBJECT, Statement, about

VERIFICATION_SUMMARY = "https://slsa.dev/verification_summary/v1"
SLSA_VERSION = "1.1"
PASSED = "PASSED"
NO_BUILD_LEVEL = "SLSA_BUILD_LEVEL_0"
WITH_WAIVERS = "_WITH_WAIVERS"
VERSION_LENGTH = 64

_VERIFIER = "urn:gatewright:verifier:"
_TIER = "POLICY_TIER_"
_ESCAPED = re.compile(rb"%([0-9A-F]{2})")
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
_RESOURCE = re.compile(r"pkg:generic/([^@/?]{1,63})@([1-9]\d{0,15})\?checksum=sha256:[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationSummary:
    """A home judged ``root`` by a policy, and it passed.

    ``origin`` is the home's, ``version`` that of the software that judged; ``model`` and
    ``model_version`` name the model version; the digests are those of the root's files. ``waived``
    says that a rule does not hold and was waived.
    """

    root: Digest
    origin: str
    version: str
    time: Instant
    model: Name
    model_version: int
    tier: Name
    policy: Digest
    report: Digest
    verdict: Digest
    waived: bool = False


def _quoted(text: str) -> str:
    """Text as a part of a URI (RFC 3986, 2.1)."""
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in text.encode())


def _unquoted(text: str) -> str:
    """What was quoted; whatever is no UTF-8 becomes what :func:`_quoted` would not write."""
    return _ESCAPED.sub(lambda found: bytes((int(found[1], 16),)), text.encode()).decode("utf-8", "replace")


def _input(name: str, digest: Digest) -> JsonObject:
    return {"digest": {"sha256": digest.hex}, "uri": f"urn:gatewright:{name}:sha256:{digest.hex}"}


def summary_statement(claim: VerificationSummary) -> Statement:
    """The in-toto form of a summary."""
    return about(
        claim.root,
        VERIFICATION_SUMMARY,
        {
            "inputAttestations": [_input("report", claim.report), _input("verdict", claim.verdict)],
            "policy": _input("policy", claim.policy),
            "resourceUri": f"pkg:generic/{claim.model}@{claim.model_version}?checksum=sha256:{claim.root.hex}",
            "slsaVersion": SLSA_VERSION,
            "timeVerified": str(claim.time),
            "verificationResult": PASSED,
            "verifiedLevels": [
                NO_BUILD_LEVEL,
                f"{_TIER}{claim.tier.upper()}{WITH_WAIVERS if claim.waived else ''}",
            ],
            "verifier": {
                "id": f"{_VERIFIER}{_quoted(claim.origin)}",
                "version": {"gatewright": claim.version},
            },
        },
    )


def _summary(statement: Statement, fields: Fields) -> VerificationSummary:
    """Read the parts that vary; that all the rest is as written, whoever compares the forms sees."""
    fields.constant("verificationResult", PASSED)
    verifier = fields.object("verifier")
    resource = _RESOURCE.fullmatch(fields.text("resourceUri"))
    if resource is None:
        raise fields.refuse("resourceUri", "the package URL of a model version and its root")
    inputs = fields.objects("inputAttestations", least=2, most=2)
    levels = fields.value.get("verifiedLevels")
    if not isinstance(levels, list) or len(levels) != 2 or not str(levels[1]).startswith(_TIER):
        raise fields.refuse("verifiedLevels", "no build level, and the tier of the policy")
    return VerificationSummary(
        root=statement.subject(RELEASE_SUBJECT),
        origin=_unquoted(verifier.text("id", most=3 * ORIGIN_LENGTH).removeprefix(_VERIFIER)),
        version=verifier.object("version").text("gatewright", most=VERSION_LENGTH),
        time=fields.instant("timeVerified"),
        model=Name(resource[1]),
        model_version=int(resource[2]),
        tier=Name(str(levels[1]).removeprefix(_TIER).removesuffix(WITH_WAIVERS).lower()),
        policy=fields.object("policy").object("digest").digest("sha256"),
        report=inputs[0].object("digest").digest("sha256"),
        verdict=inputs[1].object("digest").digest("sha256"),
        waived=str(levels[1]).endswith(WITH_WAIVERS),
    )


READERS: Mapping[str, Callable[[Statement, Fields], VerificationSummary]] = {VERIFICATION_SUMMARY: _summary}
"""What reads the predicate type of this file."""
