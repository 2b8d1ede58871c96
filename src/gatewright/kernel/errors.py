"""The error tree. Every failure that reaches a person is one of five kinds, never a shared one.

    GatewrightError
     ├── Misuse             the call itself is wrong: a bad name, a missing argument, no home
     ├── BadInput           the bytes handed in are not what they should be
     ├── Refused            a gate said no
     │    └── ApprovalNeeded    the gate waits for people
     ├── Tampered           stored or received evidence does not hold
     └── DependencyFailed   disk, database, child process or another program failed

Each carries a stable ``code`` (``area.what-happened``), *what* happened, *why*, and what to do
*next*. No exit code and no HTTP status lives here: each edge owns its own table.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A reasoned "no", as a value.

    ``code`` is stable (``models.code-bearing-format``); ``what`` is one plain sentence; ``why``
    gives the reason; ``next`` says what to do; ``place`` names where (file, row, column, node),
    or is empty.
    """

    code: str
    what: str
    why: str = ""
    next: str = ""
    place: str = ""

    def sentence(self) -> str:
        """Return the refusal as one plain paragraph."""
        parts = [self.what if not self.place else f"{self.what} (at {self.place})"]
        parts += [part for part in (self.why, self.next) if part]
        return " ".join(part if part.endswith((".", "!", "?", ":")) else f"{part}." for part in parts)


def _visible(text: str) -> str:
    return "".join(letter if letter.isprintable() else f"<U+{ord(letter):04X}>" for letter in text)


class GatewrightError(Exception):
    """Root of every error this product raises on purpose."""

    def __init__(self, code: str, what: str, *, why: str = "", next: str = "", place: str = "") -> None:  # noqa: A002
        self.refusal = Refusal(code=code, what=what, why=why, next=next, place=place)
        super().__init__(self.refusal.sentence())

    @property
    def code(self) -> str:
        """The stable code of this error."""
        return self.refusal.code

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows of it (IPython asks for this name): the refusal, not the way to it.

        Letters that cannot be seen, or that act on a terminal, are shown as their codes.
        """
        parts = [
            ("\x1b[31m✗\x1b[0m \x1b[1m", self.refusal.what, "\x1b[0m"),
            ("  at ", self.refusal.place, ""),
            ("  ", self.refusal.why, ""),
            ("\x1b[36m→\x1b[0m ", self.refusal.next, ""),
            ("  \x1b[2m", self.refusal.code, "\x1b[0m"),
        ]
        return [before + _visible(text) + after for before, text, after in parts if text]

    @classmethod
    def of(cls, refusal: Refusal) -> GatewrightError:
        """Raise-able form of a refusal value."""
        return cls(refusal.code, refusal.what, why=refusal.why, next=refusal.next, place=refusal.place)


class Misuse(GatewrightError):
    """The call itself is wrong; nothing was read or changed."""


class BadInput(GatewrightError):
    """The bytes handed in are not what they should be; nothing was changed."""


class Refused(GatewrightError):
    """A gate said no; the refusal is recorded where the gate keeps records."""


class ApprovalNeeded(Refused):
    """The gate waits for people to approve."""


class Tampered(GatewrightError):
    """Evidence does not hold: a digest, a proof or a signature is wrong."""


class DependencyFailed(GatewrightError):
    """Something this product depends on failed: disk, database, child process, port."""
