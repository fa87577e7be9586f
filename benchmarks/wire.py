"""Steps from an actor to the learner's log, against LeRobot's own transport, in one run, alternated.

    python benchmarks/wire.py [--rounds 3] [--folder DIR] [--only image|state]

Two cameras of 128x128x3, 18 numbers of state, 4 of action; or the numbers alone. Rates run from what waits to be sent,
serialized already, over loopback gRPC between two processes. Ours is the real path: a spool's records, the uplink, the
learner's service, the log, the acknowledgement. LeRobot's is its own SendTransitions, from its message to its
``bytes_to_transitions``, ten transitions a message; it stores nothing and acknowledges nothing. Rates are wall-clock
and fall where other programs run; processor time of both processes is a row of its own. Prints one JSON object a row.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from rows import row as row_of

from actor.shared import Board, create_block
from actor.spool import Spool, record_bytes
from actor.uplink import Uplink
from episodes.contract import Contract, Feature, FeatureView, Interface, View
from episodes.image_codec import ImageCodec
from episodes.layout import ObservationLayout
from episodes.log import EpisodeLog, Sync
from learner.ingest import Ingest
from learner.publisher import PolicyPublisher
from learner.service import LearnerServer
from transport import records_pb2 as pb
from transport import service_pb2 as sp
from transport.channel import PROTOCOL, open_channel
from transport.push import encode_batch
from transport.record_parts import step_record

TOKEN, RUN, ACTOR, EPISODE = "token-of-the-benchmark", "benchmark", "bench", "a" * 32
STEPS = {"image": 1500, "state": 20_000}
COMMAND = "python benchmarks/wire.py"


def contract(kind: str) -> Contract:
    observations = [Feature("observation.state", "float32", (18,))]
    if kind == "image":
        observations += [Feature(f"observation.images.{name}", "uint8", (128, 128, 3)) for name in ("front", "wrist")]
    interface = Interface("benchmark", tuple(observations), Feature("action", "float32", (4,)))
    return Contract(interface, View(tuple(FeatureView(f.name) for f in observations)))


def observations(kind: str) -> list[dict[str, np.ndarray]]:
    """A few different observations."""
    random = np.random.default_rng(0)
    return [
        {
            f.name: random.integers(0, 256, f.shape, np.uint8)
            if f.is_image
            else random.standard_normal(f.shape).astype(np.float32)
            for f in contract(kind).stored
        }
        for _ in range(8)
    ]


def make_step(index: int, action: np.ndarray) -> pb.Step:
    """One step as the control loop makes it, without its observation."""
    numbers = action.tolist()
    return pb.Step(
        episode_id=EPISODE,
        index=index,
        proposed=numbers,
        chosen=numbers,
        sent=numbers,
        rewards=[pb.Reward(source="env", value=0.0)],
        policy_version=7,
        time_ns=time.time_ns(),
    )


def actor(port: int, kind: str, folder: str, result: multiprocessing.connection.Connection) -> None:
    """Fills a spool with steps of one episode, delivers it, and reports steps/s, processor seconds and bytes sent."""
    described, seen, action = contract(kind), observations(kind), np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    layout, steps = ObservationLayout(described.stored), STEPS[kind]
    spool = Spool.create(
        Path(folder) / "spool.bin",
        run_id=RUN,
        actor=ACTOR,
        fingerprint=described.interface_fingerprint,
        slot_bytes=record_bytes(described),
        capacity=steps + 2,
    )
    start = pb.EpisodeStart(episode_id=EPISODE, purpose=pb.PURPOSE_TRAINING, observation=layout.pack(seen[0]))
    spool.start_episode(start)
    for index in range(steps):
        step = make_step(index, action)
        spool.begin_step(step)
        spool.finish_step(step, layout.views(seen[index % 8]))
    join = sp.JoinRequest(
        protocol=PROTOCOL, run_id=RUN, actor=ACTOR, spool_id=spool.spool_id, contract=described.to_message()
    )
    with open_channel(f"localhost:{port}", TOKEN) as channel:
        uplink = Uplink(channel, spool, join, Board(create_block(Board.SIZE)), lambda text: None)
        used_s = time.process_time()
        result.send("ready")
        uplink.start()
        while not spool.acknowledged:
            time.sleep(0.002)
        began, first = time.monotonic(), spool.acknowledged
        while spool.undelivered and not uplink.error:
            time.sleep(0.002)
        took_s = time.monotonic() - began
        assert not uplink.error, uplink.error
        result.send(((spool.produced - first) / took_s, (time.process_time() - used_s) / spool.produced))
        uplink.finish(1.0)


def ours(kind: str, sync: Sync, folder: str | None) -> tuple[float, float]:
    """Steps/s to the acknowledgement, and processor seconds of both processes for a step."""
    described = contract(kind)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        fingerprint = described.interface_fingerprint
        log = EpisodeLog(Path(place) / "log", run_id=RUN, interface_fingerprint=fingerprint, sync=sync)
        ingest = Ingest(log, described)
        run = sp.RunDescription(protocol=PROTOCOL, run_id=RUN, contract=described.to_message())
        server = LearnerServer("localhost:0", TOKEN, run, ingest, PolicyPublisher(), sp.Status)
        here, there = multiprocessing.Pipe()
        client = multiprocessing.get_context("spawn").Process(target=actor, args=(server.start(), kind, place, there))
        client.start()
        there.close()
        here.recv()
        used_s, drained = time.process_time(), 0
        while not here.poll():
            ingest.wait(0.05)
            drained += len(ingest.drain())
        rate, actor_s = here.recv()
        used_s = time.process_time() - used_s
        client.join()
        server.stop()
        ingest.close()
        log.close()
    return rate, actor_s + used_s / STEPS[kind]


def serialize_ours(kind: str) -> float:
    """Processor seconds for a step: arrays to a serialized record, and that to arrays."""
    seen, layout = observations(kind), ObservationLayout(contract(kind).stored)
    action = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    count = 2000
    began = time.process_time()
    for index in range(count):
        data = b"".join(step_record(index + 1, make_step(index, action), layout.views(seen[index % 8])))
        layout.unpack(pb.Record.FromString(data).step.observation)
    return (time.process_time() - began) / count


def bytes_ours(kind: str) -> int:
    """Bytes of a step on the wire."""
    views = ObservationLayout(contract(kind).stored).views(observations(kind)[0])
    record = b"".join(step_record(1 << 20, make_step(5, np.array([0.1, 0.2, 0.3, 0.4], np.float32)), views))
    return len(encode_batch(sp.RecordBatch(), [record]))


def compression_rows() -> list[dict]:
    """Bytes and processor time of lossless compression, on frames of the simulated arm with a camera's noise."""
    from envs.registry import env_config_type, make_env

    kind, random = "image", np.random.default_rng(0)
    env = make_env("so101_sim", env_config_type("so101_sim")(obs="pixels", image_width=128, image_height=128))
    observation, _ = env.reset(seed=0)
    seen = []
    for _ in range(16):
        raw = {name: value for name, value in observation.items() if name.startswith("observation.images.")}
        noisy = {n: np.clip(v + random.normal(0, 2, v.shape), 0, 255).astype(np.uint8) for n, v in raw.items()}
        seen.append(noisy | {"observation.state": np.zeros(18, np.float32)})
        observation, *_ = env.step(random.uniform(-1, 1, 4))
    env.close()
    described = contract(kind)
    layout, codec = ObservationLayout(described.stored), ImageCodec(described.stored)
    action = np.zeros(4, np.float32)
    parts = [step_record(i + 1, make_step(i, action), layout.views(o)) for i, o in enumerate(seen)]
    records = [pb.Record.FromString(b"".join(part)).SerializeToString() for part in parts]
    began = time.process_time()
    packed = [codec.compress(record) for record in records]
    middle = time.process_time()
    assert codec.restore(packed, 1 << 30) == records
    end = time.process_time()
    size = sum(map(len, packed)) / len(records)
    raw_size = sum(map(len, records)) / len(records)
    milliseconds = (end - began) / len(records) * 1e3
    where = "frames of the simulated arm with noise of 2 of 255"
    return [
        row(f"bytes of an image step with actor.compression=zlib, {where}", "bytes", [size], [raw_size], "none"),
        row(
            "processor time of it, both sides",
            "ms",
            [milliseconds],
            [],
            note=f"actor {(middle - began) * 1e3 / 16:.2f}",
        ),
    ]


def row(
    name: str, unit: str, mine: list[float], theirs: list[float], peer: str = "LeRobot 0.6.1", note: str = ""
) -> dict:
    return row_of(name, unit, mine, theirs, command=COMMAND, peer_is=peer if theirs else None, note=note)


def rows(kind: str, rounds: int, folder: str | None, say: Callable[[dict], None]) -> None:
    import wire_lerobot as lerobot

    syncs: tuple[Sync, ...] = ("os", "commit")
    found: dict[str, list[tuple[float, float]]] = {sync: [] for sync in (*syncs, "peer")}
    cpu: list[tuple[float, float]] = []
    for _ in range(rounds):
        found["peer"].append(lerobot.deliver(kind))
        for sync in syncs:
            found[sync].append(ours(kind, sync, folder))
        cpu.append((serialize_ours(kind) * 1e3, lerobot.serialize(kind) * 1e3))
    theirs = [rate for rate, _ in found["peer"]]
    for sync in syncs:
        name = f"{kind} steps/s over loopback to the acknowledgement, log.sync={sync}"
        say(row(name, "steps/s", [rate for rate, _ in found[sync]], theirs))
    used, peers_used = ([used_s * 1e3 for _, used_s in found[who]] for who in ("os", "peer"))
    say(row(f"processor time of both processes for one {kind} step delivered, log.sync=os", "ms", used, peers_used))
    mine, peers = map(list, zip(*cpu, strict=True))
    say(row(f"serialise and deserialise one {kind} step, processor time", "ms", mine, peers))
    say(row(f"bytes on the wire for one {kind} step", "bytes", [bytes_ours(kind)], [lerobot.message_bytes(kind)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default=None, help="where the log is written (default: the temporary folder)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=list(STEPS), default=None)
    arguments = parser.parse_args()
    for kind in STEPS:
        if arguments.only in (None, kind):
            rows(kind, arguments.rounds, arguments.folder, lambda found: print(json.dumps(found), flush=True))
    if arguments.only in (None, "image"):
        for found in compression_rows():
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
