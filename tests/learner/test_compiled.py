"""Compiled networks against uncompiled ones on identical inputs, and a compiler that fails."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from episodes.contract import Contract, Feature, FeatureView, Interface, View
from learner.algorithms import ALGORITHMS, SACConfig, build_algorithm
from learner.algorithms.compiled import begin_graphs, compile_networks

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


def sac(device="cpu"):
    plain = {"actor_every": 1, "critic_warmup_updates": 0, "clamp_targets": False}
    config = SACConfig(batch_size=BATCH, hidden=(24, 16), gripper="discrete", **plain)
    return build_algorithm(CONTRACT, config, device=device, seed=0)


CAMERA = "observation.images.front"


def of_images(name, *, device="cpu", **settings):
    """An algorithm on vectors and one camera, and a batch of its own for each seed."""
    camera = Feature(CAMERA, "uint8", (36, 36, 3))
    interface = replace(CONTRACT.interface, observations=(*CONTRACT.interface.observations, camera))
    contract = Contract(interface, View((FeatureView(NAME), FeatureView(CAMERA))))
    plain = {"batch_size": BATCH, "hidden": (24, 16), "critic_warmup_updates": 0, "clamp_targets": False}
    algorithm = build_algorithm(contract, ALGORITHMS[name].config(**plain, **settings), device=device, seed=0)

    def seen(seed):
        made, random = batch(seed), np.random.default_rng(seed)
        for observation in (made.observation, made.next_observation):
            observation[CAMERA] = random.integers(0, 256, (BATCH, 36, 36, 3), np.uint8)
        return made

    return algorithm, seen


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


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["sac", "drqv2"])
def test_encoders_are_compiled_and_agree_too(name):
    (eager, seen), (compiled, _) = (of_images(name, encoder="small") for _ in range(2))
    said = []
    assert compile_networks(compiled, "on", BATCH, said.append, backend="aot_eager"), said
    assert compiled.policy.encoder._compiled_call_impl is not None
    for seed in range(2):
        expected, metrics = eager.update(seen(seed)), compiled.update(seen(seed))
        for key, value in expected.items():
            torch.testing.assert_close(metrics[key], value, rtol=1e-4, atol=1e-5, msg=key)
    for tensor, value in zip(compiled.policy.encoder.parameters(), eager.policy.encoder.parameters(), strict=True):
        torch.testing.assert_close(tensor, value, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["vectors", "sac", "drqv2"])
def test_on_cuda_a_clone_and_updates_in_graphs_agree_with_eager_ones(name):
    if name == "vectors":
        (eager, seen), (compiled, _) = ((sac("cuda"), batch) for _ in range(2))
    else:
        (eager, seen), (compiled, _) = (of_images(name, device="cuda", encoder="small") for _ in range(2))
    said, alike = [], {"rtol": 1e-2, "atol": 1e-3}
    assert compile_networks(compiled, "auto", BATCH, said.append), said
    pairs = [(eager.clone(seen(9)), compiled.clone(seen(9)))]
    pairs += [(eager.update(seen(seed)), compiled.update(seen(seed))) for seed in range(3)]
    for expected, metrics in pairs:
        for key, value in expected.items():
            torch.testing.assert_close(metrics[key], value, **alike, msg=key)
    tensors = compiled.state()[0]
    for key, value in eager.state()[0].items():
        torch.testing.assert_close(tensors[key], value, **alike, msg=key)


def test_every_update_and_every_cloning_update_begins_graphs_anew(monkeypatch):
    begun, algorithm = [], sac()
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: begun.append(algorithm.updates))
    begin_graphs(algorithm)
    assert "clone_loss" in algorithm.clone(batch(0))
    assert begun == [0]
    assert "critic_loss" in algorithm.update(batch(1), actor=True)
    assert begun == [0, 0]


def test_an_encoder_that_is_frozen_sees_other_sizes_and_is_not_compiled():
    algorithm, _ = of_images("sac", encoder="small", encoder_frozen="cloned")
    assert compile_networks(algorithm, "on", BATCH, pytest.fail, backend="aot_eager")
    assert algorithm.policy.encoder._compiled_call_impl is None


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
