"""Compiled networks against uncompiled ones on identical inputs, and a compiler that fails."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from episodes.contract import Contract, Feature, FeatureView, Interface, View
from learner.algorithms import SACConfig, build_algorithm
from learner.algorithms.compiled import compile_networks

BATCH, STATE, ACTION, NAME = 32, 5, 3, "observation.state"
INDUCTOR = pytest.param(
    "inductor",
    marks=[
        pytest.mark.long,
        pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler"),
    ],
)
CONTRACT = Contract(
    Interface(
        "t",
        (Feature(NAME, "float32", (STATE,), ("gripper", "b", "c", "d", "e")),),
        Feature("action", "float32", (ACTION,), ("x", "y", "gripper"), low=(-1.0,), high=(1.0,)),
    ),
    View((FeatureView(NAME),)),
)


def batch(seed):
    random = np.random.default_rng(seed)

    def normal(*shape):
        return random.standard_normal(shape).astype(np.float32)

    return SimpleNamespace(
        observation={NAME: normal(BATCH, STATE)},
        next_observation={NAME: normal(BATCH, STATE)},
        action=np.tanh(normal(BATCH, ACTION)),
        reward=normal(BATCH),
        discount=np.full(BATCH, 0.97, np.float32),
        toggles=np.abs(normal(BATCH)),
        human=np.arange(BATCH) % 3 == 0,
        demonstration=np.zeros(BATCH, bool),
    )


def sac():
    plain = {"actor_every": 1, "critic_warmup_updates": 0, "clamp_targets": False}
    config = SACConfig(batch_size=BATCH, hidden=(24, 16), gripper="discrete", **plain)
    return build_algorithm(CONTRACT, config, device="cpu", seed=0)


@pytest.fixture(autouse=True)
def fresh_compiler():
    yield
    torch._dynamo.reset()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", ["aot_eager", INDUCTOR])
def test_compiled_and_uncompiled_updates_agree_on_identical_inputs(backend):
    said, eager, compiled = [], sac(), sac()
    names = list(compiled.state()[0])
    assert compile_networks(compiled, "on", BATCH, said.append, backend=backend), said
    for network in (compiled.critic, compiled.gripper.critic, compiled.gripper.target):
        assert network._compiled_call_impl is not None
    for seed in range(3):
        expected, metrics = eager.update(batch(seed)), compiled.update(batch(seed))
        for key, value in expected.items():
            torch.testing.assert_close(metrics[key], value, rtol=1e-4, atol=1e-5, msg=key)
    tensors = compiled.state()[0]
    assert list(tensors) == names
    for name, value in eager.state()[0].items():
        torch.testing.assert_close(tensors[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_a_compiler_that_fails_is_named_and_updates_go_on_without_it():
    def broken(graph, inputs):
        raise RuntimeError("no compiler here")

    said, algorithm, eager = [], sac(), sac()
    assert not compile_networks(algorithm, "on", BATCH, said.append, backend=broken)
    assert len(said) == 1
    assert "torch.compile failed" in said[0]
    assert "compile=off" in said[0]
    expected, metrics = eager.update(batch(0)), algorithm.update(batch(0))
    assert all(torch.equal(metrics[key], value) for key, value in expected.items())


@pytest.mark.parametrize("choice", ["off", "auto"])
def test_nothing_is_compiled_on_a_cpu_by_default(choice):
    algorithm = sac()
    assert not compile_networks(algorithm, choice, BATCH, pytest.fail)
    assert algorithm.critic._compiled_call_impl is None
