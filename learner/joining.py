"""Who may join a learner and how: its certificate, its token, and the line that an actor is started with."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from learner.config import LearnerConfig
from transport.certificates import Identity, default_folder, learner_identity
from transport.server import Place
from transport.token import VARIABLE, token_file


def identity_of(config: LearnerConfig, place: Place) -> Identity | None:
    """The learner's certificate, made where it is missing; None for plain text. Raises CertificateError."""
    if config.tls == "auto" and place.is_loopback:
        return None
    return learner_identity(Path(config.tls_folder or default_folder()).expanduser())


def join_lines(config: LearnerConfig, place: Place, identity: Identity | None) -> list[str]:
    """What a starting learner says: how an actor joins it and, where that is not it, that TANDEM_TOKEN is not asked."""
    lines = [f"join: {join_line(config, place, identity)}"]
    if config.token_path and VARIABLE in os.environ:
        lines.append(
            f"{VARIABLE} is set, but the token is that of learner.token_path={config.token_path}, which comes first "
            f"(a run that goes on keeps it). To use {VARIABLE}: learner.token_path="
        )
    return lines


def join_line(config: LearnerConfig, place: Place, identity: Identity | None) -> str:
    """The command that starts an actor of this learner, on a machine that has a copy of the token file."""
    everywhere = place.host in ("0.0.0.0", "::")
    host = socket.gethostname() if everywhere else place.host
    words = [f"tandem actor learner.address={f'[{host}]' if ':' in host else host}:{place.port}"]
    if (file := token_file(config.token_path)) is not None:
        words.append(f"learner.token_path={_from_home(file)}")
    if identity is not None:
        words.append(f"learner.ca={identity.fingerprint}")
    if config.tls == "mutual":
        words.append("learner.certificate=NAME.pem")
    return " ".join(words)


def _from_home(path: Path) -> str:
    """As it is written on the actor's machine too: from the home folder, where it lies there."""
    path = path.absolute()
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)
