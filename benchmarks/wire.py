"""Records a second over loopback gRPC, from one actor to the acknowledgement, with the log on disk.

    python benchmarks/wire.py [--folder DIR] [--seconds 5]

A client process pushes prepared batches within the byte window; the server process logs them and drains them as the
update loop would. Prints one JSON object a row.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from episodes.contract import Contract, Feature, FeatureView, Interface, View
from episodes.log import EpisodeLog
from learner.ingest import Ingest
from learner.publisher import PolicyPublisher
from learner.service import LearnerServer
from transport import records_pb2 as pb
from transport import service_pb2 as sp
from transport import service_pb2_grpc
from transport.channel import PROTOCOL, open_channel

TOKEN = "token-of-the-benchmark"
RUN = "benchmark"


def contract(images: bool) -> Contract:
    observations = [Feature("observation.state", "float32", (18,))]
    if images:
        observations += [Feature(f"observation.images.{name}", "uint8", (128, 128, 3)) for name in ("front", "wrist")]
    interface = Interface("benchmark", tuple(observations), Feature("action", "float32", (4,)))
    return Contract(interface, View(tuple(FeatureView(f.name) for f in observations)))


def push(port: int, images: bool, records_a_batch: int, seconds: float, result) -> None:
    """Sends one never-ending episode and counts what is acknowledged in ``seconds`` after a warm-up of one second."""
    described = contract(images)
    rng = np.random.default_rng(0)
    observation = [rng.integers(0, 255, f.nbytes, np.uint8).tobytes() for f in described.interface.observations]
    observation[0] = bytes(72)
    with open_channel(f"localhost:{port}", TOKEN) as channel:
        stub = service_pb2_grpc.LearnerStub(channel)
        join = stub.Join(
            sp.JoinRequest(
                protocol=PROTOCOL, run_id=RUN, actor="bench", spool_id="spool", contract=described.to_message()
            ),
            timeout=10,
        )
        acknowledged, flying = [0], threading.Semaphore(0)
        start = pb.Record(sequence=1, start=pb.EpisodeStart(episode_id="a" * 32, purpose=1, observation=observation))
        action = [0.1, 0.2, 0.3, 0.4]
        step = pb.Step(
            episode_id="a" * 32,
            proposed=action,
            chosen=action,
            sent=action,
            observation=observation,
            rewards=[pb.Reward(source="env", value=0.0)],
            policy_version=7,
        )
        size = sp.RecordBatch(records=[pb.Record(step=step)] * records_a_batch).ByteSize()
        in_flight = max(1, join.window_bytes // size)
        end = time.monotonic() + 1.0 + seconds

        def batches():
            yield sp.RecordBatch(run_id=RUN, spool_id="spool", records=[start])
            sequence, sent = 1, 0
            while time.monotonic() < end:
                batch = sp.RecordBatch(run_id=RUN, spool_id="spool")
                for _ in range(records_a_batch):
                    record = batch.records.add()
                    sequence += 1
                    record.sequence = sequence
                    step.index = sequence - 2
                    step.time_ns = time.time_ns()
                    record.step.CopyFrom(step)
                while sequence - acknowledged[0] > in_flight * records_a_batch:
                    flying.acquire()
                sent += 1
                yield batch

        marks = []
        for reply in stub.Push(batches()):
            acknowledged[0] = reply.sequence
            flying.release()
            marks.append((time.monotonic(), reply.sequence))
        first = next(mark for mark in marks if mark[0] > end - seconds)
        last = marks[-1]
        result.send(((last[1] - first[1]) / (last[0] - first[0]), resource.getrusage(resource.RUSAGE_SELF), size))


def measure(folder: str, images: bool, sync: str, records_a_batch: int, seconds: float) -> dict:
    described = contract(images)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        log = EpisodeLog(Path(place), run_id=RUN, interface_fingerprint=described.interface_fingerprint, sync=sync)
        ingest = Ingest(log, described.interface)
        run = sp.RunDescription(protocol=PROTOCOL, run_id=RUN, contract=described.to_message())
        server = LearnerServer("localhost:0", TOKEN, run, ingest, PolicyPublisher(), sp.Status)
        here, there = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        client = context.Process(target=push, args=(server.start(), images, records_a_batch, seconds, there))
        client.start()
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
        drained = 0
        while client.is_alive():
            ingest.wait(0.1)
            drained += len(ingest.drain())
        rate, client_usage, batch_bytes = here.recv()
        used = resource.getrusage(resource.RUSAGE_SELF)
        drained += len(ingest.drain())
        server.stop()
        ingest.close()
        log.close()
        return {
            "records": "image" if images else "state",
            "sync": sync,
            "records_a_batch": records_a_batch,
            "bytes_a_record": round(batch_bytes / records_a_batch),
            "records_per_s": round(rate),
            "server_cpu_us_a_record": round(
                (used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime) / max(drained, 1) * 1e6, 1
            ),
            "client_cpu_s": round(client_usage.ru_utime + client_usage.ru_stime, 2),
            "drained": drained,
            "seconds": round(time.monotonic() - began, 1),
            "cores": os.cpu_count(),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default=None, help="where the log is written (default: the temporary folder)")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--only", choices=["state", "image"], default=None)
    arguments = parser.parse_args()
    for images, sync, records_a_batch in (
        (False, "os", 10),
        (False, "os", 200),
        (False, "commit", 200),
        (True, "os", 10),
        (True, "commit", 10),
    ):
        if arguments.only in (None, "image" if images else "state"):
            row = measure(arguments.folder, images, sync, records_a_batch, arguments.seconds)
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
