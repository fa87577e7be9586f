"""What a run will need is said before it starts, and a run that cannot fit is refused."""

import dataclasses

import pytest

from envs.generic import GymConfig
from envs.registry import derive_contract
from episodes.disk import DiskError, free_bytes
from episodes.log import EpisodeLog
from learner.config import LearnerConfig, StopConfig
from learner.disk_plan import check_room, plan, step_bytes
from transport import records_pb2 as pb

CONFIG = LearnerConfig(env="gym", env_config=GymConfig())


def test_the_estimate_is_near_what_a_log_takes(tmp_path):
    contract = derive_contract("gym", GymConfig())
    numbers = {"proposed": [0.5], "chosen": [0.5], "sent": [0.5], "observation": [bytes(12)]}
    step = pb.Step(episode_id="a" * 32, rewards=[pb.Reward(source="env", value=1.0)], time_ns=1 << 60, **numbers)
    entry = pb.LogEntry(spool_id="b" * 32, actor="gpubox", record=pb.Record(sequence=10_000, step=step))
    with EpisodeLog(tmp_path, run_id="run", interface_fingerprint="f") as log:
        before = log.end
        log.append([entry.SerializeToString()], {})
        assert 0.5 < step_bytes(contract) / (log.end - before) < 2


def test_a_run_with_more_steps_than_room_is_refused_and_said_when_it_goes_on(tmp_path):
    contract = derive_contract("gym", GymConfig(control_hz=10.0))
    steps = free_bytes(tmp_path) // step_bytes(contract)
    config = dataclasses.replace(CONFIG, stop=StopConfig(max_env_steps=2 * steps))
    with pytest.raises(DiskError, match=rf"{2 * steps:,} steps \(stop\.max_env_steps\) and checkpoints need .* GB"):
        check_room(config, contract, tmp_path / "run")
    check_room(CONFIG, contract, tmp_path / "run")
    lines = list(plan(config, contract, tmp_path, 1 << 30))
    assert "GB an hour at 10 Hz" in lines[0]
    assert "memory: up to 1.1 GB of replay" in lines[0]
    assert any("stop.max_env_steps" in line for line in lines[1:])
