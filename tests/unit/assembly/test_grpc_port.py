from __future__ import annotations

import socket
from pathlib import Path

import pytest

from gatewright.assembly.supervising import serve
from gatewright.kernel.errors import DependencyFailed, Misuse
from gatewright.serving.slots import hold_port


@pytest.mark.parametrize("workers", [1, 2])
def test_grpc_without_its_extra_is_refused(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """Where grpcio or protobuf is missing, a server that is to answer gRPC does not start, and says what to install."""
    monkeypatch.setattr("gatewright.assembly.supervising.find_spec", lambda _name: None)
    with pytest.raises(Misuse) as caught:
        serve({"start": Path("absent"), "grpc_port": 0}, workers)

    assert "assembly.grpc-missing" == caught.value.code


def test_a_held_port_is_shared_by_those_who_share_and_by_no_other() -> None:
    """Processes that listen together find the port; a second holder who does not share is refused it."""
    with hold_port("127.0.0.1", 0) as port:
        shared = [socket.socket() for _ in range(2)]
        for each in shared:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            each.bind(("127.0.0.1", port))
            each.listen()
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        for each in shared:
            each.close()


def test_a_port_of_somebody_else_cannot_be_held() -> None:
    """A port that another listens on is refused before any worker starts."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(DependencyFailed), hold_port("127.0.0.1", other.getsockname()[1]):
            raise AssertionError
