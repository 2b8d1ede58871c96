"""The yardstick of gRPC: a generic handler that answers constant bytes, and does no more.

Run ``python bench/grpc_echo.py PORT BYTES THREADS``: grpcio's synchronous server, without limits.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc


class Echo(grpc.GenericRpcHandler):
    """Answers ``size`` bytes to every call, whatever its method."""

    def __init__(self, size: int) -> None:
        body = b"x" * size
        self._method = grpc.unary_unary_rpc_method_handler(lambda _request, _context: body)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """One method for all names."""
        del handler_call_details
        return self._method


def main(port: int, size: int, threads: int) -> None:
    """Serve until told to stop."""
    server = grpc.server(ThreadPoolExecutor(threads), handlers=(Echo(size),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
