"""Replay for images against LeRobot's own ReplayBuffer, in one process, alternated; and what it costs as it grows.

    python benchmarks/replay.py
    python benchmarks/replay.py --part growth

Two cameras of 128x128x3, an 18-d state, a 4-d action, batches of 256, one thread, CPU. The peer stores its images as
float32 and is given its memory-saving flag. Its random shift is compiled, as it is in its buffer, and compiling is not
timed. Ours draws into memory that is used again, as the update loop does. Times are processor seconds, so that a busy
machine disturbs both alike. A ratio is the peer's figure over ours: how many times less ours takes.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

from episodes.contract import Contract, Feature, FeatureView, Interface, View
from learner.augmentation import draw_shifts, gather_images
from learner.batch_memory import BatchMemory
from learner.replay import ReplayBuffer
from learner.replay_rows import row_bytes
from transport import records_pb2 as pb

STATE, ACTION, BATCH, SHIFT_PX = 18, 4, 256, 4
CAMERAS = ("observation.images.front", "observation.images.wrist")
EPISODE = 100
PEER_BYTES = 2e9
COMMAND = "python benchmarks/replay.py"


def contract(image_px: int = 128, stack: int = 1) -> Contract:
    """Of two cameras of ``image_px``; of the state alone with 0."""
    cameras = [Feature(name, "uint8", (image_px, image_px, 3)) for name in CAMERAS] if image_px else []
    observations = (Feature("observation.state", "float32", (STATE,)), *cameras)
    view = View(tuple(FeatureView(camera.name, stack=stack) for camera in cameras))
    return Contract(Interface("benchmark", observations, Feature("action", "float32", (ACTION,))), view)


def filled(of: Contract, steps: int, rows: int | None = None) -> ReplayBuffer:
    """A replay buffer with so many steps, of ``rows`` rows, or just as many as they need."""
    rows = rows or steps + steps // EPISODE + 2
    replay = ReplayBuffer(of, capacity_bytes=rows * row_bytes(of), n_step=1)
    for record in records(of, steps):
        replay.apply(pb.LogEntry(record=record))
    return replay


def records(of: Contract, steps: int) -> Iterator[pb.Record]:
    """Episodes of ``EPISODE`` steps."""
    random = np.random.default_rng(0)
    frames = [[random.bytes(f.nbytes) if f.is_image else bytes(f.nbytes) for f in of.stored] for _ in range(7)]
    for index in range(steps):
        name, place = str(index // EPISODE), index % EPISODE
        if not place:
            yield pb.Record(start=pb.EpisodeStart(episode_id=name, purpose=pb.PURPOSE_TRAINING, observation=frames[0]))
        step = pb.Step(episode_id=name, index=place, chosen=[0.5] * ACTION, proposed=[0.5] * ACTION)
        step.observation.extend(frames[index % 7])
        yield pb.Record(step=step)
        if place == EPISODE - 1:
            yield pb.Record(end=pb.EpisodeEnd(episode_id=name, outcome=pb.OUTCOME_TIMEOUT, author="env"))


def sampler(replay: ReplayBuffer, shift_px: int = 0) -> Callable[[], object]:
    """Draws one batch, into memory as the update loop has it."""
    ring = [BatchMemory(replay.batch_bytes(BATCH)) for _ in range(2)]
    count = 0

    def sample() -> object:
        nonlocal count
        count += 1
        memory = ring[count % 2]
        memory.clear()
        return replay.sample(BATCH, shift_px=shift_px, into=memory)

    return sample


def peer_buffer(image_px: int, rows: int) -> Any:
    """LeRobot 0.6.1's buffer, full."""
    from lerobot.rl.buffer import ReplayBuffer as Peer

    keys = ["observation.state", *(CAMERAS if image_px else ())]
    peer = Peer(rows, device="cpu", state_keys=keys, use_drq=bool(image_px), optimize_memory=True)
    state = {"observation.state": torch.randn(1, STATE)}
    state |= {name: torch.rand(1, 3, image_px, image_px) for name in keys[1:]}
    peer.add(state, torch.randn(1, ACTION), 0.0, state, False, False)
    for column in peer.states.values():
        # Every page of it is there, as after so many calls of add.
        column[...] = column[0].clone()
    peer.size = rows
    return peer


def seconds(work: Callable[[], object], times: int) -> float:
    start = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - start) / times


def paired(name: str, ours: Callable[[], object], peer: Callable[[], object], rounds: int, times: int) -> dict:
    """One row; every ratio is of two neighbours in time."""
    seconds(ours, times), seconds(peer, 2)
    pairs = [(seconds(ours, times), seconds(peer, max(2, times // 5))) for _ in range(rounds)]
    own, theirs = ([1e3 * pair[i] for pair in pairs] for i in (0, 1))
    ratios = [p / o for o, p in zip(own, theirs, strict=True)]
    return {
        "name": name,
        "unit": "ms of a processor",
        "ours": median(own),
        "peer": median(theirs),
        "ratio": median(ratios),
        "range": [min(own), max(own)],
        "peer_range": [min(theirs), max(theirs)],
        "ratio_range": [min(ratios), max(ratios)],
        "command": COMMAND,
    }


def alone(name: str, unit: str, values: list[float], command: str) -> dict:
    spread = [min(values), max(values)]
    found = {"name": name, "unit": unit, "ours": median(values), "peer": None, "ratio": None}
    return found | {"range": spread, "command": command}


def images(rounds: int, times: int) -> Iterator[dict]:
    """The rows of two 128x128 cameras."""
    of = contract()
    replay = filled(of, 2000)
    peer = peer_buffer(128, 2000)
    augment = peer.image_augmentation_function
    what = f"{BATCH} transitions with next observations, 2 cameras 128x128x3"
    peer.use_drq = False
    yield paired(f"replay: sample {what}", sampler(replay), lambda: peer.sample(BATCH), rounds, times)
    random = np.random.default_rng(0)
    column = random.integers(0, 256, (BATCH, 128, 128, 3), np.uint8)
    out, rows = np.empty_like(column), np.arange(BATCH)[:, None]
    floats = torch.rand(BATCH, 3, 128, 128)
    yield paired(
        f"random shift by up to {SHIFT_PX} px of {BATCH} images 128x128x3",
        lambda: gather_images(column, rows, out, draw_shifts(random, SHIFT_PX, BATCH)),
        lambda: augment(floats),
        rounds,
        times,
    )
    peer.use_drq = True
    yield paired(
        f"replay: sample {what}, randomly shifted", sampler(replay, SHIFT_PX), lambda: peer.sample(BATCH), rounds, times
    )
    columns = [*peer.states.values(), peer.actions, peer.rewards, peer.dones, peer.truncateds, peer.episode_ends]
    theirs = sum(column.nbytes for column in columns) / peer.capacity
    for steps in (100, 15):
        own = row_bytes(of) * (steps + 1) / steps  # an episode keeps the observation after its last step, too
        yield {
            "name": f"replay: bytes a transition of episodes of {steps} steps, 2 cameras 128x128x3",
            "unit": "bytes",
            "ours": own,
            "peer": theirs,
            "ratio": theirs / own,
            "command": COMMAND,
        }
    stacks = sampler(filled(contract(84, stack=3), 2000), SHIFT_PX)
    seconds(stacks, 2)
    yield alone(
        f"replay: sample {BATCH} transitions with next observations, 2 cameras 84x84x9 (3 frames), randomly shifted",
        "ms of a processor",
        [1e3 * seconds(stacks, 3) for _ in range(rounds)],
        COMMAND,
    )


def growth(rounds: int, times: int) -> Iterator[dict]:
    """Sampling and storing as the buffer grows; the peer where it needs less than ``PEER_BYTES``."""
    command = f"{COMMAND} --part growth"
    for what, image_px, sizes in (
        ("state", 0, (1_000, 10_000, 100_000, 1_000_000)),
        ("2 cameras 64x64x3", 64, (1_000, 10_000, 100_000)),
    ):
        of = contract(image_px)
        for steps in sizes:
            started = time.process_time()
            replay = filled(of, steps)
            stored = [1e6 * (time.process_time() - started) / steps]
            name = f"replay of {steps:,} transitions, {what}"
            sample = sampler(replay)
            if 4 * steps * (STATE + len(CAMERAS) * 3 * image_px**2) < PEER_BYTES:
                peer = peer_buffer(image_px, steps)
                peer.use_drq = False
                draw = functools.partial(peer.sample, BATCH)
                row = paired(f"{name}: sample {BATCH} with next observations", sample, draw, rounds, times)
                yield row | {"command": command}
                del peer, draw
            else:
                seconds(sample, times)
                drawn = [1e3 * seconds(sample, times) for _ in range(rounds)]
                yield alone(f"{name}: sample {BATCH} with next observations", "ms of a processor", drawn, command)
            yield alone(f"{name}: make a record and store it", "us of a processor", stored, command)
            del replay, sample


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("images", "growth"), default="images")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--times", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    part = images if arguments.part == "images" else growth
    for row in part(arguments.rounds, arguments.times):
        print(json.dumps(row), flush=True)
