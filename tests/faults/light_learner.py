"""`python -m faults.light_learner FOLDER ADDRESS SYNC [TLS_FOLDER]`: a learner's service and log, without its updates.

Steps are drained and given credit as by the update loop, and a new policy version goes out every 0.1 s.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from pathlib import Path

from envs.generic import GymConfig
from envs.registry import derive_contract
from episodes.acting import ActingSettings
from episodes.log import EpisodeLog
from learner.ingest import Ingest
from learner.publisher import PolicyPublisher
from learner.service import LearnerServer
from transport import service_pb2 as pb
from transport.certificates import learner_identity
from transport.channel import PROTOCOL
from transport.settings import settings_of
from transport.token import load_token

RUN_ID = "run-of-faults"
CREDIT = 1 << 40


def main(folder: Path, address: str, sync: str, tls_folder: str = "") -> int:
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    config = GymConfig(id="Recorded-v0")
    contract = derive_contract("gym", config)
    with EpisodeLog(
        folder / "log",
        run_id=RUN_ID,
        interface_fingerprint=contract.interface_fingerprint,
        sync=sync,
        segment_bytes=1 << 20,
    ) as log:
        ingest, publisher = Ingest(log, contract, folder / "claims.json"), PolicyPublisher()
        run = pb.RunDescription(
            protocol=PROTOCOL,
            run_id=RUN_ID,
            env="gym",
            env_settings=settings_of(config),
            contract=contract.to_message(),
            acting=settings_of(ActingSettings()),
        )
        identity = learner_identity(Path(tls_folder)) if tls_folder else None
        server = LearnerServer(
            address, load_token(), run, ingest, publisher, pb.Status, identity=identity, mutual=bool(identity)
        )
        print(f"learner listens on {server.start()}", flush=True)
        published_s = 0.0
        while not stopped.is_set():
            ingest.wait(0.05)
            ingest.drain()
            ingest.set_credit({spool.spool_id: CREDIT for spool in ingest.spools()})
            if time.monotonic() - published_s > 0.1:
                published_s = time.monotonic()
                version = int(published_s * 10)
                publisher.publish(version, json.dumps({"version": version}).encode())
        server.stop()
        ingest.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
