"""`python -m faults.light_actor JSON`: an actor of these settings whose control process needs no torch."""

from __future__ import annotations

import json
import sys

import actor.control_process
from actor.config import ActorConfig
from actor.main import run_actor

if __name__ == "__main__":
    actor.control_process.PROGRAM = "faults.light_control"
    sys.exit(run_actor(ActorConfig(**json.loads(sys.argv[1]))))
