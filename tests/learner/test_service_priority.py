"""Where processors are short, what clients ask for waits rather than the updates."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from transport.priority import give_way, grpc_gives_way

OTHER, BATCH = "0", "3"
PROGRAM = """
import json, sys
from pathlib import Path

sys.path.append(sys.argv[1])
from wire import Wire

wire = Wire(Path(sys.argv[2]))
wire.join()
threads = [Path(f"{task}/stat").read_text().rpartition(")") for task in Path("/proc/self/task").iterdir()]
print(json.dumps([(name.partition("(")[2], *map(rest.split().__getitem__, (16, 38))) for name, _, rest in threads]))
wire.close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux alone")
@pytest.mark.parametrize("started_with", [0, 15])
def test_the_threads_of_the_service_and_of_grpc_have_a_lower_priority_than_the_updates(tmp_path, started_with):
    """In a process of its own: gRPC starts its threads from whoever calls it first."""
    of_updates = min(os.getpriority(os.PRIO_PROCESS, 0) + started_with, 19)
    lower = str(max(10, of_updates))
    program = subprocess.run(
        ["nice", "-n", str(started_with), sys.executable, "-c", PROGRAM, str(Path(__file__).parent), str(tmp_path)],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        timeout=60,
    )
    threads = json.loads(program.stdout)
    of_grpc = [
        (nice, policy) for name, nice, policy in threads if name.startswith(("event_engine", "lifeguard", "grpc"))
    ]
    own = [
        (nice, policy) for name, nice, policy in threads if not name.startswith(("event_engine", "lifeguard", "grpc"))
    ]
    assert len(of_grpc) >= 2
    assert set(of_grpc) == {(lower, BATCH)}
    assert {(str(of_updates), OTHER), (lower, BATCH)} <= set(own)


def test_where_it_is_forbidden_nothing_happens(monkeypatch):
    def forbidden(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.setpriority", forbidden)
    monkeypatch.setattr("os.sched_setscheduler", forbidden, raising=False)
    give_way()
    grpc_gives_way()
