"""Time of one action from pixels on one thread of the CPU: p50 and p99, against LeRobot's own policy.

    python benchmarks/inference.py

Two cameras, 128x128x3 uint8, and an 18-d state to a 4-d action, from an observation as the environment gives it to an
action as it takes it. The peer is LeRobot 0.6.1's Gaussian policy in the same process, with its own small encoder,
state encoder and layers, fed as its actor feeds it: images divided by 255 and channels first, then
`select_action`. Blocks of actions alternate; a ratio above 1 means that ours is quicker. Of the other encoders of ours
there is the time alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from safetensors.torch import save

from policies.encoder_kinds import ENCODERS
from policies.pretrained import load_frozen
from policies.resnet import FrozenResNet, file_name
from policies.spec import PolicySpec, build_policy
from reward.classifier import ClassifierSpec, SuccessClassifier
from reward.network import ClassifierNetwork, NetworkSpec
from reward.preprocessing import CameraFrames, Preprocessing
from reward.training import LARGEST_SIDE

STATE, ACTION, SIDE = 18, 4, 128
CAMERAS = ("observation.images.front", "observation.images.wrist")
COMMAND = "python benchmarks/inference.py"
PRESET_SIZES = {"keypoints": 256}  # of the encoders that the presets of the simulated SO-101 take in another size

CLASSIFIER = "success classifier, two 128x128 cameras, one CPU thread, CPU time"

Observation = dict[str, np.ndarray]


def observations(count: int = 8) -> list[Observation]:
    """Random observations."""
    random = np.random.default_rng(0)
    return [
        {"observation.state": random.standard_normal(STATE).astype(np.float32)}
        | {name: random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for name in CAMERAS}
        for _ in range(count)
    ]


def sized(encoder: str) -> str:
    """What a row says of the size of an encoder; nothing where it is its default."""
    return f" of {PRESET_SIZES[encoder]} features" if encoder in PRESET_SIZES else ""


def ours(encoder: str) -> Callable[[Observation], object]:
    """``act`` of a policy with this encoder; of a pretrained one the weights are random, which takes as long."""
    kind, sides = ENCODERS[encoder], (SIDE,) * len(CAMERAS)
    file = b""
    if kind.pretrained:
        buffers = FrozenResNet(encoder, "").named_buffers()
        file = save({file_name(encoder, name): torch.rand(value.shape) for name, value in buffers})
    spec = PolicySpec(
        kind="deterministic" if encoder == "drqv2" else "gaussian",
        inputs=("observation.state",),
        stacks=(1,),
        sizes=(STATE,),
        images=CAMERAS,
        image_stacks=(1,) * len(CAMERAS),
        image_heights=sides,
        image_widths=sides,
        encoder=encoder,
        encoder_size=PRESET_SIZES.get(encoder, kind.feature_size(sides, sides)),
        encoder_sha256=hashlib.sha256(file).hexdigest() if file else "",
        action_size=ACTION,
        hidden=(1024, 1024) if encoder == "drqv2" else (256, 256),
    )
    policy = build_policy(spec).eval()
    load_frozen(policy, file)
    return policy.act


def lerobot() -> Callable[[Observation], object]:
    """``select_action`` of LeRobot 0.6.1's Gaussian policy, with the two lines by which its actor prepares images."""
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.gaussian_actor.configuration_gaussian_actor import GaussianActorConfig
    from lerobot.policies.gaussian_actor.modeling_gaussian_actor import GaussianActorPolicy

    features = {name: PolicyFeature(FeatureType.VISUAL, (3, SIDE, SIDE)) for name in CAMERAS}
    features["observation.state"] = PolicyFeature(FeatureType.STATE, (STATE,))
    output = {"action": PolicyFeature(FeatureType.ACTION, (ACTION,))}
    policy = GaussianActorPolicy(GaussianActorConfig(input_features=features, output_features=output, device="cpu"))
    policy.eval()

    def act(observation: Observation) -> object:
        batch = {"observation.state": torch.from_numpy(observation["observation.state"]).unsqueeze(0)}
        for name in CAMERAS:
            image = torch.from_numpy(observation[name]).unsqueeze(0)
            batch[name] = image.permute(0, 3, 1, 2).contiguous().type(torch.float32) / 255
        return policy.select_action(batch).squeeze(0).numpy()

    return torch.no_grad()(act)


def classifier() -> Callable[[Observation], object]:
    """``score`` of a success classifier with random weights, which take as long as others."""
    cameras = tuple(CameraFrames(name, SIDE, SIDE) for name in CAMERAS)
    network = NetworkSpec(len(cameras))
    spec = ClassifierSpec("random", "", network, Preprocessing(cameras, (LARGEST_SIDE, LARGEST_SIDE)))
    return SuccessClassifier(spec, ClassifierNetwork(network), "random").score


def classifier_milliseconds(count: int = 500) -> list[float]:
    """CPU time of ``count`` scores, each on its own [ms], on one thread: what they take on an idle core, also where
    other programs keep this one busy."""
    torch.set_num_threads(1)
    score = classifier()
    milliseconds(score, observations(), 20)
    return milliseconds(score, observations(), count, time.thread_time)


def milliseconds(
    act: Callable[[Observation], object],
    seen: list[Observation],
    count: int,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Of ``count`` actions, each on its own [ms]."""
    times = []
    for index in range(count):
        start = clock()
        act(seen[index % len(seen)])
        times.append(1e3 * (clock() - start))
    return times


def row(name: str, mine: list[float], peer: list[float] | None, percentile: int) -> dict:
    """One row of docs/benchmarks.json."""
    own = float(np.percentile(mine, percentile))
    other = None if peer is None else float(np.percentile(peer, percentile))
    return {
        "name": f"one action from two 128x128 cameras, {name}, one CPU thread, p{percentile}",
        "unit": "ms",
        "ours": own,
        "peer": other,
        "ratio": None if other is None else other / own,
        "command": COMMAND,
    }


def measure(rounds: int, actions: int) -> list[dict]:
    """All rows: the default encoder and LeRobot's against LeRobot's policy, the others alone."""
    torch.set_num_threads(1)
    seen = observations()
    policies = {name: ours(name) for name in ENCODERS} | {"peer": lerobot()}
    times: dict[str, list[float]] = {name: [] for name in policies}
    for act in policies.values():
        milliseconds(act, seen, 10)
    for _ in range(rounds):
        for name, act in policies.items():
            times[name] += milliseconds(act, seen, actions)
    judged = classifier_milliseconds()
    return [
        *(
            {"name": f"{CLASSIFIER}, p{p}", "unit": "ms", "ours": float(np.percentile(judged, p)), "peer": None}
            | {"ratio": None, "command": COMMAND}
            for p in (50, 99)
        ),
    ] + [
        row(
            f"encoder {name}{sized(name)}",
            times[name],
            times["peer"] if name in ("small", "lerobot") else None,
            percentile,
        )
        for name in ENCODERS
        for percentile in (50, 99)
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--actions", type=int, default=50)
    arguments = parser.parse_args()
    for found in measure(arguments.rounds, arguments.actions):
        print(json.dumps(found))
