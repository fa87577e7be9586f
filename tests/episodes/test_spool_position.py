import pytest

from episodes.spool_position import RecordError, SequenceGapError, SpoolPosition
from transport import records_pb2 as pb

E, F = "e" * 32, "f" * 32


def start(sequence, episode_id=E, purpose=pb.PURPOSE_TRAINING):
    return pb.Record(sequence=sequence, start=pb.EpisodeStart(episode_id=episode_id, purpose=purpose))


def step(sequence, index, episode_id=E, **fields):
    return pb.Record(sequence=sequence, step=pb.Step(episode_id=episode_id, index=index, **fields))


def end(sequence, steps, episode_id=E):
    return pb.Record(sequence=sequence, end=pb.EpisodeEnd(episode_id=episode_id, steps=steps))


def test_follows_an_episode_and_counts_training_steps_without_interrupted_ones():
    position = SpoolPosition()
    records = [start(1), step(2, 0), step(3, 1, interrupted=True), end(4, 2), start(5, F, pb.PURPOSE_EVALUATION)]
    for record in records:
        position.advance(record)
    position.advance(step(6, 0, F))
    assert position == SpoolPosition("", 6, F, pb.PURPOSE_EVALUATION, 1, 1)
    position.advance(pb.Record(sequence=7, amendment=pb.Amendment(episode_id=E)))
    assert (position.sequence, position.episode_id) == (7, F)
    assert SpoolPosition(**position.to_json()) == position


@pytest.mark.parametrize(
    ("records", "text"),
    [
        ([step(1, 0)], r"step\.episode_id must be none: no episode of this spool is open\. Got: 'eee"),
        ([end(1, 0)], r"end\.episode_id must be none: no episode of this spool is open"),
        ([start(1), start(2, F)], r"start\.episode_id 'f+' came while episode 'e+' of this spool is open"),
        ([start(1), step(2, 1)], r"step\.index must be 0\. Got: 1"),
        ([start(1), step(2, 0, F)], r"step\.episode_id must be 'e+'\. Got: 'f+'"),
        ([start(1), step(2, 0), end(3, 2)], r"end\.steps must be 1, the steps sent\. Got: 2"),
    ],
)
def test_refuses_what_does_not_continue_the_episode(records, text):
    position = SpoolPosition()
    for record in records[:-1]:
        position.advance(record)
    before = position.copy()
    with pytest.raises(RecordError, match=text):
        position.advance(records[-1])
    assert position == before


@pytest.mark.parametrize("sequence", [0, 1, 3])
def test_refuses_a_sequence_that_is_not_the_next(sequence):
    position = SpoolPosition()
    position.advance(start(1))
    with pytest.raises(SequenceGapError, match=rf"record\.sequence must be 2.*Got: {sequence}"):
        position.advance(step(sequence, 0))
