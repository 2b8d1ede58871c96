"""in-toto Statement v1: a predicate of a type about subjects, in the one form that we write.

Laws: ``Statement.decode(s.encode()) == s``; ``s.encode() == b`` for every ``b`` that ``decode`` takes.

Source: in-toto/attestation, ``spec/v1/statement.md``.

Not here: what the predicate types say (``statement.py``, which lists them all), and signatures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gatewright.kernel import canonical
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput
from gatewright.releases.envelope import PAYLOAD_BYTES
from gatewright.releases.fields import Fields

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
RELEASE_SUBJECT = "release"
SUBJECTS = 16
ID_LENGTH = 128
"""Most characters of the id of a principal or a key."""
ORIGIN_LENGTH = 256
CODE = "releases.statement"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A predicate of a type about subjects, which map a name to a digest."""

    predicate_type: str
    subjects: Mapping[str, Digest]
    predicate: JsonObject

    def encode(self) -> bytes:
        """Canonical JSON, subjects by name."""
        return canonical.encode(
            {
                "_type": STATEMENT_TYPE,
                "predicate": self.predicate,
                "predicateType": self.predicate_type,
                "subject": [
                    {"digest": {"sha256": self.subjects[name].hex}, "name": name}
                    for name in sorted(self.subjects)
                ],
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Statement:
        """Read what :meth:`encode` wrote; raises BadInput for every other form."""
        if len(data) > PAYLOAD_BYTES:
            raise BadInput("releases.statement-too-large", f"The statement takes {len(data):,} bytes.")
        fields = Fields.read(canonical.decode(data), of="the statement", code=CODE)
        fields.exactly("_type", "predicate", "predicateType", "subject")
        fields.constant("_type", STATEMENT_TYPE)
        subjects = {
            subject.exactly("digest", "name").text("name"): subject.object("digest")
            .exactly("sha256")
            .digest("sha256")
            for subject in fields.objects("subject", least=1, most=SUBJECTS)
        }
        statement = cls(
            predicate_type=fields.text("predicateType"),
            subjects=subjects,
            predicate=fields.object("predicate").value,
        )
        if statement.encode() != data:
            raise BadInput(CODE, "The subjects of the statement are not in order, each once.")
        return statement

    def subject(self, name: str) -> Digest:
        """The digest of the only subject, which must have this name; raises BadInput."""
        if set(self.subjects) != {name}:
            raise BadInput(CODE, f"The statement must be about one subject, named {name!r}.", place="subject")
        return self.subjects[name]


def about(root: Digest, predicate_type: str, predicate: JsonObject) -> Statement:
    """A statement about one release."""
    return Statement(predicate_type=predicate_type, subjects={RELEASE_SUBJECT: root}, predicate=predicate)


def principal(fields: Fields) -> str:
    """The id of a principal in a predicate; raises BadInput where it is empty."""
    found = fields.text("principal", most=ID_LENGTH)
    if not found:
        raise fields.refuse("principal", "the id of a principal")
    return found
