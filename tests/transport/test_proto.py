"""The committed stubs are what `make proto` makes."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_stubs_are_not_stale(tmp_path):
    made = ("records_pb2.py", "records_pb2.pyi", "service_pb2.py", "service_pb2.pyi", "service_pb2_grpc.py")
    outputs = (f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python"))
    protos = ("transport/records.proto", "transport/service.proto")
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I", "transport=proto", *outputs, *protos], cwd=ROOT, check=True
    )
    for name in made:
        committed = (ROOT / "transport" / name).read_bytes()
        assert committed == (tmp_path / "transport" / name).read_bytes(), f"{name} is stale: run `make proto`"
    assert not (ROOT / "transport" / "records_pb2_grpc.py").exists()
