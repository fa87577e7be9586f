"""Real gymnasium environments through the generic adapter."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from envs.errors import EnvError
from envs.generic import GymConfig, derive_contract, make
from envs.registry import make_env
from episodes.contract import Contract
from episodes.contract_differences import differences
from policies.spec import build_policy, spec_from_contract
from policies.stacking import FrameStack

TRAINABLE = [
    ("Pendulum-v1", (3,), 1, 200),
    ("MountainCarContinuous-v0", (2,), 1, 999),
    ("InvertedPendulum-v5", (4,), 1, 1000),
    ("InvertedDoublePendulum-v5", (9,), 1, 1000),
    ("Reacher-v5", (10,), 2, 50),
    ("Pusher-v5", (23,), 7, 100),
    ("Hopper-v5", (11,), 3, 1000),
    ("HalfCheetah-v5", (17,), 6, 1000),
    ("Swimmer-v5", (8,), 2, 1000),
    ("Walker2d-v5", (17,), 6, 1000),
    ("Ant-v5", (105,), 8, 1000),
    ("Humanoid-v5", (348,), 17, 1000),
]


class Toy(gym.Env):
    """Given spaces; counts steps, and keeps the last action it was given."""

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.last_action: np.ndarray | None = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.last_action = action
        return self.observation_space.sample(), np.float64(1), False, False, {}


def box(*shape: int, low: float = -1.0, high: float = 1.0, dtype: type = np.float64) -> spaces.Box:
    return spaces.Box(dtype(low), dtype(high), shape, dtype)


@pytest.fixture
def register():
    """Registers a Toy under an id, for one test."""
    ids = []

    def add(observation_space, action_space, id="Toy-v0", **kwargs) -> str:
        gym.register(id, lambda **k: Toy(observation_space, action_space, **k), **kwargs)
        ids.append(id)
        return id

    yield add
    for id in ids:
        del gym.registry[id]


@pytest.mark.parametrize(("id", "shape", "actions", "limit"), TRAINABLE)
def test_gymnasium_environment_trains_as_it_is(id, shape, actions, limit) -> None:
    contract = derive_contract(GymConfig(id=id))
    assert [(f.name, f.dtype, f.shape) for f in contract.interface.observations] == [
        ("observation.state", "float32", shape)
    ]
    assert contract.interface.action.shape == (actions,)
    assert not contract.interface.reward.bounded
    assert differences(contract, Contract.from_message(contract.to_message())) == []

    env = make(GymConfig(id=id))
    assert env.spec is not None
    assert env.spec.max_episode_steps == limit
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(env, skip_render_check=True)
    first, _ = env.reset(seed=2**62 + 1)
    again, _ = env.reset(seed=2**62 + 1)
    assert first["observation.state"].dtype == np.float32
    np.testing.assert_array_equal(first["observation.state"], again["observation.state"])
    env.close()


def test_time_limit_truncates_and_can_be_set() -> None:
    env = make(GymConfig(id="Pendulum-v1", max_episode_steps=7))
    env.reset(seed=1)
    flags = [env.step(np.zeros(1, np.float32))[2:4] for _ in range(7)]
    assert flags == [(False, False)] * 6 + [(False, True)]


def test_settings_reach_the_environment() -> None:
    heavy = make(GymConfig(id="Pendulum-v1", settings="g=2.5"))
    assert heavy.unwrapped.g == 2.5
    hopper = make(GymConfig(id="Hopper-v5", settings="terminate_when_unhealthy=false, reset_noise_scale=1e-2"))
    assert hopper.unwrapped._terminate_when_unhealthy is False
    assert hopper.unwrapped._reset_noise_scale == 0.01


def test_nested_observation_is_named_by_its_path_and_is_a_copy(register) -> None:
    observation = spaces.Dict(
        {
            "pixels": spaces.Dict({"top": box(4, 6, 3, low=0, high=255, dtype=np.uint8)}),
            "agent_pos": box(2, 3),
            "goal": spaces.Tuple((box(2, dtype=np.float32), box(1, low=-9, high=9, dtype=np.int64))),
            "grey": box(4, 6, 1, low=0, high=255, dtype=np.uint8),
            "nothing": box(0),
            "scalar": box(),
        }
    )
    id = register(observation, box(2, 2, low=-3, high=5), max_episode_steps=10)
    contract = derive_contract(GymConfig(id=id, stack=3))
    assert [(f.name, f.dtype, f.shape) for f in contract.interface.observations] == [
        ("observation.agent_pos", "float32", (6,)),
        ("observation.goal.0", "float32", (2,)),
        ("observation.goal.1", "float32", (1,)),
        ("observation.images.grey", "uint8", (4, 6, 3)),
        ("observation.images.top", "uint8", (4, 6, 3)),
        ("observation.scalar", "float32", (1,)),
    ]
    assert [contract.view.stack(f.name) for f in contract.interface.observations] == [3, 3, 3, 1, 1, 3]
    env = make(GymConfig(id=id))
    observed, _ = env.reset(seed=3)
    assert list(observed) == [f.name for f in contract.interface.observations]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(env, skip_render_check=True)


def test_image_alone_is_one_camera(register) -> None:
    id = register(box(8, 8, 3, low=0, high=255, dtype=np.uint8), box(1))
    (feature,) = derive_contract(GymConfig(id=id)).interface.observations
    assert (feature.name, feature.shape) == ("observation.images.pixels", (8, 8, 3))


SHADES = {"low": 0, "high": 255, "dtype": np.uint8}


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1)])
def test_a_grey_image_has_its_channel_three_times(register, shape) -> None:
    id = register(box(*shape, **SHADES), box(1))
    (feature,) = derive_contract(GymConfig(id=id)).interface.observations
    assert (feature.name, feature.shape) == ("observation.images.pixels", (4, 6, 3))
    env = make_env("gym", GymConfig(id=id))
    image = env.reset(seed=3)[0]["observation.images.pixels"]
    own = gym.make(id, disable_env_checker=True).reset(seed=3)[0].reshape(4, 6)
    for channel in range(3):
        np.testing.assert_array_equal(image[..., channel], own)
    assert env.observation_space.contains({"observation.images.pixels": image})


@pytest.mark.parametrize("shape", [(3, 96, 96), (96, 96, 4), (4, 84, 84)])
def test_images_with_other_channels_are_refused_by_name(register, shape) -> None:
    id = register(spaces.Dict({"camera": box(*shape, **SHADES)}), box(1))
    text = r"part 'camera' must be an image: .*\(height, width\)\. Got: uint8 of shape .*env\.image_stack does that"
    with pytest.raises(EnvError, match=text):
        derive_contract(GymConfig(id=id))


def test_whole_numbers_that_are_no_shades_stay_a_vector(register) -> None:
    id = register(box(3, 3, low=0, high=2, dtype=np.uint8), box(1))
    (feature,) = derive_contract(GymConfig(id=id)).interface.observations
    assert (feature.name, feature.dtype, feature.shape) == ("observation.state", "float32", (9,))


def test_images_of_a_racing_car_are_cropped_resized_stacked_and_acted_on(register) -> None:
    id = register(box(96, 96, 3, **SHADES), box(3), max_episode_steps=5)
    view = {"image_crop": (0, 6, 84, 84), "image_resize": (42, 42), "image_stack": 3}
    config = GymConfig(id=id, **view)
    contract = derive_contract(config)
    assert [f.shape for f in contract.interface.observations] == [(96, 96, 3)]
    assert [f.shape for f in contract.stored] == [(42, 42, 3)]
    assert contract.view.stack("observation.images.pixels") == 3
    spec = spec_from_contract(contract)
    stack, env = FrameStack(spec.frames), make_env("gym", config)
    seen = stack.reset(env.reset(seed=1)[0])
    for _ in range(3):
        assert seen["observation.images.pixels"].shape == (42, 42, 9)
        action = build_policy(spec).act(seen)
        seen = stack.push(env.step(action)[0])
    for key in ("stack", "image_stack"):
        with pytest.raises(EnvError, match=rf"env\.{key} must be at least 1\. Got: 0"):
            derive_contract(GymConfig(id=id, **{key: 0}))


def test_an_image_that_is_not_as_stated_is_named_and_never_rescaled(register) -> None:
    class Odd(Toy):
        def step(self, action):
            return {"front": self.frames.pop(0)}, 0.0, False, False, {}

    space = spaces.Dict({"front": box(4, 6, 3, **SHADES)})
    gym.register("Odd-v0", lambda: Odd(space, box(1)))
    try:
        env = make_env("gym", GymConfig(id="Odd-v0"))
    finally:
        del gym.registry["Odd-v0"]
    env.reset(seed=0)
    unit = np.full((4, 6, 3), 0.5, np.float32)
    env.unwrapped.frames = [unit, np.zeros((2, 6, 3), np.uint8), None]
    said = [env.step(np.zeros(1, np.float32))[4]["lost_camera"].partition(", got ")[2] for _ in range(3)]
    assert said == ["float32 of shape (4, 6, 3)", "uint8 of shape (2, 6, 3)", "no frame"]


def test_pixels_are_what_the_environment_renders() -> None:
    config = GymConfig(id="Reacher-v5", pixels=True, settings="width=32,height=24", image_resize=(12, 16))
    (feature,) = derive_contract(config).interface.observations
    assert (feature.name, feature.shape) == ("observation.images.pixels", (24, 32, 3))
    env = make_env("gym", config)
    first = env.reset(seed=2)[0]["observation.images.pixels"]
    assert first.shape == (12, 16, 3)
    assert first.std() > 5
    moved = [env.step(np.ones(2, np.float32))[0] for _ in range(5)][-1]["observation.images.pixels"]
    assert (moved != first).any()
    env.close()


def test_action_is_rescaled_to_the_environments_range(register) -> None:
    id = register(box(1), box(2, 2, low=-3, high=5))
    env = make(GymConfig(id=id))
    assert env.action_space == spaces.Box(-1.0, 1.0, (4,), np.float32)
    env.reset(seed=0)
    env.step(np.array([-1.0, 0.0, 1.0, 9.0], np.float32))
    np.testing.assert_array_equal(env.unwrapped.last_action, [[-3.0, 1.0], [5.0, 5.0]])


def test_integer_action_is_rounded(register) -> None:
    env = make(GymConfig(id=register(box(1), box(2, low=0, high=10, dtype=np.int32))))
    env.reset(seed=0)
    env.step(np.array([-0.07, 0.07], np.float32))
    np.testing.assert_array_equal(env.unwrapped.last_action, [5, 5])


def test_infinite_action_bounds_need_a_stated_limit(register) -> None:
    id = register(box(1), spaces.Box(-np.inf, np.inf, (2,), np.float32))
    with pytest.raises(EnvError, match=r"finite bounds.*env\.action_limit=1\.0"):
        derive_contract(GymConfig(id=id))
    env = make(GymConfig(id=id, action_limit=4.0))
    env.reset(seed=0)
    env.step(np.array([1.0, -0.5], np.float32))
    np.testing.assert_array_equal(env.unwrapped.last_action, [4.0, -2.0])


@pytest.mark.parametrize("id", ["CartPole-v1", "Acrobot-v1", "MountainCar-v0"])
def test_discrete_action_is_refused_by_name(id) -> None:
    with pytest.raises(EnvError, match=rf"'{id}'.*must be a Box.*Got: Discrete\(\d\).*not supported"):
        derive_contract(GymConfig(id=id))


def test_discrete_observation_is_refused_by_its_path(register) -> None:
    id = register(spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(3)})}), box(1))
    with pytest.raises(EnvError, match=r"part at 'a\.b' that cannot be used: Discrete\(3\).*Supported: Box"):
        derive_contract(GymConfig(id=id))
    with pytest.raises(EnvError, match=r"Discrete"):
        derive_contract(GymConfig(id="FrozenLake-v1"))


def test_two_parts_of_one_name_are_refused(register) -> None:
    id = register(spaces.Dict({"a.b": box(1), "a": spaces.Dict({"b": box(1)})}), box(1))
    with pytest.raises(EnvError, match=r"two parts.*'observation\.a\.b'"):
        derive_contract(GymConfig(id=id))


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("os:Pendulum-v1", "ids with ':' import modules and are refused"),
        ("Pendulm-v1", "Did you mean 'Pendulum-v1'"),
        ("halfcheetah-v5", "'HalfCheetah-v5'"),
        ("Pendulum-v77", "'Pendulum-v1'"),
        ("../../x", "must be a registered id"),
        ("", "must be a registered id"),
    ],
)
def test_unknown_id_names_the_nearest(id, message) -> None:
    with pytest.raises(EnvError) as error:
        make(GymConfig(id=id))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("g", "must be name=value"),
        ("xml_file=/etc/passwd", "must be name=value"),
        ("xml_file=../ant.xml", "must be name=value"),
        ("env_id=Pendulum-v1", "cannot set 'env_id'"),
        ("gravity=3", "Check env.settings='gravity=3'"),
    ],
)
def test_bad_settings_say_what_is_wrong(settings, message) -> None:
    with pytest.raises(EnvError) as error:
        make(GymConfig(settings=settings))
    assert message in str(error.value)


def test_missing_package_gives_one_clear_message() -> None:
    gym.register("Missing-v0", lambda: __import__("no_such_simulator"))
    try:
        with pytest.raises(EnvError, match=r"'Missing-v0' needs a package.*no_such_simulator.*every machine"):
            make(GymConfig(id="Missing-v0"))
    finally:
        del gym.registry["Missing-v0"]


def test_environment_that_fails_names_the_reason() -> None:
    gym.register("Broken-v0", lambda: 1 / 0)
    try:
        with pytest.raises(EnvError, match=r"'Broken-v0' could not be made: ZeroDivisionError: division by zero"):
            make(GymConfig(id="Broken-v0"))
    finally:
        del gym.registry["Broken-v0"]
