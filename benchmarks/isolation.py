"""What the control loop notices of a stopped learner, a full disk, a cut network and 50 MB of weights.

    python benchmarks/isolation.py [--seconds 10] [--rounds 3]

`tandem actor` drives the simulated arm at 30 Hz in real time, through a relay of its own process, from a learner's
service and log in another; these two stand for other machines, and have a lower priority. For so many seconds each the
learner is stopped (SIGSTOP), the relay is, the learner's disk is full (a small tmpfs: root only), and a policy of 50 MB
is published every 2 s. The error of a step is how late it began, as the step itself says in the log; undisturbed is the
same actor, in turns; where its own p99 is beyond the mark, the machine is too busy for a verdict. Prints one JSON
object a row.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from episodes.log import EpisodeLog, read_log
from transport import service_pb2 as pb

COMMAND = "python benchmarks/isolation.py"
ENV, HZ, TOKEN, RUN = "so101_sim", 30.0, "token-of-the-benchmark", "isolation"
SMALL, LARGE = (256, 256), (3500, 3500)
PUBLISH_S, DISK_MB = 2.0, 32


def serve(folder: Path, port: int, hidden: tuple[int, ...], publishing: Path) -> None:
    """A learner's service and log; publishes a policy every PUBLISH_S while the file ``publishing`` is there."""
    from envs.registry import derive_contract, env_config_type
    from episodes.acting import ActingSettings
    from learner.ingest import Ingest
    from learner.publisher import PolicyPublisher
    from learner.service import LearnerServer
    from policies.snapshot import save_snapshot
    from policies.spec import build_policy, spec_from_contract
    from transport.channel import PROTOCOL
    from transport.settings import settings_of

    config = env_config_type(ENV)(obs="state", max_episode_steps=10_000)
    contract = derive_contract(ENV, config)
    spec = spec_from_contract(contract, hidden=hidden)
    log = EpisodeLog(folder, run_id=RUN, interface_fingerprint=contract.interface_fingerprint)
    ingest, publisher, policy = Ingest(log, contract), PolicyPublisher(), build_policy(spec)
    run = pb.RunDescription(
        protocol=PROTOCOL,
        run_id=RUN,
        env=ENV,
        env_settings=settings_of(config),
        contract=contract.to_message(),
        policy_spec=settings_of(spec),
        acting=settings_of(ActingSettings(pacing="realtime")),
    )
    LearnerServer(f"localhost:{port}", TOKEN, run, ingest, publisher, pb.Status).start()
    for version in range(1_000_000):
        payload = save_snapshot(policy, version)
        publisher.publish(version, payload)
        time.sleep(PUBLISH_S)
        ingest.drain()
        while not publishing.exists():
            ingest.wait(0.1)
            ingest.drain()


async def relay(port: int, to_port: int) -> None:
    """Forwards every connection; stopping the process cuts them all."""

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 18):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("localhost", to_port)
        except OSError:
            return writer.close()
        await asyncio.gather(forward(reader, far_writer), forward(far_reader, writer))

    await (await asyncio.start_server(connected, "localhost", port)).serve_forever()


class Programs:
    """The learner, the relay and the actor."""

    def __init__(self, folder: Path, hidden: tuple[int, ...]) -> None:
        self.run, self.publishing = folder / "run", folder / "publishing"
        ports = []
        for _ in range(2):
            with socket.create_server(("localhost", 0)) as free:
                ports.append(str(free.getsockname()[1]))
        self.said = open(folder / "said.txt", "ab")  # noqa: SIM115
        self.environment = os.environ | {"TANDEM_TOKEN": TOKEN, "HOME": str(folder)}
        sizes = ",".join(map(str, hidden))
        mine = (sys.executable, __file__)
        learner = ("--serve", str(self.run), ports[0], sizes, str(self.publishing))
        self.learner = self._start(*mine, *learner, elsewhere=True)
        self.relay = self._start(*mine, "--relay", ports[1], ports[0], elsewhere=True)
        settings = (f"learner.address=localhost:{ports[1]}", f"actor.control_hz={HZ:g}", "actor.policy_mb=128")
        self.actor = self._start(sys.executable, "-m", "cli.main", "actor", *settings, "actor.name=bench")

    def _start(self, *command: str, elsewhere: bool = False) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*(("nice", "-n", "10") if elsewhere else ()), *command],
            env=self.environment,
            stdout=self.said,
            stderr=self.said,
            start_new_session=True,
        )

    def close(self) -> None:
        for process in (self.actor, self.relay, self.learner):
            process.kill()
            process.wait()
        self.said.close()

    def errors_ms(self, begin_ns: int, end_ns: int) -> np.ndarray:
        """How late the steps of a time began, once all of them are in the log."""
        while True:
            assert self.actor.poll() is None, Path(self.said.name).read_text()
            steps = []
            with contextlib.suppress(Exception):
                steps = [e.record.step for _, e in read_log(self.run) if e.record.HasField("step")]
            if steps and steps[-1].time_ns > end_ns:
                return np.array([s.period_error_ms for s in steps if begin_ns < s.time_ns < end_ns])
            time.sleep(0.2)


def full_disk(programs: Programs, seconds: float) -> None:
    ballast = programs.run / "ballast"
    with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    time.sleep(seconds)
    ballast.unlink()


def stopped(which: str, programs: Programs, seconds: float) -> None:
    process = getattr(programs, which)
    process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    process.send_signal(signal.SIGCONT)


def large_weights(programs: Programs, seconds: float) -> None:
    programs.publishing.touch()
    time.sleep(seconds)
    programs.publishing.unlink()


def measured(
    name: str, programs: Programs, disturb: Callable[[Programs, float], None], seconds: float, rounds: int
) -> dict:
    """One row: p99 of a step's lateness over all times that are undisturbed and all that are disturbed."""
    errors: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    for _ in range(rounds):
        for kept, act in zip(errors, (lambda _, s: time.sleep(s), disturb), strict=True):
            begin = time.time_ns()
            act(programs, seconds)
            kept.append(programs.errors_ms(begin, time.time_ns()))
            time.sleep(1.0)  # it has delivered what waited
    calm, disturbed = (float(np.percentile(np.concatenate(kept), 99)) for kept in errors)
    return {
        "name": f"control period error beyond undisturbed, {HZ:g} Hz, {name}, p99",
        "unit": "ms",
        "ours": disturbed - calm,
        "peer": None,
        "ratio": None,
        "command": COMMAND,
        "undisturbed": calm,
        "note": f"undisturbed {calm:.2f} ms, disturbed {disturbed:.2f} ms, of {rounds * seconds * HZ:.0f} steps each",
    }


@contextlib.contextmanager
def programs(hidden: tuple[int, ...], disk_mb: int = 0) -> Iterator[Programs]:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        run.mkdir()
        if disk_mb:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={disk_mb}m", "tandem-bench", run], check=True)
        started = Programs(Path(folder), hidden)
        try:
            started.errors_ms(0, time.time_ns())
            time.sleep(2.0)
            yield started
        finally:
            started.close()
            if disk_mb:
                subprocess.run(["umount", "--lazy", run], check=True)


def rows(seconds: float, rounds: int) -> Iterator[dict]:
    root = os.geteuid() == 0
    with programs(SMALL, DISK_MB if root else 0) as run:
        yield measured("learner stopped", run, lambda p, s: stopped("learner", p, s), seconds, rounds)
        yield measured("network cut", run, lambda p, s: stopped("relay", p, s), seconds, rounds)
        if root:
            yield measured("disk full", run, full_disk, seconds, rounds)
    with programs(LARGE) as run:
        yield measured("50 MB of weights every 2 s", run, large_weights, seconds, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--relay", nargs=2, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        folder, port, sizes, publishing = arguments.serve
        return serve(Path(folder), int(port), tuple(map(int, sizes.split(","))), Path(publishing))
    if arguments.relay:
        return asyncio.run(relay(*arguments.relay))
    for row in rows(arguments.seconds, arguments.rounds):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
