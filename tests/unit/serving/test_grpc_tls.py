from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from gatewright.serving.certificates import Identity
from unit.serving.authority import CLIENT, Authority
from unit.serving.grpc_caller import Caller, Refused, address_of, row_request
from unit.serving.rig import Rig, Running, wait_for

AUTHORITY = Authority()


class Renewed:
    """A source of identities that can be given a new one."""

    def __init__(self, identity: Identity) -> None:
        self.new: Identity | None = identity

    def __call__(self) -> Identity | None:
        """The new identity, once."""
        found, self.new = self.new, None
        return found


@pytest.fixture
def source() -> Renewed:
    """An identity of the test's authority, which asks callers for certificates."""
    return Renewed(AUTHORITY.identity(client_ca=AUTHORITY.pem))


@pytest.fixture
def server(tmp_path: Path, source: Renewed) -> Iterator[Running]:
    """A worker that speaks TLS over both protocols."""
    rig = Rig(tmp_path)
    rig.publish(rig.plan(1, rig.make_release(1)))
    with rig.running(grpc_port=0, identity=source, verify=False) as found:
        yield found


def asked(server: Running, credentials: grpc.ChannelCredentials | None) -> Any | Refused:
    """One prediction on a connection of its own."""
    caller = Caller(address_of(server).replace("127.0.0.1", "localhost"), server.rig.secret, credentials)
    found = caller.infer(row_request())
    caller.close()
    return found


def credentials(authority: Authority = AUTHORITY, *, named: bool = True) -> grpc.ChannelCredentials:
    """A caller that believes an authority, and shows a certificate of ours where it is named."""
    chain, key = AUTHORITY.issue("caller", use=CLIENT) if named else (None, None)
    return grpc.ssl_channel_credentials(authority.pem, key, chain)


def test_a_caller_with_a_certificate_is_answered(server: Running) -> None:
    """With TLS a call whose caller shows a certificate of the authority is answered."""
    assert "q-1" == asked(server, credentials()).id


def test_without_tls_or_certificate_there_is_no_answer(server: Running) -> None:
    """Plain text, no certificate, and a server of an authority that is not believed: UNAVAILABLE."""
    found = [
        asked(server, None),
        asked(server, credentials(named=False)),
        asked(server, credentials(Authority(title="Another"))),
    ]

    assert [grpc.StatusCode.UNAVAILABLE] * 3 == [each.code for each in found]


def test_a_renewed_certificate_is_taken_without_a_restart(server: Running, source: Renewed) -> None:
    """New connections meet the new certificate, of another authority here."""
    other = Authority(title="Another")
    source.new = other.identity(client_ca=AUTHORITY.pem)
    wait_for(lambda: not isinstance(asked(server, credentials(other)), Refused))

    assert grpc.StatusCode.UNAVAILABLE == asked(server, credentials()).code
