import os
import stat
import subprocess
import sys

import pytest

from transport.token import NoTokenError, TokenError, load_or_create_token, load_token, token_file, token_source


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TANDEM_TOKEN", raising=False)
    return tmp_path


def test_the_first_start_makes_a_private_file_that_clients_read(home):
    token = load_or_create_token()
    path = home / ".config" / "tandem" / "token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == token + "\n"
    assert len(token) >= 32
    assert load_or_create_token() == load_token() == token
    assert [item.name for item in path.parent.iterdir()] == ["token"]


def test_two_learners_starting_at_once_agree(home):
    program = "from transport.token import load_or_create_token; print(load_or_create_token())"
    processes = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env={**os.environ}) for _ in range(4)
    ]
    tokens = {process.communicate(timeout=60)[0] for process in processes}
    assert tokens == {load_token().encode() + b"\n"}


def test_a_file_that_is_named_comes_before_the_environment_and_that_before_the_default(home, monkeypatch):
    default = load_or_create_token()
    assert (token_file(), token_source()) == (home / ".config/tandem/token", f"{home}/.config/tandem/token")
    monkeypatch.setenv("TANDEM_TOKEN", "from-the-environment")
    assert load_token() == load_or_create_token("") == "from-the-environment"
    assert (token_file(), token_source()) == (None, "TANDEM_TOKEN")
    named = load_or_create_token("~/mine")
    assert named not in (default, "from-the-environment")
    assert load_token("~/mine") == load_or_create_token("~/mine") == named
    assert (token_file("~/mine"), token_source("~/mine")) == (home / "mine", f"{home}/mine")


def test_a_named_file_that_is_missing_is_not_replaced_by_the_environment(home, monkeypatch):
    monkeypatch.setenv("TANDEM_TOKEN", "from-the-environment")
    with pytest.raises(
        NoTokenError,
        match=rf"expected the file {home}/mine, as learner\.token_path says.*leave out learner\.token_path",
    ):
        load_token("~/mine")


def test_a_client_without_a_token_is_told_where_to_get_one(home):
    with pytest.raises(
        TokenError, match=rf"no token: expected TANDEM_TOKEN or the file {home}/\.config/.*scp -p GPUBOX"
    ):
        load_token()
    assert list(home.iterdir()) == []


def test_a_file_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / "token"
    path.write_text("a" * 32)
    path.chmod(0o644)
    with pytest.raises(TokenError, match=rf"may be read by others \(mode 0644, expected 0600\): chmod 600 {path}"):
        load_token(path)
    path.chmod(0o600)
    assert load_token(path) == "a" * 32


@pytest.mark.parametrize("text", ["", "short", "with spaces in the middle", "ü" * 20, "line\nline-two-of-the-token"])
def test_an_unusable_token_is_refused(tmp_path, monkeypatch, text):
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(TokenError, match=rf"token file {path} must hold at least 16 printable"):
        load_or_create_token(path)
    assert path.read_text() == text
    monkeypatch.setenv("TANDEM_TOKEN", text)
    with pytest.raises(TokenError, match="environment variable TANDEM_TOKEN must hold at least 16 printable"):
        load_token()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TokenError, match=r"token file .*file/token (cannot be made|cannot be read)"):
        load_or_create_token(tmp_path / "file" / "token")


def test_who_has_a_short_token_is_told_what_mends_it_where_it_is(home, monkeypatch):
    file = home / "short"
    file.touch(mode=0o600)
    file.write_text("short")
    with pytest.raises(TokenError, match="Remove it to have the learner make one"):
        load_or_create_token(file)
    with pytest.raises(TokenError, match=rf"Copy the learner's again: scp -p GPUBOX:\.config/tandem/token {file}"):
        load_token(file)
    monkeypatch.setenv("TANDEM_TOKEN", "short")
    with pytest.raises(TokenError, match="Remove it to have the learner make one"):
        load_or_create_token()
    with pytest.raises(TokenError, match=rf"Set it to the learner's token, or unset it to use the file {home}"):
        load_token()
