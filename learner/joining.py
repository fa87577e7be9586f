"""Who may join a learner and how: its certificate, its token, and the line that an actor is started with."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from learner.config import LearnerConfig
from transport.certificates import Identity, default_folder, learner_identity
from transport.server import Place
from transport.token import VARIABLE, default_token_path


def identity_of(config: LearnerConfig, place: Place) -> Identity | None:
    """The learner's certificate, made where it is missing; None for plain text. Raises CertificateError."""
    if config.tls == "auto" and place.is_loopback:
        return None
    return learner_identity(Path(config.tls_folder or default_folder()).expanduser())


def join_line(config: LearnerConfig, place: Place, identity: Identity | None) -> str:
    """The command that starts an actor of this learner, on a machine that has a copy of the token file."""
    everywhere = place.host in ("0.0.0.0", "::")
    host = socket.gethostname() if everywhere else place.host
    words = [f"tandem actor learner.address={f'[{host}]' if ':' in host else host}:{place.port}"]
    if VARIABLE not in os.environ:
        words.append(f"learner.token_path={_from_home(Path(config.token_path or default_token_path()))}")
    if identity is not None:
        words.append(f"learner.ca={identity.fingerprint}")
    if config.tls == "mutual":
        words.append("learner.certificate=NAME.pem")
    return " ".join(words)


def _from_home(path: Path) -> str:
    """As it is written on the actor's machine too: from the home folder, where it lies there."""
    path = path.expanduser().absolute()
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)
