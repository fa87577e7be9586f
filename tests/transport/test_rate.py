import asyncio
import time

import pytest

from transport.rate import MOST_WAIT_S, Rate, Turns, TurnsOfEach


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_burst_is_free_and_then_turns_come_at_their_rate():
    clock = Clock()
    rate = Rate(10.0, 3, clock)
    assert [rate.wait_s() for _ in range(3)] == [0.0, 0.0, 0.0]
    assert rate.wait_s() == pytest.approx(0.1)
    assert rate.wait_s() == pytest.approx(0.2)
    clock.now = 100.0
    assert [rate.wait_s() for _ in range(3)] == [0.0, 0.0, 0.0]


def test_nobody_waits_for_longer_than_the_most_and_a_flood_leaves_no_debt():
    clock = Clock()
    rate = Rate(10.0, 1, clock)
    waits = [rate.wait_s() for _ in range(1000)]
    assert max(waits) <= MOST_WAIT_S
    clock.now = MOST_WAIT_S
    assert rate.wait_s() <= 0.2


def test_a_crowd_takes_its_turns_at_the_rate_however_long_that_lasts():
    async def crowd():
        turns, began = Turns(100.0, 1), time.monotonic()
        await asyncio.gather(*(turns.wait() for _ in range(31)))
        return time.monotonic() - began

    assert asyncio.run(crowd()) >= 0.3


def test_who_hangs_up_while_waiting_costs_the_others_no_turn():
    async def crowd():
        turns = Turns(10.0, 1)
        await turns.wait()
        gone = [asyncio.create_task(turns.wait()) for _ in range(200)]
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        await asyncio.wait_for(turns.wait(), 15.0)

    asyncio.run(crowd())


def test_hosts_have_turns_of_their_own_and_are_forgotten_in_time(monkeypatch):
    monkeypatch.setattr("transport.rate._MOST_HOSTS", 2)

    async def waits(turns, host):
        try:
            await asyncio.wait_for(turns.wait(host), 0.05)
        except TimeoutError:
            return True
        return False

    async def hosts():
        turns = TurnsOfEach(0.001, 1)
        return [await waits(turns, host) for host in "aabca"]

    assert asyncio.run(hosts()) == [False, True, False, False, False], "the last a was forgotten"
