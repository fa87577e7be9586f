"""Where the policy runs, and what is said where that is not there."""

import sys

import pytest
import torch

from actor.device import DeviceError, policy_device
from envs.generic import GymConfig


def test_auto_takes_cuda_where_there_is_any_and_else_the_cpu(monkeypatch):
    assert policy_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for there, expected in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert policy_device("auto") == torch.device(expected)
    assert policy_device("mps") == torch.device("mps")


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_named(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    text = rf"actor\.device: expected one of \['cpu'\], which torch finds here, got '{name}'\. Use cpu or auto"
    with pytest.raises(DeviceError, match=text):
        policy_device(name)
    with pytest.raises(DeviceError, match=r"actor\.device must be auto, cpu, cuda or mps\. Got: 'tpu'"):
        policy_device("tpu")


def test_an_actor_without_the_device_ends_with_one_error(bench, actor):
    run = bench("gym", GymConfig(id="Witness-v0"))
    run.publish(0)
    arm = actor(run.port, device="mps" if sys.platform == "linux" else "cuda")
    assert arm.end() == 1
    assert "the control process ended: actor.device: expected one of ['cpu'" in arm.text
    assert "Traceback" not in arm.text
    assert not arm.witnessed
