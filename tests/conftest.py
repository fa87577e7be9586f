"""One torch thread for every test and every process it starts: spinning pools on two cores only slow each other.

What tests share in modules beside them explains its failed assertions as tests do.
"""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")
pytest.register_assert_rewrite("tests.actor", "tests.episodes", "tests.learner", "tests.long", "tests.reward")
