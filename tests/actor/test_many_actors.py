"""Up to 32 actors of one learner on loopback: they come and go, and one that is slow or dead disturbs no other."""

import contextlib
import threading
import uuid
from collections import Counter

import pytest

from actor.downlink import Downlink
from actor.shared import Board, Mailbox, create_block
from actor.spool import Spool, record_bytes
from actor.uplink import Uplink
from envs.generic import GymConfig
from transport import records_pb2 as pb
from transport import service_pb2 as sp
from transport import service_pb2_grpc as rpc
from transport.channel import PROTOCOL, open_channel

LARGEST = 4 << 20
STEPS, EPISODES = 20, 6


class Arm:
    """A spool, an uplink and a downlink, each on a channel of its own, as the comms process has them."""

    def __init__(self, run, folder, number):
        self.name, contract = f"arm-{number}", run.contract
        self.spool = Spool.create(
            folder / f"{self.name}.bin",
            run_id=run.run_id,
            actor=self.name,
            fingerprint=contract.interface_fingerprint,
            slot_bytes=record_bytes(contract),
            capacity=1000,
        )
        self.join = sp.JoinRequest(
            protocol=PROTOCOL,
            run_id=run.run_id,
            actor=self.name,
            spool_id=self.spool.spool_id,
            contract=contract.to_message(),
        )
        self.channels = [open_channel(f"localhost:{run.port}", run.token) for _ in range(2)]
        boxes = [Mailbox(create_block(Mailbox.size(LARGEST)), LARGEST) for _ in range(3)]
        self.uplink = Uplink(
            self.channels[0], self.spool, self.join, Board(create_block(Board.SIZE)), lambda text: None
        )
        ids = (run.run_id, self.spool.spool_id)
        self.downlink = Downlink(rpc.LearnerStub(self.channels[1]), *ids, *boxes, LARGEST, lambda text: None)
        self.uplink.start()
        self.downlink.start()

    def act(self, episodes=EPISODES):
        numbers, observation = [0.0, 0.0], [bytes(12)]
        for _ in range(episodes):
            name = uuid.uuid4().hex
            start = pb.EpisodeStart(episode_id=name, purpose=pb.PURPOSE_TRAINING, observation=observation)
            self.spool.start_episode(start)
            for index in range(STEPS):
                step = pb.Step(episode_id=name, index=index, proposed=numbers, chosen=numbers, sent=numbers)
                self.spool.begin_step(step)
                self.spool.finish_step(step, [memoryview(data) for data in observation])
            end = pb.EpisodeEnd(episode_id=name, outcome=pb.OUTCOME_TIMEOUT, author="env", steps=STEPS)
            self.spool.end_episode(end)

    def leave(self):
        self.uplink.finish(30.0)
        self.downlink.stop()
        for channel in self.channels:
            channel.close()


@pytest.mark.long
@pytest.mark.parametrize("count", [4, 32])
def test_actors_come_and_go_and_a_slow_or_dead_one_disturbs_no_other(bench, tmp_path, wait_for, count):
    run = bench("gym", GymConfig(id="Witness-v0"))
    run.publisher.publish(1, bytes(3 << 20))
    with contextlib.ExitStack() as stack:
        # One that takes a first part of its policy and never the rest; one that never hears what it is told.
        slow = stack.enter_context(open_channel(f"localhost:{run.port}", run.token))
        arms = [Arm(run, tmp_path, number) for number in range(count)]
        join = sp.JoinRequest.FromString(arms[0].join.SerializeToString())
        dead = rpc.LearnerStub(slow)
        for name in ("slow", "dead"):
            join.actor = join.spool_id = name
            dead.Join(join, timeout=30)
        held = dead.PullPolicy(sp.PullPolicyRequest(run_id=run.run_id, spool_id="slow"))
        assert next(held).version == 1
        never = threading.Event()
        stack.callback(never.set)
        first = sp.RecordBatch(run_id=run.run_id, spool_id="dead")
        silent = dead.Push(_once(first, never))

        threads = [threading.Thread(target=arm.act) for arm in arms]
        for thread in threads:
            thread.start()
        for version in range(2, 12):
            run.publisher.publish(version, bytes([version]) * (3 << 20))
        for thread in threads:
            thread.join()
        leaving, staying = arms[: count // 4], arms[count // 4 :]
        for arm in leaving:
            arm.leave()
        coming = [Arm(run, tmp_path, count + number) for number in range(count // 4)]
        for arm in coming:
            arm.act()
        run.publisher.publish(12, bytes(3 << 20))
        for arm in (*staying, *coming):
            wait_for(lambda arm=arm: not arm.spool.undelivered, 100)
            wait_for(lambda arm=arm: arm.downlink.version == 12, 100)

        found = {status.actor: status for status in run.ingest.spools()}
        assert {found[arm.name].training_steps for arm in (*arms, *coming)} == {STEPS * EPISODES}
        wait_for(lambda: not any(s.connected for s in run.ingest.spools() if s.actor in {a.name for a in leaving}))
        found = {status.actor: status for status in run.ingest.spools()}
        assert all(found[arm.name].connected for arm in (*staying, *coming))
        assert found["dead"].connected
        for arm in (*staying, *coming):
            arm.leave()
        silent.cancel()
        held.cancel()
    entries = list(run.log.read())
    sequences = {}
    for _, entry in entries:
        assert entry.record.sequence == sequences.get(entry.spool_id, 0) + 1, "every record once, in order"
        sequences[entry.spool_id] = entry.record.sequence
    assert Counter(sequences.values()) == {EPISODES * (STEPS + 2): count + count // 4}


def _once(batch, ended):
    yield batch
    ended.wait()
