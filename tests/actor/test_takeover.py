"""Actors of one name over real gRPC, across a restart of the learner: the newer one has the name."""

import shutil
from types import SimpleNamespace

import pytest

from actor.config import ActorConfig
from actor.describe import JoinError
from actor.joining import join_folder
from actor.shared import Board, create_block
from actor.spool_folder import SpoolFolder
from envs.generic import GymConfig
from transport import records_pb2 as records
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


def logged(run, uplink):
    """Has the learner log a record of the actor, and start again."""
    spool = uplink._spool
    start = records.EpisodeStart(episode_id="0" * 32, purpose=records.PURPOSE_TRAINING, observation=[bytes(12)])
    spool.start_episode(start)
    run.ingest.accept(spool.spool_id, [spool.read(1)])
    run.stop()
    run.start()


@pytest.mark.parametrize("first", ["running", "newcomer"])
def test_after_a_restart_a_newcomer_without_takeover_ends_nobody(bench, join, wait_for, monkeypatch, first):
    monkeypatch.setattr("learner.claims.RETURN_S", 3600.0)
    monkeypatch.setattr("actor.describe.NAME_WAIT_S", 0.5)
    run = bench("gym", GymConfig(id="Witness-v0"))
    running = join(run, "running")
    logged(run, running)
    if first == "running":
        running.start()
        wait_for(lambda: running.connected)
    with pytest.raises(
        JoinError, match=r"served this learner before .* has 3600 s" if first == "newcomer" else "serves"
    ):
        join(run, "newcomer")
    if first == "newcomer":
        running.start()
    wait_for(lambda: running.connected)
    assert not running.replaced


def test_after_a_restart_an_actor_waits_for_the_name_only_where_its_spool_is_another(bench, join, monkeypatch):
    monkeypatch.setattr("learner.claims.RETURN_S", 1.0)
    run = bench("gym", GymConfig(id="Witness-v0"))
    gone = join(run, "gone")
    logged(run, gone)
    join(run, "other")
    monkeypatch.setattr("learner.claims.RETURN_S", 3600.0)
    run.stop()
    run.start()
    assert run.ingest.join(gone._spool.spool_id, "arm") == 1


def test_a_takeover_after_a_restart_is_newer_than_all_before_also_where_nothing_was_logged(bench, join, wait_for):
    run = bench("gym", GymConfig(id="Witness-v0"))
    join(run, "first")
    second = join(run, "second", takeover=True)
    run.stop()
    run.start()
    third = join(run, "third", takeover=True)
    third.start()
    wait_for(lambda: third.connected)
    second.start()
    wait_for(lambda: second.replaced)
    assert not third.replaced


def test_of_two_processes_with_a_copied_spool_the_second_is_refused_or_ends_the_first(
    bench, join, wait_for, monkeypatch, tmp_path
):
    monkeypatch.setattr("actor.describe.NAME_WAIT_S", 0.5)
    monkeypatch.setattr("actor.uplink.NAME_WAIT_S", 0.5)
    run = bench("gym", GymConfig(id="Witness-v0"))
    card = join(run, "card")
    shutil.copytree(tmp_path / "card", tmp_path / "copy")
    card.start()
    wait_for(lambda: card.connected)
    with pytest.raises(JoinError, match=rf"another process sends spool '{card._spool.spool_id}' of actor 'arm'"):
        join(run, "copy")
    assert not card.replaced
    shutil.copytree(tmp_path / "card", tmp_path / "second-copy")
    copy = join(run, "second-copy", takeover=True)
    copy.start()
    wait_for(lambda: copy.connected and card.replaced)
    assert not copy.replaced
