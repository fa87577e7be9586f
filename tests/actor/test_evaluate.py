"""Image policies on their own, and in environments that are not theirs."""

from dataclasses import replace

import pytest

from actor.evaluate import evaluate
from envs.registry import derive_contract
from envs.so101_sim import SO101SimConfig
from policies.snapshot import SnapshotError, save_snapshot
from policies.spec import build_policy, spec_from_contract

STATE = SO101SimConfig(max_episode_steps=4)
PIXELS = replace(STATE, obs="pixels", image_height=48, image_crop=(0, 0, 48, 48), image_resize=(32, 32), image_stack=3)


def policy(config):
    return save_snapshot(build_policy(spec_from_contract(derive_contract("so101_sim", config), hidden=(16,))), 7)


def test_an_image_policy_acts_through_view_and_stack():
    first, second = (evaluate("so101_sim", PIXELS, policy=policy(PIXELS), episodes=2, seed=3) for _ in range(2))
    assert (first.policy_version, first.episodes, first.steps) == (7, 2, (4, 4))
    assert (first.start_seeds, first.outcomes) == (second.start_seeds, second.outcomes)


@pytest.mark.parametrize(
    ("trained", "used", "lines"),
    [
        (
            PIXELS,
            STATE,
            (
                "so101_sim/lift",
                "inputs: expected ('observation.state',), got ('observation.state', 'observation.command')",
                "images: expected (), got ('observation.images.front', 'observation.images.wrist')",
                "env.obs",
            ),
        ),
        (STATE, PIXELS, ("images: expected ('observation.images.front', 'observation.images.wrist'), got ()",)),
        (PIXELS, replace(PIXELS, cameras=("front",)), ("images: expected ('observation.images.front',), got ('obs",)),
        (PIXELS, replace(PIXELS, image_stack=1), ("image_stacks: expected (1, 1), got (3, 3)",)),
        (PIXELS, replace(PIXELS, image_resize=()), ("image_heights: expected (48, 48), got (32, 32)",)),
    ],
)
def test_a_policy_of_other_observations_is_refused_naming_both(trained, used, lines):
    with pytest.raises(SnapshotError, match="the policy does not fit the environment") as error:
        evaluate("so101_sim", used, policy=policy(trained), episodes=1)
    for line in lines:
        assert line in str(error.value)
    assert len(str(error.value).splitlines()) <= 4, "sizes and stacks follow from the names"
