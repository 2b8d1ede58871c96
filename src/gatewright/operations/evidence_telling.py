"""What the page of an evidence pack tells, from what the pack was made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.instants import Instant
from gatewright.ledger.records import Record
from gatewright.operations.answers import saved_in
from gatewright.operations.catalogue import Release
from gatewright.operations.evidence_gathering import Gathered
from gatewright.operations.evidence_verifier import LAST
from gatewright.operations.grounds import Who
from gatewright.operations.plan_records import ENDPOINT_KINDS
from gatewright.releases.unproven import UNPROVEN
from gatewright.reports.evidence_page import Cell, Event, EvidencePage, Link, Rows, ShownRelease, Word

METRICS = 400
"""Most numbers of one release that the page shows; the report has them all."""
DAYS = 400
VALUES, CHARACTERS = 8, 400
"""Most values of an output, and most characters of an answer, that the page shows."""
_FINE = {"passed": True, "skipped": None}
_SECOND = 10**9


def page_of(found: Gathered, files: Mapping[str, bytes]) -> EvidencePage:
    """The values of the page; ``files`` are those of the pack, which it links to."""
    who = Who(found.home)
    sealed = [each for each in (*found.records, *found.others) if each.draft.kind == "predictions.sealed"]
    predictions = sum(int(str(each.draft.body["records"])) for each in sealed)
    witnesses = len(found.head.cosigned)
    return EvidencePage(
        endpoint=found.endpoint,
        start=str(found.start),
        end=str(found.end),
        origin=found.home.origin,
        fingerprint=found.home.trust.fingerprint().hex,
        verifier=Digest.of(files["verify_evidence.py"]).hex,
        summary=(
            (_many(len(found.releases)), "releases answered, or stood ready"),
            (_many(len(found.records)), "records of the log, without a gap"),
            (_many(predictions), "predictions sealed into the log, all endpoints"),
            (_many(witnesses), _witnessed(witnesses, found.home.trust.quorum)),
        ),
        events=tuple(_events(found, who)),
        releases=tuple(_release(found, each, files, who) for each in found.releases),
        predictions=_predictions(sealed),
        answers=_answers(files),
        keys=_keys(found),
        witnesses=_witnesses(found),
        contents=_contents(files),
        proven=tuple(_proven(found, files)),
        unproven=UNPROVEN,
        notes=tuple(_notes(found)),
    )


def _witnessed(count: int, quorum: int) -> str:
    needed = f", of {quorum} that are needed" if quorum else ""
    return f"{'witness' if count == 1 else 'witnesses'} cosigned the log{needed}"


def _many(count: int) -> str:
    return f"{count:,}"


def _record_link(found: Gathered, record: Record) -> Link:
    within = found.first <= record.seq < found.stop
    return Link(text=f"record {record.seq}", file=f"log/{'records' if within else 'others'}.jsonl")


def _events(found: Gathered, who: Who) -> Iterator[Event]:
    own = [
        each
        for each in sorted((*found.others, *found.records), key=lambda each: each.seq)
        if each.draft.kind in ENDPOINT_KINDS and each.draft.body["endpoint"] == found.endpoint
    ]
    for each in own:
        if each.time <= found.end:
            yield Event(
                time=str(each.time),
                what=f"{each.draft.body['what']!s}.",
                by=who.named(each.draft.actor),
                proof=_record_link(found, each),
                before=each.time < found.start,
            )


def _release(found: Gathered, release: Release, files: Mapping[str, bytes], who: Who) -> ShownRelease:
    base = f"releases/{release.root.hex}"
    report = canonical.decode_any(files[f"{base}/release/report.json"])
    verdict = canonical.decode_any(files[f"{base}/release/verdict.json"])
    manifest = canonical.decode_any(files[f"{base}/release/release.json"])
    held = sum(each["outcome"] == "ok" for each in verdict["reasons"])
    sentence = (
        f"Made on {manifest['created'][:10]} from dataset {manifest['dataset']}, tier {manifest['tier']}. "
        f"{held} of the {len(verdict['reasons'])} rules of its policy hold; the policy asked for "
        f"{verdict['approvals_needed']} approval{'' if verdict['approvals_needed'] == 1 else 's'}."
    )
    tables = (_approvals(found, release, who, verdict), _rules(verdict), _findings(report), _metrics(report))
    proofs = (
        Link(text="report", file=f"{base}/release/report.json"),
        Link(text="verdict", file=f"{base}/release/verdict.json"),
        Link(text="policy", file=f"{base}/release/policy.toml"),
        Link(text="signature", file=f"{base}/model.sig"),
        Link(text="model", file=f"{base}/release/model.onnx"),
    )
    return ShownRelease(
        ref=release.ref,
        root=release.root.hex,
        sentence=sentence,
        warnings=tuple(_warnings(found, release, who, verdict)),
        tables=tuple(each for each in tables if each.rows),
        proofs=proofs,
    )


def _warnings(found: Gathered, release: Release, who: Who, verdict: Mapping[str, Any]) -> Iterator[str]:
    """What must not be overlooked: that a release was revoked, and which rules it does not satisfy."""
    for each in (*found.others, *found.records):
        if each.draft.kind == "release.revoked" and each.draft.body.get("root") == release.root.hex:
            yield (
                f"REVOKED on {str(each.time)[:10]} {str(each.time)[11:19]} UTC by {who.named(each.draft.actor)}, "
                f"reason: {each.draft.body['reason']}. It answers no more; what it answered before stays proven."
            )
    for waived in verdict.get("waivers", ()):
        yield (
            f"A RULE DOES NOT HOLD AND WAS WAIVED: {waived['rule']}. {who.named(waived['principal'])} "
            f"({waived['role']}) waived it on {waived['time'][:10]}, until {waived['until'][:10]}."
        )


def _rules(verdict: Mapping[str, Any]) -> Rows:
    rows: list[tuple[Cell, ...]] = [
        (
            each["rule"],
            Word(text=each["outcome"], good=False),
            each["what"],
        )
        for each in verdict["reasons"]
        if each["outcome"] != "ok"
    ]
    return Rows(
        caption="Rules of the policy that do not hold",
        headings=("rule", "outcome", "what was found"),
        rows=tuple(rows),
    )


def _approvals(found: Gathered, release: Release, who: Who, verdict: Mapping[str, Any]) -> Rows:
    kinds = {"release.approved": "approved", "release.waived": "waived a rule", "release.revoked": "revoked"}
    waivers = {each["principal"] for each in verdict.get("waivers", ())}
    rows: list[tuple[Cell, ...]] = [
        (
            who.named(str(each.draft.body.get("principal", each.draft.actor))),
            kinds[each.draft.kind]
            + (
                "; does not count, who waives cannot approve"
                if each.draft.kind == "release.approved" and each.draft.body.get("principal") in waivers
                else ""
            ),
            str(each.draft.body.get("role", "")),
            f"{str(each.time)[:19]}Z",
            _record_link(found, each),
        )
        for each in sorted((*found.others, *found.records), key=lambda each: each.seq)
        if each.draft.kind in kinds and each.draft.body.get("root") == release.root.hex
    ]
    return Rows(
        caption="Who said what of it",
        headings=("person", "act", "as", "time (UTC)", "proof"),
        rows=tuple(rows),
    )


def _findings(report: Mapping[str, Any]) -> Rows:
    rows: list[tuple[Cell, ...]] = [
        (
            each["check"],
            Word(text=each["outcome"], good=_FINE.get(each["outcome"], False)),
            each["reason"] or each["summary"],
        )
        for each in report["findings"]
    ]
    return Rows(caption="What was checked", headings=("check", "outcome", "what was found"), rows=tuple(rows))


def _metrics(report: Mapping[str, Any]) -> Rows:
    rows: list[tuple[Cell, ...]] = [
        (
            ", ".join(filter(None, (metric["name"], metric["slice"]))),
            _number(metric["value"]),
            f"{_number(metric['low'])} to {_number(metric['high'])}",
            _many(metric["size"]),
        )
        for each in report["findings"]
        for metric in each["metrics"]
        if each["check"].startswith(("performance.metrics", "fairness.")) and metric["method"] != "exact"
    ]
    more = f", the first {METRICS} of {len(rows):,}" if len(rows) > METRICS else ""
    return Rows(
        caption=f"Numbers on the locked test rows, with their 95 % intervals{more}",
        headings=("metric", "value", "interval", "rows"),
        rows=tuple(rows[:METRICS]),
        right=(1, 2, 3),
    )


def _number(value: float) -> str:
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e2 else f"{value:.4g}"


def _predictions(sealed: list[Record]) -> Rows:
    segments: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for each in sealed:
        day = str(each.draft.body["first"])[:10]
        segments[day] += 1
        counts[day] += int(str(each.draft.body["records"]))
    days = sorted(counts)[-DAYS:]
    return Rows(
        caption="Sealed segments, by the day of their first prediction",
        headings=("day (UTC)", "segments", "predictions"),
        rows=tuple((day, _many(segments[day]), _many(counts[day])) for day in days),
        right=(1, 2),
    )


def _answers(files: Mapping[str, bytes]) -> Rows:
    rows: list[tuple[Cell, ...]] = [
        (
            Link(text=name, file=name),
            _said(files[name]),
            Link(text="proof that the log kept it", file=name.replace(".answer.", ".proof.")),
        )
        for name in sorted(files)
        if name.endswith(".answer.json")
    ]
    return Rows(
        caption="Answers in this pack, with their receipts",
        headings=("answer", "outputs", "proof"),
        rows=tuple(rows),
    )


def _said(content: bytes) -> str:
    """The outputs of a saved answer, as far as they are in it as JSON."""
    answer = saved_in(content).answer or {}
    told = []
    for each in answer.get("outputs") or ():
        data = each.get("data")
        values = ", ".join(map(str, data[:VALUES])) if isinstance(data, list) else "binary data"
        told.append(
            f"{each['name']}: {values}{', …' if isinstance(data, list) and len(data) > VALUES else ''}"
        )
    return "; ".join(told)[:CHARACTERS] or "the receipt alone"


def _keys(found: Gathered) -> Rows:
    trust = found.home.trust
    now = f"since version {trust.version} of the keys" if trust.past else "from the beginning"
    rows: list[tuple[Cell, ...]] = [
        (
            "now",
            f"release {trust.release.id[:12]} and {trust.release_pq.id[:12]}; log {trust.log.id[:12]}",
            now,
        )
    ]
    for era in reversed(trust.past):
        until = f"until {str(era.until)[:19]}Z, when the log had {era.records:,} records"
        gone = (
            f"; revoked: {' and '.join(era.revoked)} keys"
            if era.revoked
            else "; retired: what they signed stays proven"
        )
        rows.append(
            (
                "past",
                f"release {era.release.id[:12]} and {era.release_pq.id[:12]}; log {era.log.id[:12]}",
                f"{until}{gone}",
            )
        )
    return Rows(
        caption="The keys of this home, by their ids", headings=("when", "keys", "how long"), rows=tuple(rows)
    )


def _witnesses(found: Gathered) -> str:
    seen = [
        f"{each.witness} on {str(Instant(min(each.time, LAST) * _SECOND)).replace('T', ' ')[:16]} UTC"
        for each in found.head.cosigned
    ]
    size = found.head.checkpoint.size
    if seen:
        return f"The log of {size:,} records was cosigned by {' and '.join(seen)}. A witness refuses a log that was rewritten."
    return (
        f"No witness cosigned the log of {size:,} records. That the owner has not rewritten it shows a checkpoint or "
        "a receipt that somebody kept."
    )


def _contents(files: Mapping[str, bytes]) -> Rows:
    about = {
        "log/": "the records of the span without a gap, older ones it rests on, the signed head, the hashes that connect them",
        "releases/": "each release: its six files, the signature over them, the statements about it",
        "plans/": "the signed traffic plans of the span",
        "trust": "the owner's public keys, and each signed step that led to them",
        "workers/": "the certificates of the workers that sign receipts",
        "people/": "names, each as the opening of a salted commitment in the log",
        "answers/": "saved answers with the proofs that the log kept them",
        "crypto.cdx.json": "the cryptographic bill of materials: algorithms, and the ids of keys",
        "verify_evidence.py": "the verifier, one file",
        "manifest.": "every file of this pack with its SHA-256, and the owner's signatures over that",
    }
    rows: list[tuple[Cell, ...]] = []
    for name, what in about.items():
        inside = [each for each in (*files, "manifest.json", "manifest.dsse.json") if each.startswith(name)]
        if inside:
            rows.append(
                (
                    Link(
                        text=name,
                        file=f"{name}json"
                        if name == "manifest."
                        else "trust.json"
                        if name == "trust"
                        else name,
                    ),
                    what,
                    _many(len(inside)),
                )
            )
    return Rows(
        caption="What lies in this pack",
        headings=("place", "what it is", "files"),
        rows=tuple(rows),
        right=(2,),
    )


def _proven(found: Gathered, files: Mapping[str, bytes]) -> Iterator[tuple[str, Link]]:
    span = f"{found.first:,} to {found.stop - 1:,}"
    yield (
        f"Records {span} of the log are all here, in order, unchanged: none was removed or put in between.",
        Link(text="log", file="log/records.jsonl"),
    )
    yield (
        "Each release is exactly the bytes that were checked, and was signed with two algorithms (P-256 and ML-DSA-65).",
        Link(text="releases", file=f"releases/{found.releases[0].root.hex}/model.sig"),
    )
    yield (
        "The people named signed their approvals with their own keys, and the log recorded it when it says.",
        Link(text="records", file="log/others.jsonl"),
    )
    yield (
        "Each traffic plan names only releases that were decided for this endpoint.",
        Link(text="plans", file=f"plans/{found.plans[-1].plan.number}.dsse.json"),
    )
    if any(name.startswith("answers/") for name in files):
        yield (
            "Each answer in the pack was given by the release it names, and the log kept it.",
            Link(text="answers", file="answers/0001.answer.json"),
        )


def _notes(found: Gathered) -> Iterator[str]:
    for each in (*found.others, *found.records):
        if each.draft.kind == "home.restored":
            body = each.draft.body
            lost = max(int(str(body["known"])) - int(str(body["records"])), 0)
            yield (
                f"This home was put back on {str(each.time)[:10]} (record {each.seq:,}): its log had "
                f"{int(str(body['records'])):,} records then, and {f'{lost:,} later ones are missing' if lost else 'nobody is known to have seen more'}."
            )
    if len(found.head.cosigned) < found.home.trust.quorum:
        yield (
            f"{len(found.head.cosigned)} of the {found.home.trust.quorum} witnesses that are needed cosigned this head of the log. "
            "The verifier says so with exit code 2."
        )
    seen = min((each.record.seq for each in found.plans), default=0)
    later = any(each.record.seq > seen for each in found.plans)
    if found.first > seen + 1 and not later:
        yield (
            f"The plan in force was made in record {seen:,}, before the records without a gap, and no later plan shows "
            "that there was none between. The verifier says so with exit code 2."
        )
