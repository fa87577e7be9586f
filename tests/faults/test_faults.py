"""Random faults by the command a user runs, and that the comparison finds what it is for."""

import json
import subprocess
import sys
import time

import pytest


def trials(tree_module, *arguments, timeout_s):
    done = subprocess.run(
        [sys.executable, "-m", "faults.run", *arguments],
        cwd=tree_module.ROOT,
        env=tree_module.environment(),
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    assert list(found) == ["trials", "kills", "steps", "lost", "duplicated", "interrupted", "seconds"]
    assert (found["lost"], found["duplicated"]) == (0, 0), done.stderr
    assert found["interrupted"] <= found["kills"]
    assert found["steps"] > 20
    return found


def test_random_faults_lose_and_double_nothing():
    from faults import tree

    assert trials(tree, "--trials", "6", "--seed", "8", timeout_s=110)["trials"] == 6


@pytest.mark.long
def test_many_random_faults_lose_and_double_nothing():
    from faults import tree

    seed = str(int(time.time()) % 10_000)
    assert trials(tree, "--trials", "100", "--seed", seed, timeout_s=1700)["kills"] > 10


@pytest.mark.long
@pytest.mark.parametrize("seconds", [300.0])
def test_a_partition_of_five_minutes(tree, seconds):
    tree.cable.pull()
    time.sleep(seconds)
    executed = len(tree.recorded)
    tree.cable.plug()
    tree.await_steps(5)
    assert tree.actor.poll() is None
    assert tree.learner.poll() is None
    found = tree.finish()
    assert (found.lost, found.duplicated, found.unordered) == (0, 0, False)
    assert len(tree.recorded) > executed


def test_the_comparison_finds_loss_doubles_and_disorder():
    from faults.record import Difference, Logged, difference

    a, b, c = (7, 1, 11), (7, 2, 12), (7, 3, 13)
    assert difference([a, b, c], Logged([a, b, c])) == Difference(0, 0, False)
    assert difference([a, b, c], Logged([a, b], [(7, 3)])) == Difference(0, 0, False), "in flight, with its line"
    assert difference([a, b], Logged([a, b], [(7, 3)])) == Difference(0, 0, False), "in flight, without it"
    assert difference([a, b, c], Logged([a, c])) == Difference(1, 0, True)
    assert difference([a, b, c], Logged([a, b, b, c])) == Difference(0, 1, True)
    assert difference([a, b, c], Logged([b, a, c])) == Difference(0, 0, True)
    assert difference([a, b, c], Logged([a, b, c], [(7, 3)])) == Difference(0, 1, True), "both whole and interrupted"
    assert difference([a, b], Logged([a, (7, 2, 99)])) == Difference(1, 0, True), "another observation"


def test_an_interrupted_step_needs_a_killed_process_and_ends_its_episode():
    from faults.record import Logged, unexplained

    a, b, c = (7, 1, 11), (7, 2, 12), (7, 3, 13)
    assert unexplained([a, b], Logged([a, b], [(7, 3)]), killed=1) == 0, "in flight, without its line"
    assert unexplained([a, b, c], Logged([a, b], [(7, 3)]), killed=1) == 0, "in flight, with its line"
    assert unexplained([a, b, c], Logged([a, b], [(7, 3)]), killed=0) == 1, "nobody was killed"
    assert unexplained([a, b, c], Logged([a], [(7, 2)]), killed=1) == 1, "a step of the middle, called interrupted"
    assert unexplained([a, b], Logged([a, b], [(5, 9), (7, 3)]), killed=1, before=1) == 0, "one more than before"
    assert unexplained([a, b], Logged([a], [(7, 2), (8, 1)]), killed=1) == 1, "two of one kill"


def test_a_run_whose_steps_are_called_interrupted_without_a_kill_is_found(tree):
    from faults.record import DifferenceError

    tree.await_steps(1)
    assert tree.difference().duplicated == 0
    tree.check_interrupted()
    episode, step, _ = tree.log.actors["arm"].steps.pop()
    tree.log.actors["arm"].interrupted.append((episode, step))
    with pytest.raises(DifferenceError, match=r"without a reason: 0 killed"):
        tree.check_interrupted()
