"""Learner and actor in network namespaces of their own: real TCP with delay, loss and partitions, encrypted."""

import time

import pytest


@pytest.mark.long
def test_delay_loss_and_a_partition_longer_than_keepalive_lose_nothing(tmp_path):
    from faults.namespaces import Wire, why_not
    from faults.tree import Tree

    if reason := why_not():
        pytest.skip(reason)
    with Wire(delay_s=0.04, loss=0.03) as wire, Tree(tmp_path / "tree", mutual=True, wire=wire) as tree:
        tree.await_steps(50)
        wire.delay_s, wire.loss = 0.2, 0.1
        tree.await_steps(50)
        wire.delay_s, wire.loss = 0.02, 0.0
        for seconds in (1.0, 8.0):
            wire.cut = True
            time.sleep(seconds)
            executed = len(tree.recorded)
            wire.cut = False
            tree.await_steps(20)
            assert len(tree.recorded) > executed
            found = tree.difference()
            assert (found.duplicated, found.unordered) == (0, False)
        found = tree.finish()
        assert (found.lost, found.duplicated, found.unordered) == (0, 0, False)
