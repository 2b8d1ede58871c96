"""What TLS costs: one endpoint in plain text and with TLS 1.3, on kept connections and on new ones.

``python bench/tls.py [--rounds N] [--seconds S]``. Two copies of one home are served, each by one worker on
the server's core; the rounds alternate, and the ratio is taken within a round. wrk negotiates what its
own OpenSSL has; once a connection is made the key exchange has no more to say. New connections are
made by OpenSSL 4, whose key exchange is the hybrid.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from endpoint import free_port
from OpenSSL import SSL
from prepared import NAME, READY_SECONDS, Prepared, prepare
from timing import CLIENT_CORE, SERVER_CORE, Python, pinned, python, timed

CONNECTIONS = 64
HANDSHAKES = 300
ASKED = 2_000
_READ = 65_536


@contextmanager
def served(python: Python, folder: Path, port: int, *more: str) -> Iterator[int]:
    """The home's server with one worker on the server's core, from when it says so: its process id."""
    log = folder / "serve.log"
    words = ("-m", "gatewright", "serve", "--workers", "1", "--port", str(port), *more)
    with log.open("wb") as output, pinned(SERVER_CORE):
        process = subprocess.Popen(
            python.command(*words), cwd=folder, env=python.environment, stdout=output, stderr=output
        )
    try:
        last = time.monotonic() + READY_SECONDS
        while "stop with Ctrl-C" not in log.read_text("utf-8"):
            if process.poll() is not None or time.monotonic() > last:
                raise RuntimeError(log.read_text("utf-8")[-500:])
            time.sleep(0.05)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def processor_seconds(pid: int) -> float:
    """What the process has used of a processor (``proc(5)``)."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def asked(script: Path, url: str, seconds: int, pid: int) -> tuple[float, float]:
    """Requests a second, and processor seconds of the server a request; RuntimeError for a bad answer."""
    before = processor_seconds(pid)
    with pinned(CLIENT_CORE):
        said = subprocess.run(
            ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), url],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    rate, count = re.search(r"Requests/sec:\s*([\d.]+)", said), re.search(r"(\d+) requests in", said)
    if rate is None or count is None or "Non-2xx" in said:
        raise RuntimeError(said)
    return float(rate[1]), (processor_seconds(pid) - before) / int(count[1])


def script_of(home: Prepared, folder: Path) -> Path:
    """The prediction that wrk asks for."""
    script = folder / "post.lua"
    script.write_text(
        'wrk.method = "POST"\n'
        f"wrk.body = [==[{home.body.decode()}]==]\n"
        'wrk.headers["Content-Type"] = "application/json"\n'
        f'wrk.headers["Authorization"] = "Bearer {home.api_key}"\n',
        "utf-8",
    )
    return script


def connected(port: int, authority: Path) -> SSL.Connection:
    """One connection of OpenSSL 4, verified."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.load_verify_locations(str(authority))
    context.set_verify(SSL.VERIFY_PEER)
    line = socket.create_connection(("127.0.0.1", port))
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made = SSL.Connection(context, line)
    made.set_tlsext_host_name(b"localhost")
    made.set_connect_state()
    made.do_handshake()
    return made


def main() -> int:
    """Measure and print; returns the exit code."""
    reader = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    reader.add_argument("--rounds", type=int, default=7)
    reader.add_argument("--seconds", type=int, default=3)
    options = reader.parse_args()
    with tempfile.TemporaryDirectory(prefix="gatewright-tls-") as place, ExitStack() as stack:
        folder = Path(place)
        interpreter = python(folder / "compiled")
        home = prepare(interpreter, folder / "plain")
        encrypted = shutil.copytree(home.folder, folder / "encrypted")
        plain_port, tls_port = free_port(), free_port()
        servers = {
            f"http://127.0.0.1:{plain_port}": stack.enter_context(
                served(interpreter, home.folder, plain_port)
            ),
            f"https://127.0.0.1:{tls_port}": stack.enter_context(
                served(interpreter, encrypted, tls_port, "--tls")
            ),
        }
        _kept(home, folder, servers, rounds=options.rounds, seconds=options.seconds)
        _new(home, tls_port, encrypted / ".gatewright" / "tls-authority.pem")
    return 0


def _kept(home: Prepared, folder: Path, servers: dict[str, int], *, rounds: int, seconds: int) -> None:
    script, found = script_of(home, folder), []
    for number in range(rounds):
        (plain, plain_cost), (tls, tls_cost) = (
            asked(script, f"{url}/v2/models/{NAME}/infer", seconds, pid) for url, pid in servers.items()
        )
        found.append((plain, tls, tls / plain, plain_cost * 1e6, tls_cost * 1e6, plain_cost / tls_cost))
        print(f"round {number + 1}: {_told(*found[-1])}")
    middle = [statistics.median(each) for each in zip(*found, strict=True)]
    print(
        f"{CONNECTIONS} kept connections, medians of {rounds} alternating rounds of {seconds} s: {_told(*middle)}"
    )


def _told(*values: float) -> str:
    plain, tls, share, plain_cost, tls_cost, cost_share = values
    return (
        f"plain {plain:,.0f}/s, TLS {tls:,.0f}/s, {share:.0%} of plain; "
        f"processor time {plain_cost:.0f} and {tls_cost:.0f} µs a request: {cost_share:.0%}"
    )


def _new(home: Prepared, port: int, authority: Path) -> None:
    with pinned(CLIENT_CORE):
        one = connected(port, authority)
        print(f"{one.get_protocol_version_name()}, {one.get_group_name()}, {one.get_cipher_name()}")
        request = (
            f"POST /v2/models/{NAME}/infer HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {home.api_key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(home.body)}\r\n\r\n"
        ).encode() + home.body

        def ask() -> bytes:
            one.sendall(request)
            return bytes(one.recv(_READ))

        if not ask().startswith(b"HTTP/1.1 200"):
            raise RuntimeError("the endpoint did not answer")
        kept = statistics.median(timed(ask, ASKED)) * 1e6
        new = statistics.median(timed(lambda: connected(port, authority).shutdown(), HANDSHAKES)) * 1e6
    print(f"one kept connection: {kept:,.0f} µs an answer; a new connection: {new:,.0f} µs for both sides")


if __name__ == "__main__":
    sys.exit(main())
