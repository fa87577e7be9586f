"""The secret that every call carries: from a file, made on the learner's first start, or from the environment."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from transport.private_file import read_private, write_private

VARIABLE = "TANDEM_TOKEN"
MIN_LENGTH = 16
_REMOVE = "Remove it to have the learner make one"


class TokenError(RuntimeError):
    """No token, or one that cannot be used."""


class NoTokenError(TokenError):
    """There is no token yet."""


def default_token_path() -> Path:
    """``~/.config/tandem/token``."""
    return Path.home() / ".config" / "tandem" / "token"


def token_file(path: str | os.PathLike[str] | None = None) -> Path | None:
    """The file that holds the token: ``path`` where one is given, else the default; None where TANDEM_TOKEN has it.

    A file that was asked for by name comes before the environment, which comes before the default.
    """
    if path:
        return Path(path).expanduser()
    return None if VARIABLE in os.environ else default_token_path()


def token_source(path: str | os.PathLike[str] | None = None) -> str:
    """``token_file`` in words: a path, or TANDEM_TOKEN."""
    return str(token_file(path) or VARIABLE)


def load_or_create_token(path: str | os.PathLike[str] | None = None) -> str:
    """The token of a learner: that of ``token_file``, which is made (mode 0600) if absent.

    Raises TokenError for a token that is too short or has other characters than printable ASCII, or for a file that
    others may read.
    """
    file = token_file(path)
    if file is None:
        return _from_environment(_REMOVE)
    token = _from_file(file, _REMOVE)
    return token if token is not None else _create(file)


def load_token(path: str | os.PathLike[str] | None = None) -> str:
    """The token of a client: that of ``token_file``. Raises NoTokenError saying where to get it, TokenError."""
    file = token_file(path)
    if file is None:
        return _from_environment(f"Set it to the learner's token, or unset it to use the file {default_token_path()}")
    token = _from_file(file, f"Copy the learner's again: scp -p GPUBOX:.config/tandem/token {file}")
    if token is None:
        expected, instead = (
            (f"the file {file}, as learner.token_path says", f"leave out learner.token_path and set {VARIABLE}")
            if path
            else (f"{VARIABLE} or the file {file}", f"set {VARIABLE}")
        )
        raise NoTokenError(
            f"no token: expected {expected}. The learner makes one on its first start: copy that "
            f"file from the learner's machine (scp -p GPUBOX:.config/tandem/token {file}), or {instead}"
        )
    return token


def _from_environment(mend: str) -> str:
    return _checked(os.environ[VARIABLE], f"environment variable {VARIABLE}", mend)


def _from_file(path: Path, mend: str) -> str | None:
    try:
        data = read_private(path, 4096)
    except PermissionError as error:
        raise TokenError(f"token file {error.strerror or error}") from None
    except OSError as error:
        raise TokenError(f"token file {path} cannot be read: {error.strerror}") from None
    return None if data is None else _checked(data.decode("ascii", "replace"), f"token file {path}", mend)


def _checked(text: str, where: str, mend: str) -> str:
    token = text.strip()
    if len(token) < MIN_LENGTH or not all("!" <= c <= "~" for c in token):
        raise TokenError(
            f"{where} must hold at least {MIN_LENGTH} printable ASCII characters without spaces. Got: "
            f"{len(token)} characters. {mend}"
        )
    return token


def _create(path: Path) -> str:
    """Writes a new token; where another process was quicker, returns that one's."""
    try:
        write_private(path, f"{secrets.token_urlsafe(32)}\n".encode(), replace=False)
    except OSError as error:
        raise TokenError(f"token file {path} cannot be made: {error.strerror}. Set {VARIABLE} instead") from None
    token = _from_file(path, _REMOVE)
    assert token is not None, path
    return token
