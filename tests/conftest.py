"""One torch thread for every test and every process it starts: spinning pools on two cores only slow each other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")
