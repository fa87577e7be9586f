"""RUN/service.json: where the learner of a run folder listens while it runs, for whoever has the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from episodes.durable import write_durably
from learner.resuming import resume_command
from transport.token import token_file

NAME = "service.json"


class ServiceFileError(RuntimeError):
    """A run folder that does not say where its learner listens; the text says what to do."""


class ServiceFile(NamedTuple):
    """What the file says.

    Attributes:
        run_id: Of the run.
        address: host:port on the learner's machine.
        token_path: Absolute path of the token's file; empty where the token came from TANDEM_TOKEN.
        ca: Fingerprint of the learner's authority; empty for plain text.
    """

    run_id: str
    address: str
    token_path: str
    ca: str = ""


def write_service_file(folder: Path, run_id: str, address: str, token_path: str, ca: str = "") -> None:
    """Writes the file, whole or not at all. ``token_path`` is the learner's setting. Raises OSError."""
    file = token_file(token_path)
    path = "" if file is None else str(file.resolve())
    text = json.dumps(ServiceFile(run_id, address, path, ca)._asdict(), indent=2) + "\n"
    write_durably(folder / NAME, text.encode())


def read_service_file(folder: Path) -> ServiceFile:
    """Raises ServiceFileError where there is none, or one that cannot be read."""
    try:
        values = json.loads((folder / NAME).read_text())
        return ServiceFile(**{field: str(values[field]) for field in ServiceFile._fields})
    except (FileNotFoundError, NotADirectoryError):
        raise ServiceFileError(
            f"no learner listens for {folder}: it holds no {NAME}, which a learner writes when it listens and removes "
            f"when it ends. Start or resume one: {resume_command(folder)}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServiceFileError(
            f"{folder / NAME} cannot be read: {type(error).__name__}: {error}. Give learner.address=HOST:PORT instead"
        ) from error


def remove_service_file(folder: Path) -> None:
    """Where there is one. Raises OSError."""
    (folder / NAME).unlink(missing_ok=True)
