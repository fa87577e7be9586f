"""The end of an actor in words: why, what is delivered, and the command that goes on, where it would."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import asdict, fields
from enum import Enum
from pathlib import Path

from actor.config import ActorConfig, key_of
from actor.errors import SpoolError
from actor.spool import Spool
from actor.spool_folder import is_held, spools
from actor.stop_signal import StopSignal
from reward.config import RewardConfig, reward_name
from transport.certificates import CertificateError, read_identity


class Next(Enum):
    """What the same actor can do next."""

    GO_ON = "go on"
    """The command that started it goes on: it was stopped, or its control process ended."""
    DELIVER = "deliver"
    """It can only deliver what waits: its name is another's now, or the run is over."""
    NOTHING = ""
    """It would be refused again, or join another run: why it ended says what to do first."""


def why_stopped(stop: StopSignal, name: str) -> tuple[str, Next]:
    """Why an actor that was told to stop does, and what it can do next."""
    if stop.replaced:
        return f"another actor on this machine took over the name {name!r}", Next.NOTHING
    return "stopped at once" if stop.hurried else "stopped", Next.GO_ON


def say_stopped_waiting(
    config: ActorConfig, name: str, root: Path, say: Callable[[str], None], stop: StopSignal
) -> int:
    """What an actor that was told to stop before it joined, or twice, says, with what waits in its spools.

    Returns its exit code.

    Args:
        config: Of the actor.
        name: The actor whose spools count; empty for all that run no more.
        root: Folder of all spools.
        say: Told one line.
        stop: That stopped it.
    """
    why, following = why_stopped(stop, name)
    words = [why]
    paths = [path for path in spools(root, name) if name or not is_held(path.parent.parent)]
    found = [(path.parent, count) for path in paths if (count := _left(path))]
    if config.flush and not stop.hurried:
        words.append("delivered 0 records")
    if found or config.flush or stop.hurried:
        words.append(", ".join(f"{count} wait in {folder}" for folder, count in found or [(root / name, 0)]))
    line = "; ".join(words)
    if stop.hurried and following is Next.GO_ON and (found or not config.flush):
        again = "To go on" if not found else "To deliver them" if config.flush else "To deliver them and go on"
        line += f". {_advice(config, name, again, flush=config.flush)}"
    say(line)
    return stop.code


def delivered_words(spool: Spool, following: Next, config: ActorConfig, name: str) -> str:
    """What is delivered and what is not, where that stays, and what to do next.

    Args:
        spool: Of the actor, which no longer grows.
        following: What the actor can do next.
        config, name: Of the actor.
    """
    words, again = "every step is delivered.", "To go on"
    if spool.undelivered:
        words = f"{spool.undelivered} records are not delivered yet and stay in {spool.path.parent}."
        again = "To deliver them and go on" if following is Next.GO_ON else "To deliver them"
    if following is Next.GO_ON or (following is Next.DELIVER and spool.undelivered):
        return f"{words} {_advice(config, name, again, flush=following is Next.DELIVER)}"
    return words


def _advice(config: ActorConfig, name: str, again: str, *, flush: bool) -> str:
    """The command for what ``again`` says, behind what would have to be mended before: it would be refused."""
    line = f"{command(config, name)} flush=true" if flush else command(config, name)
    try:
        if config.certificate:
            read_identity(Path(config.certificate).expanduser())
    except CertificateError as error:
        return f"{str(error)[:1].upper()}{str(error)[1:]}. {again} then: {line}"
    return f"{again}: {line}"


def command(config: ActorConfig, name: str) -> str:
    """The command that starts this actor again: all of its settings that are not the usual ones."""
    usual = ActorConfig()
    words = [f"{key_of('learner_address')}={config.learner_address}", *([f"{key_of('name')}={name}"] if name else [])]
    for field in fields(ActorConfig):
        value = getattr(config, field.name)
        if field.name == "reward":
            words += _reward_words(value)
        elif field.name not in ("learner_address", "name", "flush", "takeover") and value != getattr(usual, field.name):
            words.append(f"{key_of(field.name)}={_text(value)}")
    return " ".join(["tandem", "actor", *map(_word, words)])


def _word(text: str) -> str:
    """For a shell. A ~ inside a word may stand as it is: where a shell makes the home folder of it, that is right."""
    bare = text.replace("=~/", "=/")
    return text if shlex.quote(bare) == bare else shlex.quote(text)


def _reward_words(config: RewardConfig) -> list[str]:
    if config == ActorConfig().reward:
        return []
    usual = asdict(type(config)())
    differing = {key: value for key, value in asdict(config).items() if value != usual[key]}
    return [f"reward={reward_name(config)}", *(f"reward.{key}={_text(value)}" for key, value in differing.items())]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{','.join(map(str, value))}]" if isinstance(value, (tuple, list)) else str(value)


def _left(path: Path) -> int:
    try:
        spool = Spool(path)
    except (SpoolError, OSError):
        return 0
    left = spool.undelivered
    spool.close()
    return left
