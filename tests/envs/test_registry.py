"""Environments are found by name, and only by name."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from envs.registry import ENVS, EnvError, derive_contract, env_config_type, make_env
from transport.settings import config_from, settings_of


@pytest.mark.parametrize("name", ENVS)
def test_every_environment_fits_its_contract(name) -> None:
    config = env_config_type(name)()
    contract = derive_contract(name, config)
    env = make_env(name, config)
    try:
        observation, _ = env.reset(seed=5)
        assert list(observation) == [f.name for f in contract.interface.observations]
        size = contract.interface.action.shape
        assert (env.action_space.shape, env.action_space.dtype) == (size, np.float32)
        assert (env.action_space.low == -1).all()
        assert (env.action_space.high == 1).all()
        after, *_ = env.step(np.zeros(size, np.float32))
        for feature in contract.interface.observations:
            for values in (observation, after):
                assert (values[feature.name].dtype, values[feature.name].shape) == (feature.dtype, feature.shape)
    finally:
        env.close()


@pytest.mark.parametrize("name", ENVS)
def test_config_survives_the_wire(name) -> None:
    config = env_config_type(name)()
    assert dataclasses.is_dataclass(config)
    assert config_from(type(config), settings_of(config)) == config


def test_unknown_name_names_the_nearest() -> None:
    with pytest.raises(EnvError, match=r"no environment 'so101sim'\. Did you mean 'so101_sim'\? There are: .*'gym'"):
        make_env("so101sim", None)


def test_config_of_another_environment_is_refused() -> None:
    with pytest.raises(EnvError, match=r"'gym' needs a GymConfig\. Got: dict"):
        derive_contract("gym", {})


def test_registry_imports_nothing_heavy() -> None:
    code = "import sys, envs.registry; print([m for m in ('mujoco', 'torch', 'grpc', 'pynput') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
