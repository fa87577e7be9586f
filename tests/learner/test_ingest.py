"""The ingest without the wire: a full disk, a broken one, closing, and the queue."""

import errno
import os
import threading
from concurrent.futures import Future

import pytest

from episodes.log import read_log
from episodes.spool_position import RecordError
from learner.ingest import MAX_SPOOLS, Ingest, IngestError, NotJoinedError, SpoolLimitError
from tests.learner.ingest_parts import serialized, until
from transport import records_pb2 as pb


def test_wait_returns_when_something_arrives(ingest, episode):
    assert not ingest.wait(0.01)
    threading.Timer(0.05, lambda: ingest.accept("a", serialized(episode(1, 1)))).start()
    assert ingest.wait(5)
    assert len(ingest.drain()) == 3
    assert not ingest.wait(0.01)


def test_what_comes_gathers_for_one_commit_until_the_update_loop_waits(ingest, log, episode, monkeypatch):
    monkeypatch.setattr("learner.log_writer._BUSY_GATHER_S", 60.0)
    append, commits = log.append, []
    monkeypatch.setattr(log, "append", lambda data, positions: commits.append(len(data)) or append(data, positions))
    ingest.accept("a", serialized(episode(1, 1)))
    assert not until(lambda: bool(commits), timeout_s=0.2)
    ingest.accept("a", serialized(episode(2, 1, first_sequence=4)))
    assert ingest.wait(5)
    assert commits == [6]
    assert len(ingest.drain()) == 6


def test_what_gathers_is_in_the_log_after_closing(ingest, log, episode, monkeypatch):
    monkeypatch.setattr("learner.log_writer._BUSY_GATHER_S", 60.0)
    ingest.accept("a", serialized(episode(1, 1)))
    ingest.close()
    assert len(list(log.read())) == 3


def test_drain_takes_at_most_what_is_asked_and_counts_offsets(ingest, log, episode):
    ingest.accept("a", serialized(episode(1, 5)))
    until(lambda: ingest.progress("a").sequence == 7)
    offsets = [offset for offset, _ in log.read()]
    for expected in offsets:
        assert len(ingest.drain(1)) == 1
        assert ingest.drained_offset == expected
    assert ingest.drain(1) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_holds_everything_until_there_is_room(ingest, log, episode, monkeypatch, code):
    append = log.append

    def no_room(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(log, "append", no_room)
    ingest.accept("a", serialized(episode(1, 1)))
    assert until(lambda: "is full: free some space" in ingest.fault)
    assert ingest.progress("a").fault == ingest.fault
    assert ingest.progress("a").sequence == 0
    assert ingest.drain() == []
    ingest.accept("a", serialized(episode(2, 1, first_sequence=4)))
    monkeypatch.setattr(log, "append", append)
    assert until(lambda: ingest.progress("a").sequence == 6)
    assert ingest.fault == ""
    assert [entry.record.sequence for entry in ingest.drain()] == [1, 2, 3, 4, 5, 6]


def test_a_disk_that_is_full_when_it_is_synced_acknowledges_nothing_until_it_stores_all(
    ingest, log, tmp_path, episode, monkeypatch
):
    sync, refused = os.fdatasync, []

    def no_room(file):
        size = os.fstat(file).st_size
        os.truncate(f"/proc/self/fd/{file}", size - 1)  # lost
        refused.append(size)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", no_room)
    ingest.accept("a", serialized(episode(1, 1)))
    assert until(lambda: len(refused) > 1, 60)
    assert "is full: free some space" in ingest.fault
    assert len(set(refused)) == 1, "each attempt appends anew to what is stored"
    assert ingest.progress("a").sequence == 0
    assert ingest.drain() == []
    monkeypatch.setattr(os, "fdatasync", sync)
    assert until(lambda: ingest.progress("a").sequence == 3, 60)
    assert ingest.fault == ""
    assert len(ingest.drain()) == 3
    assert [entry.record.sequence for _, entry in read_log(tmp_path / "log")] == [1, 2, 3]


@pytest.mark.parametrize("call", ["append", "sync"])
def test_a_broken_disk_ends_the_learner_with_a_clear_error_and_no_acknowledgement(
    ingest, log, episode, monkeypatch, call
):
    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(log, call, broken)
    ingest.accept("a", serialized(episode(1, 1)))
    with pytest.raises(IngestError, match=r"cannot be written: .*Input/output error.* the actors keep what was not"):
        until(lambda: ingest.wait(0.1))
    with pytest.raises(IngestError):
        ingest.drain()
    with pytest.raises(IngestError):
        ingest.accept("a", serialized(episode(2, 1, first_sequence=4)))
    assert ingest.progress("a").sequence == 0
    monkeypatch.undo()


def test_close_appends_what_was_accepted(log, contract, episode):
    opened = Ingest(log, contract)
    opened.join("a", "arm")
    opened.accept("a", serialized(episode(1, 100)))
    opened.close()
    opened.close()
    assert log.watermarks() == {"a": 102}
    with pytest.raises(IngestError, match="the learner is stopping"):
        opened.accept("a", serialized(episode(2, 1, first_sequence=103)))


def test_close_ends_while_the_disk_is_full(log, contract, episode, monkeypatch):
    opened = Ingest(log, contract)
    opened.join("a", "arm")

    def no_room(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(log, "append", no_room)
    opened.accept("a", serialized(episode(1, 1)))
    assert until(lambda: opened.fault)
    opened.close()
    monkeypatch.undo()


def test_an_amendment_that_waits_for_a_full_disk_ends_with_closing(ingest, log, monkeypatch):
    def no_room(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(log, "append", no_room)
    amendment = pb.Amendment(episode_id="1" * 32, author="person", outcome=pb.OUTCOME_FAILURE)
    amended = [ingest.amend(amendment)]
    assert until(lambda: ingest.fault, 60)
    amended.append(ingest.amend(amendment))
    ingest.close()
    for done in amended:
        with pytest.raises(IngestError, match="the learner is stopping: nothing more is taken"):
            done.result(60)


def test_one_that_comes_while_the_disk_breaks_ends_too(ingest, log, monkeypatch):
    amendment = pb.Amendment(episode_id="1" * 32, author="person", outcome=pb.OUTCOME_FAILURE)
    amended = []

    def broken(*_):
        amended.append(ingest.amend(amendment))
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(log, "append", broken)
    amended.append(ingest.amend(amendment))
    for done in amended:
        with pytest.raises(IngestError, match=r"cannot be written: .*Input/output error"):
            done.result(60)
    assert len(amended) == 2


def test_spools_are_bounded(ingest):
    for index in range(MAX_SPOOLS - 1):
        ingest.join(f"spool-{index}", f"arm-{index}")
    with pytest.raises(SpoolLimitError, match=rf"at most {MAX_SPOOLS} spools\. Got one more: 'one-more'"):
        ingest.join("one-more", "another")
    assert ingest.join("spool-3", "arm-3") == 0


def test_an_unjoined_spool_of_the_log_must_join_again(log, contract, episode):
    first = Ingest(log, contract)
    first.join("a", "arm")
    first.accept("a", serialized(episode(1, 3)))
    first.close()
    second = Ingest(log, contract)
    with pytest.raises(NotJoinedError, match="has not joined this learner: call Join first"):
        second.accept("a", serialized(episode(2, 1, first_sequence=6)))
    assert second.join("a", "arm") == 5
    assert second.spools()[0].training_steps == 3
    second.close()


def test_amendments_are_numbered_as_the_learners_own_and_go_on_after_a_restart(log, contract):
    amendment = pb.Amendment(episode_id="1" * 32, author="person", outcome=pb.OUTCOME_FAILURE)
    for _ in range(2):
        opened = Ingest(log, contract)
        done: Future[None] = opened.amend(amendment)
        done.result(5)
        opened.close()
    assert log.watermarks() == {"": 2}
    with pytest.raises(RecordError, match=r"amendment\.outcome must be SUCCESS, FAILURE or DISCARDED\. Got: 5"):
        opened.amend(pb.Amendment(episode_id="1" * 32, outcome=pb.OUTCOME_CUT))


def test_evaluation_and_interrupted_steps_are_no_training_steps(ingest, episode):
    records = episode(1, 3)
    records[3].step.interrupted = True
    records[3].step.ClearField("observation")
    ingest.accept("a", serialized(records))
    ingest.accept("a", serialized(episode(2, 4, first_sequence=6, purpose=pb.PURPOSE_EVALUATION)))
    assert until(lambda: ingest.progress("a").sequence == 11)
    assert ingest.spools()[0].training_steps == 2
