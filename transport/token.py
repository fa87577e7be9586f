"""The secret that every call carries: from the environment or a file, made on the learner's first start."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from pathlib import Path

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
        with open(path, encoding="ascii", errors="replace") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(4096)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TokenError(f"token file {path} cannot be read: {error.strerror}") from None
    if mode & 0o077:
        raise TokenError(f"token file {path} may be read by others (mode {mode:04o}, expected 0600): chmod 600 {path}")
    return _checked(text, f"token file {path}")


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
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, making = tempfile.mkstemp(dir=path.parent, prefix=".token-")
        try:
            with open(handle, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(making, path)
        finally:
            os.unlink(making)
    except OSError as error:
        raise TokenError(f"token file {path} cannot be made: {error.strerror}. Set {VARIABLE} instead") from None
    token = _from_file(path)
    assert token is not None, path
    return token
