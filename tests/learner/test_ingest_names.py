"""The ingest without the wire: whose an actor's name is, before and after a restart."""

import pytest

from learner.ingest import Ingest, NameTakenError, NotJoinedError
from tests.learner.ingest_parts import serialized, until


def test_a_name_is_one_actors_until_its_stream_is_gone(ingest):
    with pytest.raises(NameTakenError, match=r"another actor named 'arm' serves this learner\. Stop it, or give this"):
        ingest.join("b", "arm")
    assert ingest.join("a", "arm") == 0, "the same spool may join again"
    ingest.connected("a", 1)
    with pytest.raises(NameTakenError):
        ingest.join("b", "arm")
    ingest.connected("a", -1)
    ingest.join("b", "arm")
    with pytest.raises(NotJoinedError, match="call Join first"):
        ingest.accept("a", ())


def test_the_name_of_an_actor_that_joined_and_never_came_is_free_again(ingest, monkeypatch):
    monkeypatch.setattr("learner.claims.JOINED_HOLDS_NAME_S", 0.0)
    assert ingest.join("b", "arm") == 0


def test_takeover_lets_the_older_spool_deliver_and_tells_it_to_end(ingest, episode):
    ingest.connected("a", 1)
    records = serialized(episode(1, 3))
    ingest.accept("a", records[:2])
    assert not ingest.progress("a").replaced
    assert ingest.join("b", "arm", takeover=True) == 0
    assert ingest.progress("a").replaced
    assert not ingest.progress("b").replaced
    ingest.accept("a", records[2:])
    ingest.connected("a", -1)
    ingest.connected("b", 1)
    ingest.join("a", "arm")
    assert ingest.progress("a").replaced, "it comes back while the name is the other's"
    ingest.connected("b", -1)
    ingest.join("a", "arm")
    assert not ingest.progress("a").replaced, "the name is free again"


def test_an_actor_that_was_cut_off_during_the_takeover_is_told_when_it_comes_back(ingest, monkeypatch):
    monkeypatch.setattr("learner.claims.JOINED_HOLDS_NAME_S", 0.0)
    ingest.connected("a", 1)
    ingest.connected("a", -1)
    ingest.join("b", "arm", takeover=True)
    ingest.connected("b", 1)
    ingest.join("a", "arm")
    assert ingest.progress("a").replaced
    assert not ingest.progress("b").replaced


@pytest.fixture
def restarted(ingest, log, contract):
    """Another process on the same log, to which ``b`` and ``a`` show that ``b`` had the name last."""
    older = ingest.claim("a")
    ingest.join("b", "arm", takeover=True)
    ingest.close()
    opened = Ingest(log, contract)
    yield opened, {"a": older, "b": ingest.claim("b")}
    opened.close()


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_after_a_restart_the_name_is_the_newer_actors_whoever_comes_back_first(restarted, order):
    ingest, claims = restarted
    for spool_id in order:
        ingest.join(spool_id, "arm", claim=claims[spool_id])
        ingest.connected(spool_id, 1)
    assert ingest.progress("a").replaced
    assert not ingest.progress("b").replaced
    assert ingest.claim("b") == claims["b"]
    ingest.accept("a", ())


def test_after_a_restart_a_later_takeover_is_newer_than_all_before(restarted, episode):
    ingest, claims = restarted
    ingest.join("b", "arm", claim=claims["b"])
    ingest.accept("b", serialized(episode(1, 3)))
    ingest.join("c", "arm", takeover=True)
    assert until(lambda: ingest.progress("b").sequence == 5)
    ingest.join("d", "arm", takeover=True)
    assert claims["a"] < claims["b"] < ingest.claim("c") < ingest.claim("d")


def test_who_only_delivers_takes_no_name_with_a_claim(ingest):
    ingest.connected("a", 1)
    ingest.join("b", "arm", deliver_only=True, claim=ingest.claim("a") + 1)
    assert not ingest.progress("a").replaced


def test_a_claim_that_nobody_disputes_is_no_takeover(ingest, monkeypatch):
    monkeypatch.setattr("learner.claims.JOINED_HOLDS_NAME_S", 0.0)
    ingest.join("b", "arm")
    ingest.join("b", "arm", claim=ingest.claim("b"))
    ingest.connected("b", 1)
    with pytest.raises(NameTakenError):
        ingest.join("a", "arm")


@pytest.mark.parametrize("claim", [1 << 62, (1 << 64) - 1])
def test_a_claim_of_any_size_ends_nothing(ingest, claim):
    ingest.join("b", "arm", claim=claim)
    ingest.join("c", "arm", takeover=True)
    assert ingest.claim("c") < 1 << 63


def test_a_spool_that_only_delivers_asks_for_no_name(ingest, episode):
    ingest.connected("a", 1)
    assert ingest.join("b", "arm", deliver_only=True) == 0
    ingest.accept("b", serialized(episode(1, 3)))
    assert not ingest.progress("a").replaced
    ingest.accept("a", serialized(episode(2, 3)))
    ingest.connected("b", 1)
    ingest.connected("a", -1)
    assert ingest.join("c", "arm") == 0, "who delivers holds no name"
