"""`tandem status` against a real gRPC server on loopback."""

import json
from concurrent import futures

import grpc
import pytest

from cli.main import main
from cli.progress import cells
from transport import service_pb2 as pb
from transport import service_pb2_grpc as rpc

TOKEN = "0123456789abcdef0123456789abcdef"
STATUS = pb.Status(
    run_id="r1",
    phase="training",
    elapsed_s=12.5,
    env_steps=1200,
    episodes=60,
    updates=2400,
    replay_rows=1100,
    demonstration_rows=300,
    metrics={"success_rate": 0.95, "utd_ratio": 2.0, "intervention_rate": 0.125},
    actors=[pb.ActorStatus(name="left", connected=True, env_steps=1200)],
    run_folder="runs/r1",
    version="0.1.0",
)


class Service(rpc.LearnerServicer):
    def GetStatus(self, request, context):  # noqa: N802
        if dict(context.invocation_metadata()).get("authorization") != f"Bearer {TOKEN}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong token")
        return STATUS


@pytest.fixture
def address():
    server = grpc.server(futures.ThreadPoolExecutor(1))
    rpc.add_LearnerServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


def test_table(address, monkeypatch, capsys):
    monkeypatch.setenv("TANDEM_TOKEN", TOKEN)
    assert main(["status", f"learner.address={address}"]) == 0
    said = capsys.readouterr().out
    for part in ("runs/r1", "training", "1,200 in 60 episodes", "success_rate", "0.95", "left"):
        assert part in said


def test_json(address, monkeypatch, capsys):
    monkeypatch.setenv("TANDEM_TOKEN", TOKEN)
    assert main(["status", f"learner.address={address}", "json=true"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["phase"], status["env_steps"], status["finished"]) == ("training", 1200, False)
    assert status["metrics"]["success_rate"] == 0.95
    assert status["actors"][0]["name"] == "left"


def test_a_wrong_token_is_one_message(address, monkeypatch, capsys):
    monkeypatch.setenv("TANDEM_TOKEN", "f" * 32)
    assert main(["status", f"learner.address={address}"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"tandem: the learner at {address} refused the token: wrong token. Copy the learner's token")
    assert said.count("\n") == 1


def test_progress_shows_what_the_user_is_promised():
    shown = dict(cells(STATUS))
    assert shown["success"] == "95%"
    assert shown["autonomous"] == "-"
    assert shown["interventions"] == "12%"
    assert shown["replay"] == "1,100 + 300 demo"
    assert {"training", "steps", "episodes", "updates/s", "update-to-data", "policy lag"} <= set(shown)
