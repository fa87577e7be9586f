"""The scripted operator: lifts from anywhere, helps when the policy stalls, and draws from its own seed alone."""

import numpy as np
import pytest

from envs.errors import EnvError
from envs.so101_sim import SO101SimEnv
from envs.teleop.operator import Event, NoOperator, OperatorInput
from envs.teleop.scripted import ScriptedOperator, ScriptedOperatorConfig

STILL = np.array([0, 0, 0, 1], np.float32)


def drive(env, operator, observation, steps=60):
    """Let the operator drive until the episode ends; returns (reward, steps taken)."""
    for step in range(steps):
        action = operator.poll(observation, STILL).action
        observation, reward, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            return reward, step + 1
    return 0.0, steps


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_lifts_from_every_start(noise):
    env = SO101SimEnv()
    operator = ScriptedOperator(env, ScriptedOperatorConfig(demonstrate=True, action_noise=noise), seed=0)
    results = []
    for seed in range(50):
        observation, _ = env.reset(seed=seed)
        operator.begin_episode()
        results.append(drive(env, operator, observation))
    assert sum(reward for reward, _ in results) == 50
    assert np.mean([steps for _, steps in results]) < 22


def test_reaches_every_goal():
    env = SO101SimEnv(task="reach")
    operator = ScriptedOperator(env, ScriptedOperatorConfig(demonstrate=True), seed=0)
    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        operator.begin_episode()
        assert drive(env, operator, observation)[0] == 1.0


def test_finishes_from_random_states_in_mid_episode():
    """Random walks, and half-done lifts spoilt by noise and a flapping gripper."""
    env = SO101SimEnv(max_episode_steps=1000)
    operator = ScriptedOperator(env, ScriptedOperatorConfig(demonstrate=True, action_noise=0.0), seed=0)
    finished = []
    for seed in range(80):
        rng = np.random.default_rng(seed)
        observation, _ = env.reset(seed=seed)
        operator.begin_episode()
        action, ended, length = rng.uniform(-1, 1, 4), False, int(rng.integers(5, 40))
        for step in range(length):
            expert = operator.poll(observation, STILL).action
            if seed % 3 == 0 or (seed % 3 == 1 and step >= length // 2):
                action = action + rng.normal(0, 0.5, 4)
            else:
                action = expert * (1, 1, 1, rng.choice((-1, 1))) + rng.normal(0, 0.5, 4)
            action = np.clip(action, -1, 1)
            observation, _, ended, _, _ = env.step(action)
            if ended:
                break
        if not ended:
            operator.begin_episode()
            finished.append(drive(env, operator, observation)[0])
    assert len(finished) > 40
    assert np.mean(finished) >= 0.95


def episode(env, operator, seed, policy=lambda observation: STILL):
    """One episode with the policy acting unless the operator does; returns the reward and every input."""
    observation, _ = env.reset(seed=seed)
    operator.begin_episode()
    inputs, reward, ended = [], 0.0, False
    while not ended:
        proposed = policy(observation)
        said = operator.poll(observation, proposed)
        inputs.append(said)
        action = proposed if said.action is None else said.action
        observation, reward, terminated, truncated, _ = env.step(action)
        ended = terminated or truncated
    return reward, inputs


def test_takes_over_when_the_policy_stalls_and_hands_back():
    env = SO101SimEnv()
    config = ScriptedOperatorConfig(takeover_share=1.0, takeover_min_steps=5, takeover_max_steps=5)
    _, inputs = episode(env, ScriptedOperator(env, config, seed=0), seed=0)
    events = [(step, event) for step, said in enumerate(inputs) for event in said.events]
    assert events[:2] == [(8, Event.INTERVENE), (13, Event.RELEASE)]
    assert [event for _, event in events[::2]] == [Event.INTERVENE] * len(events[::2])
    driving = False
    for said in inputs:
        driving = (driving or Event.INTERVENE in said.events) and Event.RELEASE not in said.events
        assert (said.action is not None) == driving
        assert bool(said.doing) == (driving or Event.RELEASE in said.events)
        if driving:
            assert said.action.shape == (4,)
            assert said.action.dtype == np.float32
            assert np.abs(said.action[:3]).max() <= config.speed + 1e-6


def test_a_policy_that_progresses_is_left_alone():
    env = SO101SimEnv()
    operator = ScriptedOperator(env, ScriptedOperatorConfig(takeover_share=1.0), seed=0)
    expert = ScriptedOperator(env, ScriptedOperatorConfig(demonstrate=True, action_noise=0.0), seed=1)
    for seed in range(10):
        reward, inputs = episode(env, operator, seed, lambda observation: expert.poll(observation, STILL).action)
        assert reward == 1.0
        assert all(said == OperatorInput() for said in inputs)


def test_helps_in_the_share_of_episodes_asked_for_and_succeeds():
    env = SO101SimEnv()
    operator = ScriptedOperator(env, ScriptedOperatorConfig(), seed=0)
    episodes = [episode(env, operator, seed) for seed in range(40)]
    helped = np.array([any(said.events for said in inputs) for _, inputs in episodes])
    rewards = np.array([reward for reward, _ in episodes])
    assert 0.75 <= helped.mean() < 1.0
    assert rewards[helped].mean() > 0.8
    assert rewards[~helped].sum() == 0
    lengths = [sum(said.action is not None for said in inputs) for _, inputs in episodes]
    assert max(lengths) > 10


def test_how_often_it_helps_does_not_change_with_time():
    env = SO101SimEnv(task="reach", max_episode_steps=12)
    operator = ScriptedOperator(env, ScriptedOperatorConfig(), seed=0)
    helped = [any(said.events for said in episode(env, operator, seed)[1]) for seed in range(240)]
    first, last = np.mean(helped[:100]), np.mean(helped[-100:])
    assert 0.8 <= first < 1.0
    assert abs(first - last) <= 0.08


def test_equal_seeds_say_equal_things():
    def said(seed):
        env = SO101SimEnv()
        config = ScriptedOperatorConfig(takeover_min_steps=2, takeover_max_steps=12)
        operator = ScriptedOperator(env, config, seed=seed)
        return [
            (None if one.action is None else one.action.tolist(), one.events, one.doing)
            for start in range(4)
            for one in episode(env, operator, start)[1]
        ]

    assert said(3) == said(3)
    assert said(3) != said(4)


def test_demonstrations_begin_with_one_intervention_and_vary_by_noise():
    env = SO101SimEnv()
    operator = ScriptedOperator(env, ScriptedOperatorConfig(demonstrate=True, action_noise=0.1), seed=0)
    (_, first), (_, second) = episode(env, operator, 0), episode(env, operator, 0)
    for inputs in (first, second):
        assert [said.events for said in inputs] == [(Event.INTERVENE,)] + [()] * (len(inputs) - 1)
        assert all(said.doing for said in inputs)
    assert (first[0].action != second[0].action).any()


def test_polling_changes_nothing_in_the_simulator():
    env = SO101SimEnv()
    env.reset(seed=0)
    before = env.data.qpos.copy(), env.data.qvel.copy(), env.data.ctrl.copy()
    operator = ScriptedOperator(env, ScriptedOperatorConfig(demonstrate=True), seed=0)
    for _ in range(5):
        operator.poll({}, STILL)
    for left, right in zip(before, (env.data.qpos, env.data.qvel, env.data.ctrl), strict=True):
        np.testing.assert_array_equal(left, right)


def test_bad_settings_and_environments_are_named():
    with pytest.raises(EnvError, match=r"takeover_min_steps must lie in \[1, takeover_max_steps\]. Got: 9 and 5"):
        ScriptedOperatorConfig(takeover_min_steps=9, takeover_max_steps=5)

    class Other:
        unwrapped = object()

    with pytest.raises(EnvError, match=r"needs an env with privileged_state\(\)\. Got: object"):
        ScriptedOperator(Other())


def test_nobody_at_the_controls():
    nobody = NoOperator()
    nobody.begin_episode()
    assert nobody.poll({}, STILL) == OperatorInput()
    assert nobody.between_episodes().events == (Event.READY,)
    nobody.close()
