"""Whose token a learner asks for, as the line that starts its actors and its run folder say."""

import pytest

from envs.generic import GymConfig
from learner.algorithms.sac import SACConfig
from learner.config import LearnerConfig
from learner.joining import join_lines
from learner.service_file import read_service_file, write_service_file
from transport.server import place_of
from transport.token import default_token_path


@pytest.fixture
def said(tmp_path, monkeypatch):
    """What a learner says, with its ``token_path``, and the file that its run folder names."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TANDEM_TOKEN", raising=False)

    def say(token_path):
        config = LearnerConfig(env="gym", env_config=GymConfig(), algorithm=SACConfig(), token_path=token_path)
        write_service_file(tmp_path, "run", "localhost:5", token_path)
        return join_lines(config, place_of("localhost:5"), None), read_service_file(tmp_path).token_path

    return say


def test_a_file_that_is_named_comes_first_and_the_variable_before_the_default(tmp_path, monkeypatch, said):
    line = "join: tandem actor learner.address=localhost:5"
    assert said("") == ([f"{line} learner.token_path=~/.config/tandem/token"], str(default_token_path()))
    assert said("~/mine") == ([f"{line} learner.token_path=~/mine"], str(tmp_path / "mine"))
    monkeypatch.setenv("TANDEM_TOKEN", "token-of-the-tests-0123456789")
    assert said("") == ([line], "")
    (joins, unused), file = said("~/mine")
    assert (joins, file) == (f"{line} learner.token_path=~/mine", str(tmp_path / "mine"))
    assert unused.startswith("TANDEM_TOKEN is set, but the token is that of learner.token_path=~/mine")
