"""The folder of a run: who it is, where everything lies, and the refusal of another run's folder.

run.json         run id, environment, fingerprints, settings it keeps, capacity of replay; written last when it is made
contract.json    the contract
config.yaml      the resolved config, as of the last start
log/             every step (``episodes.log``)
checkpoints/     ENV_STEPS-UPDATES/, best.json and last.json (``learner.checkpoint``)
encoders/        the pretrained weights it learns with, by their sha256 (``learner.encoder_copy``)
policies/        version-0.safetensors, and the number from which versions go on after a crash
claims.json      how often the learner was started (``learner.claims``)
metrics.jsonl    one JSON object a line
reward/          the success classifier that actors are handed, if any (``learner.reward_watch``)
labels.jsonl     labels of frames (``reward.labels``), if any
demo.json        what a demo was started with (``learner.resuming``); only in a demo's
lock             of a demo, while it runs
service.json     where the learner listens, while it runs (``learner.service_file``)
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from episodes.contract import Contract, ContractError
from episodes.contract_differences import all_lines, differences, first_lines
from episodes.contract_file import load_contract, save_contract
from episodes.durable import write_durably

FORMAT = "tandem.run.v1"
VERSIONS_RESERVED = 64
MAY_CHANGE = (
    "algorithm.batch_size",
    "replay.device",
    "algorithm.actor_lr",
    "algorithm.critic_lr",
    "algorithm.encoder_lr",
    "algorithm.temperature_lr",
)
"""Kept settings that may be others when a run is resumed: the way out where memory did not suffice, or where training
diverged."""


class RunFolderError(ValueError):
    """A run folder that cannot be used; the text says what to do."""


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """An opened run folder.

    Attributes:
        path: Of the folder.
        run_id: 32 hexadecimal digits.
        contract: Of the run.
        resumed: Whether the run was there before.
        replay_bytes: Memory of replay, fixed when the run was made so that a resumed run evicts the same.
        added: Settings, as key=value, that an earlier version made the run without, and that it now keeps.
    """

    path: Path
    run_id: str
    contract: Contract
    resumed: bool
    replay_bytes: int
    added: tuple[str, ...] = ()

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def claims(self) -> Path:
        return self.path / "claims.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def policy_file(self, version: int) -> Path:
        return self.path / "policies" / f"version-{version}.safetensors"

    def next_version(self) -> int:
        """The first policy version that no process of this run can have published; 0 in a new run."""
        try:
            return int(json.loads((self.path / "policies" / "reserved.json").read_text())["below"])
        except FileNotFoundError:
            return 0

    def reserve_versions(self, version: int) -> int:
        """Notes durably that ``version`` and some more may be published, and returns the first that may not."""
        below = version + VERSIONS_RESERVED
        write_durably(self.path / "policies" / "reserved.json", json.dumps({"below": below}).encode())
        return below


def open_run_folder(
    path: str | os.PathLike[str],
    contract: Contract,
    *,
    env: str,
    resume: str,
    replay_bytes: int,
    settings: Mapping[str, Any],
) -> RunFolder:
    """Makes the folder of a new run, or opens the one that is there.

    Args:
        path: Of the folder.
        contract: As derived from the environment's config.
        env: Registered name of the environment.
        resume: ``auto`` | ``must`` | ``never``.
        replay_bytes: Memory of replay, for a new run.
        settings: Those that a run keeps: without them, going on would not be exact. ``MAY_CHANGE`` are free.

    Raises:
        RunFolderError: where the folder is of another contract or of other settings, or ``resume`` does not fit what
            is there.
    """
    path = Path(path)
    if not (path / "run.json").exists():
        if resume == "must":
            raise RunFolderError(f"resume=must, and {path} holds no run (no run.json). Use resume=auto to start one")
        if (path / "log").is_dir() and any((path / "log").iterdir()):
            raise RunFolderError(
                f"{path} holds a log and no run.json: it is no run folder. Name another with run=FOLDER"
            )
        return _make(path, contract, env, replay_bytes, settings)
    if resume == "never":
        raise RunFolderError(f"resume=never, and {path} holds a run. Name another with run=FOLDER, or resume it")
    return _open(path, contract, env, settings)


def read_run(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What run.json says. Raises RunFolderError where it is absent or cannot be read."""
    file = Path(path) / "run.json"
    try:
        run = json.loads(file.read_text())
    except FileNotFoundError:
        raise RunFolderError(f"{path} holds no run (no run.json)") from None
    except ValueError as error:
        raise RunFolderError(f"{file} cannot be read: {error}") from error
    if not isinstance(run, dict) or run.get("format") != FORMAT:
        got = run.get("format") if isinstance(run, dict) else type(run).__name__
        raise RunFolderError(f"{file} must have format {FORMAT!r}. Got: {got!r}")
    return run


def default_run_folder(task: str) -> Path:
    """runs/<task>-<time>."""
    return Path("runs") / f"{task.replace('/', '-')}-{time.strftime('%Y%m%d-%H%M%S')}"


def save_config(folder: RunFolder, config: Mapping[str, Any]) -> None:
    """The resolved config as config.yaml; that of an earlier start is replaced."""
    import yaml

    write_durably(folder.path / "config.yaml", yaml.safe_dump(plain(config), sort_keys=False).encode())


def plain(value: Any) -> Any:
    """Dataclasses, tuples and mappings as dicts and lists, for YAML and JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _make(path: Path, contract: Contract, env: str, replay_bytes: int, settings: Mapping[str, Any]) -> RunFolder:
    for folder in (path, path / "log", path / "checkpoints", path / "policies"):
        folder.mkdir(parents=True, exist_ok=True)
    run_id = uuid.uuid4().hex
    run = {
        "format": FORMAT,
        "run_id": run_id,
        "env": env,
        "task": contract.interface.task,
        "interface_fingerprint": contract.interface_fingerprint,
        "view_fingerprint": contract.view_fingerprint,
        "settings": plain(settings),
        "replay_bytes": replay_bytes,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    save_contract(path / "contract.json", contract)
    write_durably(path / "run.json", (json.dumps(run, indent=2) + "\n").encode())
    return RunFolder(path, run_id, contract, False, replay_bytes)


def _open(path: Path, contract: Contract, env: str, settings: Mapping[str, Any]) -> RunFolder:
    run = read_run(path)
    kinds = {"run_id": str, "env": str, "settings": dict, "replay_bytes": int}
    if odd := [key for key, kind in kinds.items() if not isinstance(run.get(key), kind)]:
        raise RunFolderError(f"{path / 'run.json'} is damaged at {', '.join(odd)}. Restore it from a copy")
    try:
        recorded = load_contract(path / "contract.json")
    except ContractError as error:
        raise RunFolderError(f"{path} cannot be resumed: {error}") from error
    found = all_lines(differences(contract, recorded))
    if run["env"] != env:
        found.insert(0, f"env: expected {env!r}, got {run['env']!r}")
    kept, actual = dict(_leaves(run["settings"])), dict(_leaves(plain(settings)))
    added = {key: value for key, value in _leaves(_defaults(settings)) if key not in kept}
    expected = kept | added
    for key in expected | actual:
        if key not in actual:
            found.append(f"{key}: the run has {kept[key]!r}, and this version of Tandem has no such setting")
        elif key not in MAY_CHANGE and (key not in expected or expected[key] != actual[key]):
            found.append(f"{key}: expected {actual[key]!r}, got {expected.get(key)!r}")
    if found:
        raise RunFolderError(
            f"{path} holds a run of another contract or of other settings than are asked for now:\n"
            + "\n".join(f"  {line}" for line in first_lines(found))
            + "\nGo back to what the run has (see its config.yaml), or name another folder with run=FOLDER"
        )
    if added:
        # A later version may have other defaults.
        write_durably(path / "run.json", (json.dumps(run | {"settings": plain(settings)}, indent=2) + "\n").encode())
    for name in ("log", "checkpoints", "policies"):
        (path / name).mkdir(exist_ok=True)
    lines = tuple(f"{key}={actual[key]}" for key in added)
    return RunFolder(path, run["run_id"], contract, True, int(run["replay_bytes"]), lines)


def _defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What ``settings`` are where nobody sets them."""
    kinds = {key: type(value) for key, value in settings.items()}
    return {key: plain(kind()) for key, kind in kinds.items() if dataclasses.is_dataclass(kind)}


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
