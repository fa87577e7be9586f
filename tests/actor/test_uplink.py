"""Delivery to the real service, of records that are not there yet or cannot be read."""

import contextlib
import errno
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from actor.console import ActorConsole
from actor.shared import Board, Phase, create_block
from actor.spool import Spool
from actor.spool_folder import SpoolFolder
from actor.uplink import Backoff, SaidRarely, Uplink
from envs.generic import GymConfig
from envs.so101_interface import SO101SimConfig
from episodes.image_codec import ImageCodec
from learner.ingest import IngestError
from transport import records_pb2 as records
from transport import service_pb2 as pb
from transport.channel import PROTOCOL, open_channel


@contextlib.contextmanager
def uplink_to(run, spool, *codec):
    """An uplink of a spool to a bench that it joins as ``arm``."""
    join = pb.JoinRequest(
        protocol=PROTOCOL,
        run_id=run.run_id,
        actor="arm",
        spool_id=spool.spool_id,
        contract=run.contract.to_message(),
    )
    with open_channel(f"localhost:{run.port}", run.token) as channel:
        yield Uplink(channel, spool, join, Board(create_block(Board.SIZE)), lambda text: None, *codec)


@pytest.fixture
def uplink(bench, tmp_path):
    """An uplink to a bench, of a spool with one record; to be started by the test."""
    run = bench("gym", GymConfig(id="Witness-v0"))
    folder = SpoolFolder(tmp_path / "spools", "arm")
    spool, _ = folder.open(run.run_id, run.contract, 1)
    observation = [np.zeros(3, np.float32).tobytes()]
    spool.start_episode(
        records.EpisodeStart(episode_id="0" * 32, purpose=records.PURPOSE_TRAINING, observation=observation)
    )
    with uplink_to(run, spool) as one:
        one.spool, one.run = spool, run
        yield one
        one.finish(0.0)
    folder.close()


def test_a_record_is_sent_once_it_is_whole(uplink, wait_for):
    read, looks = uplink.spool.read, []

    def late(sequence):
        looks.append(sequence)
        return read(sequence) if len(looks) > 20 else None

    uplink.spool.read = late
    uplink.start()
    wait_for(lambda: uplink.spool.acknowledged == 1)
    assert uplink.error == ""


def test_a_record_that_never_becomes_whole_ends_delivery(uplink, wait_for, monkeypatch):
    monkeypatch.setattr("actor.uplink._WHOLE_AFTER_S", 0.1)
    uplink.spool.read = lambda sequence: None
    uplink.start()
    wait_for(lambda: uplink.error)
    assert "is damaged at record 1. Start the actor again" in uplink.error


def test_a_record_that_is_none_ends_delivery_instead_of_being_tried_for_ever(uplink, wait_for):
    uplink.spool.read = lambda sequence: b"no record"
    uplink.start()
    wait_for(lambda: uplink.error)
    assert "the learner refuses this actor: the bytes are no message of this call" in uplink.error
    wait_for(lambda: not uplink._thread.is_alive())


def test_a_spool_that_cannot_be_read_ends_delivery(uplink, wait_for):
    def read(sequence):
        raise OSError(5, "Input/output error")

    uplink.spool.read = read
    uplink.start()
    wait_for(lambda: uplink.error)
    assert "spool.bin cannot be read: OSError" in uplink.error
    assert f"Move {uplink.spool.path.parent} away and start again" in uplink.error
    wait_for(lambda: not uplink._thread.is_alive())


def test_what_an_earlier_stream_delivers_meanwhile_is_not_read_again(tmp_path):
    spool = Spool.create(
        tmp_path / "spool.bin", run_id="run-a", actor="arm", fingerprint="", slot_bytes=2048, capacity=8
    )
    amendment = records.Amendment(episode_id="0" * 32)
    for _ in range(8):
        spool.amend(amendment)
    with open_channel("localhost:1", "token") as channel:
        uplink = Uplink(channel, spool, pb.JoinRequest(), Board(create_block(Board.SIZE)), lambda text: None)
        batches = uplink._requests(pb.JoinReply(max_message_bytes=128, window_bytes=128), threading.Event())
        next(batches)
        assert sequences(next(batches))[0] == 1
        uplink._take(pb.Acknowledgement(sequence=7))
        for _ in range(7):
            spool.amend(amendment)
        assert sequences(next(batches))[0] == 8, "records 2 to 7 are not there any more"

        codec = SimpleNamespace(compress=lambda payload: (uplink._take(pb.Acknowledgement(sequence=9)), payload)[1])
        uplink._take(pb.Acknowledgement(sequence=8))
        uplink._images = codec
        assert sequences(next(batches))[0] == 10, "acknowledged while it was being copied"
    assert uplink.error == ""


def sequences(batch):
    return [record.sequence for record in pb.RecordBatch.FromString(batch).records]


def test_a_learner_whose_disk_is_full_is_no_learner_that_is_behind(bench, actor, wait_for):
    run = bench("gym", GymConfig(id="Witness-v0"))
    run.credit = 20
    run.publish(0)
    arm = actor(run.port)
    wait_for(lambda: len(run.steps) == 20 and "holding: the learner is behind" in arm.text)
    append, why = run.log.append, f"the learner cannot store steps: the disk of {run.folder} is full: free some space"

    def no_room(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    run.log.append, run.credit = no_room, 40
    wait_for(lambda: len(arm.witnessed) == 40 and f"actor: state holding: {why}" in arm.text)
    assert f"actor: {why}" in arm.text
    run.log.append, run.credit = append, 60
    wait_for(lambda: len(run.steps) == 60)
    wait_for(lambda: "actor: the learner stores steps again" in arm.text)
    assert arm.text.count("actor: the learner cannot store steps") == 1


def test_what_a_learner_says_is_wrong_is_bounded_and_neither_markup_nor_orders_to_a_terminal(
    uplink, capsys, monkeypatch
):
    uplink._take(pb.Acknowledgement(fault="[red]full[/red] \x1b[2J" + 5000 * "x"))
    assert len(uplink.fault) == 400
    board = Board(create_block(Board.SIZE))
    board.beat(Phase.WAITING_LEARNER)
    with ActorConsole(board, "arm", 1.0) as console:
        console.refresh(connected=True, undelivered=3, fault=uplink.fault)
    said = capsys.readouterr().out
    assert "state holding: the learner cannot store steps: [red]full[/red]  [2Jxxx" in said
    assert "\x1b" not in said
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "600")
    with ActorConsole(board, "arm", 1.0) as console:
        console.refresh(connected=True, undelivered=3, fault=uplink.fault)
    assert "the learner cannot store steps: [red]full[/red]  [2Jxxx" in capsys.readouterr().out
    uplink._set_connected(False)
    assert uplink.fault == ""
    uplink.start()


def test_attempts_become_rarer_until_the_learner_acknowledges(uplink, wait_for, monkeypatch):
    waits, ingest = [], uplink.run.ingest
    wait, accept = Backoff.wait, ingest.accept
    monkeypatch.setattr(Backoff, "wait", lambda self, stopped: waits.append(self._next_s) or wait(self, stopped))

    def fail(spool_id, payloads):
        raise IngestError("the log cannot be written")

    ingest.accept = fail
    uplink.start()
    wait_for(lambda: len(waits) >= 4)
    assert waits[:4] == sorted(set(waits[:4])), "each Join was answered, and no Push acknowledged"
    ingest.accept = accept
    wait_for(lambda: uplink.connected)
    failed = len(waits)
    uplink.run.stop()
    wait_for(lambda: len(waits) > failed)
    assert waits[failed] == waits[0]
    uplink.run.start()


def test_an_actor_whose_name_stays_anothers_is_replaced(bench, uplink, wait_for, monkeypatch):
    monkeypatch.setattr("actor.uplink.NAME_WAIT_S", 0.5)
    ingest = uplink.run.ingest
    ingest.join("another", "arm")
    ingest.connected("another", 1)
    uplink.start()
    wait_for(lambda: uplink.replaced)
    ingest.connected("another", -1)
    wait_for(lambda: uplink.connected and not uplink.replaced)


def test_compressed_images_are_logged_as_they_were(bench, tmp_path, wait_for):
    run = bench("so101_sim", SO101SimConfig(obs="pixels", image_width=32, image_height=32))
    codec = ImageCodec(run.contract.stored)
    restored = []
    received = run.server._servicer._pushes._images
    received.restore = lambda payloads, most, real=received.restore: restored.extend(payloads) or real(payloads, most)
    folder = SpoolFolder(tmp_path / "spools", "arm")
    spool, _ = folder.open(run.run_id, run.contract, 1)
    random = np.random.default_rng(0)
    features = run.contract.stored
    seen = [
        random.integers(0, 256, f.nbytes, np.uint8) if f.is_image else np.zeros(f.nbytes, np.uint8) for f in features
    ]
    spool.start_episode(
        records.EpisodeStart(
            episode_id="0" * 32, purpose=records.PURPOSE_TRAINING, observation=[item.tobytes() for item in seen]
        )
    )
    zeros = [0.0] * run.contract.interface.action.shape[0]
    for index in range(3):
        seen = [np.roll(item, 1) for item in seen]
        step = records.Step(episode_id="0" * 32, index=index, proposed=zeros, chosen=zeros, sent=zeros)
        spool.begin_step(step)
        spool.finish_step(step, [item.data for item in seen])
    held = [records.Record.FromString(spool.read(n + 1)) for n in range(spool.produced)]
    with uplink_to(run, spool, codec) as one:
        one.start()
        wait_for(lambda: spool.acknowledged == 4 or one.error)
        one.finish(1.0)
    folder.close()
    assert one.error == ""
    assert run.records == held
    assert len(restored) == 4


def test_the_same_line_is_said_rarely():
    said = []
    say = SaidRarely(said.append, every_s=60.0)
    for text in ("a", "a", "b", "a", "b"):
        say(text)
    assert said == ["a", "b"]
    soon = SaidRarely(said.append, every_s=0.0)
    soon("c")
    soon("c")
    assert said == ["a", "b", "c", "c"]


def test_attempts_follow_quickly_for_as_long_as_a_restart_takes_and_then_rarely():
    waits = []
    stopped = SimpleNamespace(wait=waits.append)
    backoff = Backoff(first_s=0.05, most_s=0.4, later_s=2.0)
    for _ in range(20):
        backoff.wait(stopped)
    assert waits[0] <= 0.05
    assert max(waits) <= 0.4
    assert len(set(waits)) == 20, "many actors would come at once"
    backoff = Backoff(first_s=0.05, most_s=0.4, later_s=2.0, patient_s=0.0)
    for _ in range(20):
        backoff.wait(stopped)
    assert 0.4 < max(waits) <= 2.0
    backoff.reset()
    backoff.wait(stopped)
    assert waits[-1] <= 0.05
