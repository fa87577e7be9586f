"""One torch thread for every test and every process a test starts: two spinning pools on two cores are slower than one."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")
