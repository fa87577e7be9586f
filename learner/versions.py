"""The policy versions of a run: each number is published once, whatever dies, and noted on the disk before."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from learner.publisher import PolicyPublisher
from learner.resume import snapshot
from learner.run_folder import RunFolder

if TYPE_CHECKING:
    from learner.training import Trainer

PUBLISH_AGAIN_S = 1.0


class PolicyVersions:
    """Publishes the acting policy.

    Attributes:
        published_at: Updates of the algorithm when ``publish`` was last called.
        fault: Why the newest version is not with the actors; empty while all is well.

    Args:
        folder: Of the run: numbers are noted there.
        publisher: Takes the versions.
    """

    def __init__(self, folder: RunFolder, publisher: PolicyPublisher):
        self.published_at = 0
        self.fault = ""
        self._folder = folder
        self._publisher = publisher
        self._next = folder.next_version()
        self._reserved = self._next
        self._again_s = 0.0

    @property
    def newest(self) -> int:
        """Newest version published; -1 before the first."""
        return -1 if self._publisher.version is None else self._publisher.version

    @property
    def due_again(self) -> bool:
        """Whether it is time to try again what the disk did not take."""
        return bool(self.fault) and time.monotonic() >= self._again_s

    def publish(self, trainer: Trainer) -> int:
        """Publishes the acting policy as the next version. Returns the newest version published.

        Where the disk does not take its number, that is noted and the loop tries again; where training has diverged,
        nothing is published.
        """
        from policies.snapshot import NotFiniteError, frozen_bytes

        self.published_at = trainer.algorithm.updates
        if trainer.diverged:
            return self.newest
        version = self._next
        try:
            payload = snapshot(trainer, trainer.algorithm.policy, version, trainer.config.policy_dtype)
            if version and version >= self._reserved:
                self._reserved = self._folder.reserve_versions(version)
        except NotFiniteError as error:
            trainer.diverge(str(error))
            return self.newest
        except OSError as error:
            self.fault = f"policy version {version} is not published, its number could not be noted: {error}"
            self._again_s = time.monotonic() + PUBLISH_AGAIN_S
            return self.newest
        self.fault = ""
        if self._publisher.version is None:
            self._publisher.set_frozen(frozen_bytes(trainer.algorithm.policy))
        self._publisher.publish(version, payload)
        trainer.metrics.published(version)
        self._next = version + 1
        return version
