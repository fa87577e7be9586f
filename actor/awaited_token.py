"""The token of an actor, which a learner that is started beside it may still have to make."""

from __future__ import annotations

import time
from collections.abc import Callable

from actor.config import ActorConfig
from actor.describe import SAY_EVERY_S
from transport.server import BindError, place_of
from transport.token import NoTokenError, load_token
from transport.trust import is_loopback
from transport.unanswered import listens

WAIT_S = 60.0
"""How long a learner of this machine may take to start: it makes its token before it listens."""


def await_token(config: ActorConfig, stopped: Callable[[], bool]) -> str:
    """The token; empty when told to stop meanwhile.

    Raises BindError for an address that is none, NoTokenError at once where nobody will make it: the learner is
    elsewhere, or listens already. TokenError for one that cannot be used.
    """
    try:
        place_of(config.learner_address)
    except BindError as error:
        if not isinstance(error.__context__, OSError):  # a name that is unknown now may be known later
            raise
    give_up_s, due_s, nobody_will = time.monotonic() + WAIT_S, 0.0, not is_loopback(config.learner_address)
    while not stopped():
        try:
            return load_token(config.token_path)
        except NoTokenError as error:
            now_s = time.monotonic()
            if nobody_will or now_s >= give_up_s:
                raise
            nobody_will = listens(config.learner_address)
            if now_s >= due_s and not nobody_will:
                due_s = now_s + SAY_EVERY_S
                print(
                    f"actor: waiting {give_up_s - now_s:.0f} s at most for a learner on this machine to start and make "
                    f"its token: {error}",
                    flush=True,
                )
        time.sleep(0.2)
    return ""
