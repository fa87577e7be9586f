"""A real learner's service without its update loop, and actors as the processes they are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch

from envs.registry import derive_contract
from episodes.acting import ActingSettings
from episodes.log import EpisodeLog, read_log
from learner.ingest import Ingest
from learner.publisher import PolicyPublisher
from learner.service import LearnerServer
from policies.snapshot import save_snapshot
from policies.spec import build_policy, spec_from_contract
from tests.ports import lasting_port
from transport import service_pb2 as pb
from transport.channel import PROTOCOL
from transport.settings import settings_of

TOKEN = "token-of-the-tests-0123456789"
WITNESS = Path(__file__).parent / "witness"


class Bench:
    """Serves one run on loopback, and can be stopped and started again on the same log.

    Args:
        folder: Of the log.
        env, env_config: What actors shall run.
        acting: How.
        identity: Certificate of a learner that asks its actors for theirs; None for plain text.
    """

    def __init__(self, folder, env, env_config, *, acting=None, run_id="run-a", contract=None, port=0, identity=None):
        self.identity = identity
        self.folder, self.env, self.env_config = folder, env, env_config
        self.acting = acting or ActingSettings()
        self.run_id = run_id
        self.contract = contract or derive_contract(env, env_config)
        self.spec = spec_from_contract(self.contract, hidden=(16, 16))
        self.port = port or lasting_port()
        self.token = TOKEN
        self.credit = 1 << 40
        self.entries = []

    def start(self):
        log = EpisodeLog(
            self.folder, run_id=self.run_id, interface_fingerprint=self.contract.interface_fingerprint, sync="os"
        )
        claims = self.folder.with_name("claims.json")
        self.log, self.ingest, self.publisher = log, Ingest(log, self.contract, claims), PolicyPublisher()
        description = pb.RunDescription(
            protocol=PROTOCOL,
            run_id=self.run_id,
            env=self.env,
            env_settings=settings_of(self.env_config),
            contract=self.contract.to_message(),
            policy_spec=settings_of(self.spec),
            acting=settings_of(self.acting),
        )
        self.server = LearnerServer(
            f"localhost:{self.port}",
            TOKEN,
            description,
            self.ingest,
            self.publisher,
            pb.Status,
            identity=self.identity,
            mutual=self.identity is not None,
        )
        self.port = self.server.start()
        self._running = True
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()
        return self

    def _drain(self):
        """Stands in for the update loop: takes entries and gives credit."""
        while self._running:
            self.ingest.wait(0.02)
            self.entries += self.ingest.drain()
            self.ingest.set_credit({spool.spool_id: self.credit for spool in self.ingest.spools()})

    def stop(self):
        self._running = False
        self._thread.join()
        self.server.stop(0.1)
        self.ingest.close()
        self.log.close()

    def snapshot(self, version, seed=0):
        torch.manual_seed(seed)
        return save_snapshot(build_policy(self.spec), version)

    def publish(self, version):
        self.publisher.publish(version, self.snapshot(version, version))

    @property
    def spool_id(self):
        return wait_for(lambda: [s.spool_id for s in self.ingest.spools() if s.connected])[0]

    @property
    def records(self):
        """Records in the log on disk, whoever has the log open."""
        return [entry.record for _, entry in read_log(self.folder)]

    @property
    def steps(self):
        return [record.step for record in self.records if record.HasField("step")]


class ActorProcess:
    """``run_actor`` in a process of its own; its output is kept."""

    def __init__(self, port, folder, *, token=TOKEN, wait=True, **settings):
        self.output = Path(folder) / f"actor-{time.monotonic_ns()}.txt"
        self.witness = Path(folder) / "witness.txt"
        self.spools = Path(folder) / "spools"
        settings = {
            "name": "arm",
            "spool": str(self.spools),
            "spool_mb": 1,
            "status_every_s": 0.5,
        } | settings
        code = (
            "import sys; from actor.main import run_actor; from actor.config import ActorConfig; "
            "from reward.config import ClassifierReward, HumanReward; "
            "from cli.leaving import leave_on_signals; leave_on_signals(); "
            f"sys.exit(run_actor(ActorConfig(learner_address='localhost:{port}', **{settings!r})))"
        )
        environment = os.environ | {
            "TANDEM_TOKEN": token,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(WITNESS), os.environ.get("PYTHONPATH")])),
            "WITNESS_PATH": str(self.witness),
        }
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", code],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self):
        return " ".join(self.output.read_text().split())

    @property
    def control_pid(self):
        """Process id of the control process."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def end(self, timeout_s=40):
        return self.process.wait(timeout_s)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def witnessed(self):
        """(episode, step) of every env.step that returned, in order."""
        if not self.witness.exists():
            return []
        return [tuple(int(word) for word in line.split()) for line in self.witness.read_text().splitlines()]


def wait_for(condition, timeout_s=40.0):
    """The condition's first true value."""
    give_up = time.monotonic() + timeout_s
    while time.monotonic() < give_up:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {timeout_s} s in vain")
