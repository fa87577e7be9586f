"""A policy that stands still acts with its noise for a while, and nowhere else."""

import numpy as np
import pytest

from policies.spec import PolicySpec, PolicySpecError, build_policy
from policies.stall import MOVE, NOISY_STEPS, Stall

SPEC = PolicySpec(inputs=("a", "b"), stacks=(1, 1), sizes=(3, 1), action_size=2, hidden=(8,), stall_steps=5)
STD = 2.0


def stall(**changes: object) -> Stall:
    policy = build_policy(PolicySpec(**(vars(SPEC) | changes)))
    policy.freeze_statistics({name: (np.zeros(size), np.full(size, STD)) for name, size in (("a", 3), ("b", 1))}, 0.01)
    return Stall(policy)


def noisy(watch: Stall, places: np.ndarray) -> list[bool]:
    """At one step for each place (T,) of every component [standard deviations]."""
    return [watch.noisy({"a": np.full(3, STD * x, np.float32), "b": np.full(1, STD * x, np.float32)}) for x in places]


def test_noise_begins_after_the_steps_of_standing_still_and_lasts_its_time():
    seen = noisy(stall(), np.concatenate((np.zeros(6), np.arange(1, 20))))
    assert seen == [False] * 5 + [True] * NOISY_STEPS + [False] * (25 - 5 - NOISY_STEPS)


def test_it_goes_on_where_the_policy_is_still_there():
    assert noisy(stall(), np.zeros(40)) == [False] * 5 + [True] * 35


@pytest.mark.parametrize(("move", "stalls"), [(0.9 * MOVE, True), (1.1 * MOVE, False)])
def test_a_move_is_measured_in_standard_deviations_over_the_steps(move, stalls):
    assert any(noisy(stall(), np.linspace(0, move, 6))) is stalls


def test_a_policy_at_work_and_one_without_the_setting_never_act_with_noise():
    assert not any(noisy(stall(), np.arange(100) * 0.1))
    assert not any(noisy(stall(stall_steps=0), np.zeros(100)))


def test_a_policy_without_vectors_has_nothing_that_stands_still():
    images = {"images": ("i",), "image_stacks": (1,), "image_heights": (32,), "image_widths": (32,)}
    with pytest.raises(PolicySpecError, match="stall_steps"):
        PolicySpec(encoder="small", action_size=2, stall_steps=5, **images)
    with pytest.raises(PolicySpecError, match="stall_steps"):
        PolicySpec(**(vars(SPEC) | {"stall_steps": -1}))
