"""The Open Inference Protocol v2 over gRPC: ``inference.GRPCInferenceService`` beside REST, in one worker.

grpcio's synchronous server with generic methods; reflection is not offered. What a call passes is
in :mod:`gatewright.serving.grpc_calls`; here is the server, its port and its bounds.

Only the extra ``grpc`` installs what this module imports.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from gatewright.kernel.errors import DependencyFailed, Refusal
from gatewright.serving.answering import Answering
from gatewright.serving.certificates import Certificates, Identity
from gatewright.serving.grpc_calls import Calls
from gatewright.serving.limits import (
    ARRIVAL_TIME,
    BODY,
    CONNECTIONS,
    DRAIN_TIME,
    GRPC_AGE,
    GRPC_PING_TIME,
    GRPC_STREAMS,
    HEAD,
    IDLE_TIME,
    REQUESTS,
)
from gatewright.serving.plans import Plans


def _yield_to_loop() -> None:
    """Let a thread that is woken wait for its turn, where the system can.

    Each of many threads would else interrupt the event loop that wakes it, only to wait for the
    interpreter's lock: measured, a seventh of a call's time.
    """
    if hasattr(os, "sched_setscheduler"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def credentials_of(certificates: Certificates) -> grpc.ServerCredentials:
    """TLS with the identity in force: one that was renewed is taken with the next connection."""
    shown: list[Identity] = []

    def look() -> Any:
        identity = certificates.identity
        if shown and shown[0] is identity:
            return None
        shown[:] = [identity]
        return grpc.ssl_server_certificate_configuration(
            [(identity.key, identity.chain)], root_certificates=identity.client_ca or None
        )

    first = look()
    return grpc.dynamic_ssl_server_credentials(
        first, look, require_client_authentication=bool(certificates.identity.client_ca)
    )


def options(*, reuse_port: bool) -> list[tuple[str, int]]:
    """The server's settings, from the limits; lengths in bytes, times in milliseconds.

    The longest message is counted after decompression.
    """
    ping, idle, age = (1_000 * each.value for each in (GRPC_PING_TIME, IDLE_TIME, GRPC_AGE))
    return [
        ("grpc.so_reuseport", int(reuse_port)),
        ("grpc.max_receive_message_length", BODY.value),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", HEAD.value),
        ("grpc.absolute_max_metadata_size", HEAD.value),
        ("grpc.max_allowed_incoming_connections", CONNECTIONS.value),
        ("grpc.server_handshake_timeout_ms", 1_000 * ARRIVAL_TIME.value),
        ("grpc.max_concurrent_streams", GRPC_STREAMS.value),
        ("grpc.http2.min_ping_interval_without_data_ms", ping),
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.max_connection_idle_ms", idle),
        ("grpc.max_connection_age_ms", age),
        ("grpc.max_connection_age_grace_ms", 1_000 * DRAIN_TIME.value),
    ]


class GrpcPlane:
    """The server: bound when made, it answers from ``start`` to ``stop``.

    ``credentials`` are those of TLS; without them traffic is not encrypted. ``reuse_port`` lets several
    processes share one port. Raises DependencyFailed where the port cannot be used.
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        plans: Plans,
        answering: Answering,
        report: Callable[[Refusal], None],
        host: str,
        port: int,
        credentials: grpc.ServerCredentials | None = None,
        reuse_port: bool = False,
    ) -> None:
        self._threads = ThreadPoolExecutor(
            REQUESTS.value, thread_name_prefix="grpc", initializer=_yield_to_loop
        )
        self._calls = Calls(loop=loop, plans=plans, answering=answering, report=report)
        self._server = grpc.server(
            self._threads,
            handlers=[self._calls],
            options=options(reuse_port=reuse_port),
            maximum_concurrent_rpcs=REQUESTS.value,
        )
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if credentials is None:
                self.port: int = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, credentials)
        except RuntimeError:
            raise DependencyFailed(
                "serving.grpc-port",
                f"Port {port} on {host} cannot be used for gRPC.",
                next="Choose another with --grpc-port, or 0 for any free one.",
            ) from None

    def start(self) -> None:
        """Begin to answer."""
        self._server.start()

    def sweep(self) -> None:
        """End the calls whose messages do not come; called every now and then."""
        self._calls.sweep()

    def drain(self) -> threading.Event:
        """Take no further call; the event is set when those in work have ended, or were cut off."""
        ended: threading.Event = self._server.stop(DRAIN_TIME.value)
        return ended

    def stop(self) -> None:
        """Drain, and wait for it."""
        self.drain().wait(DRAIN_TIME.value + 1)
        self._threads.shutdown(wait=False)
