"""What an actor makes of a learner's description: the machine's own limits win."""

import base64
import threading
from concurrent import futures
from dataclasses import replace
from types import SimpleNamespace

import grpc
import pytest

from actor.config import ActorConfig
from actor.describe import JoinError, join_run, understand
from actor.main import _Actor
from envs.generic import GymConfig
from envs.registry import ENVS
from envs.so101_sim import SO101SimConfig
from episodes.acting import ActingSettings
from transport import service_pb2 as pb
from transport import service_pb2_grpc as rpc
from transport.channel import PROTOCOL, open_channel
from transport.settings import config_from, settings_of

OWN = SO101SimConfig()
WIDE = SO101SimConfig(workspace_low_m=(0.0, -0.05, -1.0), workspace_high_m=(9.0, 9.0, 0.1))


def described(env_config=OWN, env="so101_sim", **acting):
    return pb.RunDescription(
        protocol=PROTOCOL,
        run_id="run-a",
        env=env,
        env_settings=settings_of(env_config),
        acting=settings_of(ActingSettings(**acting)),
    )


@pytest.fixture
def hardware(monkeypatch):
    monkeypatch.setitem(ENVS, "so101_sim", replace(ENVS["so101_sim"], hardware=True))


@pytest.mark.usefixtures("hardware")
def test_lockstep_on_a_real_robot_is_this_machines_choice():
    assert not understand(described(), ActorConfig()).lockstep
    with pytest.raises(JoinError, match=r"pacing: expected realtime, since a real robot moves here, got lockstep"):
        understand(described(pacing="lockstep"), ActorConfig())
    assert understand(described(pacing="lockstep"), ActorConfig(pacing="lockstep")).lockstep
    assert not understand(described(pacing="lockstep"), ActorConfig(pacing="realtime")).lockstep


@pytest.mark.usefixtures("hardware")
def test_a_learner_never_widens_the_workspace_of_a_real_robot():
    limited = understand(described(WIDE), ActorConfig()).env_config
    assert limited.workspace_low_m == (0.15, -0.05, 0.012)
    assert limited.workspace_high_m == (0.28, 0.12, 0.1)
    with pytest.raises(JoinError, match=r"workspace_low_m must be three numbers below workspace_high_m"):
        understand(described(replace(OWN, workspace_low_m=(1.0, 0, 0), workspace_high_m=(2.0, 1, 1))), ActorConfig())


@pytest.mark.usefixtures("hardware")
@pytest.mark.parametrize(
    ("given", "own", "words"),
    [
        ({"max_step_m": 0.05}, {}, r"env.max_step_m: expected at most 0.02, this machine's own limit, got 0.05"),
        ({}, {"max_step_m": 0.01}, r"env.max_step_m: expected at most 0.01, .* Set env.max_step_m=0.01 at the learner"),
        (
            {"control_hz": 250.0},
            {},
            r"env.control_hz: expected at most 10 with steps of 0.02 m, .* got 250. Set env.control_hz=10 at the",
        ),
        ({"control_hz": 50.0, "max_step_m": 0.005}, {}, r"env.control_hz: expected at most 40 with steps of 0.005 m"),
        ({"target_lead_m": 0.5}, {}, r"env.target_lead_m: expected at most 0.04, .* got 0.5"),
    ],
)
def test_a_learner_never_makes_a_real_robot_faster(given, own, words):
    with pytest.raises(JoinError, match=words):
        understand(described(replace(OWN, **given)), ActorConfig(**own))


@pytest.mark.usefixtures("hardware")
def test_the_person_beside_the_robot_may_allow_more_and_the_learner_less():
    assert (
        understand(described(replace(OWN, max_step_m=0.05)), ActorConfig(max_step_m=0.05)).env_config.max_step_m == 0.05
    )
    assert understand(described(replace(OWN, control_hz=12.5)), ActorConfig(max_step_m=0.04)).control_hz == 12.5
    assert understand(described(replace(OWN, control_hz=12.5, max_step_m=0.01)), ActorConfig()).control_hz == 12.5
    assert understand(described(replace(OWN, max_step_m=0.005)), ActorConfig()).env_config.max_step_m == 0.005


def test_a_simulation_is_taken_as_it_is():
    loose = replace(WIDE, max_step_m=0.05)
    run = understand(described(loose, pacing="lockstep"), ActorConfig())
    assert run.env_config == loose
    assert run.lockstep
    with pytest.raises(JoinError, match=r"env.max_step_m: expected at most 0.01"):
        understand(described(loose), ActorConfig(max_step_m=0.01))


@pytest.mark.usefixtures("hardware")
def test_the_control_process_is_ordered_what_the_limits_leave():
    config = ActorConfig()
    run = understand(described(WIDE), config)
    folder, spool = SimpleNamespace(name="arm"), SimpleNamespace(path="spool.bin")
    memory = SimpleNamespace(fds=(0,) * 5)
    actor = _Actor(config, run, folder, spool, memory, None, None, None, None)
    settings = pb.RunDescription.FromString(base64.b64decode(actor._orders().env_settings)).env_settings
    assert config_from(SO101SimConfig, settings) == run.env_config != WIDE


@pytest.mark.usefixtures("hardware")
def test_uniform_warm_up_on_a_real_robot_is_refused_unless_spelt_out():
    with pytest.raises(JoinError, match=r"allow it here with actor.uniform_on_hardware=true"):
        understand(described(warmup="uniform"), ActorConfig())
    understand(described(warmup="uniform"), ActorConfig(uniform_on_hardware=True))


def test_realtime_needs_a_rate():
    pendulum = described(GymConfig("Witness-v0"), env="gym", pacing="realtime")
    with pytest.raises(JoinError, match=r"states none: set actor.control_hz=10"):
        understand(pendulum, ActorConfig())
    assert understand(pendulum, ActorConfig(control_hz=10.0)).control_hz == 10.0


def test_a_learner_that_is_away_for_a_moment_is_joined_when_it_is_back(bench, wait_for):
    run = bench("gym", GymConfig("Witness-v0"))
    join = pb.JoinRequest(
        protocol=PROTOCOL, run_id=run.run_id, actor="arm", spool_id="0" * 32, contract=run.contract.to_message()
    )
    run.stop()
    said, joined = [], []
    with open_channel(f"localhost:{run.port}", run.token) as channel:
        stub = rpc.LearnerStub(channel)
        thread = threading.Thread(target=lambda: joined.append(join_run(stub, join, said.append, lambda: False)))
        thread.start()
        wait_for(lambda: said or not thread.is_alive())
        run.start()
        thread.join(60)
    assert "the learner does not take this actor now; trying again" in said[0]
    assert joined != []
    assert joined[0]


def test_an_unknown_compression_is_refused():
    with pytest.raises(JoinError, match=r"actor.compression must be one of \('none', 'zlib'\). Got: 'jpeg'"):
        understand(described(), ActorConfig(compression="jpeg"))


@pytest.mark.parametrize("code", [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INTERNAL])
def test_what_a_learner_answers_steers_no_terminal(actor, wait_for, code):
    class Hostile(rpc.LearnerServicer):
        def Describe(self, request, context):  # noqa: N802
            context.abort(code, "\x1b]0;owned\x07 \x1b[2J\ntandem: all is well " + "x" * 3000)

    server = grpc.server(futures.ThreadPoolExecutor(1))
    rpc.add_LearnerServicer_to_server(Hostile(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    arm = actor(port)
    wait_for(lambda: "all is well" in arm.text)
    arm.interrupt()
    assert arm.end() == (1 if code is grpc.StatusCode.PERMISSION_DENIED else 130)
    server.stop(None).wait()
    lines = arm.output.read_text().splitlines()
    assert [line for line in lines if not line.isprintable() or len(line) > 600 or line.startswith("tandem")] == []
