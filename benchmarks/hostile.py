"""Updates a second while a hostile client does its worst to the learner's port, beyond the processor time it takes.

    python benchmarks/hostile.py [--rounds 5] [--seconds 3]

The client is another process with several connections: calls without the token, calls with it as often as they are
answered, batches that are malformed or hold nothing, and bytes that are no HTTP. The learner is that of
benchmarks/scaling.py, from state. The peer, in turns with it, is the same learner beside a process that takes as much
processor time as the client took just before, and sends nothing: what a client on another machine would not take. Both
processes are kept to one processor, the last, so that they disturb the learner alike where it has but two. The note
says how much the client took, how much the learner's service took beside its updates, and the rate beside nobody.
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
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

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


def keep_to_one_processor() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def attack(port: int, kind: str, control: Connection) -> None:
    """Until ``control`` says stop; reports the processor time it took."""
    keep_to_one_processor()
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


def compute(share: float, control: Connection) -> None:
    """Takes ``share`` of a core until ``control`` says stop."""
    keep_to_one_processor()
    control.send("ready")
    began_s, used_s = time.monotonic(), time.process_time()
    while not control.poll():
        if time.process_time() - used_s > share * (time.monotonic() - began_s):
            time.sleep(0.02)
    control.recv()
    control.send(0.0)


@contextlib.contextmanager
def beside(target: Callable[..., None], *arguments: Any) -> Iterator[Callable[[], float]]:
    """A process that runs meanwhile; what is yielded ends it and returns the processor time it says it took [s]."""
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=target, args=(*arguments, there))
    child.start()

    def end() -> float:
        here.send("stop")
        return here.recv()

    try:
        assert here.recv() == "ready"
        yield end
    finally:
        child.kill()
        child.join()


def measured(kind: str, rounds: int, seconds: float) -> dict:
    """One row: beside the client, and beside a process that computes as much, in turns."""
    import torch

    torch.set_num_threads(1)
    attacked, computed, service_s, clients = [], [], 0.0, []
    with tempfile.TemporaryDirectory() as folder:
        learner = Learner(0, 0, folder)
        try:
            learner.updates_per_s(seconds / 2)
            alone = learner.updates_per_s(seconds)[0]
            for _ in range(rounds):
                with beside(attack, learner.port, kind) as end:
                    began_s = time.monotonic()
                    learner.updates_per_s(seconds / 4)
                    service_s -= time.process_time() - time.thread_time()
                    attacked.append(learner.updates_per_s(seconds)[0])
                    service_s += time.process_time() - time.thread_time()
                    took_s = time.monotonic() - began_s
                    clients.append(end() / took_s)
                with beside(compute, clients[-1]):
                    learner.updates_per_s(seconds / 4)
                    computed.append(learner.updates_per_s(seconds)[0])
        finally:
            learner.close()
    note = (
        f"processor time: {100 * service_s / (rounds * seconds):.1f} % of a core in the learner beside its updates, "
        f"{100 * median(clients):.0f} % in the client; {alone:.0f} updates/s beside nobody"
    )
    name = f"updates/s under {kind}, {CONNECTIONS} connections, state, batch 256"
    peer = "a process that computes as much"
    return row(name, "updates/s", attacked, computed, command=COMMAND, peer_is=peer, note=note)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    for kind in KINDS:
        print(json.dumps(measured(kind, arguments.rounds, arguments.seconds)), flush=True)
