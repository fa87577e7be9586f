"""What a Push tells the learner besides its records: how images are written, and which policy acted."""

import grpc
import pytest

from metrics import names
from transport import records_pb2 as pb


def acted_by(records, version):
    for record in records:
        if record.HasField("step"):
            record.step.policy_version = version
    return records


def test_an_unknown_compression_is_refused(wire, episode):
    wire.join()
    batch = wire.batch(episode(1, 1))
    batch.compression = 7
    with pytest.raises(grpc.RpcError) as refused:
        wire.push(batch)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "compression must be one of [0, 1]. Got: 7" in refused.value.details()
    assert wire.push(wire.batch(episode(1, 1)))[-1] == 3


def test_a_compressed_batch_of_garbage_is_refused(wire, episode):
    from transport import service_pb2 as sp
    from transport.push import encode_batch

    wire.join()
    head = sp.RecordBatch(run_id=wire.description.run_id, spool_id="spool-0", compression=sp.COMPRESSION_ZLIB)
    push = wire.channel.stream_stream("/tandem.v1.Learner/Push", None, None)
    with pytest.raises(grpc.RpcError) as refused:
        list(push(iter([encode_batch(head, [b"no record"])]), timeout=10))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_time_from_publication_to_acting_is_measured_on_training_steps(wire, episode):
    wire.join()
    wire.publisher.publish(0, b"zero")
    open_episode = episode(1, 9)
    wire.push(wire.batch(acted_by(open_episode[:3], 0)))
    assert wire.publisher.lag.metrics() == {}
    wire.publisher.publish(1, b"one")
    wire.push(wire.batch(acted_by(open_episode[3:5], 1)))
    first = wire.publisher.lag.metrics()[names.PUBLISH_TO_ACTING_MS_P50]
    assert first > 0
    wire.push(wire.batch(open_episode[5:]))
    wire.publisher.publish(2, b"two")
    evaluation = acted_by(episode(2, 3, first_sequence=12, purpose=pb.PURPOSE_EVALUATION), 2)
    wire.push(wire.batch(evaluation[:2]))
    assert wire.publisher.lag.metrics()[names.PUBLISH_TO_ACTING_MS_P50] == first
