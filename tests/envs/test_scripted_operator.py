"""The scripted operator: lifts from anywhere, helps when the policy stalls, and draws from its own seed alone."""

import numpy as np
import pytest

from envs.errors import EnvError
from envs.so101_sim import SO101SimConfig, SO101SimEnv
from envs.teleop.operator import Event, NoOperator, OperatorInput
from envs.teleop.scripted import ScriptedOperator, ScriptedOperatorConfig
from envs.teleop.scripted_insert import resolution_m, rounded

STILL = np.array([0, 0, 0, 1], np.float32)


def demonstrator(action_noise=None, resolution_m=None, **settings):
    """An environment and the operator that demonstrates in it."""
    env = SO101SimEnv(**settings)
    config = ScriptedOperatorConfig(demonstrate=True, action_noise=action_noise, resolution_m=resolution_m)
    return env, ScriptedOperator(env, config, seed=0)


def drive(env, operator, observation, steps=60):
    """Let the operator drive until the episode ends; returns (reward, steps taken)."""
    operator.begin_episode()
    for step in range(steps):
        action = operator.poll(observation, STILL).action
        observation, reward, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            return reward, step + 1
    return 0.0, steps


def drive_from(starts, env, operator, steps=60):
    """Rewards and steps taken, of an episode from each start."""
    results = [drive(env, operator, env.reset(seed=seed)[0], steps) for seed in starts]
    return np.array(results).T


def finish_spoilt(starts, env, operator, *, longest, steps, gripper=(-1, 1)):
    """Rewards of episodes finished from random walks, and from half-done ones spoilt by noise and a flapping gripper.

    Args:
        longest: Steps before the operator drives, 5 or more.
        steps: Then, at most.
        gripper: What its actions are multiplied with, at random.
    """
    finished = []
    for seed in starts:
        rng = np.random.default_rng(seed)
        observation, _ = env.reset(seed=seed)
        operator.begin_episode()
        action, ended, length = rng.uniform(-1, 1, 4), False, int(rng.integers(5, longest))
        for step in range(length):
            expert = operator.poll(observation, STILL).action
            if seed % 3 == 0 or (seed % 3 == 1 and step >= length // 2):
                action = action + rng.normal(0, 0.5, 4)
            else:
                action = expert * (1, 1, 1, rng.choice(gripper)) + rng.normal(0, 0.5, 4)
            action = np.clip(action, -1, 1)
            observation, _, terminated, truncated, _ = env.step(action)
            ended = terminated or truncated
            if ended:
                break
        if not ended:
            finished.append(drive(env, operator, observation, steps)[0])
    return finished


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_lifts_from_every_start(noise):
    rewards, steps = drive_from(range(50), *demonstrator(noise))
    assert rewards.sum() == 50
    assert steps.mean() < 22


def test_reaches_every_goal():
    rewards, _ = drive_from(range(20), *demonstrator(task="reach"))
    assert (rewards == 1.0).all()


def test_finishes_from_random_states_in_mid_episode():
    finished = finish_spoilt(range(36), *demonstrator(0.0, max_episode_steps=1000), longest=40, steps=60)
    assert len(finished) > 18
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
    helped = [any(said.events for said in episode(env, operator, seed)[1]) for seed in range(150)]
    first, last = np.mean(helped[:75]), np.mean(helped[-75:])
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


# The insert task.


def insert_rates(**settings):
    """Success rate and mean steps of the operator that demonstrates."""
    return drive_from(range(24), *demonstrator(task="insert", **settings), steps=120).mean(1)


@pytest.mark.parametrize(("play_mm", "noise"), [(8.0, 0.1), (2.0, 0.0), (2.0, 0.1)])
def test_inserts_from_every_start_precise_or_not(play_mm, noise):
    success, steps = insert_rates(play_mm=play_mm, operator_noise=noise)
    assert success >= 0.95
    assert steps < 45


def test_inserts_with_what_the_cameras_resolve():
    success, _ = insert_rates(play_mm=3.0, resolution_m=0.0024)
    assert success >= 0.95


def test_inserts_from_states_in_mid_episode():
    made = demonstrator(task="insert", max_episode_steps=1000)
    finished = finish_spoilt(range(27), *made, longest=60, steps=120, gripper=(-1, 1, 1))
    assert len(finished) > 18
    assert np.mean(finished) >= 0.95


@pytest.mark.parametrize("tilt", [0.0, 0.5])
def test_frees_a_cube_that_lies_on_the_walls(tilt):
    env, operator = demonstrator(task="insert", operator_noise=0.0, max_episode_steps=1000)
    freed = []
    for seed in range(8):
        observation, _ = env.reset(seed=seed)
        x, y, _ = env.privileged_state().slot
        joint = env.model.joint("cube").qposadr[0]
        pose = (x + 0.006, y + 0.004, 0.030, np.cos(tilt / 2), 0, np.sin(tilt / 2), 0)
        env.data.qpos[joint : joint + 7] = pose
        freed.append(drive(env, operator, observation, steps=120)[0])
    assert np.mean(freed) >= 0.75


def test_is_as_imprecise_while_intervening_with_insert_and_precise_with_lift():
    def grips(task):
        env = SO101SimEnv(task=task)
        operator = ScriptedOperator(env, ScriptedOperatorConfig(takeover_share=1.0), seed=0)
        _, inputs = episode(env, operator, 0)
        return [abs(float(said.action[3])) for said in inputs if said.action is not None]

    assert set(grips("lift")) == {1.0}
    noisy = grips("insert")
    assert np.mean(np.array(noisy) < 1.0) > 0.3


def test_knows_cube_and_slot_as_well_as_the_sharpest_camera_of_the_policy():
    def resolution(**settings):
        return resolution_m(SO101SimConfig(task="insert", **settings))

    assert resolution(obs="state") == 0.0
    both = resolution(obs="pixels", image_height=64, image_width=64)
    assert both == pytest.approx(2.37e-3, abs=1e-5)
    assert resolution(obs="pixels", image_height=128, image_width=128) == pytest.approx(both / 2)
    assert resolution(obs="pixels", cameras=("front",), image_height=64, image_width=64) == pytest.approx(
        4.36e-3, abs=1e-5
    )
    state = SO101SimEnv(task="insert")
    state.reset(seed=0)
    exact = state.privileged_state()
    seen = rounded(exact, both)
    assert (np.abs(seen.thing - exact.thing) <= both / 2 + 1e-12).all()
    assert (seen.slot != exact.slot).any()
    np.testing.assert_array_equal(seen.tool, exact.tool)


def test_leaves_a_policy_that_inserts_alone_and_helps_one_that_stops_half_way():
    env = SO101SimEnv(task="insert", operator_noise=0.0)
    operator = ScriptedOperator(env, ScriptedOperatorConfig(takeover_share=1.0), seed=0)
    expert = ScriptedOperator(env, ScriptedOperatorConfig(demonstrate=True), seed=1)
    for seed in range(6):
        reward, inputs = episode(env, operator, seed, lambda observation: expert.poll(observation, STILL).action)
        assert reward == 1.0
        assert sum(said.action is not None for said in inputs) == 0

    steps = iter(range(1000))

    def stops(observation):
        return expert.poll(observation, STILL).action if next(steps) < 15 else np.array([0, 0, 0, -1], np.float32)

    reward, inputs = episode(env, operator, 0, stops)
    assert any(Event.INTERVENE in said.events for said in inputs)
    assert reward == 1.0
