"""Demonstrations from a folder of ``tandem record`` into the log of a run, once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from episodes.contract import Contract, ContractError
from episodes.contract_differences import difference_lines, stored_differences
from episodes.contract_file import load_contract
from episodes.log import EpisodeLog, LogError, read_log
from episodes.log_segment import list_segments
from episodes.outcome import Outcome, Purpose
from reward.effective import verdict_of_amendment
from transport import records_pb2 as pb

SPOOL_PREFIX = "demos:"
ACTOR = "demonstrations"
_BATCH = 500
_LEARNED = (Outcome.SUCCESS, Outcome.FAILURE, Outcome.TIMEOUT)


class DemonstrationError(ValueError):
    """A demos path that holds nothing this run can take; the text says what to do."""


def import_demonstrations(path: str | os.PathLike[str], log: EpisodeLog, contract: Contract) -> int:
    """Copies the finished demonstrations in ``path`` into ``log``, as a spool of its own: once, however often asked.

    Those that were discarded or cut off are left out. ``tandem record`` discards failures, unless they are to be kept.

    Args:
        path: Folder with a log and contract.json, as ``tandem record`` makes it.
        log: Of the run. Nobody else may write it meanwhile.
        contract: Of the run.

    Returns:
        Demonstrations now in the log from ``path`` that are learned from, those that were there before included.

    Raises:
        DemonstrationError: where ``path`` holds no demonstration to learn from, or of another contract.
    """
    source, spool_id, count = check_demonstrations(path, contract)
    done = log.watermarks().get(spool_id, 0)
    sequence, batch = 0, list[bytes]()
    for episode in _episodes(source):
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
    return count


def check_demonstrations(path: str | os.PathLike[str], contract: Contract) -> tuple[Path, str, int]:
    """The log of the demonstrations in ``path``, their spool, and how many are learned from; nothing is written.

    Raises DemonstrationError like ``import_demonstrations``.
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
        count = _count(source)
    except LogError as error:
        raise DemonstrationError(
            f"demos={folder} holds no demonstrations that can be read: {error}. {record}"
        ) from error
    if not count:
        raise DemonstrationError(f"demos={folder} holds no finished demonstration to learn from. {record}")
    return source, f"{SPOOL_PREFIX}{segments[0].run_id}"[:128], count


def _check_contract(folder: Path, contract: Contract) -> None:
    try:
        recorded = load_contract(folder / "contract.json")
    except ContractError as error:
        raise DemonstrationError(f"demos={folder} is no folder of demonstrations: {error}") from error
    found = stored_differences(contract, recorded)
    if found:
        raise DemonstrationError(
            f"the demonstrations in {folder} are of another contract than this run:\n"
            + "\n".join(f"  {line}" for line in difference_lines(found))
            + "\nRecord new ones for this run, or set env.KEY as they were recorded with"
        )


def _count(source: Path) -> int:
    """Demonstrations that are learned from, once all amendments are taken."""
    outcomes: dict[str, int] = {}
    for *_, last in _episodes(source):
        word = last.end if last.HasField("end") else last.amendment
        if last.HasField("end") or verdict_of_amendment(last.amendment) is not None:
            outcomes[word.episode_id] = word.outcome
    return sum(outcome in _LEARNED for outcome in outcomes.values())


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
            if record.end.outcome in _LEARNED and record.end.steps:
                finished.add(record.end.episode_id)
                yield [*records, record]
        elif body == "amendment" and record.amendment.episode_id in finished:
            yield [record]
