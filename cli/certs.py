"""`tandem certs`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cli.composition import Settings
from cli.errors import UsageError
from cli.keys import Group, Key, keys_of


@dataclass(frozen=True)
class CertsConfig:
    """Settings of ``tandem certs``.

    Attributes:
        name: Of the actor's machine, for whoever looks at the certificate.
        out: File it is written to; empty for NAME.pem.
        days: How long it is valid.
        tls_folder: Folder of the learner's certificates; empty for ~/.config/tandem/tls.
    """

    name: str
    out: str = ""
    days: int = 365
    tls_folder: str = ""


PATHS = {"name": "name", "out": "out", "days": "days", "tls_folder": "learner.tls_folder"}


def list_keys() -> list[Key]:
    return keys_of(CertsConfig, PATHS)


def list_groups() -> list[Group]:
    return []


def run(settings: Settings) -> int:
    from transport.certificates import default_folder, issue_actor

    config = settings.build(CertsConfig, PATHS)
    if not config.name.isascii() or not all(c.isalnum() or c in "-._" for c in config.name) or len(config.name) > 60:
        raise UsageError(f"name must be letters, digits, '.', '_' and '-', 60 at most. Got: {config.name!r}")
    if config.days < 1:
        raise UsageError(f"days must be at least 1. Got: {config.days}")
    out = Path(config.out or f"{config.name}.pem").expanduser()
    folder = Path(config.tls_folder or default_folder()).expanduser()
    issue_actor(folder, config.name, out, config.days)
    print(f"{out} is valid for {config.days} days. Copy it to the actor's machine and start it there with")
    print(f"  learner.certificate={out.name}")
    return 0
