"""RUN/reward is handed out when it changes, and only what fits the run."""

import os
import time

import pytest

from envs.registry import derive_contract
from envs.so101_interface import SO101SimConfig
from episodes.durable import write_durably
from learner.publisher import PolicyPublisher
from learner.reward_watch import RewardWatch
from reward.preprocessing import cameras_of
from reward.storage import sha256_of
from tests.reward.squares import constant_classifier
from tests.reward.test_stored_spec import stored
from transport import service_pb2 as sp

CONTRACT = derive_contract("so101_sim", SO101SimConfig(obs="pixels"))
CAMERAS = cameras_of(CONTRACT)


@pytest.fixture
def put(tmp_path):
    (tmp_path / "reward").mkdir()

    def write(data):
        write_durably(tmp_path / "reward" / "classifier.safetensors", data)

    return write


@pytest.fixture
def watch(tmp_path, monkeypatch):
    monkeypatch.setattr("learner.reward_watch._EVERY_S", 0.05)
    made = []

    def start(publisher, say):
        made.append(RewardWatch(tmp_path, CONTRACT, publisher, say))
        made[-1].start()

    yield start
    for one in made:
        one.stop()


def wait_for(condition, timeout_s=60.0):
    give_up = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.02)


def test_each_new_classifier_is_handed_out_by_name_and_hash(put, watch):
    publisher, said = PolicyPublisher(), []
    first, second = (constant_classifier(CAMERAS, 1.0, name=name) for name in ("first", "second"))
    put(first)
    watch(publisher, said.append)
    (chunk,) = publisher.newer_reward("").chunks()
    assert (chunk.use, chunk.reward_name, chunk.sha256) == (sp.POLICY_USE_REWARD, "first", sha256_of(first))
    assert publisher.newer_reward(sha256_of(first)) is None
    put(second)
    wait_for(lambda: publisher.newer_reward(sha256_of(first)) is not None)
    found = publisher.newer_reward(sha256_of(first))
    assert (found.payload, found.version) == (second, 2)
    assert any("classifier second@" in line for line in said)


def test_a_classifier_of_other_images_or_a_broken_file_is_refused_and_the_last_one_stays(put, watch):
    publisher, said = PolicyPublisher(), []
    good = constant_classifier(CAMERAS, 1.0)
    put(good)
    watch(publisher, said.append)
    put(constant_classifier([*CAMERAS[:1], CAMERAS[1].__class__("observation.images.side", 8, 8)], 1.0))
    wait_for(lambda: any("observation.images.side: expected this camera" in line for line in said))
    put(os.urandom(200))
    wait_for(lambda: any("cannot be read" in line for line in said))
    assert publisher.newer_reward("").payload == good


def test_a_damaged_classifier_is_named_once_and_the_next_good_one_is_handed_out(put, watch):
    publisher, said = PolicyPublisher(), []
    watch(publisher, said.append)
    put(stored("network.hidden", -1))
    wait_for(lambda: any("network.hidden must be a whole number" in line for line in said))
    nested = b"[" * 200_000
    put(len(nested).to_bytes(8, "little") + nested)
    wait_for(lambda: any("maximum recursion depth" in line for line in said))
    put(constant_classifier(CAMERAS, 1.0, name="gated", gates=("tool.h>1",)))
    wait_for(lambda: any("names 'tool.h', which is not observed" in line for line in said))
    put(constant_classifier(CAMERAS, 1.0, name="good"))
    wait_for(lambda: any("classifier good@" in line for line in said))
    assert publisher.newer_reward("") is not None
    assert [sum(word in line for line in said) for word in ("hidden", "recursion", "tool.h")] == [1, 1, 1]


def test_only_who_wants_it_is_given_the_classifier(wire):
    wire.join("s")
    wire.publisher.publish(0, b"policy")
    wire.publisher.publish_reward("lift", b"classifier")

    def pulled(**request):
        run_id = wire.description.run_id
        (chunk,) = wire.stub.PullPolicy(sp.PullPolicyRequest(run_id=run_id, spool_id="s", **request), timeout=30)
        return chunk

    assert pulled().data == b"policy"
    given = pulled(wants_reward=True)
    assert (given.use, given.reward_name, given.data) == (sp.POLICY_USE_REWARD, "lift", b"classifier")
    assert pulled(wants_reward=True, have_reward=given.sha256).data == b"policy"
