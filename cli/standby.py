"""`python -m cli.standby FILE learner ...`: imports the learner while FILE is being made, starts it once it is there.

The imports take seconds, so a demo lets them pass while it records demonstrations.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from cli.errors import INTERRUPTED
from cli.main import main

POLL_S = 0.05


def run(awaited: Path, arguments: list[str]) -> int:
    """Exit code of `tandem ARGUMENTS`; 130 when stopped, or left alone by its parent, before FILE is there."""
    import learner.algorithms.sac
    import learner.main  # noqa: F401

    parent = os.getppid()
    while not awaited.exists():
        if os.getppid() != parent:
            return INTERRUPTED
        time.sleep(POLL_S)
    return main(arguments)


if __name__ == "__main__":
    try:
        sys.exit(run(Path(sys.argv[1]), sys.argv[2:]))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
