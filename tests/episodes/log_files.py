"""What the tests of the log write and read."""

from pathlib import Path

from isal.isal_zlib import crc32

from episodes.log import EpisodeLog, read_log
from episodes.log_segment import FRAME
from transport import records_pb2 as pb

IDS = {"run_id": "run", "interface_fingerprint": "0123456789abcdef"}


def entry(sequence: int, spool_id: str = "a", text: str = "") -> bytes:
    """An amendment: the one record that follows any other."""
    amendment = pb.Amendment(episode_id="0" * 32, author=text, outcome=pb.OUTCOME_SUCCESS)
    record = pb.Record(sequence=sequence, amendment=amendment)
    return pb.LogEntry(spool_id=spool_id, actor=f"arm-{spool_id}", record=record).SerializeToString()


def contents(folder: Path) -> list[bytes]:
    return [message.SerializeToString() for _, message in read_log(folder)]


def write(folder: Path, count: int, **kwargs) -> list[bytes]:
    entries = [entry(index + 1, text="x" * (index % 7)) for index in range(count)]
    with EpisodeLog(folder, **IDS, **kwargs) as log:
        for data in entries:
            log.append([data])
    return entries


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("segment-*.log"))


def frame(data: bytes) -> bytes:
    return FRAME.pack(len(data), crc32(data)) + data
