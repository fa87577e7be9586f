"""A whole actor, two processes, against the real service on loopback."""

import numpy as np
from conftest import WITNESS, wait_for
