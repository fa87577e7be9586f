"""Policies over real gRPC into shared memory: whole or not at all, and what never changes of them once."""

import contextlib
import hashlib
import os
import socket
import threading
import time

import numpy as np
import pytest

from actor.downlink import Downlink, PolicyError, PolicyTooLargeError, assemble
from actor.policy_pilot import PolicyPilot
from actor.shared import Mailbox, create_block
from envs.generic import GymConfig
from learner.publisher import PolicyPublisher
from policies.pretrained import frozen_bytes
from policies.snapshot import save_snapshot
from tests.frozen_policy import FRONT, frozen_policy
from transport import service_pb2_grpc as rpc
from transport.channel import open_channel

CAPACITY = 64 << 20


@pytest.fixture(scope="module")
def policy():
    return frozen_policy()[0]


@pytest.fixture
def publisher(bench, policy):
    run = bench("gym", GymConfig(id="Witness-v0"))
    run.publisher.set_frozen(frozen_bytes(policy))
    run.publisher.address, run.publisher.run = f"localhost:{run.port}", run
    return run.publisher


class Receiver:
    """A downlink and the mailboxes that a control process reads."""

    def __init__(self, run, spool_id, largest=CAPACITY, port=0, joins=True):
        self.channel = open_channel(f"localhost:{port or run.port}", run.token)
        self.said = []
        if joins:
            run.ingest.join(spool_id, f"arm-{spool_id}")
        boxes = [Mailbox(create_block(Mailbox.size(largest)), largest) for _ in range(3)]
        self.weights, self.requests, self.frozen = boxes
        self.downlink = Downlink(rpc.LearnerStub(self.channel), run.run_id, spool_id, *boxes, largest, self.said.append)
        self.downlink.start()

    def close(self):
        self.downlink.stop()
        self.channel.close()


@pytest.fixture
def receive(bench):
    made = []

    def make(run, spool_id, **settings):
        made.append(Receiver(run, spool_id, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_the_frozen_part_comes_once_and_a_late_joiner_gets_everything(publisher, policy, receive, wait_for):
    first = receive(publisher.run, "a")
    for version in range(3):
        publisher.publish(version, save_snapshot(policy, version))
        wait_for(lambda version=version: first.downlink.version == version)
    publisher.request_evaluation(1, 2, save_snapshot(policy, 2), 5, 0, "a")
    wait_for(lambda: first.requests.number == 1)
    assert first.frozen.number == 1
    assert first.frozen.get().payload == frozen_bytes(policy)
    late = receive(publisher.run, "b")
    wait_for(lambda: late.downlink.version == 2)
    assert late.frozen.get().payload == frozen_bytes(policy)
    letters = iter([late.weights.get().payload])
    pilot = PolicyPilot(
        lambda spare_s: next(letters, None), frozen=lambda: bytes(late.frozen.get().payload), exploration_share=0.0
    )
    pilot.refresh()
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    pilot.begin_episode({FRONT: image})
    np.testing.assert_allclose(pilot.propose(), policy.act({FRONT: image}, deterministic=True), atol=1e-6)


def test_a_version_is_small_beside_the_frozen_part(policy):
    assert len(save_snapshot(policy, 1)) < len(frozen_bytes(policy)) / 10


def test_both_parts_together_are_bounded(publisher, policy, receive, wait_for):
    publisher.publish(0, save_snapshot(policy, 0))
    small = receive(publisher.run, "a", largest=4 << 20)
    wait_for(lambda: small.downlink.error)
    total = len(frozen_bytes(policy)) + len(save_snapshot(policy, 0))
    assert f"has {total} bytes, more than the {4 << 20} that actor.policy_mb allows" in small.downlink.error
    assert (small.frozen.number, small.weights.number) == (0, 0)


def published(payload, frozen):
    publisher = PolicyPublisher()
    publisher.set_frozen(frozen)
    publisher.publish(3, payload)
    return publisher.newer("a", 0, 0)


def test_a_changed_byte_of_either_part_is_refused():
    payload, frozen = os.urandom(3 << 20), os.urandom(5 << 19)
    chunks = list(published(payload, frozen).chunks())
    received = assemble(chunks, CAPACITY)
    assert (received.payload, received.frozen) == (payload, frozen)
    for at, text in ((1, "the frozen part of policy version 3"), (-1, "policy version 3")):
        broken = [type(chunk).FromString(chunk.SerializeToString()) for chunk in chunks]
        field = "frozen" if at == 1 else "data"
        setattr(broken[at], field, bytes(len(getattr(broken[at], field))))
        with pytest.raises(PolicyError, match=f"{text} did not arrive whole"):
            assemble(broken, CAPACITY)
    with pytest.raises(PolicyError, match="did not arrive whole"):
        assemble(chunks[:-1], CAPACITY)


def test_a_learner_that_says_less_than_it_sends_is_cut_off():
    chunks = list(published(bytes(3 << 20), b"").chunks())
    chunks[0].total_bytes = 1 << 20
    sent = iter(chunks)
    with pytest.raises(PolicyError, match="did not arrive whole"):
        assemble(sent, CAPACITY)
    assert len(list(sent)) == 1
    with pytest.raises(PolicyTooLargeError, match=r"has 3145728 bytes, more than the 1000"):
        assemble(published(bytes(3 << 20), b"").chunks(), 1000)


def test_a_policy_without_the_frozen_part_it_needs_is_refused():
    chunks = list(published(b"small", b"frozen").chunks(hashlib.sha256(b"frozen").hexdigest()))
    assert len(chunks) == 1
    assert assemble(chunks, CAPACITY, hashlib.sha256(b"frozen").hexdigest()).frozen == b""
    with pytest.raises(PolicyError, match="policy version 3 came without the frozen part"):
        assemble(chunks, CAPACITY, "")


def test_a_policy_comes_once_its_spool_has_joined_again(publisher, receive, wait_for):
    """As after a restart of the learner, whose spools join again by themselves, on another connection."""
    publisher.publish(0, b"zero")
    early = receive(publisher.run, "a", joins=False)
    with pytest.raises(AssertionError, match="in vain"):
        wait_for(lambda: early.downlink.version == 0 or early.downlink.error, 1.0)
    publisher.run.ingest.join("a", "arm-a")
    wait_for(lambda: early.downlink.version == 0)
    assert not early.said


@pytest.fixture
def line():
    """Starts relays to a port that pass so many bytes a second to who connects; they end with the test."""
    with contextlib.ExitStack() as stack:

        def start(to_port, bytes_per_s):
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def forward(source, sink, pause_s):
                with contextlib.suppress(OSError):
                    while data := source.recv(1 << 17):
                        sink.sendall(data)
                        time.sleep(pause_s * len(data))
                for end in (source, sink):
                    with contextlib.suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)

            def accept():
                with contextlib.suppress(OSError):
                    while True:
                        near, far = listening.accept()[0], socket.create_connection(("localhost", to_port))
                        stack.callback(near.close)
                        stack.callback(far.close)
                        for ends in ((near, far, 0.0), (far, near, 1 / bytes_per_s)):
                            threading.Thread(target=forward, args=ends, daemon=True).start()

            threading.Thread(target=accept, daemon=True).start()
            stack.callback(listening.shutdown, socket.SHUT_RDWR)
            return listening.getsockname()[1]

        yield start


def test_a_policy_arrives_however_long_it_takes_while_its_chunks_do(publisher, receive, line, wait_for, monkeypatch):
    for place in ("learner.pull.CHUNK_S", "actor.downlink.CHUNK_S"):
        monkeypatch.setattr(place, 2.5)
    publisher.set_frozen(b"")
    publisher.publish(0, bytes(9 << 20))
    slow = receive(publisher.run, "a", port=line(publisher.run.port, 2 << 20))
    wait_for(lambda: slow.downlink.version == 0, 60.0)
    assert not slow.said


def test_a_call_without_news_is_made_anew_without_a_word(publisher, receive, wait_for, monkeypatch):
    with monkeypatch.context() as impatient:
        impatient.setattr("actor.downlink.CHUNK_S", 0.05)
        waiting = receive(publisher.run, "a")
        first = wait_for(lambda: waiting.downlink._call)
        wait_for(lambda: waiting.downlink._call is not first)
    # The policy has the time that policies have, or a machine that is busy would cut it.
    wait_for(lambda: not [t for t in threading.enumerate() if getattr(t, "interval", None) == 0.05])
    publisher.publish(0, b"zero")
    wait_for(lambda: waiting.downlink.version == 0)
    assert (waiting.said, waiting.downlink.error) == ([], "")


@pytest.mark.parametrize("side", ["learner.pull", "actor.downlink"])
def test_a_policy_that_was_cut_is_told_of_once_and_asked_for_again(
    publisher, receive, line, wait_for, monkeypatch, side
):
    monkeypatch.setattr(f"{side}.CHUNK_S", 0.125)
    publisher.set_frozen(b"first")
    publisher.publish(0, bytes(9 << 20))
    slow = receive(publisher.run, "a", port=line(publisher.run.port, 4 << 20))
    first = wait_for(lambda: slow.said and slow.downlink._call)
    wait_for(lambda: slow.downlink._call is not first)
    assert len(slow.said) == 1
    assert "of 9.4 MB; asking again" in slow.said[0]
    assert not slow.downlink.error
