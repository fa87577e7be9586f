"""RUN/reward: the success classifier of a run, handed out to actors, and again whenever the file there is another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from episodes.contract import Contract
from learner.publisher import PolicyPublisher
from reward.config import RewardError
from reward.gates import parse_gates
from reward.storage import FILE, load_classifier

FOLDER = "reward"
_EVERY_S = 1.0


class RewardWatch:
    """Looks from a thread of its own, so that a classifier is checked beside the updates.

    Args:
        run: Run folder.
        contract: Of the run; a classifier of other images is refused.
        publisher: Gets every classifier that can be used.
        say: Told, in one line, what is handed out and what is refused.
    """

    def __init__(self, run: Path, contract: Contract, publisher: PolicyPublisher, say: Callable[[str], None]) -> None:
        self._file, self._contract, self._publisher, self._say = run / FOLDER / FILE, contract, publisher, say
        self._seen: tuple[int, int] | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reward-watch", daemon=True)

    def start(self) -> None:
        """Publishes what is there already before it returns."""
        self._look()
        self._thread.start()

    def stop(self) -> None:
        """Safe to call twice, and before ``start``."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(2 * _EVERY_S)

    def _run(self) -> None:
        while not self._stopped.wait(_EVERY_S):
            self._look()

    def _look(self) -> None:
        try:
            found = self._file.stat()
            seen = (found.st_mtime_ns, found.st_size)
            if seen == self._seen:
                return
            self._seen = seen
            data = self._file.read_bytes()
            classifier = load_classifier(data, str(self._file))
            classifier.check(self._contract)
            parse_gates(classifier.calibration.gates, self._contract)
        except FileNotFoundError:
            return
        except (RewardError, OSError, RuntimeError) as error:
            self._say(f"the classifier is not handed out: {error}")
            return
        self._publisher.publish_reward(classifier.spec.name, data)
        self._say(f"classifier {classifier.version} is handed out to actors with reward=classifier")
