"""The page of an evidence pack: what it holds and proves, for the executive and the auditor.

Values in, HTML out. The page is whole in itself: no script, nothing fetched (its content policy forbids
both), readable without colours, by keyboard and by screen reader, on a phone and on paper. Whatever
comes from data is escaped, and what cannot be seen is shown as its code.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from gatewright.reports.texts import visible

README = """This is an evidence pack: what one endpoint served, when, on which grounds, and who approved it.

1. Open index.html. It says in plain words what is in here.
2. Get the fingerprint of the owner's keys from the owner by another way: by telephone, on paper.
3. Verify, on any machine, without network (Python 3.11, and the package cryptography 48 or newer):

       python verify_evidence.py . --fingerprint THE-FINGERPRINT

   Exit code 0: all of it holds. 3: something does not hold, and where. 2: something was missing.

verify_evidence.py came with the pack, and whoever made the pack can have changed it. If you trust nobody, use another
copy of it: install gatewright yourself and run "gatewright evidence verifier --to verify_evidence.py", which also prints
its SHA-256; the page docs/evidence-pack.md of each release of gatewright has that number, too. Or read the file, it is
written to be read. Or verify with the program: gatewright verify PACK.zip --fingerprint ...

The owner signed the pack as a whole: a page that somebody else changed is found. What the page says is the owner's
word; what the verifier prints is proven: it tells again who approved what, what was live when, and how many
predictions there are. Compare index.html with that.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A text that leads to the file in the pack that proves it."""

    text: str
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """How something stands, in one word: good, bad, or (None) neither."""

    text: str
    good: bool | None


Cell = str | Link | Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A table: caption, headings, rows; ``right`` numbers the columns of numbers."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    right: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A change of what was live: when, what, and the record that says so."""

    time: str
    what: str
    by: str
    proof: Link
    before: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRelease:
    """A release: its name and root, one sentence on how it was judged, what must not be overlooked, its tables."""

    ref: str
    root: str
    sentence: str
    warnings: tuple[str, ...]
    tables: tuple[Rows, ...]
    proofs: tuple[Link, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidencePage:
    """Everything that the page tells."""

    endpoint: str
    start: str
    end: str
    origin: str
    fingerprint: str
    verifier: str
    summary: tuple[tuple[str, str], ...]
    events: tuple[Event, ...]
    releases: tuple[ShownRelease, ...]
    predictions: Rows
    answers: Rows
    keys: Rows
    witnesses: str
    contents: Rows
    proven: tuple[tuple[str, Link], ...]
    unproven: tuple[str, ...]
    notes: tuple[str, ...]


_STYLE = """
:root{color-scheme:light dark;--ink:#1b1d22;--soft:#5a606b;--paper:#fbfaf8;--card:#fff;--line:#dedbd4;
--accent:#0b6a66;--wash:#e8f1f0;--bad:#a3271b}
@media (prefers-color-scheme:dark){:root{--ink:#e9e8e4;--soft:#a5aab4;--paper:#14171a;--card:#1b1f23;
--line:#333a41;--accent:#62c4bd;--wash:#1c2c2d;--bad:#f09a8d}}
*{box-sizing:border-box}
html{scroll-behavior:smooth;scroll-padding-top:1rem}
body{margin:0;background:var(--paper);color:var(--ink);font:1.0625rem/1.6 ui-serif,Charter,"Iowan Old Style",
"Palatino Linotype",Georgia,serif;overflow-wrap:break-word}
header,main,footer{max-width:62rem;margin:0 auto;padding:0 1.5rem}
header{padding-top:3.5rem}
h1,h2,h3,nav,th,caption,.label,.tile b,.step,code,pre,.time,.word{font-family:ui-sans-serif,system-ui,-apple-system,
"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
h1{font-size:clamp(1.9rem,5vw,2.9rem);line-height:1.12;letter-spacing:-.02em;margin:.3rem 0 .8rem;font-weight:650}
h2{font-size:1.45rem;letter-spacing:-.01em;margin:0 0 .6rem;font-weight:640}
h3{font-size:1.12rem;margin:0 0 .2rem;font-weight:640}
.label{color:var(--accent);font-size:.82rem;font-weight:650;letter-spacing:.09em;text-transform:uppercase;margin:0}
.lede{font-size:1.2rem;max-width:44rem;margin:0 0 1.6rem}
p{margin:.4rem 0 .9rem;max-width:46rem}
a{color:var(--accent);text-underline-offset:.18em;text-decoration-thickness:.06em}
a:focus-visible{outline:.15rem solid var(--accent);outline-offset:.15rem;border-radius:.15rem}
.skip{position:absolute;left:-999rem}.skip:focus{left:1rem;top:1rem;background:var(--card);padding:.5rem 1rem}
nav{border-block:1px solid var(--line);margin:1.6rem 0 0}
nav ul{display:flex;flex-wrap:wrap;gap:.15rem 1.4rem;list-style:none;margin:0;padding:.7rem 0;font-size:.95rem}
section{padding:2.6rem 0 .6rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:1px;background:var(--line);
border:1px solid var(--line);border-radius:.6rem;overflow:hidden;margin:0;padding:0;list-style:none}
.tile{background:var(--card);padding:1rem 1.1rem}
.tile b{display:block;font-size:1.65rem;line-height:1.2;font-weight:640;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:.95rem;line-height:1.35;display:block}
.line{list-style:none;margin:1rem 0;padding:0;border-left:.13rem solid var(--line)}
.line li{position:relative;padding:0 0 1.35rem 1.5rem}
.line li::before{content:"";position:absolute;left:-.46rem;top:.5rem;width:.75rem;height:.75rem;border-radius:50%;
background:var(--accent);border:.16rem solid var(--paper)}
.line li.before::before{background:var(--paper);border-color:var(--accent)}
.time{color:var(--soft);font-size:.92rem;font-variant-numeric:tabular-nums}
.what{display:block}
.by{color:var(--soft);font-size:.97rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:1.4rem 1.5rem .6rem;margin:1.1rem 0}
.scroll{overflow-x:auto;margin:.9rem 0 1.2rem}
table{border-collapse:collapse;width:100%;font-size:.97rem;line-height:1.45}
caption{text-align:left;font-weight:600;font-size:.97rem;padding:0 0 .45rem}
th,td{text-align:left;vertical-align:top;padding:.5rem 1.1rem .5rem 0;border-bottom:1px solid var(--line);font-weight:400}
thead th{color:var(--soft);font-size:.86rem;border-bottom-color:var(--soft)}
tbody th{font-size:.95rem;font-weight:550}
td:last-child,th:last-child{padding-right:0}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.word{font-size:.9rem;font-weight:600;white-space:nowrap}
.good{color:var(--accent)}.bad{color:var(--bad)}.plain{color:var(--soft)}
code,pre{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.86em}
code{overflow-wrap:anywhere}
pre{background:var(--wash);border-radius:.5rem;padding:.85rem 1rem;white-space:pre-wrap;overflow-wrap:anywhere;
line-height:1.5;margin:.3rem 0 1rem}
ol.steps{padding:0;list-style:none;counter-reset:step}
ol.steps>li{counter-increment:step;padding-left:2.6rem;position:relative;margin:0 0 .9rem}
ol.steps>li::before{content:counter(step);position:absolute;left:0;top:.05rem;width:1.75rem;height:1.75rem;
border-radius:50%;background:var(--wash);color:var(--accent);display:grid;place-items:center;font:650 .95rem/1 system-ui,sans-serif}
ul.said{padding-left:1.15rem;max-width:46rem}ul.said li{margin:.4rem 0}
.note{background:var(--wash);border-radius:.5rem;padding:.8rem 1.1rem;max-width:none}
.warning{border-left:.25rem solid var(--bad);padding:.3rem 0 .3rem .9rem;color:var(--bad);max-width:none;
font-weight:600}
.proofs{color:var(--soft);font-size:.95rem}
footer{color:var(--soft);padding-block:2rem 3.5rem;font-size:.95rem}
@media (max-width:34rem){header,main,footer{padding-inline:1.05rem}header{padding-top:2rem}.card{padding:1.05rem 1.05rem .3rem}
.tiles{grid-template-columns:1fr 1fr}.tile{padding:.8rem .85rem}
.wordy thead{position:absolute;left:-999rem}.wordy tr{display:block;padding:.55rem 0;border-bottom:1px solid var(--line)}
.wordy th,.wordy td{display:block;border:0;padding:.05rem 0}}
@media print{:root{--paper:#fff;--card:#fff;--ink:#000;--soft:#444;--accent:#0b5a57;--line:#bbb}body{font-size:10.5pt}
nav,.skip{display:none}section{padding:1.2rem 0 0}.card,tr,.line li{break-inside:avoid}h2,h3{break-after:avoid}
.scroll{overflow:visible}a{color:inherit;text-decoration:none}}
"""

_SECTIONS = (
    ("verify", "Verify it"),
    ("live", "What was live"),
    ("releases", "Checked and approved"),
    ("predictions", "Predictions"),
    ("keys", "Keys and witnesses"),
    ("proven", "What is proven"),
    ("unproven", "What is not proven"),
    ("contents", "Contents"),
)


def write_page(page: EvidencePage) -> str:
    """The page as one HTML document."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    tellers = (_verify, _live, _releases, _predictions, _keys, _proven, _unproven, _contents)
    bodies = zip(_SECTIONS, (tell(page) for tell in tellers), strict=True)
    sections = "".join(
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>{body}</section>\n'
        for (name, title), body in bodies
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>Evidence: {_safe(page.endpoint)}, {_safe(page.start[:10])} to {_safe(page.end[:10])}</title>\n"
        f'<style>{_STYLE}</style>\n</head>\n<body>\n<a class="skip" href="#verify">Skip to the content</a>\n'
        f"{_head(page)}\n<main>\n{sections}</main>\n"
        "<footer><p>This page repeats, for people, what the signed records in this pack say, and the owner signed it "
        "with the pack. What the verifier prints is proven.</p></footer>\n</body>\n</html>\n"
    )


def _safe(text: str) -> str:
    return escape(visible(text), quote=True)


def _time(text: str) -> str:
    """A moment for people, to the second."""
    return _safe(f"{text[:10]} {text[11:19]} UTC" if len(text) > len("2026-03-03T") else text)


def _link(link: Link) -> str:
    return f'<a href="{_safe(link.file)}">{_safe(link.text)}</a>'


def _head(page: EvidencePage) -> str:
    tiles = "".join(
        f'<li class="tile"><b>{_safe(number)}</b><span>{_safe(what)}</span></li>'
        for number, what in page.summary
    )
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title in _SECTIONS)
    return (
        f'<header><p class="label">Evidence pack</p><h1>What <em>{_safe(page.endpoint)}</em> served</h1>'
        f'<p class="lede">From {_time(page.start)} to {_time(page.end)}: which model answered, how it was checked, '
        f"who approved it, and with which keys it was signed. {_safe(page.witnesses)}</p>"
        f'<ul class="tiles">{tiles}</ul><nav aria-label="Sections"><ul>{links}</ul></nav></header>'
    )


def _verify(page: EvidencePage) -> str:
    notes = "".join(f'<p class="note">{_safe(note)}</p>' for note in page.notes)
    return (
        "<p>Believe this page only after you verified the pack. It takes a minute, needs no network, and nobody "
        'else has to help.</p><ol class="steps">'
        '<li><span class="step">Unpack the file, and have the one library that is needed.</span>'
        '<pre>python -m zipfile -e PACK.zip pack\npython -m pip install "cryptography&gt;=48"</pre></li>'
        '<li><span class="step">Ask the owner for the fingerprint of the keys, by telephone or on paper. '
        "The keys in this pack have:</span>"
        f"<pre>{_safe(page.fingerprint)}</pre></li>"
        '<li><span class="step">Verify with the fingerprint that you were given.</span>'
        "<pre>python pack/verify_evidence.py PACK.zip --fingerprint THE-FINGERPRINT</pre></li></ol>"
        "<p>Exit code 0 means that all of it holds; 3 that something does not, which is named with its place; "
        "2 that something was missing, so that a part could not be verified. "
        "The verifier tells again who approved what, what was live when, and how many predictions there are: compare this page "
        "with that.</p>"
        '<p>If you trust nobody: the <a href="verify_evidence.py">verifier</a> came with this pack, and could have been '
        "replaced. Read it, it is written to be read; or take it from gatewright itself, which you install from where you "
        "trust it:</p><pre>gatewright evidence verifier --to verify_evidence.py</pre>"
        f"<p>The one in this pack was put in with the SHA-256 <code>{_safe(page.verifier)}</code>; the documentation of "
        f"each release has the number of its own. <code>gatewright verify PACK.zip</code> runs the same.</p>{notes}"
    )


def _live(page: EvidencePage) -> str:
    return (
        "<p>Each change of the endpoint is a record of the home's log, and made a signed traffic plan. "
        f'What stands last at a moment was live then.</p><ol class="line">{"".join(map(_event, page.events))}</ol>'
    )


def _event(event: Event) -> str:
    mark, told = (' class="before"', " · before the span") if event.before else ("", "")
    return (
        f'<li{mark}><span class="time">{_time(event.time)}{told}</span><span class="what">{_safe(event.what)}</span>'
        f'<span class="by">by {_safe(event.by)} · {_link(event.proof)}</span></li>'
    )


def _releases(page: EvidencePage) -> str:
    return "".join(
        f'<article class="card"><h3>{_safe(each.ref)}</h3><p class="by">Root <code>{_safe(each.root)}</code></p>'
        f"{''.join(map(_warning, each.warnings))}"
        f"<p>{_safe(each.sentence)}</p>{''.join(map(_table, each.tables))}"
        f'<p class="proofs">Proof: {" · ".join(map(_link, each.proofs))}</p></article>'
        for each in page.releases
    )


def _warning(text: str) -> str:
    return f'<p class="warning">{_safe(text)}</p>'


def _predictions(page: EvidencePage) -> str:
    return (
        "<p>Workers record each prediction before they answer, and seal the records into segments. Each segment "
        "is one record of the log: its root, how many predictions it holds, the first and the last time. The counts "
        "are those of all endpoints of this home together; inputs and outputs are not in them.</p>"
        f"{_table(page.predictions)}{_table(page.answers) if page.answers.rows else ''}"
    )


def _keys(page: EvidencePage) -> str:
    bill = '<a href="crypto.cdx.json">cryptographic bill of materials</a>'
    return (
        f"{_table(page.keys)}<p>{_safe(page.witnesses)}</p><p>Which algorithms protect what, and the id and state of every "
        f"key, the {bill} lists (CycloneDX 1.6). The keys themselves are in "
        '<a href="trust.json">trust.json</a>.</p>'
    )


def _proven(page: EvidencePage) -> str:
    items = "".join(f"<li>{_safe(text)} {_link(link)}</li>" for text, link in page.proven)
    return f'<p>Once the verifier says that all of it holds:</p><ul class="said">{items}</ul>'


def _unproven(page: EvidencePage) -> str:
    items = "".join(f"<li>{_safe(each.replace('`', ''))}</li>" for each in page.unproven)
    return f'<ul class="said">{items}</ul>'


def _contents(page: EvidencePage) -> str:
    return (
        "<p>The records of the log lie in this pack without a gap. They name other models, datasets and endpoints of "
        "this home too, with digests and times; they hold no inputs, no outputs, and no names of people. "
        f"The names in the folder people/ are of those who approved or changed what this pack is about.</p>{_table(page.contents)}"
    )


def _table(table: Rows) -> str:
    right = set(table.right)
    head = "".join(
        f'<th scope="col"{_class(at, right)}>{_safe(text)}</th>' for at, text in enumerate(table.headings)
    )
    body = "".join(f"<tr>{_row(row, right)}</tr>" for row in table.rows)
    wordy = "" if right else ' class="wordy"'
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_safe(table.caption)}"><table{wordy}>'
        f"<caption>{_safe(table.caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(row: Sequence[Cell], right: set[int]) -> str:
    first, *others = (_cell(each) for each in row)
    cells = "".join(f"<td{_class(at, right)}>{cell}</td>" for at, cell in enumerate(others, 1))
    return f'<th scope="row"{_class(0, right)}>{first}</th>{cells}'


def _class(at: int, right: set[int]) -> str:
    return ' class="n"' if at in right else ""


def _cell(cell: Cell) -> str:
    if isinstance(cell, Link):
        return _link(cell)
    if isinstance(cell, Word):
        sign, tone = {True: ("✓", "good"), False: ("✗", "bad"), None: ("·", "plain")}[cell.good]
        return f'<span class="word {tone}"><span aria-hidden="true">{sign} </span>{_safe(cell.text)}</span>'
    return _safe(cell)
