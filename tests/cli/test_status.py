"""`tandem status` against a real gRPC server on loopback."""

import json
import socket
from concurrent import futures

import grpc
import pytest

from actor.console import status as actor_status
from actor.shared import Board, create_block
from cli.errors import CommandError, report
from cli.main import main
from cli.progress import Progress, cells, to_go
from learner.service_file import write_service_file
from transport import service_pb2 as pb
from transport import service_pb2_grpc as rpc
from transport import unanswered
from transport.certificates import issue_actor, learner_identity
from transport.server import bind, place_of

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
    fault="the disk of runs/r1/log is full: free some space",
    stop_conditions=[
        pb.StopCondition(name="eval_success_rate", value=0.85, mark=0.95, reached=0, in_a_row=2),
        pb.StopCondition(name="eval_cycle_steps", value=17.2, mark=15.5),
        pb.StopCondition(name="intervention_rate", value=0.01, mark=0.05, met=True),
    ],
    actors=[pb.ActorStatus(name="left", connected=True, env_steps=1200)],
    run_folder="runs/r1",
    version="0.1.0",
)


class Service(rpc.LearnerServicer):
    answer = staticmethod(lambda context: STATUS)

    def GetStatus(self, request, context):  # noqa: N802
        if dict(context.invocation_metadata()).get("authorization") != f"Bearer {TOKEN}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong token")
        return self.answer(context)


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


def test_a_named_token_file_comes_before_the_environment(address, tmp_path, monkeypatch, capsys):
    path = tmp_path / "mine"
    path.write_text(TOKEN)
    path.chmod(0o600)
    monkeypatch.setenv("TANDEM_TOKEN", "f" * 32)
    assert main(["status", f"learner.address={address}", f"learner.token_path={path}"]) == 0
    assert "1,200 in 60 episodes" in capsys.readouterr().out
    path.write_text("e" * 32)
    assert main(["status", f"learner.address={address}", f"learner.token_path={path}"]) == 1
    assert f"refused the token of {path}: wrong token" in capsys.readouterr().err


def test_a_wrong_token_is_one_message(address, monkeypatch, capsys):
    monkeypatch.setenv("TANDEM_TOKEN", "f" * 32)
    assert main(["status", f"learner.address={address}"]) == 1
    said = capsys.readouterr().err
    assert said == f"tandem: the learner at {address} refused the token of TANDEM_TOKEN: wrong token\n"
    assert said.count("\n") == 1


def test_a_learner_that_asks_for_a_certificate_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TANDEM_TOKEN", TOKEN)
    identity = learner_identity(tmp_path / "tls")
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = bind(server, place_of("127.0.0.1:0"), identity, mutual=True)
    server.start()
    words = [f"learner.address=127.0.0.1:{port}", f"learner.ca={identity.fingerprint}"]
    assert main(["status", *words]) == 1
    server.stop(None).wait()
    said = capsys.readouterr().err
    assert said.startswith(f"tandem: the learner at 127.0.0.1:{port} asks for a certificate. Make one on its machine")
    assert "learner.certificate=NAME.pem" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("localhost:99999", "learner.address must be HOST:PORT, e.g. localhost:50051. Got: 'localhost:99999'"),
        ("localhost", "learner.address must be HOST:PORT, e.g. localhost:50051. Got: 'localhost'"),
        ("nosuchhost.invalid:50051", "the name nosuchhost.invalid is unknown here ("),
    ],
)
def test_an_address_that_is_none_and_a_name_that_is_unknown_are_said(address, words, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TANDEM_TOKEN", TOKEN)
    issue_actor(tmp_path / "tls", "arm", tmp_path / "arm.pem", 30)
    for known in ("ca=", f"ca={'0' * 64}", f"certificate={tmp_path / 'arm.pem'}"):
        assert main(["status", f"learner.address={address}", f"learner.{known}"]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"tandem: {words}"), known
        assert said.count("\n") == 1


def test_a_stopped_learner_is_not_nobody(monkeypatch, capsys):
    monkeypatch.setenv("TANDEM_TOKEN", TOKEN)
    monkeypatch.setattr(unanswered, "TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as stopped:  # the system takes connections for a process that does not
        address = f"127.0.0.1:{stopped.getsockname()[1]}"
        assert main(["status", f"learner.address={address}", "timeout_s=0.5"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"tandem: something listens at {address} but does not answer. The process may be stopped")
    assert said.count("\n") == 1


HOSTILE = "\x1b]0;owned\x07 \x1b[2J\ntandem: all is well " + "x" * 3000
BRACKETS = "/data/runs/[/b] [bold]x"


def served(monkeypatch, capsys, address, **fields):
    """What `tandem status` prints of a learner whose answer has ``fields``."""
    status = pb.Status()
    status.CopyFrom(STATUS)
    status.MergeFrom(pb.Status(**fields))
    monkeypatch.setattr(Service, "answer", lambda self, context: status)
    monkeypatch.setenv("TANDEM_TOKEN", TOKEN)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["status", f"learner.address={address}"]) == 0
    return capsys.readouterr().out


def test_brackets_are_no_markup(address, monkeypatch, capsys):
    actors = [pb.ActorStatus(name="arm[/y]")]
    said = served(monkeypatch, capsys, address, run_folder=BRACKETS, version="[red]", actors=actors)
    assert f"{BRACKETS} (r1)" in said
    assert "tandem [red]" in said
    assert "arm[/y]" in said
    assert "lag [steps]" in said
    assert "heard [s ago]" in said


def test_a_status_steers_no_terminal(address, monkeypatch, capsys):
    hostile = dict.fromkeys(("run_id", "phase", "run_folder", "version", "fault"), HOSTILE)
    actors = [pb.ActorStatus(name=HOSTILE)]
    said = served(monkeypatch, capsys, address, **hostile, metrics={HOSTILE: 1.0}, actors=actors)
    assert set(said) - {"\n"} == {letter for letter in said if letter.isprintable()}
    assert not any(line.startswith("tandem:") for line in said.splitlines())
    assert said.count("x") < 3000
    status = pb.Status(finished=True, finished_reason=HOSTILE)
    monkeypatch.setattr(Service, "answer", lambda self, context: status)
    assert main(["status", f"learner.address={address}"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_a_refusal_steers_no_terminal(address, monkeypatch, capsys):
    monkeypatch.setattr(Service, "answer", lambda self, context: context.abort(grpc.StatusCode.INTERNAL, HOSTILE))
    monkeypatch.setenv("TANDEM_TOKEN", TOKEN)
    assert main(["status", f"learner.address={address}"]) == 1
    said = capsys.readouterr().err
    assert "tandem: all is well" in said
    assert said.removesuffix("\n").isprintable()
    assert len(said) < 600


def test_an_error_steers_no_terminal_and_keeps_its_lines(capsys):
    report(CommandError("two things differ:\n  \x1b[2Jthis\n  that"), None)
    assert capsys.readouterr().err == "tandem: two things differ:\n   [2Jthis\n  that\n"


def test_progress_shows_what_the_user_is_promised():
    shown = dict(cells(STATUS))
    assert shown["success"] == "95%"
    assert shown["autonomous"] == "-"
    assert shown["interventions"] == "12%"
    assert shown["replay"] == "1,100 + 300 demo"
    assert {"training", "steps", "episodes", "updates/s", "update-to-data", "policy lag"} <= set(shown)


TO_GO = "success 0.85 of 0.95 (0 of 2 in a row), cycle 17.2 of at most 15.5"


def test_what_is_open_of_the_stop_rule():
    assert to_go(STATUS) == TO_GO
    interventions = pb.StopCondition(name="intervention_rate", value=0.071, mark=0.05)
    assert to_go(pb.Status(stop_conditions=[interventions])) == "interventions 7.1% of under 5%"
    unknown = [pb.StopCondition(name="eval_success_rate", mark=0.95, in_a_row=1)]
    unknown += [pb.StopCondition(name="eval_cycle_steps", mark=15.5)]
    assert to_go(pb.Status(stop_conditions=unknown)) == (
        "success not evaluated yet, 0.95, cycle not known yet, at most 15.5"
    )
    assert to_go(pb.Status()) == ""


def test_progress_shows_faults_at_once_and_what_is_open(capsys):
    progress = Progress("title", 0.0)
    fine = pb.Status()
    fine.CopyFrom(STATUS)
    fine.fault = ""
    for status in (fine, fine, STATUS, STATUS):
        progress.show(status, "watches")
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(f"; to go: {TO_GO}")
    assert second.endswith("; FAULT: the disk of runs/r1/log is full: free some space")


def test_a_full_disk_is_said_once(capsys):
    block = create_block(Board.SIZE)
    rows = actor_status(Board(block), connected=True, undelivered=0, fault=STATUS.fault)
    assert "is full" in rows["state"]
    Progress("title", 0.0).show(STATUS, rows["state"], "training")
    assert capsys.readouterr().out.count("is full") == 1


def test_the_table_says_faults_first_and_what_is_open(address, monkeypatch, capsys):
    monkeypatch.setenv("TANDEM_TOKEN", TOKEN)
    assert main(["status", f"learner.address={address}"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("FAULT: the disk of runs/r1/log is full: free some space\n")
    assert "to go" in said
    assert "(0 of 2 in a row)" in said


def test_json_has_every_condition(address, monkeypatch, capsys):
    monkeypatch.setenv("TANDEM_TOKEN", TOKEN)
    assert main(["status", f"learner.address={address}", "json=true"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["fault"].startswith("the disk of")
    assert status["stop_conditions"][0] == {
        "name": "eval_success_rate",
        "value": 0.85,
        "mark": 0.95,
        "met": False,
        "reached": 0,
        "in_a_row": 2,
    }


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    """A run folder with a token file of its own; TANDEM_TOKEN is another learner's."""
    monkeypatch.delenv("TANDEM_TOKEN", raising=False)
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def test_a_run_folder_is_enough(address, run_folder, monkeypatch, capsys):
    write_service_file(run_folder, "r1", address, str(run_folder.parent / "token"))
    monkeypatch.setenv("TANDEM_TOKEN", "f" * 32)
    assert main(["status", f"run={run_folder}"]) == 0
    assert "1,200 in 60 episodes" in capsys.readouterr().out


def test_a_run_folder_that_names_no_learner(run_folder, capsys):
    assert main(["status", f"run={run_folder}"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"tandem: no learner listens for {run_folder}: it holds no service.json")
    assert f"tandem learner run={run_folder}" in said


def test_a_run_folder_that_is_not_there(tmp_path, capsys):
    assert main(["status", f"run={tmp_path / 'none'}"]) == 1
    assert (
        capsys.readouterr().err
        == f"tandem: run={tmp_path / 'none'} is no folder on this machine: give the folder of a run\n"
    )


def test_a_run_folder_whose_learner_was_killed(address, run_folder, capsys):
    token = str(run_folder.parent / "token")
    write_service_file(run_folder, "r1", "127.0.0.1:1", token)
    assert main(["status", f"run={run_folder}"]) == 1
    said = capsys.readouterr().err
    assert (
        f"nobody answers at 127.0.0.1:1 (Connection refused), where the learner of {run_folder} listened last" in said
    )
    assert f"Resume it: tandem learner run={run_folder}" in said
    write_service_file(run_folder, "another", address, token)
    assert main(["status", f"run={run_folder}"]) == 1
    assert f"the learner at {address} serves another run, runs/r1" in capsys.readouterr().err


def test_run_and_address_together_are_refused(run_folder, capsys):
    assert main(["status", f"run={run_folder}", "learner.address=localhost:1"]) == 2
    assert "leave out learner.address=localhost:1" in capsys.readouterr().err


def test_a_damaged_service_file_is_named(run_folder, capsys):
    (run_folder / "service.json").write_text("{}")
    assert main(["status", f"run={run_folder}"]) == 1
    assert f"{run_folder / 'service.json'} cannot be read: KeyError" in capsys.readouterr().err
