"""TLS 1.3 between the TCP connection and the HTTP protocol, by OpenSSL through memory buffers.

An object here is both: the protocol that the event loop gives ciphertext to, and the transport that
the HTTP protocol writes to. So it runs on any event loop, uvloop among them, and OpenSSL 4 does
the work, whose key exchange X25519MLKEM768 Python's own ``ssl`` does not have.

A handshake costs a few hundred microseconds of the event loop. So handshakes wait in a row of their
own, and one step is done in each turn of the loop: a crowd of new connections does not hold up the
answers of the old ones. RFC 8446; half-close (section 6.1) is taken as HTTP takes the end of input.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from OpenSSL import SSL

from gatewright.serving.certificates import Certificates
from gatewright.serving.limits import ARRIVAL_TIME, HANDSHAKES

RECORD_BYTES = 16_384
"""Most plaintext of one record (RFC 8446 section 5.1)."""
HEAD_BYTES = 5
BLOCK_BYTES = 16 * RECORD_BYTES
"""So much of a long answer is encrypted at a time."""
SLACK_BYTES = 1_024
"""More than what the records of one block add to it (22 bytes each), so that one read takes all."""
UNREAD_BYTES = 1_048_576
"""A caller that makes us say so much without reading any of it is cut off."""


class Handshakes:
    """What the TLS connections of one worker share. Called by the event loop for one more connection.

    ``certificates`` are what new connections are shown, ``inside`` makes the protocol that speaks
    through them. Handshakes that are not done are bounded: a further one ends the oldest.
    """

    def __init__(self, certificates: Certificates, inside: Callable[[], asyncio.Protocol]) -> None:
        self.certificates = certificates
        self.inside = inside
        self._open: dict[TlsConnection, None] = {}
        self._row: deque[TlsConnection] = deque()

    def __call__(self) -> TlsConnection:
        """A protocol for one more connection."""
        return TlsConnection(self)

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, connection: TlsConnection) -> None:
        """Count a handshake; where there are too many, the oldest makes room."""
        if len(self._open) >= HANDSHAKES.value:
            next(iter(self._open)).abort()
        self._open[connection] = None

    def forget(self, connection: TlsConnection) -> None:
        """The handshake is done, or the connection is gone."""
        self._open.pop(connection, None)

    def wait(self, connection: TlsConnection) -> None:
        """Do a step of this handshake when its turn comes."""
        self._row.append(connection)
        if len(self._row) == 1:
            asyncio.get_running_loop().call_soon(self._step)

    def _step(self) -> None:
        connection = self._row[0]
        try:
            connection.shake()
        finally:
            self._row.popleft()
            if self._row:
                asyncio.get_running_loop().call_soon(self._step)

    def end(self) -> None:
        """Cut off whoever has not finished its handshake."""
        for each in tuple(self._open):
            each.abort()


class TlsConnection(asyncio.Protocol, asyncio.Transport):
    """One connection: a protocol towards the network, a transport towards the protocol inside."""

    def __init__(self, shared: Handshakes) -> None:
        super().__init__()
        self._shared = shared
        self._tcp = cast("asyncio.Transport", None)
        self._tls = cast("SSL.Connection", None)
        self._inside: asyncio.Protocol | None = None
        self._timer = cast("asyncio.TimerHandle", None)
        self._begun = False
        self._closing = False
        self._skip = 0
        self._head = b""

    # Towards the network: what the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the handshake a time."""
        self._tcp = cast("asyncio.Transport", transport)
        self._timer = asyncio.get_running_loop().call_later(ARRIVAL_TIME.value, self.abort)
        self._shared.begin(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the protocol inside, and free OpenSSL's memory now: protocols live in cycles."""
        self._closing = True
        self._leave()
        inside, self._inside = self._inside, None
        self._tls = cast("SSL.Connection", None)
        if inside is not None:
            inside.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Ciphertext came."""
        if self._closing:
            return
        if self._inside is None:
            self._shake_later(data)
            return
        try:
            self._tls.bio_write(data)
            if self._is_one_record(data):
                plain = self._tls.recv(RECORD_BYTES)
            else:
                self._read()
                return
        except SSL.WantReadError:
            self._say()
        except SSL.ZeroReturnError:
            self._end_of_input()
        except SSL.Error:
            self._fail()
        else:
            self._inside.data_received(plain)

    def eof_received(self) -> bool | None:
        """The end of input, with or without TLS's own word for it: HTTP counts its bytes itself."""
        return None if self._inside is None else self._inside.eof_received()

    def pause_writing(self) -> None:
        """The caller does not take what it is given."""
        if self._inside is not None:
            self._inside.pause_writing()

    def resume_writing(self) -> None:
        """It does."""
        if self._inside is not None:
            self._inside.resume_writing()

    # The handshake.

    def _shake_later(self, data: bytes) -> None:
        """Keep the bytes, and read no more until they had their turn."""
        if not self._begun:
            self._begun = True
            self._tls = SSL.Connection(self._shared.certificates.context)
            self._tls.set_accept_state()
        self._tls.bio_write(data)
        self._follow(data)
        self._tcp.pause_reading()
        self._shared.wait(self)

    def shake(self) -> None:
        """One step of the handshake; after the last one the protocol inside begins."""
        if self._closing:
            return
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            self._say()
            if not self._closing:
                self._tcp.resume_reading()
        except SSL.Error:
            self._fail()
        else:
            self._say()
            self._leave()
            self._tcp.resume_reading()
            self._inside = self._shared.inside()
            self._inside.connection_made(self)
            self._read()

    def _leave(self) -> None:
        """The handshake is over, well or not."""
        self._timer.cancel()
        self._shared.forget(self)

    # Reading.

    def _is_one_record(self, data: bytes) -> bool:
        """Whether this is one whole record: then one read gets all there is, and no second is tried."""
        if self._skip or self._head or len(data) < HEAD_BYTES or len(data) != HEAD_BYTES + _length(data, 0):
            self._follow(data)
            return False
        return True

    def _follow(self, data: bytes) -> None:
        """Keep count of where records begin (RFC 8446 section 5.1)."""
        data = self._head + data
        at = self._skip
        while len(data) - at >= HEAD_BYTES:
            at += HEAD_BYTES + _length(data, at)
        self._skip = max(0, at - len(data))
        self._head = data[at:]

    def _read(self) -> None:
        """Everything that can be decrypted now, handed in at once."""
        parts: list[bytes] = []
        end: Callable[[], None] = self._say
        if self._closing:
            return
        try:
            while True:
                parts.append(self._tls.recv(RECORD_BYTES))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            end = self._end_of_input
        except SSL.Error:
            end = self._fail
        if parts and self._inside is not None:
            self._inside.data_received(b"".join(parts))
        if not self._closing:
            end()

    def _end_of_input(self) -> None:
        """The caller said that it sends no more."""
        if not self.eof_received():
            self.close()

    def _fail(self) -> None:
        """What came is not TLS as we speak it: send the alert that OpenSSL made, if any, and close."""
        self._closing = True
        self._send(SLACK_BYTES)
        self._tcp.close()

    # Writing.

    def _send(self, most: int) -> int:
        """Hand what OpenSSL has made to the network; how many bytes that were."""
        sent = 0
        try:
            while True:
                made = self._tls.bio_read(most)
                self._tcp.write(made)
                sent += len(made)
                if len(made) < most:
                    return sent
        except SSL.WantReadError:
            return sent

    def _say(self) -> None:
        """Send what TLS itself has to say, as the answer to a key update; but not without end."""
        if self._send(4 * SLACK_BYTES) and self._tcp.get_write_buffer_size() > UNREAD_BYTES:
            self.abort()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send."""
        if self._closing or not data:
            return
        try:
            if len(data) <= RECORD_BYTES:
                self._tls.send(data)
                self._send(len(data) + SLACK_BYTES)
                return
            whole = memoryview(data)
            for start in range(0, len(whole), BLOCK_BYTES):
                self._tls.sendall(whole[start : start + BLOCK_BYTES])
                self._send(BLOCK_BYTES + SLACK_BYTES)
        except SSL.Error:
            self._fail()

    def close(self) -> None:
        """Say that nothing follows, and close once everything is sent."""
        if self._closing:
            return
        self._closing = True
        if self._inside is not None:
            try:
                self._tls.shutdown()
                self._send(SLACK_BYTES)
            except SSL.Error:
                pass
        self._tcp.close()

    def abort(self) -> None:
        """Close now; what was not sent is lost."""
        self._closing = True
        self._leave()
        self._tcp.abort()

    # Towards the protocol inside: what else it asks of a transport.

    def is_closing(self) -> bool:
        """Whether nothing can be written any more."""
        return self._closing or self._tcp.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known of the connection; ``ssl_object`` is OpenSSL's."""
        return self._tls if name == "ssl_object" else self._tcp.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Take nothing more from the network."""
        self._tcp.pause_reading()

    def resume_reading(self) -> None:
        """Take it again."""
        self._tcp.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """When the protocol inside is told to pause; bytes of ciphertext."""
        self._tcp.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Bytes of ciphertext that wait."""
        return self._tcp.get_write_buffer_size()


def _length(data: bytes, at: int) -> int:
    """The length that the head of a record tells."""
    return data[at + 3] << 8 | data[at + 4]
