"""Updates a second while simulated actors stream steps at 10 Hz over real gRPC, relative to none, alternated.

    python benchmarks/scaling.py [--only state|images]

Each actor is a spool, an uplink and a channel of its own; all of them live in one other process. The learner is its
service, the log, the replay buffer and SAC with its defaults, taking what came between two updates. From state with 1
to 16 actors; from images with 4, as images and cameras grow. Wall-clock rates: on an otherwise idle machine alone do
they say what the actors cost. Prints one JSON object a row.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from actor.shared import Board, create_block
from actor.spool import Spool, record_bytes
from actor.uplink import Uplink
from episodes.contract import Contract, Feature, FeatureView, Interface, View
from episodes.layout import ObservationLayout
from episodes.log import EpisodeLog
from transport import records_pb2 as pb
from transport import service_pb2 as sp
from transport.channel import PROTOCOL, open_channel

HZ, STATE, ACTION = 10.0, 18, 4
TOKEN, RUN = "token-of-the-benchmark", "benchmark"
COMMAND = "python benchmarks/scaling.py"
ACTORS = (1, 2, 4, 8, 16)
IMAGES = ((64, 1), (64, 2), (64, 4), (84, 2), (128, 2))


def contract(image_px: int, cameras: int) -> Contract:
    """Of so many cameras of ``image_px``; of the state alone with 0."""
    observations = [Feature("observation.state", "float32", (STATE,))]
    observations += [
        Feature(f"observation.images.camera_{i}", "uint8", (image_px, image_px, 3)) for i in range(cameras)
    ]
    interface = Interface("benchmark", tuple(observations), Feature("action", "float32", (ACTION,)))
    return Contract(interface, View(tuple(FeatureView(f.name) for f in observations)))


def stream(port: int, image_px: int, cameras: int, actors: int, control: Connection) -> None:
    """Steps of ``actors`` actors until ``control`` says stop; reports how many steps it made and delivered."""
    described = contract(image_px, cameras)
    layout, random = ObservationLayout(described.stored), np.random.default_rng(0)
    seen = {
        f.name: random.integers(0, 256, f.shape, np.uint8) if f.is_image else np.zeros(f.shape, np.float32)
        for f in described.stored
    }
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        spools, uplinks = [], []
        for actor in range(actors):
            spool = Spool.create(
                Path(folder) / f"{actor}.bin",
                run_id=RUN,
                actor=f"actor-{actor}",
                fingerprint=described.interface_fingerprint,
                slot_bytes=record_bytes(described),
                capacity=1000,
            )
            observation = layout.pack(seen)
            start = pb.EpisodeStart(episode_id=f"{actor:032x}", purpose=pb.PURPOSE_TRAINING, observation=observation)
            spool.start_episode(start)
            join = sp.JoinRequest(
                protocol=PROTOCOL,
                run_id=RUN,
                actor=f"actor-{actor}",
                spool_id=spool.spool_id,
                contract=described.to_message(),
            )
            channel = stack.enter_context(open_channel(f"localhost:{port}", TOKEN))
            uplink = Uplink(channel, spool, join, Board(create_block(Board.SIZE)), lambda text: None)
            uplink.start()
            spools.append(spool)
            uplinks.append(uplink)
        control.send("ready")
        numbers, count, began, used_s = [0.1] * ACTION, 0, time.monotonic(), time.process_time()
        while not control.poll(max(0.0, began + count / (HZ * actors) - time.monotonic())):
            step = pb.Step(
                episode_id=f"{count % actors:032x}",
                index=count // actors,
                proposed=numbers,
                chosen=numbers,
                sent=numbers,
                rewards=[pb.Reward(source="env", value=0.0)],
                time_ns=time.time_ns(),
            )
            spools[count % actors].begin_step(step)
            spools[count % actors].finish_step(step, layout.views(seen))
            count += 1
        used_s = time.process_time() - used_s
        for uplink in uplinks:
            uplink.finish(1.0)
        control.send((count, used_s, [uplink.error for uplink in uplinks if uplink.error]))


class Learner:
    """The learner's parts, with a replay buffer that has enough to train on."""

    def __init__(self, image_px: int, cameras: int, folder: str):
        import replay as replays

        from learner.algorithms import SACConfig, build_algorithm
        from learner.batch_memory import BatchMemory
        from learner.ingest import Ingest
        from learner.publisher import PolicyPublisher
        from learner.service import LearnerServer

        self.contract = contract(image_px, cameras)
        self.config = SACConfig(batch_size=64 if cameras else 256, clamp_targets=False)
        self.replay = replays.filled(self.contract, 500, rows=4000)
        self.algorithm = build_algorithm(self.contract, self.config, device="cpu")
        self.algorithm.freeze_statistics(self.replay.statistics())
        self.memory = BatchMemory(self.replay.batch_bytes(self.config.batch_size))
        self.log = EpisodeLog(Path(folder), run_id=RUN, interface_fingerprint=self.contract.interface_fingerprint)
        self.ingest = Ingest(self.log, self.contract)
        run = sp.RunDescription(protocol=PROTOCOL, run_id=RUN, contract=self.contract.to_message())
        self.server = LearnerServer("localhost:0", TOKEN, run, self.ingest, PolicyPublisher(), sp.Status)
        self.port = self.server.start()

    def updates_per_s(self, seconds: float) -> tuple[float, int]:
        """Updates a second for so long, and how many entries of the log came meanwhile."""
        updates = entries = 0
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            for entry in self.ingest.drain(4096):
                self.replay.apply(entry)
                entries += 1
            self.memory.clear()
            batch = self.replay.sample(self.config.batch_size, 0.0, self.algorithm.shift_px, into=self.memory)
            self.algorithm.update(batch)
            updates += 1
        return updates / (time.monotonic() - began), entries

    def close(self) -> None:
        self.server.stop()
        self.ingest.close()
        self.log.close()


def measured(actors: int, image_px: int, cameras: int, rounds: int, seconds: float) -> dict:
    """One row: without actors and with them, in turns."""
    import torch

    torch.set_num_threads(1)
    alone, loaded, came, beside_s, actors_s = [], [], 0, 0.0, []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            learner = Learner(image_px, cameras, folder)
            try:
                learner.updates_per_s(seconds / 4)
                alone.append(learner.updates_per_s(seconds)[0])
                control, there = multiprocessing.Pipe()
                arguments = (learner.port, image_px, cameras, actors, there)
                child = multiprocessing.get_context("spawn").Process(target=stream, args=arguments)
                child.start()
                there.close()
                assert control.recv() == "ready"
                learner.updates_per_s(seconds / 4)
                beside_s -= time.process_time() - time.thread_time()
                rate, entries = learner.updates_per_s(seconds)
                beside_s += time.process_time() - time.thread_time()
                loaded.append(rate)
                came += entries
                control.send("stop")
                made, used_s, errors = control.recv()
                actors_s.append(used_s / made)
                assert not errors, errors
                child.join()
            finally:
                learner.close()
    note = (
        f"{came / (rounds * seconds * actors):.1f} steps/s came from each; processor time of a step: "
        f"{beside_s / came * 1e3:.2f} ms in the learner beside its updates, {median(actors_s) * 1e3:.2f} in the actors"
    )
    return row(actors, image_px, cameras, alone, loaded, note)


def row(actors: int, image_px: int, cameras: int, alone: list[float], loaded: list[float], note: str) -> dict:
    """One row of docs/benchmarks.json; the peer is the same learner with no actor."""
    ratios = sorted(with_actors / without for without, with_actors in zip(alone, loaded, strict=True))
    what = f"{cameras} cameras {image_px}x{image_px}x3, batch 64" if cameras else "state, batch 256"
    return {
        "name": f"updates/s with {actors} simulated actors at {HZ:g} Hz, {what}",
        "unit": "updates/s",
        "ours": median(loaded),
        "peer": median(alone),
        "ratio": median(ratios),
        "command": COMMAND,
        "range": [min(loaded), max(loaded)],
        "peer_range": [min(alone), max(alone)],
        "ratio_range": [ratios[0], ratios[-1]],
        "peer_is": "no actor",
        "note": note,
    }


def rows(only: str | None, rounds: int, seconds: float) -> Iterator[dict]:
    if only != "images":
        for actors in ACTORS:
            yield measured(actors, 0, 0, rounds, seconds)
    if only != "state":
        for image_px, cameras in IMAGES:
            yield measured(4, image_px, cameras, rounds, seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--only", choices=("state", "images"), default=None)
    arguments = parser.parse_args()
    for found in rows(arguments.only, arguments.rounds, arguments.seconds):
        print(json.dumps(found), flush=True)
