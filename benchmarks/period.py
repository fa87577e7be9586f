"""Control period at 10 and 30 Hz, and its drift: the actor's own control process, LeRobot's loop and a bare loop.

    python benchmarks/period.py [--rounds 3]

Ours is `python -m actor.control_main` in realtime pacing with the simulated arm, a policy and a spool, as an actor
starts it; times are those its steps carry. LeRobot's loop is that of its actor: act, step, its `precise_sleep` for what
is left of the period, with the same environment and policy. The error is how much two starts in a row differ from one
period; drift is what a line through the starts is off the asked rate by, over all of them. Prints one JSON object a
row.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from actor.config import ActorConfig, ControlConfig
from actor.control_process import ControlProcess
from actor.policy_pilot import PolicyPilot
from actor.shared import Board, Mailbox, create_block
from actor.spool import Spool, record_bytes
from envs.registry import derive_contract, env_config_type, make_env
from policies.snapshot import save_snapshot
from policies.spec import build_policy, spec_from_contract
from transport import records_pb2 as records
from transport import service_pb2 as pb
from transport.settings import settings_of

COMMAND = "python benchmarks/period.py"
ENV, SECONDS, CAPACITY = "so101_sim", 8.0, 1 << 22
CONFIG = env_config_type(ENV)(obs="state", max_episode_steps=10_000)


def payload() -> bytes:
    return save_snapshot(build_policy(spec_from_contract(derive_contract(ENV, CONFIG))), 1)


def ours(hz: float) -> list[float]:
    """When each control step began [s], of one episode of the control process."""
    contract, usual = derive_contract(ENV, CONFIG), ActorConfig()
    board_fd, *fds = create_block(Board.SIZE), *(create_block(Mailbox.size(CAPACITY)) for _ in range(3))
    board = Board(board_fd)
    Mailbox(fds[0], CAPACITY).put(payload(), version=1)
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool.create(
            Path(folder) / "spool.bin",
            run_id="benchmark",
            actor="bench",
            fingerprint=contract.interface_fingerprint,
            slot_bytes=record_bytes(contract),
            capacity=2000,
        )
        process = ControlProcess(board, (board_fd, *fds), lambda text: print(text, file=sys.stderr))
        settings = pb.RunDescription(env_settings=settings_of(CONFIG)).SerializeToString()
        process.order(
            ControlConfig(
                env=ENV,
                env_settings=base64.b64encode(settings).decode(),
                name="bench",
                run_id="benchmark",
                spool_path=str(spool.path),
                operator="none",
                pacing="realtime",
                control_hz=hz,
                warmup="policy",
                exploration_share=1.0,
                seed=0,
                max_action=usual.max_action,
                stale_observation_s=usual.stale_observation_s,
                watchdog_s=usual.watchdog_s,
                device="cpu",
                torch_threads=1,
                view_port=0,
                board_fd=board_fd,
                policy_fd=fds[0],
                evaluation_fd=fds[1],
                frozen_fd=fds[2],
            )
        )
        wanted = int(SECONDS * hz) + 2
        while spool.produced < wanted and process.poll() is None:
            time.sleep(0.05)
        board.comms["stop"] = 1
        process.stop()
        found = [records.Record.FromString(spool.read(n + 1) or b"") for n in range(spool.produced)]
        spool.close()
    for fd in (board_fd, *fds):
        os.close(fd)
    return [record.step.time_ns / 1e9 for record in found if record.HasField("step")][: wanted - 1]


def lerobot(hz: float) -> list[float]:
    """When each step of LeRobot's loop began [s], in a process of its own."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import period; period.lerobot_loop({hz})"
    return json.loads(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout)


def lerobot_loop(hz: float) -> None:
    """The pacing of ``lerobot.rl.actor.act_with_policy``: the sleep is relative to the start of each step."""
    import torch
    from lerobot.utils.robot_utils import precise_sleep

    torch.set_num_threads(1)
    env = make_env(ENV, CONFIG)
    letters = iter([payload()])
    pilot = PolicyPilot(lambda spare_s: next(letters, None))
    observation, _ = env.reset(seed=0)
    pilot.refresh()
    pilot.begin_episode(observation)
    begun = []
    for _ in range(int(SECONDS * hz) + 1):
        start = time.perf_counter()
        action = pilot.propose()
        begun.append(time.time())
        observation, *_ = env.step(action)
        pilot.observe(observation)
        precise_sleep(max(1 / hz - (time.perf_counter() - start), 0.0))
    print(json.dumps(begun))


def bare(hz: float) -> list[float]:
    """When each turn of a loop began [s] that only sleeps to absolute deadlines."""
    began, begun = time.monotonic(), []
    for turn in range(int(SECONDS * hz) + 1):
        time.sleep(max(0.0, began + turn / hz - time.monotonic()))
        begun.append(time.monotonic())
    return begun


def figures(begun: Iterable[float], hz: float) -> dict[str, float]:
    """p50 and p99 of the error of the period, and the drift over all of them, by the slope of a line [ms]."""
    times = np.array(list(begun))
    errors = np.abs(np.diff(times) - 1 / hz) * 1e3
    p50, p99 = np.percentile(errors, (50, 99))
    steps = np.arange(len(times))
    slope = np.polyfit(steps, times - times[0] - steps / hz, 1)[0]
    drift = abs(slope) * (len(times) - 1) * 1e3
    return {"p50": float(p50), "p99": float(p99), "drift": float(drift)}


def rows(hz: float, rounds: int) -> list[dict]:
    mine, theirs, limits = [], [], []
    for _ in range(rounds):
        mine.append(figures(ours(hz), hz))
        theirs.append(figures(lerobot(hz), hz))
        limits.append(figures(bare(hz), hz))
    found = []
    for key, name in (
        ("p50", f"control period error p50 at {hz:g} Hz"),
        ("p99", f"control period error p99 at {hz:g} Hz"),
        ("drift", f"drift of the control period over {SECONDS:g} s at {hz:g} Hz"),
    ):
        own, other = [one[key] for one in mine], [one[key] for one in theirs]
        ratios = sorted(b / a for a, b in zip(own, other, strict=True) if a)
        found.append(
            {
                "name": name,
                "unit": "ms",
                "ours": median(own),
                "peer": median(other),
                "ratio": median(ratios) if ratios else None,
                "command": COMMAND,
                "range": [min(own), max(own)],
                "peer_range": [min(other), max(other)],
                "ratio_range": [ratios[0], ratios[-1]] if ratios else None,
            }
        )
    for key in ("p50", "p99"):
        limit = [one[key] for one in limits]
        found.append(
            {
                "name": f"a bare timer loop: error {key} at {hz:g} Hz",
                "unit": "ms",
                "ours": median(limit),
                "peer": None,
                "ratio": None,
                "command": COMMAND,
                "range": [min(limit), max(limit)],
                "note": "no environment and no policy: the limit that the machine itself set meanwhile",
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for hz in (10.0, 30.0):
        for found in rows(hz, arguments.rounds):
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
