"""Benches and actors that end with the test, and the environments that keep their own record."""

from __future__ import annotations

import gymnasium
import pytest

from tests.actor.bench import WITNESS, ActorProcess, Bench, wait_for


@pytest.fixture(name="wait_for")
def _wait_for():
    return wait_for


@pytest.fixture(autouse=True)
def witness(tmp_path, monkeypatch):
    """Registers the witnesses here too, where contracts are derived."""
    monkeypatch.syspath_prepend(str(WITNESS))
    monkeypatch.setenv("WITNESS_PATH", str(tmp_path / "witness-of-the-test.txt"))
    if "Witness-v0" not in gymnasium.registry:
        gymnasium.register("Witness-v0", entry_point="witness_env:WitnessEnv", max_episode_steps=12)
        gymnasium.register("WitnessCamera-v0", entry_point="witness_env:WitnessCameraEnv", max_episode_steps=12)


@pytest.fixture
def bench(tmp_path):
    """Makes and starts benches; stops them at the end."""
    made = []

    def make(env, env_config, **settings):
        made.append(Bench(tmp_path / "run", env, env_config, **settings).start())
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def actor(tmp_path):
    """Starts actors; kills what is left of them at the end."""
    made = []

    def make(port, **settings):
        made.append(ActorProcess(port, tmp_path, **settings))
        return made[-1]

    yield make
    for one in made:
        one.kill()
