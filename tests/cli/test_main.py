"""`tandem` as a user runs it: help, exit codes, one clear message."""

import os
import re
import subprocess
import sys

import pytest

from cli.main import main
from cli.verbs import VERBS


def tandem(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_verb(arguments, capsys):
    assert main(arguments) == 0
    said = capsys.readouterr().out
    for verb in VERBS.values():
        assert f"  {verb.name} " in said
        assert verb.summary in said


def test_help_imports_nothing_heavy():
    code = "import sys; from cli.main import main; main(['--help']); print(sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for heavy in ("torch", "mujoco", "numpy", "grpc", "wandb", "lerobot", "hydra", "rich", "gymnasium"):
        assert f"'{heavy}'" not in modules


def test_help_of_verbs_imports_neither_torch_nor_mujoco():
    code = "import sys; from cli.main import main; "
    code += "print([(main([verb, '--help']), sorted(sys.modules)) for verb in ('learner', 'demo', 'status')])"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert modules.count("(0, [") == 3
    for heavy in ("torch", "mujoco", "wandb", "lerobot"):
        assert f"'{heavy}'" not in modules


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_has_examples_and_every_key(verb, capsys):
    import importlib

    assert main([*verb.split(), "--help"]) == 0
    said = capsys.readouterr().out
    module = importlib.import_module(f"cli.{VERBS[verb].module}")
    for command, _ in VERBS[verb].examples:
        assert command in said
    for key in module.list_keys():
        assert re.search(rf"^  {re.escape(key.path)}=", said, re.MULTILINE), key.path
    assert max(len(line) for line in said.splitlines()) <= 140


def test_help_shows_the_keys_of_the_chosen_environment(capsys):
    assert main(["learner", "env=gym", "--help"]) == 0
    said = capsys.readouterr().out
    assert "env.id=Pendulum-v1" in said
    assert "algorithm.utd_ratio=1 " in said
    assert "env.task" not in said


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["lerner"], "tandem: unknown verb 'lerner'. Did you mean 'learner'? `tandem --help` lists them"),
        (
            ["learner", "sed=1"],
            "tandem: unknown key 'sed'. Did you mean 'seed'? `tandem learner --help` lists all keys",
        ),
        (["learner", "env=xyz", "--help"], "tandem: env must be one of so101_sim, gym. Got: 'xyz'"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(arguments, text, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err == text + "\n"


def test_no_learner_is_one_message_and_exit_1(tmp_path):
    result = tandem("status", "learner.address=127.0.0.1:9", "timeout_s=2", TANDEM_TOKEN="0" * 32)
    assert result.returncode == 1
    assert result.stderr.startswith(
        "tandem: nobody answers at 127.0.0.1:9 (Connection refused). Start `tandem learner` there"
    )
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


def test_no_token_says_where_one_comes_from(tmp_path):
    environment = {"HOME": str(tmp_path), "TANDEM_TOKEN": ""}
    result = tandem("status", f"learner.token_path={tmp_path / 'none'}", **environment)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr


def test_eval_of_no_run_is_one_message(tmp_path, capsys):
    assert main(["eval", f"run={tmp_path}"]) == 1
    assert capsys.readouterr().err == f"tandem: {tmp_path} holds no run (no run.json)\n"


def test_demos_that_hold_nothing_are_one_message(tmp_path):
    arguments = ("tracker=none", "learner.address=127.0.0.1:0", f"learner.token_path={tmp_path / 'token'}")
    result = tandem("learner", f"run={tmp_path / 'run'}", f"demos={tmp_path / 'none'}", *arguments)
    assert result.returncode == 1
    assert "tandem record" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unexpected_error_keeps_its_traceback_in_the_run_folder(tmp_path, monkeypatch, capsys):
    import cli.learner

    def fail(settings):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(cli.learner, "run", fail)
    assert main(["learner", f"run={tmp_path}"]) == 1
    (log,) = tmp_path.glob("error-*.log")
    said = capsys.readouterr().err
    assert said == f"tandem: unexpected ZeroDivisionError: division by zero. The traceback is in {log}.\n"
    assert "Traceback" in log.read_text()


def test_ctrl_c_is_exit_130(monkeypatch):
    import cli.status

    def interrupt(settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.status, "run", interrupt)
    assert main(["status"]) == 130


def test_version(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"tandem \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_help_imports_no_heavy_library():
    """So that it is there at once."""
    program = "import sys; from cli.main import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "tandem" in done.stdout
    assert not {"torch", "numpy", "grpc", "hydra", "wandb", "rich", "mujoco", "gymnasium"} & set(done.stderr.split())
