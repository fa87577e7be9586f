"""`python -m cli.standby FILE learner ...`: imports the learner while FILE is being made, starts it once it is there.

The imports take seconds, so a demo lets them pass while it records demonstrations. Settings that the learner refuses
end it before FILE is there.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from cli import learner as learner_verb
from cli.composition import compose_verb
from cli.errors import is_known, report
from cli.leaving import leave_on_signals
from cli.main import main
from cli.parent import end_with_parent

POLL_S = 0.05


def run(awaited: Path, arguments: list[str]) -> int:
    """Exit code of `tandem ARGUMENTS`; 130 when stopped before FILE is there, 1 or 2 at once for settings refused."""
    leave_on_signals("")
    end_with_parent()
    import learner.algorithms.sac
    import learner.main  # noqa: F401

    try:
        keys, groups = learner_verb.list_keys(), learner_verb.list_groups()
        settings = compose_verb("learner", keys, groups, arguments[1:], learner_verb.stored_values)
        learner_verb.check_settings(learner_verb.learner_config(settings))
    except Exception as error:
        if is_known(error):
            return report(error, None)
    while not awaited.exists():
        time.sleep(POLL_S)
    leave_on_signals()
    return main(arguments)


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), sys.argv[2:]))
