"""The middle of the one-file verifier: the releases in a pack, and what the endpoint served.

Its text, from its mark on, is a part of ``verify_evidence.py``
(:func:`gatewright.operations.evidence_answers.verifier_source`). It judges as
:mod:`gatewright.releases.verification` and :mod:`gatewright.releases.agreement` do.
"""

from __future__ import annotations

from collections.abc import Iterator

from gatewright.operations.evidence_verifier import (
    RESOURCES,
    Envelope,
    Json,
    Log,
    Pack,
    by,
    load,
    now,
    raw,
    require,
    sha256,
    statement,
    verifies,
)

# ---- 5. The releases: these files, checked so, approved by these people ----------------------------------

PLAN_TYPE = "application/vnd.gatewright.traffic-plan.v1+json"
SUMMARY, BILL = "https://slsa.dev/verification_summary/v1", "https://cyclonedx.org/bom"
# A statement of another kind, or with other fields, might take back what others allow: it is refused.
FIELDS = {
    "countersignature": set[str](),
    "approval": {"comment", "principal", "role", "time", "verdict"},
    "deployment-decision": {"approvals", "decision", "endpoint", "plan", "time", "verdict"},
    "revocation": {"reason", "time", "words"},
    "waiver": {"principal", "role", "rule", "time", "until", "words"},
}
NOBODY: Json = {"statements": {}, "decided": {}, "gone": []}


def check_release(pack: Pack, root: str, log: Log, trust: Json, people: Json) -> Json:
    """A release: its six files make the root, two algorithms signed it, the log has it, its parts belong together."""
    now.at = base = f"releases/{root}/"
    names = sorted(name.removeprefix(f"{base}release/") for name in pack.under(f"{base}release/"))
    digests = {name: pack.digests[f"{base}release/{name}"] for name in names}
    pack.used |= {f"{base}release/{name}" for name in names}
    same = names == RESOURCES and sha256(b"".join(map(bytes.fromhex, digests.values()))) == root
    require(same, f"The files are not those of this release: {recorded_otherwise(digests, root, log)}.")
    bundle, made = pack.read(f"{base}model.sig"), log.of("release.created", root=root)
    recorded = [(each["body"]["resources"], each["body"]["bundle"]) for each in made]
    require(recorded == [(digests, sha256(bundle))], "No record says that this was released.")
    signed = Envelope(bundle, load(bundle, ours=False)["dsseEnvelope"])
    proof, said = signed.signatures[0][1], load(signed.payload, ours=False)
    signers = [each for each in trust["pairs"] if verifies(raw(each["keys"][0]), proof, signed.message)]
    listed = {each["name"]: each["digest"] for each in said["predicate"]["resources"]}
    same = [each["digest"]["sha256"] for each in said["subject"]] == [root] and listed == digests
    require(signers and same, "The bundle signs other files, or not with a release key of this home.")
    names = [f"{base}release/{name}.json" for name in ("report", "verdict", "release", "signature")]
    report, verdict, manifest, signature = (load(pack.read(name)) for name in names)
    links = [report["model"], manifest["model"], verdict["report"], verdict["policy"]]
    expected = [digests[name] for name in ("model.onnx", "model.onnx", "report.json", "policy.toml")]
    require(links == expected, "Report, verdict and model do not belong together.", base)
    require(verdict["decision"] in ("allow", "needs-approval"), "The policy's verdict denies it.", base)
    ref, pair = made[0]["body"]["ref"], signers[0]
    found: Json = {"root": root, "ref": ref, "inputs": signature["inputs"], "pair": pair, "trust": trust}
    found |= {"digests": digests, "report": report, "verdict": verdict, "manifest": manifest, "signed": False}
    found |= {"statements": {}, "approved": [], "decided": {}, "waived": [], "times": [], "gone": []}
    timely = pair["revoked"] or by(manifest["created"], pair["until"])
    require(timely, "It was made after its keys had stopped signing.", base)
    require(
        ref == f"{manifest['name']}@{manifest['version']}", "The log recorded it under another name.", base
    )
    envelopes = {name: Envelope(pack.read(name)) for name in pack.under(f"{base}statements/")}
    for now.at, envelope in envelopes.items():
        # What revoked keys signed counts where other keys signed the same again.
        again = [each for each in envelopes.values() if each.payload == envelope.payload]
        check_statement(envelope, again, found, log, people)
    now.at = base
    require(found["signed"], "No countersignature by keys that count stands beside it.")
    for each in log.of("release.", root=root):
        recorded = [each["body"].get(name) for name in ("statement", "countersignature", "bom", "summary")]
        there = {*filter(None, recorded)} <= found["statements"].keys()
        require(there, f"A statement that record {each['seq']} names is missing or was changed.")
    check_judgement(found)
    return found


def recorded_otherwise(digests: Json, root: str, log: Log) -> str:
    """The names of the files that the log recorded with another digest."""
    recorded: Json = next((each["body"]["resources"] for each in log.of("release.created", root=root)), {})
    return ", ".join(sorted({name for name, _ in recorded.items() ^ digests.items()})) or "all of them"


def check_statement(envelope: Envelope, again: list[Envelope], found: Json, log: Log, people: Json) -> None:
    """A statement about the release: understood, about this root, signed by whom it must be, and in the log."""
    kind, said, roots = statement(envelope)
    name, trust = kind.removeprefix("urn:gatewright:").removesuffix(":v1"), found["trust"]
    known = FIELDS.get(name) == said.keys() if name != kind else kind in (SUMMARY, BILL)
    require(known, "The statement is of an unknown kind.")
    require(roots == [found["root"]], "It is about another release.")
    same = said.get("verdict") == found["digests"]["verdict.json"]
    found["statements"][envelope.digest] = kind
    recorded = log.of("release.", statement=envelope.digest, root=found["root"])
    if name in ("approval", "waiver"):  # what a person signs besides
        key, person = people[said["principal"]]
        require(envelope.signed_by(key), "The person did not sign it.")
        act = said["role"] if name == "approval" else f"waived until {said['until']}: {said['rule']}"
        found["approved"] += [f"{person} ({act}) on {each['time']}" for each in recorded]
    if name == "approval":
        require(recorded and same, "No record of the log says so, or it rests on another verdict.")
    elif name == "countersignature":
        standing = not found["pair"]["revoked"] and envelope.signed_by(found["pair"]["keys"][1])
        found["signed"] = found["signed"] or standing or envelope.vouched(trust)
    elif name == "deployment-decision":
        rests = {each["envelope"] for each in said["approvals"]}
        found["times"].append(said["time"])
        if any(each.vouched(trust, said["time"]) for each in again):
            require(
                same and said["decision"] == "allow", "It rests on another verdict, or does not allow it."
            )
            found["decided"][envelope.digest] = (said["endpoint"], rests)
    elif name == "revocation":  # one key is enough, because doubt never passes
        pairs = [each for each in trust["pairs"] if not each["revoked"] and by(said["time"], each["until"])]
        keys = [key for pair in pairs for key in pair["keys"]]
        require(any(each.signed_by(key) for key in keys for each in again), "No release key signed it.")
        taken = log.of("release.revoked", root=roots[0])
        require(taken, "The release was revoked, and no record of the log says when.")
        found["gone"] = [taken[0]["seq"], said["time"], said["reason"]]
    else:
        time = str(said.get("time", said.get("timeVerified", "")))
        require(any(each.vouched(trust, time) for each in again), "It is not signed by both release keys.")
        if name == "waiver":
            found["waived"].append({each: said[each] for each in said if each != "words"})
        elif kind == SUMMARY:
            check_summary(said, found)
        else:
            check_bill(said, found)


def check_summary(said: Json, found: Json) -> None:
    """The verification summary says what the root binds: name, tier, waivers, policy, report, verdict."""
    waived = "_WITH_WAIVERS" * ("waivers" in found["verdict"])
    tier = f"POLICY_TIER_{found['manifest']['tier'].upper()}{waived}"
    name = f"pkg:generic/{found['ref']}?checksum=sha256:{found['root']}"
    inputs = [each["digest"]["sha256"] for each in (said["policy"], *said["inputAttestations"])]
    bound = [found["digests"][name] for name in ("policy.toml", "report.json", "verdict.json")]
    stated = (said["resourceUri"], said["verifiedLevels"], said["verificationResult"], inputs)
    same = stated == (name, ["SLSA_BUILD_LEVEL_0", tier], "PASSED", bound)
    require(same, "The verification summary contradicts the release.")


def check_bill(said: Json, found: Json) -> None:
    """The bill of materials is of this root, model and version, and its numbers are those of the report."""
    text = sha256(b"gatewright bill of materials\n" + bytes.fromhex(found["root"]))
    variant = "89ab"[int(text[16], 16) % 4]
    serial = f"urn:uuid:{text[:8]}-{text[8:12]}-8{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"
    part, metrics = said["metadata"]["component"], []
    names = (
        said["serialNumber"],
        f"{part['name']}@{part['version']}",
        {each["content"] for each in part["hashes"]},
    )
    same = names == (serial, found["ref"], {found["digests"]["model.onnx"]})
    require(same, "The bill of materials names another release or model.")
    measured = [(one["check"], each) for one in found["report"]["findings"] for each in one["metrics"]]
    for check, each in measured:
        value, low, high = (str(each[name]).strip("\ud800") for name in ("value", "low", "high"))
        unit = f" ({each['unit']})" if each["unit"] else ""
        shown: Json = {"type": f"{check}/{each['name']}{unit}", "value": value}
        shown |= {"slice": each["slice"]} if each["slice"] else {}
        bounds = {"confidenceInterval": {"lowerBound": low, "upperBound": high}}
        metrics.append(shown | (bounds if each["method"] != "exact" else {}))
    card = part["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    require(all(each in metrics for each in card), "A number of the model card is not the report's.")


def check_judgement(found: Json) -> None:
    """The waivers are those that the verdict names; each decision rests on its approvals, and is within the waivers."""
    verdict, wanted = found["verdict"], found["verdict"].get("waivers", [])
    same = all(each in wanted for each in found["waived"]) and all(each in found["waived"] for each in wanted)
    require(same, "The waivers beside it are not those that its verdict names.")
    ended = [each for each in found["waived"] for time in found["times"] if by(each["until"], time)]
    require(not ended, "It was deployed after a waiver that it rests on had ended.")
    for _, rests in found["decided"].values():
        there = rests <= found["statements"].keys() and (rests or verdict["decision"] == "allow")
        require(there, "An approval on which the decision rests is missing or was changed.")
        enough = len(rests) >= verdict.get("approvals_needed", 0)
        require(enough, "It was deployed with fewer approvals than its policy asks for.")


# ---- 6. What the endpoint served -------------------------------------------------------------------------


def check_endpoint(pack: Pack, log: Log, manifest: Json, case: Json) -> Iterator[str]:
    """Each traffic plan is signed, is the one the log recorded, and names releases that were decided for it."""
    for each in log.of("home.restored"):  # put back from a backup: the log went on under another name
        lost = max(each["body"]["known"] - each["body"]["records"], 0)
        missing = f"{lost} later ones are missing" if lost else "nobody saw more"
        told = f"its log {each['body']['origin']} had {each['body']['records']} records then, and {missing}"
        yield f"Restored: {each['time']}, the home was put back (record {each['seq']}): {told}."
    trust, releases = case["trust"], case["releases"]
    number, seen, served, endpoint, start = 0, -1, "", manifest["endpoint"], manifest["from"]
    for record in (each for each in log.of("endpoint.", "key.", "plan.") if each["body"].get("plan")):
        body, name = record["body"], f"plans/{record['body']['plan_number']}.dsse.json"
        own = record["kind"].startswith("endpoint.") and body["endpoint"] == endpoint
        told = f"record {record['seq']}, plan {body['plan_number']}: {body['what'] if own else 'it was signed anew'}"
        if name in pack.sizes or record["seq"] >= log.first:
            envelope = Envelope(pack.read(name))
            plan = load(envelope.payload)
            found = (envelope.digest, envelope.type, plan["number"])
            same = found == (body["plan"], PLAN_TYPE, body["plan_number"])
            require(same, "It is not the plan that the log recorded.")
            next_one = number in (0, plan["number"] - 1)  # or the first after the home was put back
            next_one = next_one or bool(log.of("home.restored", plan_number=plan["number"]))
            require(next_one, f"The plan after plan {number} is missing.")
            begun = number or plan["number"] == 1 or by(record["time"], start)
            require(begun, "The plan that was in force when the span began is missing.")
            before = [each for each in trust["pairs"] if each["revoked"] and record["seq"] < each["records"]]
            signed = any(envelope.signed_by(*each["keys"]) for each in before)
            signed = envelope.vouched(trust, plan["issued"]) or signed
            require(signed, "Release keys that count did not sign it, or not in their time.")
            number, seen = plan["number"], record["seq"]
            part: Json = next((each for each in plan["endpoints"] if each["endpoint"] == endpoint), {})
            champion: Json = part.get("champion") or body
            require(not own or champion["root"] == body["root"], "The log recorded another champion.")
            check_named(part, record["seq"], releases)
            case["plans"][number] = {each["root"] for _, each in named_in(part)}
            live = in_words(part) if part else served and "nothing"
            if live != served:
                yield f"Live: {endpoint}, from {record['time']}: {live} ({told})."
            elif own:
                yield f"Endpoint: {endpoint}, {record['time']}: no other release ({told})."
            served = live
        elif own:
            yield f"Endpoint: {endpoint}, {record['time']}, {told}; that plan is not in the pack."
    require(served, "No plan in the pack names the endpoint.", "plans/")
    if any(seq not in log.records for seq in range(seen + 1, log.first)):
        now.unverified.append(f"that no plan was made between record {seen} and the span")


def named_in(part: Json) -> Iterator[tuple[str, Json]]:
    """The releases that a plan names for an endpoint, each with its part."""
    for place in ("champion", "previous", "shadow", "fallback"):
        yield from [(place, part[place])] if part.get(place) else []
    for each in [part.get("canary"), *part.get("arms", [])]:
        yield from [(f"{each['share'] / 10:g} % go to", each["release"])] if each else []


def check_named(part: Json, seq: int, releases: Json) -> None:
    """Each release in a plan was decided for its endpoint, and was not revoked before."""
    for place, each in named_in(part):
        beside, rests = releases.get(each["root"], NOBODY), set(each["statements"])
        own = any(beside["decided"].get(name, ("",))[0] == part["endpoint"] for name in rests)
        there = beside["statements"].keys() >= rests and own
        require(there, f"The decision for {each['model']}@{each['version']} is not in the pack.")
        fits = (
            beside["ref"] == f"{each['model']}@{each['version']}" and beside["digests"] == each["resources"]
        )
        require(fits, "The plan names other files than the release has.")
        silent = part.get("stopped") and place == "champion"
        require(silent or not beside["gone"] or seq < beside["gone"][0], "The plan names a revoked release.")


def in_words(part: Json) -> str:
    """What answers, in words, from a signed plan."""
    named = [f"{place} {each['model']}@{each['version']}" for place, each in named_in(part)]
    return f"{'stopped; ' * bool(part.get('stopped'))}{', '.join(named)}"
