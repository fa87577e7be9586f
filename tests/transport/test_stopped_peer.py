"""A peer that is stopped while the line is idle: its system still takes what comes, so only pings can tell."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from concurrent import futures

import grpc

from transport import channel
from transport.channel import PING_TIMEOUT_MS, open_channel
from transport.server import bind, place_of, server_options

METHOD = "/test/Idle"
PING_TIMEOUT = "grpc.http2.ping_timeout_ms"


def sooner(options):
    """The same options with less patience: as they are, a test would wait for half a minute."""
    assert dict(options)[PING_TIMEOUT] == PING_TIMEOUT_MS
    return tuple((dict(options) | {"grpc.keepalive_time_ms": 1000, PING_TIMEOUT: 3000}).items())


def idle_server(ended):
    """A server of ours whose one method answers once and then nothing; ``ended`` is called as its caller goes."""

    def idle(request, context):
        gone = threading.Event()
        context.add_callback(gone.set)
        yield b""
        gone.wait()
        ended(True)

    server = grpc.server(futures.ThreadPoolExecutor(1), options=sooner(server_options(1 << 20)))
    handlers = {"Idle": grpc.unary_stream_rpc_method_handler(idle)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    port = bind(server, place_of("127.0.0.1:0"))
    server.start()
    return server, port


def test_a_stopped_peer_is_given_up_by_both_sides(monkeypatch):
    monkeypatch.setattr(channel, "CLIENT_OPTIONS", sooner(channel.CLIENT_OPTIONS))
    gone = threading.Event()
    server, port = idle_server(lambda _: gone.set())
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: server.stop(None).wait())
        child = subprocess.Popen([sys.executable, "-P", __file__, str(port)], stdout=subprocess.PIPE, text=True)
        stack.callback(child.stdout.close)
        stack.callback(child.wait)
        stack.callback(child.kill)
        with open_channel(f"127.0.0.1:{int(child.stdout.readline())}", "token") as opened:
            call = opened.unary_stream(METHOD)(b"", timeout=40)  # gRPC's own time is a minute
            next(call)
            assert child.stdout.readline() == "there\n"
            os.kill(child.pid, signal.SIGSTOP)
            with contextlib.suppress(grpc.RpcError):
                next(call)
            assert (call.code(), gone.wait(40)) == (grpc.StatusCode.UNAVAILABLE, True)


def peer(port):
    """Calls the server at ``port``, and is one."""
    with open_channel(f"127.0.0.1:{port}", "token") as opened:
        print(idle_server(lambda _: None)[1], flush=True)
        for _ in opened.unary_stream(METHOD)(b""):
            print("there", flush=True)


if __name__ == "__main__":
    peer(sys.argv[1])
