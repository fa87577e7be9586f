"""Critic-and-actor updates a second, against LeRobot's own SAC classes, in one process, alternated.

    python benchmarks/updates.py [--only state|images]

18-d state, 4-d action, two critics of 256x256, the actor in every update, one torch thread, CPU. State: batch 256.
LeRobot's policy has a state encoder before these layers, which ours has not: the peer does more work. Images: batch 64,
two cameras of 128x128x3, from the replay buffer on: sampling, random shift, normalisation, update, each its own; with
LeRobot's small convolutional encoder, trained by both, and with two of our encoders, which have no peer. LeRobot's
random shift is compiled, as its buffer does, and compiling is not timed. Times are processor seconds, so that a busy
machine disturbs both alike; the ratio is the figure to compare.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from statistics import median

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

from episodes.contract import Contract, Feature, FeatureView, Interface, RewardBounds, View
from learner.algorithms.sac import SAC
from learner.algorithms.sac_config import SACConfig
from learner.windows import Batch
from policies.spec import PolicySpec

STATE, ACTION, BATCH, IMAGE_BATCH, SHIFT_PX = 18, 4, 256, 64, 4
COMMAND = "python benchmarks/updates.py"


def ours() -> Callable[[], object]:
    """One update of ours, on batches as replay hands them over."""
    interface = Interface(
        "benchmark",
        (Feature("observation.state", "float32", (STATE,)),),
        Feature("action", "float32", (ACTION,), low=(-1.0,), high=(1.0,)),
        reward=RewardBounds(True, 0.0, 1.0, True),
    )
    contract = Contract(interface, View((FeatureView("observation.state"),)))
    config = SACConfig(batch_size=BATCH, critic_warmup_updates=0, clone_weight=0.0, actor_every=1, input_noise=0.0)
    spec = PolicySpec(inputs=("observation.state",), stacks=(1,), sizes=(STATE,), action_size=ACTION, hidden=(256, 256))
    sac = SAC(contract, config, spec, device="cpu", seed=0)
    random = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    batches = [
        Batch(
            observation={"observation.state": normal(BATCH, STATE)},
            action=np.tanh(normal(BATCH, ACTION)),
            reward=normal(BATCH),
            discount=np.full(BATCH, 0.97, np.float32),
            next_observation={"observation.state": normal(BATCH, STATE)},
            human=np.zeros(BATCH, bool),
            k=np.ones(BATCH, np.int64),
            demonstration=np.zeros(BATCH, bool),
            proposed=np.tanh(normal(BATCH, ACTION)),
        )
        for _ in range(8)
    ]
    count = 0

    def update() -> object:
        nonlocal count
        count += 1
        return sac.update(batches[count % 8], True)

    return update


def lerobot() -> Callable[[], object]:
    """One update of LeRobot 0.6.1's SACAlgorithm, on batches as its replay buffer hands them over."""
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.gaussian_actor.configuration_gaussian_actor import GaussianActorConfig
    from lerobot.policies.gaussian_actor.modeling_gaussian_actor import GaussianActorPolicy
    from lerobot.rl.algorithms.sac.configuration_sac import SACAlgorithmConfig
    from lerobot.rl.algorithms.sac.sac_algorithm import SACAlgorithm

    policy_config = GaussianActorConfig(
        input_features={"observation.state": PolicyFeature(FeatureType.STATE, (STATE,))},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (ACTION,))},
        device="cpu",
    )
    algorithm = SACAlgorithm(GaussianActorPolicy(policy_config), SACAlgorithmConfig.from_policy_config(policy_config))
    algorithm.make_optimizers_and_scheduler()
    torch.manual_seed(0)
    batches = [
        {
            "state": {"observation.state": torch.randn(BATCH, STATE)},
            "next_state": {"observation.state": torch.randn(BATCH, STATE)},
            "action": torch.randn(BATCH, ACTION).tanh(),
            "reward": torch.randn(BATCH),
            "done": torch.zeros(BATCH),
        }
        for _ in range(8)
    ]
    count = 0

    def update() -> object:
        nonlocal count
        count += 1
        return algorithm.update(iter([batches[count % 8]]))

    return update


def ours_images(encoder: str, encoder_size: int) -> Callable[[], object]:
    """One update of ours on images, with its batch from the replay buffer."""
    import replay as replays

    from learner.algorithms import policy_spec
    from learner.batch_memory import BatchMemory

    contract = replays.contract()
    config = SACConfig(
        batch_size=IMAGE_BATCH,
        critic_warmup_updates=0,
        clone_weight=0.0,
        actor_every=1,
        input_noise=0.0,
        hidden=(256, 256),
        clamp_targets=False,
        encoder=encoder,
        encoder_size=encoder_size,
        shift_px=SHIFT_PX,
    )
    replay = replays.filled(contract, 500)
    sac = SAC(contract, config, policy_spec(contract, config), device="cpu", seed=0)
    sac.freeze_statistics(replay.statistics())
    memory = BatchMemory(replay.batch_bytes(IMAGE_BATCH))

    def update() -> object:
        memory.clear()
        return sac.update(replay.sample(IMAGE_BATCH, shift_px=SHIFT_PX, into=memory), True)

    return update


def lerobot_images() -> Callable[[], object]:
    """One update of LeRobot 0.6.1's SACAlgorithm on images, fed by its buffer and preprocessor as in its learner."""
    import replay as replays
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.factory import make_pre_post_processors
    from lerobot.policies.gaussian_actor.configuration_gaussian_actor import GaussianActorConfig
    from lerobot.policies.gaussian_actor.modeling_gaussian_actor import GaussianActorPolicy
    from lerobot.rl.algorithms.sac.configuration_sac import SACAlgorithmConfig
    from lerobot.rl.algorithms.sac.sac_algorithm import SACAlgorithm
    from lerobot.rl.trainer import preprocess_rl_batch

    pixels = {
        "mean": [[[value]] for value in (0.485, 0.456, 0.406)],
        "std": [[[value]] for value in (0.229, 0.224, 0.225)],
    }
    statistics: dict = dict.fromkeys(replays.CAMERAS, pixels)
    policy_config = GaussianActorConfig(
        input_features={camera: PolicyFeature(FeatureType.VISUAL, (3, 128, 128)) for camera in replays.CAMERAS}
        | {"observation.state": PolicyFeature(FeatureType.STATE, (STATE,))},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (ACTION,))},
        dataset_stats=statistics
        | {
            "observation.state": {"min": [-3.0] * STATE, "max": [3.0] * STATE},
            "action": {"min": [-1.0] * ACTION, "max": [1.0] * ACTION},
        },
        freeze_vision_encoder=False,
        device="cpu",
    )
    policy = GaussianActorPolicy(policy_config)
    algorithm = SACAlgorithm(policy.train(), SACAlgorithmConfig.from_policy_config(policy_config))
    algorithm.make_optimizers_and_scheduler()
    preprocessor, _ = make_pre_post_processors(policy_cfg=policy_config, dataset_stats=policy_config.dataset_stats)
    buffer = replays.peer_buffer(128, 500)
    buffer.actions.uniform_(-1.0, 1.0)
    for column in (buffer.rewards, buffer.dones, buffer.truncateds):
        column.zero_()

    def update() -> object:
        batch = preprocess_rl_batch(preprocessor, buffer.sample(IMAGE_BATCH))
        return algorithm.update(iter([batch]))

    return update


def seconds(update: Callable[[], object], updates: int) -> float:
    """Processor seconds of one update."""
    start = time.process_time()
    for _ in range(updates):
        update()
    return (time.process_time() - start) / updates


def row(name: str, own: list[float], peer: list[float], note: str = "") -> dict:
    """One row of docs/benchmarks.json, of processor seconds; every ratio is of two neighbours in time."""
    ratios = sorted(theirs / mine for mine, theirs in zip(own, peer, strict=False))
    return {
        "name": name,
        "unit": "updates per processor second",
        "ours": 1 / median(own),
        "peer": 1 / median(peer) if peer else None,
        "ratio": median(ratios) if ratios else None,
        "command": COMMAND,
        "range": [1 / max(own), 1 / min(own)],
        "peer_range": [1 / max(peer), 1 / min(peer)] if peer else None,
        "ratio_range": [ratios[0], ratios[-1]] if ratios else None,
        **({"note": note} if note else {}),
    }


def state_rows(rounds: int, updates: int) -> Iterator[dict]:
    mine, peer = ours(), lerobot()
    seconds(mine, 20), seconds(peer, 20)
    pairs = [(seconds(mine, updates), seconds(peer, updates)) for _ in range(rounds)]
    name = "critic and actor updates/s, state, batch 256, 2 critics 256x256"
    note = "LeRobot's policy has a layer of 256 before these, of which ours has none"
    yield row(name, [own for own, _ in pairs], [theirs for _, theirs in pairs], note)


def image_rows(rounds: int, updates: int) -> Iterator[dict]:
    same, peer = ours_images("lerobot", 512), lerobot_images()
    small, keypoints = ours_images("small", 64), ours_images("keypoints", 256)
    for update in (same, peer, small, keypoints):
        update()
    found = [
        (seconds(same, updates), seconds(peer, 1), seconds(small, updates), seconds(keypoints, updates))
        for _ in range(rounds)
    ]
    own, theirs, *others = (list(times) for times in zip(*found, strict=True))
    name = "critic and actor updates/s, 2 cameras 128x128x3, batch 64, from the buffer on"
    yield row(f"{name}, LeRobot's small CNN", own, theirs)
    for encoder, times in zip(("small", "keypoints of 256 features"), others, strict=True):
        yield row(f"{name}, encoder {encoder}", times, [])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--image-updates", type=int, default=3)
    parser.add_argument("--only", choices=("state", "images"), default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.only != "images":
        for found in state_rows(arguments.rounds, arguments.updates):
            print(json.dumps(found), flush=True)
    if arguments.only != "state":
        for found in image_rows(arguments.rounds, arguments.image_updates):
            print(json.dumps(found), flush=True)
