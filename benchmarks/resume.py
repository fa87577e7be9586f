"""What going on costs: rebuilding replay from the log, the pause of a checkpoint, and a killed learner started again.

    python benchmarks/resume.py [--rounds 3]

Replay is rebuilt as a learner does at its start: every entry is read, checked, parsed, and applied to replay and
metrics; its rates are by processor time, so that a busy machine disturbs them little. The memory it takes was used and
freed just before, as that of a killed learner was: what a hypervisor needs to hand out memory that no program of the
machine ever used is not measured. The pause is how long the update
loop stands still while it takes a checkpoint; writing is another thread's. The restart is `tandem learner` and `tandem
actor` on loopback: from the start of the learner's new process, after kill -9, to the first step in its log that a
policy of the new process acted. In real time, as a robot has it, the actor acts all the while; in lockstep, as in
simulation, it also waits for the updates since the last checkpoint, which are made again. Prints one JSON object a row.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from replay import contract, records
from rows import row

from episodes.contract import Contract
from episodes.log import EpisodeLog, read_log
from learner.algorithms import SACConfig, build_algorithm
from learner.assembly import replay_buffer
from learner.checkpoint import CheckpointWriter
from learner.config import LearnerConfig
from learner.console import Console
from learner.episode_metrics import EpisodeMetrics
from learner.ingest import Ingest
from learner.publisher import PolicyPublisher
from learner.replay import ReplayBuffer
from learner.replay_rows import row_bytes
from learner.reporting import Reporter
from learner.run_folder import open_run_folder
from learner.training import Trainer
from metrics.tracker import NoTracker
from transport import records_pb2 as pb

COMMAND = "python benchmarks/resume.py"
CAMERAS = "2 cameras 128x128x3"


def rebuilt(of: Contract, steps: int, rounds: int) -> tuple[list[float], list[float]]:
    """MB and steps a processor second at which a log becomes replay again."""
    rates: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        with EpisodeLog(Path(folder), run_id="r", interface_fingerprint="f", sync="os") as log:
            for sequence, record in enumerate(records(of, steps), 1):
                record.sequence = sequence
                if record.HasField("end"):
                    record.end.steps = 100
                log.append([pb.LogEntry(spool_id="s", actor="a", record=record).SerializeToString()])
            size = log.end
        capacity = (steps + steps // 50) * row_bytes(of)
        for _ in range(rounds + 1):
            np.ones(2 * capacity, np.uint8)
            replay = ReplayBuffer(of, capacity_bytes=capacity, n_step=1)
            metrics = EpisodeMetrics(0.99)
            began = time.process_time()
            for _, entry in read_log(folder):
                replay.apply(entry)
                metrics.apply(entry)
            rates.append(size / (time.process_time() - began))
    kept = rates[1:]  # the first imports
    return [rate / 1e6 for rate in kept], [rate * steps / size for rate in kept]


@contextlib.contextmanager
def trainer(of: Contract, folder: Path) -> Iterator[Trainer]:
    """Of the default algorithm, as `tandem learner` has it."""
    config = LearnerConfig(env="benchmark", env_config=None, algorithm=SACConfig(), device="cpu", console=False)
    run = open_run_folder(folder, of, env="benchmark", resume="auto", replay_bytes=1 << 26, settings={})
    with EpisodeLog(run.log, run_id=run.run_id, interface_fingerprint=of.interface_fingerprint) as log:
        made = Trainer(
            config,
            run,
            ingest=Ingest(log, of),
            publisher=PolicyPublisher(),
            algorithm=build_algorithm(of, config.algorithm, device="cpu", seed=0),
            replay=replay_buffer(config, of, run.replay_bytes),
            reporter=Reporter(run.metrics, NoTracker()),
            console=Console(False),
        )
        try:
            yield made
        finally:
            made.batches.close()
            made.writer.close()
            made.reporter.close(1.0)
            made.ingest.close()


def pauses(of: Contract, rounds: int) -> list[float]:
    """Milliseconds that the update loop stands still for a checkpoint."""
    with tempfile.TemporaryDirectory() as folder, trainer(of, Path(folder) / "run") as made:
        assert isinstance(made.writer, CheckpointWriter)
        found = []
        for _ in range(rounds + 1):
            began = time.monotonic()
            made.save()
            found.append(1e3 * (time.monotonic() - began))
            made.writer.flush(60.0)
        return found[1:]


def restarts(rounds: int, pacing: str) -> list[float]:
    """Seconds from the new process of a killed learner to a step that its policy acted."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        with socket.create_server(("localhost", 0)) as free:
            address = f"learner.address=localhost:{free.getsockname()[1]}"
        run = Path(folder) / "run"

        def start(*words: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", "cli.main", *words, address]
            environment = os.environ | {"TANDEM_TOKEN": "token-of-the-benchmark", "HOME": folder}
            quiet = subprocess.DEVNULL
            process = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet, start_new_session=True)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        def version() -> int:
            versions = [0]
            with contextlib.suppress(Exception):
                steps = (entry.record.step for _, entry in read_log(run / "log") if entry.record.HasField("step"))
                versions += [step.policy_version for step in steps]
            return versions[-1]

        settings = ("env=gym", "env.id=Pendulum-v1", "tracker=none", "warmup_steps=200", "learner.console=false")
        learner = start("learner", *settings, f"run={run}")
        start("actor", "actor.name=bench", f"actor.spool={folder}/spools", f"pacing={pacing}", "actor.control_hz=20")
        found = []
        for _ in range(rounds):
            before = version()
            while version() <= before + 1:
                time.sleep(0.2)
            learner.send_signal(signal.SIGKILL)
            learner.wait()
            before = json.loads((run / "policies" / "reserved.json").read_text())["below"]
            began = time.monotonic()
            learner = start("learner", *settings, f"run={run}")
            while version() < before:
                time.sleep(0.05)
            found.append(time.monotonic() - began)
        return found


def rows(rounds: int) -> Iterator[dict]:
    mb, steps = rebuilt(contract(128), 2000, rounds)
    yield row(f"replay rebuilt from the log, {CAMERAS}", "MB/s of a processor", mb, command=COMMAND) | {
        "better": "higher"
    }
    mb, steps = rebuilt(contract(0), 50_000, rounds)
    yield row("replay rebuilt from the log, state", "steps/s of a processor", steps, command=COMMAND) | {
        "better": "higher"
    }
    yield row("update loop stands still for a checkpoint, state", "ms", pauses(contract(0), 10), command=COMMAND)
    yield row(f"update loop stands still for a checkpoint, {CAMERAS}", "ms", pauses(contract(128), 10), command=COMMAND)
    name = "killed learner started again: to a step of its policy"
    yield row(f"{name}, real time", "s", restarts(rounds, "realtime"), command=COMMAND)
    note = "with the updates since its last checkpoint, made again"
    yield row(f"{name}, lockstep", "s", restarts(rounds, "lockstep"), command=COMMAND, note=note)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    for found in rows(parser.parse_args().rounds):
        print(json.dumps(found), flush=True)
