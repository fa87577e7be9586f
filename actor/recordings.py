"""A folder of recordings: its contract, its episode log, and what of it succeeded."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

from episodes.contract import Contract
from episodes.contract_differences import difference_lines, stored_differences
from episodes.contract_file import load_contract, save_contract
from episodes.log import EpisodeLog, read_log
from transport import records_pb2 as pb

SPOOL_ID = "demonstrations"
CONTRACT_FILE = "contract.json"


class RecordError(RuntimeError):
    """Demonstrations that cannot be recorded here. The text says what to do."""


class LogSink:
    """Writes episodes into an EpisodeLog, one record at a time; what a crash left open is cut when it is made."""

    def __init__(self, log: EpisodeLog, actor: str) -> None:
        self._log = log
        self._actor = actor
        position = log.positions().get(SPOOL_ID)
        self._sequence = position.sequence if position else 0
        if position and position.episode_id:
            self.end_episode(
                pb.EpisodeEnd(
                    episode_id=position.episode_id, outcome=pb.OUTCOME_CUT, author="actor", steps=position.steps
                )
            )

    def start_episode(self, start: pb.EpisodeStart) -> None:
        self._append(pb.Record(start=start))

    def begin_step(self, step: pb.Step) -> None:
        pass

    def finish_step(self, step: pb.Step, observation: list[memoryview]) -> None:
        step.observation.extend(map(bytes, observation))
        self._append(pb.Record(step=step))

    def end_episode(self, end: pb.EpisodeEnd) -> None:
        self._append(pb.Record(end=end))
        self._log.sync()

    def discard(self, episode_id: str) -> None:
        """Marks an episode that has ended as never to be learned from."""
        amendment = pb.Amendment(
            episode_id=episode_id, author="actor", time_ns=time.time_ns(), outcome=pb.OUTCOME_DISCARDED
        )
        self._append(pb.Record(amendment=amendment))

    def _append(self, record: pb.Record) -> None:
        self._sequence += 1
        record.sequence = self._sequence
        self._log.append([pb.LogEntry(spool_id=SPOOL_ID, actor=self._actor, record=record).SerializeToString()])


def keep_contract(folder: Path, contract: Contract) -> None:
    """Puts the contract beside the log. Raises RecordError where the folder holds another contract's episodes."""
    path = folder / CONTRACT_FILE
    if not path.exists():
        save_contract(path, contract)
        return
    found = stored_differences(contract, load_contract(path))
    if found:
        lines = "\n".join(f"  {line}" for line in difference_lines(found))
        raise RecordError(
            f"{folder} holds demonstrations of another contract:\n{lines}\nChoose another folder: out=PATH"
        )


def open_log(folder: Path, contract: Contract) -> EpisodeLog:
    """The log of these demonstrations, under a run id of its own so that a learner can take several folders."""
    run_id = None if any(folder.glob("segment-*.log")) else f"demos-{uuid.uuid4().hex[:12]}"
    return EpisodeLog(folder, run_id=run_id, interface_fingerprint=contract.interface_fingerprint, sync="os")


def count_successes(folder: Path) -> tuple[int, int]:
    """Successful episodes, and all started ones that were not repeated, of a folder of demonstrations."""
    outcomes: dict[str, int] = {}
    starts = set()
    for _, entry in read_log(folder / "log"):
        record = entry.record
        if record.HasField("start"):
            starts.add(record.start.start_seed)
        elif record.HasField("end"):
            outcomes[record.end.episode_id] = record.end.outcome
        elif record.HasField("amendment"):
            outcomes[record.amendment.episode_id] = record.amendment.outcome
    return sum(outcome == pb.OUTCOME_SUCCESS for outcome in outcomes.values()), len(starts)
