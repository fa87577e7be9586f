"""Demonstrations from a folder of ``tandem record`` into the log of a run, once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from episodes.contract import Contract, ContractError, differences
from episodes.contract_file import load_contract
from episodes.log import EpisodeLog, LogError, read_log
from episodes.log_segment import list_segments
from episodes.outcome import Outcome, Purpose
from transport import records_pb2 as pb

SPOOL_PREFIX = "demos:"
ACTOR = "demonstrations"
_BATCH = 500


class DemonstrationError(ValueError):
    """A demos path that holds nothing this run can take; the text says what to do."""


def import_demonstrations(path: str | os.PathLike[str], log: EpisodeLog, contract: Contract) -> int:
    """Copies the finished demonstrations in ``path`` into ``log``, as a spool of its own: once, however often asked.

    Those that failed, were discarded or cut off are left out.

    Args:
        path: Folder with a log and contract.json, as ``tandem record`` makes it.
        log: Of the run. Nobody else may write it meanwhile.
        contract: Of the run.

    Returns:
        Demonstrations now in the log from ``path``, those that were there before included.

    Raises:
        DemonstrationError: where ``path`` holds no demonstration, or of another contract.
    """
    folder = Path(path)
    record = "Record some with `tandem record`"
    if not folder.is_dir():
        raise DemonstrationError(f"demos={folder} is no folder. {record}")
    _check_contract(folder, contract)
    source = folder / "log" if (folder / "log").is_dir() else folder
    try:
        segments = list_segments(source, None, contract.interface_fingerprint)
        if not segments:
            raise LogError("no episode log (no segment-*.log)")
        spool_id = f"{SPOOL_PREFIX}{segments[0].run_id}"[:128]
        done = log.watermarks().get(spool_id, 0)
        count, sequence, batch = 0, 0, list[bytes]()
        for episode in _episodes(source):
            count += episode[0].WhichOneof("body") == "start"
            for item in episode:
                sequence += 1
                if sequence <= done:
                    continue
                item.sequence = sequence
                batch.append(pb.LogEntry(spool_id=spool_id, actor=ACTOR, record=item).SerializeToString())
            if len(batch) >= _BATCH:
                log.append(batch)
                batch = []
        if batch:
            log.append(batch)
        log.sync()
    except LogError as error:
        raise DemonstrationError(
            f"demos={folder} holds no demonstrations that can be read: {error}. {record}"
        ) from error
    if not count:
        raise DemonstrationError(f"demos={folder} holds no finished demonstration. {record}")
    return count


def _check_contract(folder: Path, contract: Contract) -> None:
    try:
        recorded = load_contract(folder / "contract.json")
    except ContractError as error:
        raise DemonstrationError(f"demos={folder} is no folder of demonstrations: {error}") from error
    found = [d for d in differences(recorded, contract) if d.key.startswith("interface.")]
    if found:
        raise DemonstrationError(
            f"the demonstrations in {folder} are of another contract:\n"
            + "\n".join(f"  {d}" for d in found)
            + "\nRecord new ones for these settings, or set these settings as they were"
        )


def _episodes(source: Path) -> Iterator[list[pb.Record]]:
    """Records of each finished demonstration in the order they ended, and each amendment of one alone."""
    running: dict[str, list[pb.Record]] = {}
    finished: set[str] = set()
    for _, entry in read_log(source):
        record = entry.record
        body = record.WhichOneof("body")
        if body == "start" and record.start.purpose == Purpose.DEMONSTRATION:
            running[record.start.episode_id] = [record]
        elif body == "step" and record.step.episode_id in running:
            running[record.step.episode_id].append(record)
        elif body == "end" and record.end.episode_id in running:
            records = running.pop(record.end.episode_id)
            if record.end.outcome in (Outcome.SUCCESS, Outcome.TIMEOUT):
                finished.add(record.end.episode_id)
                yield [*records, record]
        elif body == "amendment" and record.amendment.episode_id in finished:
            yield [record]
