"""`tandem status`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.composition import Settings
from cli.errors import CommandError, UsageError
from cli.keys import Group, Key, keys_of
from metrics.names import BY_NAME
from transport.plain_text import plain_text


@dataclass(frozen=True)
class StatusConfig:
    """Settings of ``tandem status``.

    Attributes:
        run: Run folder of a learner on this machine, e.g. of a demo: address and token are those it noted there.
        address: host:port of the learner, as seen from here.
        token_path: File with the token of the run, which comes before TANDEM_TOKEN; empty for TANDEM_TOKEN, else the
            default file.
        ca: SHA-256 fingerprint of the learner's authority, as its join line says; empty for plain text on loopback.
        certificate: File of ``tandem certs``, where the learner asks for one.
        json: Print one JSON object.
        timeout_s: How long to wait for the answer [s].
    """

    run: str = ""
    address: str = "localhost:50051"
    token_path: str = ""
    ca: str = ""
    certificate: str = ""
    json: bool = False
    timeout_s: float = 5.0


WIDE = 120
PATHS = {
    "run": "run",
    "address": "learner.address",
    "token_path": "learner.token_path",
    "ca": "learner.ca",
    "certificate": "learner.certificate",
    "json": "json",
    "timeout_s": "timeout_s",
}


def list_keys() -> list[Key]:
    return keys_of(StatusConfig, PATHS)


def list_groups() -> list[Group]:
    return []


def run(settings: Settings) -> int:
    from cli.connection import Connection

    config = settings.build(StatusConfig, PATHS)
    if config.run:
        if both := [a for a in settings.given if a.startswith(("learner.address=", "learner.token_path="))]:
            raise UsageError(f"run= says address and token already: leave out {' '.join(both)}")
        status, address = _status_of(Path(config.run), config.timeout_s, config.certificate)
    else:
        with Connection(
            config.address,
            config.token_path,
            ca=config.ca,
            certificate=config.certificate,
            timeout_s=config.timeout_s,
        ) as connection:
            status, address = connection.status(), config.address
    if config.json:
        print(json.dumps(as_dict(status), indent=2))
    else:
        print_table(status, address)
    return 0


def _status_of(folder: Path, timeout_s: float, certificate: str) -> tuple[Any, str]:
    """Status and address of the learner of a run folder. Raises CommandError where it does not run any more."""
    from cli.connection import Connection
    from learner.resuming import resume_command
    from learner.service_file import read_service_file

    if not folder.is_dir():
        raise CommandError(f"run={folder} is no folder on this machine: give the folder of a run")
    run_id, address, token_path, ca = read_service_file(folder)
    host, _, port = address.rpartition(":")
    address = f"localhost:{port}" if host in ("0.0.0.0", "[::]") else address
    again = f"Resume it: {resume_command(folder)}"
    whose = f", where the learner of {folder} listened last: it was killed, or is ending. {again}"
    with Connection(
        address,
        token_path,
        ca=ca,
        certificate=certificate,
        timeout_s=timeout_s,
        whose=whose,
    ) as connection:
        status = connection.status()
    if status.run_id != run_id:
        raise CommandError(
            f"the learner at {address} serves another run, {plain_text(status.run_folder)}: that of {folder} "
            f"was killed. {again}"
        )
    return status, address


def as_dict(status: Any) -> dict[str, Any]:
    """``Status`` with every field present, integers as integers; None for an optional one that is not set."""
    lists = ("actors", "stop_conditions")
    plain = {f.name: getattr(status, f.name) for f in status.DESCRIPTOR.fields if f.name not in ("metrics", *lists)}
    rows = {name: [_row(item) for item in getattr(status, name)] for name in lists}
    return {**plain, "metrics": dict(sorted(status.metrics.items())), **rows}


def _row(message: Any) -> dict[str, Any]:
    return {
        f.name: None if f.has_presence and not message.HasField(f.name) else getattr(message, f.name)
        for f in message.DESCRIPTOR.fields
    }


def print_table(status: Any, address: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cli.progress import to_go
    from learner.console import phase_of

    def cell(text: str) -> Text:
        return Text(plain_text(text))

    console = Console()
    if status.fault:
        console.print(Text.assemble(("FAULT: ", "bold red"), plain_text(status.fault)), soft_wrap=True)
    head = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    finished = f"finished: {status.finished_reason}" if status.finished else phase_of(status)
    for name, value in (
        ("learner", f"{address}, tandem {status.version}"),
        ("run", f"{status.run_folder} ({status.run_id})"),
        ("phase", finished),
        ("elapsed", f"{status.elapsed_s:.0f} s"),
        ("steps", f"{status.env_steps:,} in {status.episodes:,} episodes"),
        ("updates", f"{status.updates:,}, policy version {status.policy_version}"),
        ("replay", f"{status.replay_rows:,} online, {status.demonstration_rows:,} demonstration"),
        ("log", f"{status.log_bytes / 1e6:.1f} MB"),
        *([("to go", open_conditions)] if (open_conditions := to_go(status)) else []),
    ):
        head.add_row(Text(name, "dim"), cell(value))
    console.print(head)
    if status.metrics:
        metrics = Table(title="metrics", title_justify="left", box=None, padding=(0, 2, 0, 0))
        metrics.add_column("name")
        metrics.add_column("value", justify="right")
        metrics.add_column("unit", style="dim")
        if wide := console.width >= WIDE:
            metrics.add_column("meaning", style="dim")
        for name in sorted(status.metrics, key=lambda n: (list(BY_NAME).index(n) if n in BY_NAME else len(BY_NAME), n)):
            known = BY_NAME.get(name)
            unit, meaning = (known.unit, known.meaning) if known else ("", "")
            metrics.add_row(cell(name), f"{status.metrics[name]:.4g}", cell(unit), *([cell(meaning)] if wide else []))
        console.print(metrics)
    actors = Table(title="actors", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("name", "connected", "steps", "steps/s", "policy", "lag [steps]", "heard [s ago]"):
        actors.add_column(cell(column), justify="left" if column in ("name", "connected") else "right")
    for actor in status.actors:
        actors.add_row(
            cell(actor.name),
            "yes" if actor.connected else "no",
            f"{actor.env_steps:,}",
            f"{actor.steps_per_s:.1f}",
            str(actor.policy_version),
            f"{actor.policy_lag_steps:.0f}",
            f"{actor.seconds_since_heard:.1f}",
        )
    console.print(actors if status.actors else Text("no actor has joined", "dim"))
