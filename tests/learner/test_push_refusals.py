"""Records and streams that Push refuses, by field and reason, while other streams go on."""

import grpc
import pytest

from tests.learner.wire import SPOOL, Stream, refusal
from transport import records_pb2 as pb


def _state_of_one_float(record):
    record.step.observation[0] = bytes(4)


def _nan_action(record):
    record.step.chosen[0] = float("nan")


def _short_action(record):
    record.step.sent[:] = []


def _nan_reward(record):
    record.step.rewards[0].value = float("inf")


def _other_episode(record):
    record.step.episode_id = "e" * 32


def _index(record):
    record.step.index = 7


def _no_body(record):
    record.ClearField("body")


def _start_again(record):
    record.start.episode_id, record.start.purpose = "e" * 32, 1
    record.start.observation.append(bytes(8))


def _end_early(record):
    record.end.episode_id, record.end.outcome, record.end.steps = f"{1:032x}", 1, 9


def _no_outcome(record):
    record.end.episode_id, record.end.outcome, record.end.steps = f"{1:032x}", 0, 1


def _interrupted_with_observation(record):
    record.step.interrupted = True


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (_state_of_one_float, "step.observation 'observation.state' must have 8 bytes (float32 of shape (2,)). Got: 4"),
        (_nan_action, "step.chosen must be from -1 to 1 where the step is not held. Got: [nan]"),
        (_short_action, "step.sent must have 1 numbers. Got: 0"),
        (_nan_reward, "step.rewards['env'] must be from -1e+18 to 1e+18. Got: inf"),
        (_other_episode, f"step.episode_id must be '{1:032x}'. Got: 'eeee"),
        (_index, "step.index must be 1. Got: 7"),
        (_no_body, "record.body must be start, step, end or amendment. Got: none of them"),
        (_start_again, f"came while episode '{1:032x}' of this spool is open"),
        (_end_early, "end.steps must be 1, the steps sent. Got: 9"),
        (_no_outcome, "end.outcome must be SUCCESS, FAILURE, TIMEOUT, DISCARDED or CUT. Got: 0"),
        (_interrupted_with_observation, "step.observation must be empty when interrupted. Got: 1 items"),
    ],
)
def test_a_malformed_record_is_refused_by_field_and_other_streams_go_on(wire, episode, spoil, text):
    wire.join()
    wire.join("other")
    other = Stream(wire)
    other_records = episode(2, 2)
    other.send(wire.batch(other_records[:2], "other"))
    other.until(lambda reply: reply.sequence == 2)
    records = episode(1, 2)
    spoil(records[2])
    error = refusal(wire.stub.Push(iter([wire.batch(records[:2]), wire.batch(records[2:3])]), timeout=10))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert text in error.details()
    assert "records[0] (sequence 3)" in error.details()
    assert wire.join().acknowledged == 2
    other.send(wire.batch(other_records[2:], "other"))
    other.until(lambda reply: reply.sequence == 4)
    other.close()
    assert wire.push(wire.batch(episode(1, 2)[2:]))[-1] == 4


def test_nothing_of_a_batch_with_a_malformed_record_is_taken(wire, episode):
    wire.join()
    records = episode(1, 3)
    records[3].step.index = 9
    refusal(wire.stub.Push(iter([wire.batch(records)]), timeout=10))
    assert wire.join().acknowledged == 0
    assert wire.log.end == 0


def test_a_spool_that_did_not_join_is_refused(wire, episode):
    error = refusal(wire.stub.Push(iter([wire.batch(episode(1, 1))]), timeout=10))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "spool 'spool-0' has not joined this learner: call Join first" in error.details()


def test_one_stream_carries_one_spool(wire, episode):
    wire.join()
    wire.join("other")
    batches = [wire.batch(episode(1, 1)), wire.batch(episode(2, 1), "other")]
    error = refusal(wire.stub.Push(iter(batches), timeout=10))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "spool_id must be 'spool-0' in every batch of this stream. Got: 'other'" in error.details()


@pytest.mark.parametrize("spool_id", [SPOOL, "other"])
def test_an_episode_id_is_taken_once_by_all_spools_and_processes(serve, episode, spool_id):
    wire = serve()
    wire.join()
    wire.join("other")
    wire.push(wire.batch(episode(1, 2)))
    wire.push(wire.batch(episode(2, 2, first_sequence=5)[:2]))
    for number in (1, 2):
        sequence = wire.join(spool_id).acknowledged + 1
        records = episode(number, 1, first_sequence=sequence)
        if spool_id == SPOOL:
            wire.push(wire.batch(episode(2, 2, first_sequence=5)[2:]))
            records = episode(number, 1, first_sequence=9)
        error = refusal(wire.stub.Push(iter([wire.batch(records, spool_id)]), timeout=10))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert f"start.episode_id must be a new one. Got: '{number:032x}', which was used before" in error.details()
    wire.close()
    again = serve()
    for _, entry in again.log.read():
        again.ingest.note_earlier(entry)
    again.join("third")
    error = refusal(again.stub.Push(iter([again.batch(episode(1, 1), "third")]), timeout=10))
    assert "which was used before" in error.details()


def test_an_episode_open_at_a_restart_is_no_other_spools(serve, episode):
    wire = serve()
    wire.join()
    wire.push(wire.batch(episode(1, 2)[:2]))
    wire.close()
    again = serve()
    again.join("other")
    error = refusal(again.stub.Push(iter([again.batch(episode(1, 1), "other")]), timeout=10))
    assert "which was used before" in error.details()


def test_no_record_uses_up_the_evaluation_ids_to_come(wire, episode):
    wire.join()
    records = episode(1, 1, purpose=pb.PURPOSE_EVALUATION)
    for evaluation_id, text in ((2**64 - 1, "must be below 2**53"), (2**53 - 1, "must be one asked for")):
        records[0].start.evaluation_id = evaluation_id
        error = refusal(wire.stub.Push(iter([wire.batch(records)]), timeout=10))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert f"start.evaluation_id {text}" in error.details()
        assert f"Got: {evaluation_id}" in error.details()
    records[0].start.evaluation_id = 7
    assert wire.push(wire.batch(records))[-1] == 3
