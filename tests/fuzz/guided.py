"""Fuzzing guided by coverage, of what strangers send and of the files a run reads: `make fuzz SECONDS=60`.

    PYTHONPATH=.:tests python -m fuzz.guided [--seconds 60] [--target log ...] [--keep FOLDER]

Checksums are made right before a reader sees what it is given, so that what lies behind them is tried too. A target
fails where anything but errors of ours comes out, where an input takes 10 s, or where the process passes 4 GB. Needs
atheris (`pip install --group fuzz`, Linux); without it nothing is tried, and it says so. One line of JSON a target goes
to standard output; an input that fails is kept and named.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import importlib.util
import json
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

HANG_S, MEMORY_MB = 10, 4096
ROOMS = ["episodes", "transport", "policies", "learner.checkpoint"]

type Reader = Callable[[bytes], None]


@functools.cache
def wire() -> Any:
    """The small contract and the records of the tests of the service; by its place, since others have a `tests` too."""
    spec = importlib.util.spec_from_file_location("wire", Path(__file__).parents[1] / "learner" / "wire.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def log() -> tuple[Reader, list[bytes]]:
    """A log, as it is and with the checksums of header and frames made right."""
    from episodes.log import EpisodeLog, LogError, read_log
    from episodes.log_segment import HEADER, MAGIC, VERSION
    from transport import records_pb2 as pb

    folder = Path(tempfile.mkdtemp(prefix="tandem-fuzz-"))
    path = folder / "segment-000000.log"
    start = json.dumps({"base": 0, "interface_fingerprint": "f", "positions": {}, "run_id": "r"}).encode()
    entries = [pb.LogEntry(spool_id="s", actor="a", record=r).SerializeToString() for r in wire().episode_records(1, 3)]

    def framed(data: bytes) -> bytes:
        header, *parts = data.split(b"\xff\x00\xff")
        made = HEADER.pack(MAGIC, VERSION, len(header), crc32(header)) + header
        return made + b"".join(struct.pack("<II", len(part), crc32(part)) + part for part in parts)

    def read(data: bytes) -> None:
        path.write_bytes(framed(data[1:]) if data[:1] == b"f" else data)
        with contextlib.suppress(LogError):
            list(read_log(folder))
        with contextlib.suppress(LogError), EpisodeLog(folder) as opened:
            list(opened.read())

    parts = b"\xff\x00\xff".join([start, *entries])
    return read, [b"f" + parts, framed(parts)]


def checkpoint() -> tuple[Reader, list[bytes]]:
    """The state and the tensors of a checkpoint, with their checksums made right."""
    import torch

    from learner.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint

    folder = Path(tempfile.mkdtemp(prefix="tandem-fuzz-"))
    state = {"run_id": "r", "log_offset": 0, "env_steps": 0, "updates": 0}
    save_checkpoint(folder, Checkpoint("00000000-0", {"w": torch.arange(8.0)}, state, b"policy"))
    place = folder / "00000000-0"
    header, tensors = place / "state.json", place / "state.safetensors"
    whole = json.loads(header.read_text())

    def read(data: bytes) -> None:
        if data[:1] == b"j":
            header.write_bytes(data[1:])
        else:
            tensors.write_bytes(data[1:])
            sums = whole["sha256"] | {tensors.name: hashlib.sha256(data[1:]).hexdigest()}
            header.write_text(json.dumps(whole | {"sha256": sums}))
        with contextlib.suppress(CheckpointError):
            load_checkpoint(place)

    return read, [b"j" + header.read_bytes(), b"t" + tensors.read_bytes(), b"j" + b"[" * 100_000]


def policy() -> tuple[Reader, list[bytes]]:
    """A policy as an actor takes it, whose bytes were compared with a checksum already."""
    from policies.snapshot import SnapshotError, load_in_parts, read_snapshot, save_snapshot
    from policies.spec import PolicySpec, build_policy

    made = build_policy(PolicySpec(inputs=("s",), stacks=(1,), sizes=(2,), action_size=1, hidden=(2,)))

    def read(data: bytes) -> None:
        with contextlib.suppress(SnapshotError):
            read_snapshot(data)
        with contextlib.suppress(SnapshotError):
            list(load_in_parts(made, data))

    return read, [save_snapshot(made, 1)]


def batch() -> tuple[Reader, list[bytes]]:
    """A batch of records, from its bytes to the checks of each record and of their order."""
    from google.protobuf.message import DecodeError

    from episodes.layout import ObservationLayout
    from episodes.spool_position import SpoolPosition
    from episodes.validation import RecordError, check_record
    from transport import records_pb2 as pb
    from transport import service_pb2 as sp
    from transport.push import decode_batch

    layout = ObservationLayout(wire().wire_contract().stored)

    def read(data: bytes) -> None:
        position = SpoolPosition()
        with contextlib.suppress(DecodeError, RecordError):
            for part in decode_batch(data).records:
                record = pb.Record.FromString(bytes(part))
                check_record(record, layout, 1)
                position.advance(record)

    whole = sp.RecordBatch(run_id="r", spool_id="s", records=wire().episode_records(1, 2))
    return read, [whole.SerializeToString()]


def images() -> tuple[Reader, list[bytes]]:
    """A record whose images an actor compressed."""
    import numpy as np
    from google.protobuf.message import DecodeError

    from episodes.contract import Feature
    from episodes.image_codec import ImageCodec
    from episodes.validation import RecordError
    from transport import records_pb2 as pb

    codec = ImageCodec((Feature("observation.images.front", "uint8", (4, 4, 3)),))
    picture = np.arange(48, dtype=np.uint8).tobytes()
    record = pb.Record(sequence=1, step=pb.Step(episode_id="0" * 32, observation=[picture]))

    def read(data: bytes) -> None:
        with contextlib.suppress(DecodeError, RecordError):
            codec.restore([data], 1 << 20)

    return read, [codec.compress(record.SerializeToString())]


def contract() -> tuple[Reader, list[bytes]]:
    """The contract of a stranger: an actor's in Join, a learner's in Describe."""
    from google.protobuf.message import DecodeError

    from episodes.contract import Contract, ContractError
    from transport import records_pb2 as pb

    def read(data: bytes) -> None:
        with contextlib.suppress(DecodeError, ContractError):
            Contract.from_message(pb.Contract.FromString(data))

    return read, [wire().wire_contract().to_message().SerializeToString()]


TARGETS = {make.__name__: make for make in (log, checkpoint, policy, batch, images, contract)}


def fuzz(name: str, arguments: list[str]) -> None:
    """Runs one target in this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=ROOMS):
        read, _ = TARGETS[name]()
    atheris.Setup([sys.argv[0], *arguments], read)
    atheris.Fuzz()


def tried(name: str, seconds: int, folder: Path) -> dict[str, object]:
    """What came of one target, in a process of its own."""
    corpus = folder / name
    corpus.mkdir(parents=True)
    for index, seed in enumerate(TARGETS[name]()[1]):
        (corpus / f"seed-{index}").write_bytes(seed)
    limits = [f"-max_total_time={seconds}", f"-timeout={HANG_S}", f"-rss_limit_mb={MEMORY_MB}", "-print_final_stats=1"]
    words = [*limits, f"-artifact_prefix={folder}/{name}-", str(corpus)]
    done = subprocess.run(
        [sys.executable, "-m", "fuzz.guided", "--child", name, *words], capture_output=True, text=True, check=False
    )
    runs = re.findall(r"number_of_executed_units: (\d+)", done.stderr)
    covered = re.findall(r"cov: (\d+)", done.stderr)
    found = {"target": name, "inputs": int(runs[-1]) if runs else 0, "edges": int(covered[-1]) if covered else 0}
    if done.returncode:
        print(done.stderr[-3000:], file=sys.stderr)
    return found | {"seconds": seconds, "failed": sorted(map(str, folder.glob(f"{name}-*"))), "code": done.returncode}


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        fuzz(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="of each target")
    parser.add_argument("--target", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--keep", type=Path, default=None, help="folder for what failed; a temporary one by default")
    arguments = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("skipped: atheris is not installed here (Linux: .venv/bin/uv pip install --group fuzz)")
        return 0
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="tandem-fuzz-"))
    code = 0
    for name in arguments.target:
        found = tried(name, arguments.seconds, folder)
        print(json.dumps(found), flush=True)
        code |= int(bool(found["code"]))
    return code


if __name__ == "__main__":
    sys.exit(main())
