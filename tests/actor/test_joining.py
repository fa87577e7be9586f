"""What earlier actors left in their spools, and what the learner has of it, before anything moves."""

from actor.spool_folder import SpoolFolder
from envs.generic import GymConfig
from episodes.acting import ActingSettings
from transport import records_pb2 as records


def test_flush_delivers_what_every_name_left_and_says_where_there_is_none(bench, actor, tmp_path):
    run = bench("gym", GymConfig("Witness-v0"), acting=ActingSettings(warmup="operator"))
    spools = []
    for name in ("arm", "leg"):
        folder = SpoolFolder(tmp_path / "spools", name)
        spool, _ = folder.open(run.run_id, run.contract, 1)
        observation = [bytes(12)]
        spool.start_episode(
            records.EpisodeStart(
                episode_id=len(spools) * "1" + (32 - len(spools)) * "0",
                purpose=records.PURPOSE_TRAINING,
                observation=observation,
            )
        )
        spools.append(spool)
        folder.close()
    wrong = actor(run.port, name="amr", flush=True)
    assert wrong.end() == 1
    assert "no actor named 'amr' left a spool of run run-a" in wrong.text
    assert wrong.text.count("flush=true actor.name=arm actor.spool=") == 1
    assert not (tmp_path / "spools" / "amr").exists()
    every = actor(run.port, name="", flush=True)
    assert every.end() == 0, every.text
    assert every.text.count("delivered 2 records; 0 wait in") == 2
    assert [spool.undelivered for spool in spools] == [0, 0]
    assert len(run.records) == 4


def test_a_spool_that_lost_what_the_learner_has_moves_nothing(bench, actor, tmp_path):
    run = bench("gym", GymConfig("Witness-v0"))
    folder = SpoolFolder(tmp_path / "spools", "arm")
    spool, _ = folder.open(run.run_id, run.contract, 1)
    spool.start_episode(
        records.EpisodeStart(episode_id="0" * 32, purpose=records.PURPOSE_TRAINING, observation=[bytes(12)])
    )
    run.ingest.join(spool.spool_id, "arm")
    amendment = records.Amendment(episode_id="0" * 32, outcome=records.OUTCOME_DISCARDED)
    logged = [records.Record.FromString(spool.read(1)), records.Record(sequence=2, amendment=amendment)]
    run.ingest.accept(spool.spool_id, [record.SerializeToString() for record in logged])
    folder.close()
    cut = actor(run.port)
    assert cut.end() == 1
    assert "record 2 was acknowledged, but this spool has only 1: a power cut took what" in cut.text
    assert not cut.witnessed
