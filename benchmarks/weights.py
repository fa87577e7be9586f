"""New weights: from their publication to acting, their bytes, and what it costs to write and load them.

    python benchmarks/weights.py [--versions 40]

A learner's service publishes versions of a policy at random moments to an actor, the program that `tandem actor` runs,
with the simulated arm at 10 Hz; what each step says acted is counted in the log. LeRobot 0.6.1 loads weights only when
an episode has ended, so its delay in steps is a share of an episode, which no benchmark need measure. Bytes and
processor time are beside its own `state_to_bytes` and `load_weights`, of the same network from pixels, in the same
process and alternated. Prints one JSON object a row.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from rows import row as row_of

from envs.registry import derive_contract, env_config_type
from episodes.acting import ActingSettings
from episodes.log import EpisodeLog
from learner.ingest import Ingest
from learner.publisher import PolicyPublisher
from learner.service import LearnerServer
from policies.policy import Policy
from policies.pretrained import frozen_bytes, load_frozen
from policies.snapshot import load_in_parts, save_snapshot
from policies.spec import PolicySpec, build_policy, spec_from_contract
from transport import service_pb2 as pb
from transport.channel import PROTOCOL
from transport.settings import settings_of

TOKEN, RUN, HZ = "token-of-the-benchmark", "benchmark", 10.0
row = partial(row_of, command="python benchmarks/weights.py")
CAMERAS = ("observation.images.front", "observation.images.wrist")


def acting_rows(versions: int) -> list[dict]:
    """Control steps, and milliseconds by the learner's clock, from publication to the first step acted."""
    config = env_config_type("so101_sim")(obs="state", control_hz=HZ, max_episode_steps=100_000)
    contract = derive_contract("so101_sim", config)
    policy = build_policy(spec_from_contract(contract))
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place:
        log = EpisodeLog(
            Path(place) / "log", run_id=RUN, interface_fingerprint=contract.interface_fingerprint, sync="os"
        )
        ingest, publisher = Ingest(log, contract), PolicyPublisher()
        description = pb.RunDescription(
            protocol=PROTOCOL,
            run_id=RUN,
            env="so101_sim",
            env_settings=settings_of(config),
            contract=contract.to_message(),
            policy_spec=settings_of(policy.spec),
            acting=settings_of(ActingSettings(pacing="realtime")),
        )
        server = LearnerServer("localhost:0", TOKEN, description, ingest, publisher, pb.Status)
        publisher.publish(0, save_snapshot(policy, 0))
        actor = start_actor(server.start(), place)
        steps: list[tuple[int, int]] = []
        going = threading.Event()

        def drain() -> None:
            while not going.is_set():
                ingest.wait(0.05)
                taken = (entry.record.step for entry in ingest.drain() if entry.record.HasField("step"))
                steps.extend((step.time_ns, step.policy_version) for step in taken)

        drainer = threading.Thread(target=drain)
        drainer.start()
        while len(steps) < 5 and actor.poll() is None:
            time.sleep(0.1)
        published = []
        for version in range(1, versions + 1):
            time.sleep(random.uniform(0.25, 0.55))
            data = save_snapshot(policy, version)
            published.append((version, time.time_ns()))
            publisher.publish(version, data)
        time.sleep(1.0)
        ingest.finish("measured")
        actor.wait(20)
        going.set()
        drainer.join()
        server.stop()
        ingest.close()
        log.close()
    waits = [waited(steps, version, at) for version, at in published]
    lags = publisher.lag.metrics()
    place_note = "LeRobot waits for the end of the episode: up to 20 s, 200 steps at 10 Hz"
    return [
        row("control steps begun after a version was published until one it acts, p50", "steps", [median(waits)])
        | {"note": place_note, "range": [min(waits), max(waits)]},
        next_step_row(waits),
        *(row(f"{name} at {HZ:g} Hz", "ms", [value]) for name, value in lags.items()),
    ]


def next_step_row(waits: list[int]) -> dict:
    share = 100 * float(np.mean([steps == 1 for steps in waits]))
    return row("versions that act in the next control step", "% of versions", [share], better="higher")


def waited(steps: list[tuple[int, int]], version: int, published_ns: int) -> int:
    """Steps decided after ``published_ns``, up to and with the first that ``version`` or a newer one acted."""
    after = [acted for decided_ns, acted in steps if decided_ns > published_ns]
    return next((index + 1 for index, acted in enumerate(after) if acted >= version), len(after) + 1)


def start_actor(port: int, folder: str) -> subprocess.Popen[bytes]:
    code = (
        "import sys; from actor.main import run_actor; from actor.config import ActorConfig; "
        f"sys.exit(run_actor(ActorConfig(learner_address='localhost:{port}', name='bench', "
        f"spool={folder!r} + '/spool', spool_mb=8)))"
    )
    environment = os.environ | {"TANDEM_TOKEN": TOKEN}
    return subprocess.Popen([sys.executable, "-P", "-c", code], env=environment, stdout=subprocess.DEVNULL)


def pixel_policy(encoder: str, sha256: str = "") -> Policy:
    """Two cameras of 128x128x3 and 18 numbers of state to 4 of action."""
    sides = (128,) * len(CAMERAS)
    return build_policy(
        PolicySpec(
            inputs=("observation.state",),
            stacks=(1,),
            sizes=(18,),
            action_size=4,
            hidden=(256, 256),
            images=CAMERAS,
            image_stacks=(1, 1),
            image_heights=sides,
            image_widths=sides,
            encoder=encoder,
            encoder_size=512,
            encoder_sha256=sha256,
        )
    )


def pretrained_policy(encoder: str) -> Policy:
    """A policy over a frozen encoder with random weights, which are as many bytes."""
    from safetensors.torch import save

    from policies.resnet import FrozenResNet, file_name

    buffers = FrozenResNet(encoder, "").named_buffers()
    file = save({file_name(encoder, name): torch.rand(value.shape) for name, value in buffers})
    policy = pixel_policy(encoder, hashlib.sha256(file).hexdigest())
    load_frozen(policy, file)
    return policy


def peer() -> tuple[Callable[[], bytes], Callable[[bytes], None]]:
    """LeRobot's own: what its learner puts into the queue, and what its actor does with it."""
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.gaussian_actor.configuration_gaussian_actor import GaussianActorConfig
    from lerobot.policies.gaussian_actor.modeling_gaussian_actor import GaussianActorPolicy
    from lerobot.rl.algorithms.sac.configuration_sac import SACAlgorithmConfig
    from lerobot.rl.algorithms.sac.sac_algorithm import SACAlgorithm
    from lerobot.transport.utils import bytes_to_state_dict, state_to_bytes

    inputs = {"observation.state": PolicyFeature(FeatureType.STATE, (18,))}
    inputs |= {name: PolicyFeature(FeatureType.VISUAL, (3, 128, 128)) for name in CAMERAS}
    config = GaussianActorConfig(
        input_features=inputs, output_features={"action": PolicyFeature(FeatureType.ACTION, (4,))}, device="cpu"
    )
    algorithm = SACAlgorithm(GaussianActorPolicy(config), SACAlgorithmConfig.from_policy_config(config))
    return lambda: state_to_bytes(algorithm.get_weights()), lambda data: algorithm.load_weights(
        bytes_to_state_dict(data)
    )


def cost_rows(rounds: int = 7) -> list[dict]:
    torch.set_num_threads(1)
    policy = pixel_policy("lerobot")
    write, load = peer()
    mine, theirs = [], []
    for _ in range(rounds):
        began = time.process_time()
        data = save_snapshot(policy, 1)
        list(load_in_parts(policy, data))
        middle = time.process_time()
        other = write()
        load(other)
        mine.append((middle - began) * 1e3)
        theirs.append((time.process_time() - middle) * 1e3)
    found = [
        row("write and load a version from pixels, small CNN of LeRobot, processor time", "ms", mine, theirs),
        row("bytes of a version, the same network, float32", "bytes", [len(data)], [len(other)]),
        row("bytes of it, bfloat16", "bytes", [len(save_snapshot(policy, 1, dtype="bfloat16"))], [len(other)]),
    ]
    for encoder in ("resnet10", "resnet18"):
        frozen = pretrained_policy(encoder)
        found.append(row(f"bytes of a version, frozen {encoder}, float32", "bytes", [len(save_snapshot(frozen, 1))]))
        found.append(row(f"bytes of its frozen part, once an actor, {encoder}", "bytes", [len(frozen_bytes(frozen))]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", type=int, default=40)
    arguments = parser.parse_args()
    for found in (*cost_rows(), *acting_rows(arguments.versions)):
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
