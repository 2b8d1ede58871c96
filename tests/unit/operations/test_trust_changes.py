"""Changing a home's public keys: one transaction, signed steps, and files that are completed or taken back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gatewright.adapters.durable_files import write_atomically
from gatewright.assembly.homes import open_home, read_home
from gatewright.assembly.trusting import home_trust
from gatewright.assembly.verifying import verify_home, verify_kept, verify_path
from gatewright.kernel.errors import BadInput, GatewrightError, Misuse, Tampered
from gatewright.kernel.instants import Instant
from gatewright.operations.deploy import deploy_release
from gatewright.operations.home import Home
from gatewright.operations.home_keys import home_keys, keys_warning
from gatewright.operations.key_rotation import revoke_worker, rotate, rotate_worker
from gatewright.operations.log_export import export
from gatewright.operations.plans import current_plan
from gatewright.operations.released import release, statements
from gatewright.operations.trust_changes import change_trust, following_version, recorded_count
from gatewright.operations.trust_files import (
    NEXT_FILE,
    STEPS_FOLDER,
    TRUST_FILE,
    follow,
    settle,
    trust_files,
    versions,
)
from gatewright.operations.workers import CERTIFICATE_LAST_NS, in_use, renew_certificate
from gatewright.releases.envelope import Envelope, verify
from gatewright.releases.trust import ERAS, Era
from gatewright.releases.trust_chain import seal_step

DAY = 86_400 * 10**9


def laid(folder: Path, files: dict[str, bytes]) -> Path:
    """A folder with these files."""
    for name, content in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return folder


def code_of(what: Callable[[], object]) -> str:
    """The code that a call is refused with, or nothing."""
    try:
        what()
    except GatewrightError as error:
        return error.code
    return ""


def test_each_version_follows_and_travels(fresh: Home, tmp_path: Path) -> None:
    """After three rotations the files lead from the first version to the newest, each recorded."""
    first = fresh.trust
    home = fresh
    for part in ("log", "release", "root"):
        rotate(home, part)
        home = reopened(home)
    folder = laid(tmp_path / "files", trust_files(home.folder))
    assert [1, 2, 3, 4] == [each.version for each in versions(folder)]
    assert home.trust == follow(first, folder)
    assert [2, 3, 4] == [document["version"] for _, document in home.archive.scan("trust")]


def reopened(home: Home) -> Home:
    """What the next operation of the same process is handed, by the files as they are."""
    trust = home_trust(home.folder)
    worker = in_use(home.folder, trust)
    return replace(home, trust=trust, keys=home.keys.under(trust, "" if worker is None else worker.public.id))


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda files, old: {**files, TRUST_FILE: old[TRUST_FILE]}, "operations.trust-older"),
        (
            lambda files, _: {
                name: data for name, data in files.items() if not name.endswith("/3.dsse.json")
            },
            "operations.trust-gap",
        ),
        (
            lambda files, _: {**files, "trust/3.dsse.json": files["trust/2.dsse.json"]},
            "releases.trust-step",
        ),
        (lambda files, _: {**files, "trust/3.dsse.json": b"{}"}, "releases.envelope"),
    ],
)
def test_files_that_were_put_back_or_mixed_are_refused(
    fresh: Home,
    tmp_path: Path,
    spoil: Callable[[dict[str, bytes], dict[str, bytes]], dict[str, bytes]],
    code: str,
) -> None:
    """Who knew version 2 is not led back, over a gap, or by another step."""
    rotate(fresh, "log")
    known = reopened(fresh)
    old = {TRUST_FILE: fresh.trust.encode()}
    rotate(known, "release")
    files = trust_files(known.folder)
    folder = laid(tmp_path / "files", spoil(files, old))
    assert code == code_of(lambda: follow(known.trust, folder))


def test_another_version_of_the_same_number_is_refused(fresh: Home, tmp_path: Path) -> None:
    """Two different versions of one number are told apart, whoever signed them."""
    known = following_version(fresh, expires=Instant(fresh.now().ns + DAY))
    rotate(fresh, "log")
    assert "operations.trust-other" == code_of(
        lambda: follow(known, laid(tmp_path / "files", trust_files(fresh.folder)))
    )


def test_a_step_that_was_not_recorded_is_taken_back(fresh: Home) -> None:
    """Where a process died before the record, the next one finds the old keys, and no trace."""
    following = following_version(fresh)
    step = seal_step(following, (fresh.keys.root, fresh.keys.root_pq))
    (fresh.folder / STEPS_FOLDER).mkdir()
    place = fresh.folder / STEPS_FOLDER / NEXT_FILE
    place.write_bytes(step)
    settle(fresh.folder, recorded=lambda: "", write=write_atomically)
    assert (fresh.trust, False) == (home_trust(fresh.folder), place.exists())


@pytest.mark.parametrize("published", [(), ("trust/1.json",), ("trust/1.json", "trust/2.dsse.json")])
def test_a_recorded_step_is_completed(fresh: Home, published: tuple[str, ...]) -> None:
    """Where a process died after the record, the next one finds the new keys, however far the files were."""
    old = fresh.trust
    rotate(fresh, "log")
    files = trust_files(fresh.folder)
    newest = home_trust(fresh.folder)
    step = files["trust/2.dsse.json"]
    shutil.rmtree(fresh.folder / STEPS_FOLDER)
    laid(fresh.folder, {name: files[name] for name in published})
    laid(fresh.folder, {TRUST_FILE: old.encode(), f"{STEPS_FOLDER}/{NEXT_FILE}": step})
    settle(fresh.folder, recorded=lambda: newest.fingerprint().hex, write=write_atomically)
    assert files == trust_files(fresh.folder)
    assert not (fresh.folder / STEPS_FOLDER / NEXT_FILE).exists()


def test_an_unfinished_step_of_somebody_else_is_tampering(fresh: Home) -> None:
    """What lies there must be signed by the root keys, recorded or not."""
    laid(fresh.folder, {f"{STEPS_FOLDER}/{NEXT_FILE}": b"not a step"})
    with pytest.raises(Tampered):
        settle(fresh.folder, recorded=lambda: "", write=write_atomically)


def test_a_change_that_does_not_follow_changes_nothing(fresh: Home) -> None:
    """Keys that would leave the past incomplete are refused before anything is written."""
    before = recorded_count(fresh)
    bad = replace(following_version(fresh), version=3)
    with pytest.raises(Tampered):
        change_trust(fresh, bad, what="x")
    assert (before, fresh.trust) == (recorded_count(fresh), home_trust(fresh.folder))
    assert not (fresh.folder / STEPS_FOLDER).exists()


def test_a_command_that_began_before_a_rotation_does_not_record(fresh_template: Path, tmp_path: Path) -> None:
    """Whoever opened the home with the old keys is told to run again, and signs nothing with them."""
    root = shutil.copytree(fresh_template, tmp_path / "home")
    with read_home(root) as slow:
        with open_home(root) as quick:
            rotate(quick, "release")
        with pytest.raises(Misuse) as caught, slow.exclusive():
            raise AssertionError("it got in")
    assert "assembly.keys-changed" == caught.value.code


def test_who_reads_while_the_keys_change_convicts_nobody(fresh_template: Path, tmp_path: Path) -> None:
    """A reader that holds the old keys beside a newer head is told to run again; a real tampering is named."""
    root = shutil.copytree(fresh_template, tmp_path / "home")

    def read_slowly() -> None:
        with read_home(root) as slow:
            with open_home(root) as quick:
                rotate(quick, "log")
            recorded_count(slow)

    assert "assembly.keys-changed" == code_of(read_slowly)
    with pytest.raises(Tampered, match="told as it is"), read_home(root):
        raise Tampered("test.tampered", "What is wrong for another reason is told as it is.")


def test_keys_that_changed_while_a_home_is_verified_are_followed(
    fresh_template: Path, tmp_path: Path
) -> None:
    """A verification that read the keys before a rotation goes on with those of now; older ones are named."""
    root = shutil.copytree(fresh_template, tmp_path / "home")
    folder = root / ".gatewright"
    before = home_trust(folder)
    with open_home(root) as home:
        rotate(home, "log")
    assert "ledger" == next(iter(verify_kept(folder, before))).kind
    newest = home_trust(folder)
    shutil.copy(folder / "trust" / "1.json", folder / "trust.json")
    with pytest.raises(Tampered) as caught:
        list(verify_kept(folder, newest))
    assert "operations.trust-older" == caught.value.code


def test_a_first_version_put_back_is_named(fresh_template: Path, tmp_path: Path) -> None:
    """The first public keys, put back over a log that records a change of them, are not those of the log."""
    root = shutil.copytree(fresh_template, tmp_path / "home")
    folder = root / ".gatewright"
    with open_home(root) as home:
        rotate(home, "root")
    shutil.copy(folder / "trust" / "1.json", folder / "trust.json")
    shutil.rmtree(folder / "trust")
    with pytest.raises(Tampered) as caught:
        list(verify_home(root))
    assert "operations.trust-not-recorded" == caught.value.code


def test_older_keys_are_not_enough_for_a_newer_log(fresh_template: Path, tmp_path: Path) -> None:
    """A ledger and a log that record newer keys are not verified with older ones: nobody is convicted."""
    root = shutil.copytree(fresh_template, tmp_path / "home")
    shutil.copy(root / ".gatewright" / "trust.json", tmp_path / "trust.json")
    with open_home(root) as home:
        rotate(home, "root")
        export(home, tmp_path / "log")
    shutil.copy(root / ".gatewright" / "ledger.db", tmp_path)
    shutil.rmtree(tmp_path / "log" / "trust", ignore_errors=True)
    (tmp_path / "log" / "trust.json").unlink(missing_ok=True)
    (tmp_path / "given").mkdir()
    (tmp_path / "trust.json").rename(tmp_path / "given" / "trust.json")
    for place in (tmp_path / "ledger.db", tmp_path / "log"):
        with pytest.raises(Misuse) as caught:
            verify_path(place, tmp_path / "given")
        assert "operations.trust-behind" == caught.value.code
        assert verify_path(place, root / ".gatewright").sentence.startswith("All ")


def test_compromised_release_keys_are_vouched_for_and_the_plan_goes_on(live: Home) -> None:
    """After a revocation every statement of a release is by the new keys, and the next deployment works."""
    old = live.trust.release_keys
    done = rotate(live, "release", compromised=True)
    home = reopened(live)
    assert 2 == done.vouched
    for ref in ("loans@1", "loans@2"):
        for name, digest in statements(home, release(home, ref)).items():
            envelope = Envelope.decode(home.blobs.get(digest))
            assert () == verify(envelope, old)
            assert name.startswith("approval") or home.trust.vouches(
                verify(envelope, home.trust.counting_keys)
            )
    assert current_plan(home) is not None
    assert "loans@2" == deploy_release(home, "loans@2").entry.ref


def test_retired_private_halves_are_destroyed(fresh: Home) -> None:
    """After a rotation only the keys in force lie in the home, unless the old ones are to be kept."""
    folder = fresh.folder / "keys"
    before = {path.name for path in folder.glob("log-*")}
    rotate(fresh, "log", keep=True)
    assert before < {path.name for path in folder.glob("log-*")}
    rotate(reopened(fresh), "log")
    left = {path.name for path in folder.glob("log-*")}
    now = home_trust(fresh.folder)
    assert now.log_pq is not None
    assert {f"log-ed25519.{now.log.id}.pem", f"log-ml-dsa-44.{now.log_pq.id}.pem"} == left


def test_a_worker_in_use_is_not_revoked(fresh: Home) -> None:
    """A worker key is revoked once another one is in force, never before."""
    key = fresh.keys.worker.public.id
    with pytest.raises(Misuse):
        revoke_worker(fresh, key)
    rotate_worker(fresh)
    home = revoke_worker(reopened(fresh), key)
    gone = home.trust.revoked_worker(key)
    assert gone is not None
    assert (recorded_count(home) - 1, {"worker": ["in force", "revoked"]}) == (
        gone.records,
        {"worker": [each.state for each in home_keys(home) if each.role == "worker"]},
    )


def test_certificates_are_renewed_at_half_of_their_time(fresh: Home) -> None:
    """Before half of its time nothing is done; after it the same key is certified for longer."""
    before = in_use(fresh.folder, fresh.trust)
    assert before is not None
    assert before.valid_until is not None
    assert not renew_certificate(fresh)
    moment = Instant(before.valid_until.ns - CERTIFICATE_LAST_NS // 3)
    later = replace(fresh, now=lambda: moment)
    assert renew_certificate(later)
    after = in_use(fresh.folder, fresh.trust)
    assert after is not None
    assert (before.public, before.valid_from) == (after.public, after.valid_from)
    assert after.valid_until is not None
    assert after.valid_until > before.valid_until


def test_expired_keys_sign_nothing_but_their_successors(live: Home) -> None:
    """After their time nothing more is deployed with the keys; a rotation puts that right."""
    home = change_trust(live, following_version(live, expires=Instant(live.now().ns - 1)), what="short")
    assert "operations.keys-expired" == code_of(lambda: deploy_release(home, "loans@2"))
    assert "expired on" in keys_warning(home.trust, home.now())
    rotate(home, "release")
    home = reopened(home)
    assert "" == keys_warning(home.trust, home.now())
    assert "loans@2" == deploy_release(home, "loans@2").entry.ref


def test_the_warning_comes_sixty_days_before(fresh: Home) -> None:
    """Sixty days before the keys expire, and not earlier, there is a warning."""
    expires = fresh.trust.expires
    assert expires is not None
    told = [bool(keys_warning(fresh.trust, Instant(expires.ns - days * DAY))) for days in (61, 59, 0)]
    assert [False, True, True] == told


def test_the_past_is_bounded(fresh: Home) -> None:
    """A trust root with too many key sets in its past is refused, before anything is recorded."""
    trust = fresh.trust
    era = Era(
        origin="gatewright/other", release=trust.release, release_pq=trust.release_pq, log=trust.log,
        log_pq=trust.log_pq, until=fresh.now(), records=1,
    )  # fmt: skip
    full = replace(fresh, trust=replace(trust, past=(era,) * ERAS))
    with pytest.raises(BadInput):
        following_version(full, origin="gatewright/x")
