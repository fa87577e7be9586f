"""Why the learner of a running actor is away, looked into while its steps wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from actor.config import ActorConfig
from transport.unanswered import Unanswered, why_unanswered

LOOK_EVERY_S = 3.0
SAY_EVERY_S = 60.0


class Away:
    """Says why a learner does not answer, where there is more to say than that nobody listens.

    Args:
        config: Where the learner should be, and how it is known.
        say: Told, in one line, and the same one once in ``SAY_EVERY_S``.
    """

    def __init__(self, config: ActorConfig, say: Callable[[str], None]) -> None:
        self._config, self._say = config, say
        self._look_due_s = 0.0
        self._before = Unanswered()
        self._said, self._say_due_s = "", 0.0
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Begins a look, unless there was one lately; from a thread of its own, so that no attempt waits for it."""
        now_s = time.monotonic()
        if now_s < self._look_due_s or (self._thread is not None and self._thread.is_alive()):
            return
        self._look_due_s = now_s + LOOK_EVERY_S
        self._thread = threading.Thread(target=self._look, name="away", daemon=True)
        self._thread.start()

    def _look(self) -> None:
        config, now_s = self._config, time.monotonic()
        found = why_unanswered(config.learner_address, config.ca, config.certificate)
        agree, self._before = found == self._before, found
        if found.final and not agree:  # a learner that is going down may look like one that refuses
            return
        if not found.what or not found.listens or (str(found) == self._said and now_s < self._say_due_s):
            return
        self._said, self._say_due_s = str(found), now_s + SAY_EVERY_S
        again = ". Steps wait in the spool: start this actor again once that is mended" if found.final else ""
        self._say(f"{found}{again}")
