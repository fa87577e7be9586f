"""The secret that every call carries: from the environment or a file, made on the learner's first start."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from transport.private_file import read_private, write_private

VARIABLE = "TANDEM_TOKEN"
MIN_LENGTH = 16


class TokenError(RuntimeError):
    """No token, or one that cannot be used."""


class NoTokenError(TokenError):
    """There is no token yet."""


def default_token_path() -> Path:
    """``~/.config/tandem/token``."""
    return Path.home() / ".config" / "tandem" / "token"


def load_or_create_token(path: str | os.PathLike[str] | None = None) -> str:
    """The token of a learner: TANDEM_TOKEN, else the file, which is made (mode 0600) if absent.

    Raises TokenError for a token that is too short or has other characters than printable ASCII, or for a file that
    others may read.
    """
    path = _path(path)
    token = _from_environment() or _from_file(path)
    return token if token is not None else _create(path)


def load_token(path: str | os.PathLike[str] | None = None, *, file_only: bool = False) -> str:
    """The token of a client: TANDEM_TOKEN, unless ``file_only``, else the file.

    Raises NoTokenError saying where to get it.
    """
    path = _path(path)
    token = (None if file_only else _from_environment()) or _from_file(path)
    if token is None:
        raise NoTokenError(
            f"no token: expected {VARIABLE} or the file {path}. The learner makes one on its first start: copy that "
            f"file from the learner's machine (scp -p GPUBOX:.config/tandem/token {path}), or set {VARIABLE}"
        )
    return token


def _path(path: str | os.PathLike[str] | None) -> Path:
    return default_token_path() if path is None else Path(path).expanduser()


def _from_environment() -> str | None:
    value = os.environ.get(VARIABLE)
    return None if value is None else _checked(value, f"environment variable {VARIABLE}")


def _from_file(path: Path) -> str | None:
    try:
        data = read_private(path, 4096)
    except PermissionError as error:
        raise TokenError(f"token file {error.strerror or error}") from None
    except OSError as error:
        raise TokenError(f"token file {path} cannot be read: {error.strerror}") from None
    return None if data is None else _checked(data.decode("ascii", "replace"), f"token file {path}")


def _checked(text: str, where: str) -> str:
    token = text.strip()
    if len(token) < MIN_LENGTH or not all("!" <= c <= "~" for c in token):
        raise TokenError(
            f"{where} must hold at least {MIN_LENGTH} printable ASCII characters without spaces. Got: "
            f"{len(token)} characters. Remove it to have the learner make one"
        )
    return token


def _create(path: Path) -> str:
    """Writes a new token; where another process was quicker, returns that one's."""
    try:
        write_private(path, f"{secrets.token_urlsafe(32)}\n".encode(), replace=False)
    except OSError as error:
        raise TokenError(f"token file {path} cannot be made: {error.strerror}. Set {VARIABLE} instead") from None
    token = _from_file(path)
    assert token is not None, path
    return token
