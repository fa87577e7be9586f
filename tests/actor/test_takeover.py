"""Actors of one name over real gRPC, across a restart of the learner: the newer one has the name."""

from types import SimpleNamespace

import pytest

from actor.config import ActorConfig
from actor.describe import JoinError
from actor.joining import join_folder
from actor.shared import Board, create_block
from actor.spool_folder import SpoolFolder
from envs.generic import GymConfig
from transport.channel import open_channel


@pytest.fixture
def join(tmp_path):
    """Joins a learner as ``arm``, each from a machine of its own; the uplinks end with the test."""
    made = []

    def begin(run, machine, *, takeover=False):
        folder = SpoolFolder(tmp_path / machine, "arm")
        channel = open_channel(f"localhost:{run.port}", run.token)
        made.append((folder, channel))
        of_run = SimpleNamespace(description=SimpleNamespace(run_id=run.run_id), contract=run.contract)
        console, stop = SimpleNamespace(say=lambda text: None), SimpleNamespace(asked=False)
        board = Board(create_block(Board.SIZE))
        _, uplink = join_folder(ActorConfig(takeover=takeover), of_run, folder, channel, board, console, stop)
        made[-1] += (uplink,)
        return uplink

    yield begin
    for folder, channel, *uplinks in made:
        for uplink in uplinks:
            if uplink._thread.ident:
                uplink.finish(0.0)
        channel.close()
        folder.close()


def test_the_newer_actor_has_the_name_after_a_restart_even_where_the_older_comes_back_first(bench, join, wait_for):
    run = bench("gym", GymConfig(id="Witness-v0"))
    older = join(run, "older")
    newer = join(run, "newer", takeover=True)
    run.stop()
    run.start()
    older.start()
    wait_for(lambda: older.connected)
    newer.start()
    wait_for(lambda: newer.connected and older.replaced)
    assert not newer.replaced
    with pytest.raises(JoinError, match="takeover=true"):
        join(run, "third")
    newest = join(run, "fourth", takeover=True)
    wait_for(lambda: newer.replaced)
    run.stop()
    run.start()
    newest.start()
    wait_for(lambda: newest.connected and older.replaced and newer.replaced and newer.connected)
    assert not newest.replaced
