"""What two processes share without locks: letters arrive whole, the newest wins."""

import math
import mmap
import multiprocessing

import numpy as np
import pytest

from actor.shared import COMMS, CONTROL, Board, Letters, Mailbox, Phase, create_block


def _write_for_ever(fd, capacity, going):
    mailbox = Mailbox(fd, capacity)
    version = 0
    while going.value:
        version += 1
        mailbox.put(bytes([version % 256]) * (capacity - version % 7), version=version)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_no_letter_is_torn_while_it_is_overwritten():
    capacity = 200_000
    fd = create_block(Mailbox.size(capacity))
    context = multiprocessing.get_context("fork")
    going = context.Value("b", 1, lock=False)
    writer = context.Process(target=_write_for_ever, args=(fd, capacity, going))
    writer.start()
    mailbox = Mailbox(fd, capacity)
    seen = set()
    while len(seen) < 300:
        letter = mailbox.get()
        if letter is not None:
            assert letter.payload == bytes([letter.version % 256]) * (capacity - letter.version % 7)
            seen.add(letter.number)
    going.value = 0
    writer.join()


@pytest.mark.parametrize("field", range(6))
def test_a_head_half_written_is_found(field):
    """The version of one letter beside the payload of another would count steps for the wrong policy."""
    fd = create_block(Mailbox.size(100))
    mailbox = Mailbox(fd, 100)
    mailbox.put(b"payload", version=258, evaluation_id=258, episodes=258, first_seed=258)
    with mmap.mmap(fd, Mailbox.size(100)) as block:
        at = block.find((258).to_bytes(8, "little")) + 8 * field
        block[at] ^= 1
    assert mailbox.get() is None


def test_the_newest_letter_is_read_and_older_ones_are_skipped():
    mailbox = Mailbox(create_block(Mailbox.size(10)), 10)
    assert mailbox.get() is None
    mailbox.put(b"old", version=1)
    mailbox.put(b"new", version=2, evaluation_id=5, episodes=20, first_seed=2**62)
    letter = mailbox.get()
    assert (letter.number, letter.version, letter.payload) == (2, 2, b"new")
    assert (letter.evaluation_id, letter.episodes, letter.first_seed) == (5, 20, 2**62)


def test_a_payload_that_does_not_fit_is_refused():
    mailbox = Mailbox(create_block(Mailbox.size(10)), 10)
    with pytest.raises(ValueError, match=r"a policy of 11 bytes is larger than actor.policy_mb allows: 10"):
        mailbox.put(bytes(11), version=1)


def test_the_board_is_seen_by_whoever_maps_it():
    fd = create_block(Board.SIZE)
    here, there = Board(fd), Board(fd)
    here.comms["step_credit"] = 1 << 40
    here.beat(Phase.RUNNING)
    here.say("closing the gripper on the cube")
    assert int(there.comms["step_credit"]) == 1 << 40
    assert Phase(int(there.control["phase"])) is Phase.RUNNING
    assert there.doing == "closing the gripper on the cube"
    assert max(COMMS.itemsize, CONTROL.itemsize) <= Board.SIZE // 2
    assert np.all(there.comms["device_events"] == 0)


def test_a_reader_takes_each_letter_once_in_parts_into_the_same_memory():
    fd = create_block(Mailbox.size(9_000_000))
    box, letters = Mailbox(fd, 9_000_000), Letters(Mailbox.open(fd))
    assert letters.newest() is None
    for version, size in ((1, 5_000_000), (2, 9_000_000), (3, 7_000_000)):
        sent = np.random.default_rng(version).bytes(size)
        box.put(sent, version=version)
        parts = 1
        while (payload := letters.newest()) is None:
            parts += 1
        assert parts == -(-size // (2 << 20))
        assert payload == sent
        assert letters.newest() is None
        if version == 2:
            memory = payload
        if version == 3:
            assert np.shares_memory(np.frombuffer(memory, np.uint8), np.frombuffer(payload, np.uint8))


def test_a_reader_that_is_overtaken_takes_the_newest_letter_at_once():
    fd = create_block(Mailbox.size(9_000_000))
    box, letters = Mailbox(fd, 9_000_000), Letters(Mailbox.open(fd))
    sent = [bytes([version]) * 9_000_000 for version in range(9)]
    taken = []
    for call in range(18):
        if call % 2 == 0:
            box.put(sent[call // 2], version=call // 2)
        if (payload := letters.newest()) is not None:
            taken.append(payload[0])
            assert payload == sent[taken[-1]]
    assert len(taken) >= 2, "it needs five calls for one letter, and two others are put meanwhile"
    assert taken == sorted(set(taken))


def test_a_reader_with_time_takes_a_letter_in_one_call():
    fd = create_block(Mailbox.size(9_000_000))
    box, letters = Mailbox(fd, 9_000_000), Letters(Mailbox.open(fd))
    box.put(bytes(9_000_000), version=1)
    assert letters.newest(math.inf) == bytes(9_000_000)
