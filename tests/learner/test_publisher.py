import pytest

from learner.publisher import CHUNK_BYTES, PolicyPublisher


def test_nothing_before_the_first_version():
    publisher = PolicyPublisher()
    assert publisher.version is None
    assert publisher.newer("a", 0, 0) is None


def test_versions_rise():
    publisher = PolicyPublisher()
    publisher.publish(0, b"zero")
    publisher.publish(4, b"four")
    assert publisher.version == 4
    with pytest.raises(ValueError, match=r"policy version must be above 4\. Got: 4"):
        publisher.publish(4, b"again")
    assert publisher.newer("a", 5, 0) is None
    assert publisher.newer("a", 4, 0).payload == b"four"


def test_an_empty_payload_is_still_one_chunk():
    publisher = PolicyPublisher()
    publisher.publish(0, b"")
    (chunk,) = publisher.newer("a", 0, 0).chunks()
    assert chunk.total_bytes == 0


def test_a_payload_of_whole_chunks_has_no_empty_one():
    publisher = PolicyPublisher()
    publisher.publish(0, bytes(2 * CHUNK_BYTES))
    assert [len(c.data) for c in publisher.newer("a", 0, 0).chunks()] == [CHUNK_BYTES, CHUNK_BYTES]


def test_an_evaluation_may_be_handed_to_another_spool_but_never_go_back():
    publisher = PolicyPublisher()
    publisher.request_evaluation(2, 0, b"x", 5, 0, "a")
    assert publisher.newer("a", 0, 0).evaluation_id == 2
    publisher.request_evaluation(2, 0, b"x", 5, 0, "b")
    assert publisher.newer("a", 0, 0) is None
    assert publisher.newer("b", 0, 0).evaluation_id == 2
    with pytest.raises(ValueError, match=r"evaluation_id must be at least 2\. Got: 1"):
        publisher.request_evaluation(1, 0, b"x", 5, 0, "a")


def test_listeners_hear_of_everything():
    publisher, heard = PolicyPublisher(), []
    publisher.on_change(lambda: heard.append(publisher.version))
    publisher.publish(0, b"zero")
    publisher.request_evaluation(1, 0, b"x", 5, 0, "a")
    assert heard == [0, 0]
