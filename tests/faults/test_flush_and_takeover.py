"""What waits in a spool is delivered without an actor that moves; a name goes to a newer actor where it says so."""

import signal

import pytest

from episodes.log import read_log


def said(tree, output):
    return " ".join((tree.folder / f"{output}.txt").read_text().split())


def test_what_killed_processes_left_is_flushed_with_the_open_episode_cut(tree):
    tree.learner.kill()
    tree.learner.wait()
    executed = len(tree.recorded)
    tree.wait(lambda: len(tree.recorded) > executed + 30, "steps without a learner")
    tree.kill(tree.control_pid, tree.actor.pid)
    tree.actor.wait()
    tree.wait(lambda: len(tree.pids()) == 0, "an end of both processes")
    executed = len(tree.recorded)
    tree.start_learner()

    assert tree.actor_process("flushing", flush=True).wait(60) == 0, said(tree, "flushing")
    assert "; 0 wait in" in said(tree, "flushing")
    found = tree.difference()
    assert (found.lost, found.duplicated, found.unordered) == (0, 0, False)
    assert len(tree.recorded) == executed, "nothing moved"
    records = [entry.record for _, entry in read_log(tree.run / "log")]
    ends = [r.end for r in records if r.HasField("end")]
    assert records[-1].end.author == "actor", "the open episode was cut"
    last = [r.step for r in records if r.HasField("step") and r.step.episode_id == ends[-1].episode_id]
    assert ends[-1].steps == len(last)
    interrupted = [r.step for r in records if r.HasField("step") and r.step.interrupted]
    assert interrupted in ([], last[-1:]), "at most the last step was in flight"

    assert tree.actor_process("flushing", flush=True).wait(60) == 0
    assert "delivered 0 records; 0 wait in" in said(tree, "flushing")


@pytest.mark.long
def test_takeover_ends_the_older_actor_here_and_elsewhere_and_loses_nothing(tree):
    elsewhere = {"spool": str(tree.folder / "spools-elsewhere")}
    refused = tree.actor_process("refused", **elsewhere)
    assert refused.wait(60) == 1
    assert "another actor named 'arm' serves this learner" in said(tree, "refused")
    assert "takeover=true ends the other" in said(tree, "refused")

    first, second = tree.actor, tree.actor_process("second", takeover=True)
    assert first.wait(60) == 1, "on the same machine it is asked to end, and has the same spool"
    tree.await_steps(5)

    third = tree.actor_process("third", takeover=True, **elsewhere)
    assert second.wait(60) == 1
    assert "another actor took over the name 'arm'" in said(tree, "second")
    assert "every step is delivered" in said(tree, "second")
    back = tree.actor_process("back")
    assert back.wait(60) == 1
    assert "What waits here is delivered by flush=true; takeover=true takes the name back" in said(tree, "back")
    assert tree.actor_process("flushing", flush=True).wait(60) == 0
    tree.await_steps(5)
    third.send_signal(signal.SIGTERM)
    assert third.wait(60) == 130
    assert "every step is delivered" in said(tree, "third")
    found = tree.difference()
    assert (found.lost, found.duplicated) == (0, 0)
    assert len({entry.spool_id for _, entry in read_log(tree.run / "log")}) == 2
