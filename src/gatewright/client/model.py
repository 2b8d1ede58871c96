"""One model version of a home as Python sees it: checked, shipped and asked from the same object."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gatewright.assembly.calling import Trust
from gatewright.assembly.homes import read_home
from gatewright.checks.finding import Finding
from gatewright.checks.report import Report
from gatewright.client import asking, sheets
from gatewright.client.asking import Answers
from gatewright.client.dataset import plain
from gatewright.client.display import Mark, Sheet, Shown, say
from gatewright.client.opening import Place, root_of
from gatewright.client.parity import Parity
from gatewright.client.server import trust_of, url_of
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import DependencyFailed, Misuse
from gatewright.models.signature import DataType
from gatewright.models.signature_format import decode_signature
from gatewright.operations import check as checking
from gatewright.operations import ship as shipping
from gatewright.operations.catalogue import DatasetVersion, Endpoint, ModelVersion, find_live
from gatewright.operations.check import Checked
from gatewright.operations.data import dataset
from gatewright.operations.deploy import deploy_release
from gatewright.operations.files import POLICY_BYTES, read_file
from gatewright.operations.home import Home
from gatewright.operations.models import model as find_model
from gatewright.operations.released import release
from gatewright.operations.ship import Shipped
from gatewright.operations.status import status
from gatewright.policy.verdict import Verdict
from gatewright.releases.manifest import POLICY

PLAN_S = 60.0
"""How long a running server may take to put a new plan in force."""

# The API keys that were made in this process, by home and endpoint; they are written nowhere.
_KEYS: dict[tuple[Path, str], str] = {}


class _Steps:
    """What was done, with the seconds each step took, told as it begins."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._begun: list[tuple[str, float]] = []

    def __call__(self, text: str) -> None:
        self._begun.append((text, time.monotonic()))
        self._tell(text)

    def ended(self) -> tuple[tuple[str, float], ...]:
        """Each step with its seconds; nothing is going on any more."""
        self._tell("")
        ends = [*(begun for _, begun in self._begun), time.monotonic()][1:]
        return tuple((text, end - begun) for (text, begun), end in zip(self._begun, ends, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Check(Shown):
    """A report with its verdict. ``allowed`` says whether the policy's rules hold; approvals come after."""

    checked: Checked
    sensitive: tuple[str, ...]
    steps: tuple[tuple[str, float], ...]

    @property
    def allowed(self) -> bool:
        """Whether every rule of the policy holds."""
        return not self.verdict.objections

    @property
    def report(self) -> Report:
        """All findings, with their numbers."""
        return self.checked.report

    @property
    def verdict(self) -> Verdict:
        """What the policy says, with every reason."""
        return self.checked.verdict

    def finding(self, check: str) -> Finding:
        """What one check found; raises Misuse for a check that did not run."""
        found = self.report.finding(check)
        if found is None:
            ran = ", ".join(one.check for one in self.report.findings)
            raise Misuse("client.no-finding", f"There is no finding of {check!r}.", next=f"There is: {ran}.")
        return found

    def sheet(self) -> Sheet:
        """Findings, numbers and the verdict."""
        return sheets.check_sheet(self.checked, self.sensitive, self.steps)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Live(Shown):
    """A version that is live on ``endpoint``; ``shipped`` is what was done for it, None where it was live already."""

    ref: str
    endpoint: str
    shipped: Shipped | None
    has_key: bool
    steps: tuple[tuple[str, float], ...]

    def sheet(self) -> Sheet:
        """What each step made."""
        if self.shipped is not None:
            return sheets.shipped_sheet(self.shipped, self.steps, has_key=self.has_key)
        key = "a further API key was made, kept in this process and nowhere else: .api_key."
        done = f"{key} Nothing else was done." if self.has_key else "nothing was done."
        return Sheet(
            title=f"{self.ref} is live already",
            lead=((Mark(word="live"), f"{self.ref} answers on endpoint {self.endpoint}; {done}"),),
        )


class Model(Shown):
    """One model version of a home.

    ``ref`` is its name and version, ``parity`` how its ONNX form was compared with what was submitted (None
    where ONNX was, and where this process did not compare them), ``version`` and ``data`` what the home holds of it. Make one with ``gw.submit`` or
    ``gw.model``. One that was named without a version is the newest version to check and to ship;
    ``predict`` then takes the answer of whichever version is live.
    """

    __slots__ = ("_any_version", "_new_data", "_told", "data", "parity", "root", "version")

    def __init__(
        self,
        root: Path,
        version: ModelVersion,
        data: DatasetVersion,
        parity: Parity | None = None,
        *,
        new_data: bool = False,
        any_version: bool = False,
    ) -> None:
        self.root = root
        self.version = version
        self.data = data
        self.parity = parity
        self._new_data = new_data
        self._any_version = any_version
        self._told: set[str] = set()

    @property
    def ref(self) -> str:
        """``name@version``."""
        return self.version.ref

    def sheet(self) -> Sheet:
        """What was submitted."""
        said = "" if self.parity is None else self.parity.sentence()
        return sheets.model_sheet(self.version, self.data, said, new_data=self._new_data)

    def check(self, *, policy: str | Path | None = None, seed: int = 0) -> Check:
        """Run every check on the locked test rows and let the policy judge; the report is recorded.

        ``policy`` is a file to try out, by default the home's own. A denial is a result here, not an error.
        """
        self._told.clear()
        steps = _Steps(self._tell)
        with read_home(self.root) as home:
            checked = checking.check(home, self.ref, policy_file=_path(policy), seed=seed, progress=steps)
        return Check(checked=checked, sensitive=self.data.sensitive, steps=steps.ended())

    def ship(self, to: str = "", *, seed: int = 0, new_key: bool = False) -> Live:
        """Check, release, approve where the policy lets one person, and deploy, on the endpoint ``to``.

        The endpoint is by default named like the model; its API key, made with its first deployment, is kept
        in this process (``api_key``). ``new_key`` makes a further one, for a process that has none. What is
        live already under the home's policy is left as it is.

        Raises Refused where the policy denies it and ApprovalNeeded where it waits for other people; what was
        done until then is recorded, and shipping again goes on from there.
        """
        endpoint = to or self.version.name
        steps = _Steps(self._tell)
        shipped = None
        with read_home(self.root) as home:
            live = find_live(home, endpoint)
            if live is None or live.ref != self.ref or not _judged_by_this_policy(home, live):
                shipped = shipping.ship(home, self.ref, endpoint=endpoint, seed=seed, progress=steps)
                live, key = shipped.deployed.entry, shipped.deployed.api_key
            else:
                key = ""
            if new_key and not key:
                with home.exclusive():
                    key = deploy_release(home, live.root.hex, endpoint=endpoint, new_key=True).api_key
        if key:
            _KEYS[self.root, endpoint] = key
        self._told.clear()
        return Live(ref=self.ref, endpoint=endpoint, shipped=shipped, has_key=bool(key), steps=steps.ended())

    def _tell(self, step: str) -> None:
        """Say a step, unless it was said since the last check began: what shipping does again is no news."""
        if step not in self._told:
            say(step)
        if step:
            self._told.add(step)

    @property
    def api_key(self) -> str:
        """The API key of the endpoint named like the model, when it was made in this process; else empty."""
        return _KEYS.get((self.root, self.version.name), "")

    def predict(
        self,
        rows: Any,
        *,
        endpoint: str = "",
        api_key: str = "",
        subject: str | None = None,
        url: str = "",
        ca: str | Path = "",
        client_cert: str | Path | tuple[str | Path, str | Path] | None = None,
    ) -> Answers:
        """Ask the live endpoint about rows: class names, probabilities, and a receipt for each request.

        ``rows`` is a DataFrame, or a mapping from column to a list of values, with the model's columns; others
        are left out. A None in a column of numbers is a missing number. There is no other
        prediction here: each one is recorded, or none is made. ``subject`` says whom the rows are about: one
        subject always meets the same release of an experiment. The server of this home is asked, or the one
        at ``url``; ``ca`` is a PEM file with the authority of a server that speaks TLS, where it is neither
        the home's own nor one of the system's, and ``client_cert`` a PEM file with the caller's certificate
        and key, or two, where callers must show one.

        Raises Misuse: ``client.not-live`` where this version does not answer there, ``client.no-server`` where no
        server runs, ``client.no-key`` without a key; what :func:`gatewright.client.dataset.plain` and :func:`gatewright.client.asking.ask` raises.
        """
        name = endpoint or self.version.name
        key = api_key or _KEYS.get((self.root, name), "")
        with read_home(self.root) as home:
            live, refs = self._answering(home, name)
            found = find_model(home, live.ref) if self._any_version else self.version
            signature = decode_signature(home.blobs.get(found.signature))
        if not key:
            raise Misuse(
                "client.no-key",
                f"This process has no API key of the endpoint {name!r}.",
                why="A key is shown or kept once, by whoever made it, and written nowhere.",
                next="Give it: .predict(rows, api_key=...), or make a further one: .ship(new_key=True)",
            )
        trust = _showing(Trust(authority=Path(ca)) if ca else trust_of(self.root), client_cert)
        url = url or _answering(self.root, live, trust)
        texts = {
            column for spec in signature.inputs if spec.datatype is DataType.BYTES for column in spec.columns
        }
        columns = plain(
            rows, [column for spec in signature.inputs for column in spec.columns], frozenset(texts)
        )
        return asking.ask(
            asking.Endpoint(
                url=url,
                name=name,
                api_key=key,
                refs=refs,
                version="" if self._any_version else str(self.version.version),
                subject=subject,
                trust=trust,
            ),
            signature,
            columns,
            self.root,
        )

    def _answering(self, home: Home, name: str) -> tuple[Endpoint, dict[str, str]]:
        """What is live on an endpoint, and by version the releases whose answer is taken; Misuse for none."""
        live = find_live(home, name)
        refs = {} if live is None else _refs(live)
        if live is not None and self._any_version:
            return live, refs
        version = str(self.version.version)
        if live is not None and refs.get(version) == self.ref:
            return live, {version: self.ref}
        instead = "" if live is None else f", or ask the one that is live: gw.model({live.ref!r})"
        raise Misuse(
            "client.not-live",
            f"{self.ref} is not live on the endpoint {name!r}.",
            why="Nothing is live there." if live is None else f"{live.ref} is.",
            next=f"Ship it: .ship(){instead}",
        )


def model(ref: str, *, home: Place = None) -> Model:
    """The model version of a home that ``NAME@VERSION`` or ``NAME`` (its newest version) names."""
    root = root_of(home)
    with read_home(root) as opened:
        version = find_model(opened, ref)
        return Model(root, version, dataset(opened, version.dataset), any_version="@" not in ref)


def _path(policy: str | Path | None) -> Path | None:
    return None if policy is None else Path(policy)


def _judged_by_this_policy(home: Home, live: Endpoint) -> bool:
    now = Digest.of(read_file(home.policy_path, limit=POLICY_BYTES))
    return release(home, live.root.hex).resources[POLICY] == now


def _refs(live: Endpoint) -> dict[str, str]:
    """The releases that answer an endpoint, by version; where two models have one version, the champion's."""
    answering = [each.ref for each in live.placed if each.place != "shadow"]
    return {ref.partition("@")[2]: ref for ref in (*answering, live.ref)}


def _showing(trust: Trust, certificate: str | Path | tuple[str | Path, str | Path] | None) -> Trust:
    """With the certificate that the caller shows."""
    if certificate is None:
        return trust
    if isinstance(certificate, tuple):
        return replace(trust, certificate=Path(certificate[0]), key=Path(certificate[1]))
    return replace(trust, certificate=Path(certificate))


def _answering(root: Path, live: Endpoint, trust: Trust) -> str:
    """Where the server answers, with the plan in force that made this version live."""
    until = time.monotonic() + PLAN_S
    while True:
        url = url_of(root, trust)
        if not url:
            raise Misuse(
                "client.no-server",
                "No server of this home answers.",
                why="Predictions are made by the endpoint, which records each one.",
                next="Start one here with gw.serve(), or in a terminal with: gatewright serve",
            )
        with read_home(root) as home:
            worker = status(home).worker or {}
        if int(str(worker.get("plan", 0))) >= live.plan_number:
            return url
        if time.monotonic() > until:
            raise DependencyFailed(
                "client.plan-not-taken",
                f"The server has not put plan {live.plan_number} in force.",
                why=str(worker.get("refusal") or ""),
                place=url,
            )
        time.sleep(0.05)
