"""Updates a second while a hostile client does its worst to the learner's port, relative to none, alternated.

    python benchmarks/hostile.py [--rounds 3] [--seconds 3]

The client is another process with several connections: calls without the token, calls with it as often as they are
answered, batches that are malformed or hold nothing, and bytes that are no HTTP. The learner is that of
benchmarks/scaling.py, from state. A machine with fewer idle cores than two also loses the processor time that the
client itself takes; the note says how much that was, and how much the learner's service took beside its updates.
Prints one JSON object a row.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

os.environ["OMP_NUM_THREADS"] = "1"

import grpc
from rows import row
from scaling import RUN, TOKEN, Learner, contract

from transport import service_pb2 as sp
from transport import service_pb2_grpc
from transport.channel import PROTOCOL, open_channel
from transport.push import push_call

COMMAND = "python benchmarks/hostile.py"
CONNECTIONS = 4
DESCRIBE = sp.DescribeRequest(protocol=PROTOCOL)


def refused(port: int) -> None:
    with open_channel(f"localhost:{port}", "another-token-of-the-benchmark") as channel:
        calls = [service_pb2_grpc.LearnerStub(channel).Describe.future(DESCRIBE, timeout=10) for _ in range(64)]
        for call in calls:
            call.exception()


def asked(port: int) -> None:
    with open_channel(f"localhost:{port}", TOKEN) as channel:
        calls = [service_pb2_grpc.LearnerStub(channel).GetStatus.future(sp.GetStatusRequest()) for _ in range(64)]
        for call in calls:
            call.exception()


def malformed(port: int) -> None:
    with open_channel(f"localhost:{port}", TOKEN) as channel:
        for _ in range(64):
            with contextlib.suppress(grpc.RpcError):
                list(push_call(channel)(iter([b"\xff" * 100]), timeout=10))


def empty(port: int) -> None:
    with open_channel(f"localhost:{port}", TOKEN) as channel:
        join = sp.JoinRequest(
            protocol=PROTOCOL, run_id=RUN, actor="hostile", spool_id="hostile", contract=contract(0, 0).to_message()
        )
        with contextlib.suppress(grpc.RpcError):
            service_pb2_grpc.LearnerStub(channel).Join(join, timeout=10)
            batch = sp.RecordBatch(run_id=RUN, spool_id="hostile").SerializeToString()
            list(push_call(channel)((batch for _ in range(10_000)), timeout=2))


def no_http(port: int) -> None:
    with contextlib.suppress(OSError), socket.create_connection(("localhost", port), timeout=5) as raw:
        raw.sendall(os.urandom(1 << 16))
        raw.recv(1)


KINDS: dict[str, Callable[[int], None]] = {
    "calls with a wrong token": refused,
    "status calls with the token": asked,
    "malformed batches with the token": malformed,
    "empty batches with the token": empty,
    "bytes that are no HTTP": no_http,
}


def attack(port: int, kind: str, control: Connection) -> None:
    """Until ``control`` says stop; reports the processor time it took."""
    ended = threading.Event()

    def go_on() -> None:
        while not ended.is_set():
            KINDS[kind](port)

    threads = [threading.Thread(target=go_on, daemon=True) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    control.send("ready")
    used_s = time.process_time()
    control.recv()
    control.send(time.process_time() - used_s)
    ended.set()


def measured(kind: str, rounds: int, seconds: float) -> dict:
    """One row: without the client and with it, in turns."""
    import torch

    torch.set_num_threads(1)
    alone, attacked, service_s, client_s = [], [], 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        learner = Learner(0, 0, folder)
        try:
            learner.updates_per_s(seconds / 2)
            for _ in range(rounds):
                alone.append(learner.updates_per_s(seconds)[0])
                control, there = multiprocessing.Pipe()
                child = multiprocessing.get_context("spawn").Process(target=attack, args=(learner.port, kind, there))
                child.start()
                assert control.recv() == "ready"
                learner.updates_per_s(seconds / 4)
                service_s -= time.process_time() - time.thread_time()
                attacked.append(learner.updates_per_s(seconds)[0])
                service_s += time.process_time() - time.thread_time()
                control.send("stop")
                client_s += control.recv()
                child.kill()
                child.join()
        finally:
            learner.close()
    took = rounds * seconds
    note = (
        f"processor time: {100 * service_s / took:.1f} % of a core in the learner beside its updates, "
        f"{100 * client_s / (took * 1.25):.0f} % in the client"
    )
    name = f"updates/s under {kind}, {CONNECTIONS} connections, state, batch 256"
    found = row(name, "updates/s", attacked, alone, command=COMMAND, peer_is="no client", note=note)
    pairs = sorted(a / b for a, b in zip(attacked, alone, strict=True))
    return found | {"ratio": pairs[len(pairs) // 2], "ratio_range": [pairs[0], pairs[-1]]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    for kind in KINDS:
        print(json.dumps(measured(kind, arguments.rounds, arguments.seconds)), flush=True)
