"""Demonstrations by the scripted operator into a log of their own."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from actor.evaluate import evaluate
from actor.marking import count_near_misses
from actor.operators import make_operator
from actor.record import RecordConfig, count_successes, record
from envs.generic import GymConfig
from envs.so101_sim import SO101SimConfig, derive_contract
from episodes.contract_file import load_contract
from episodes.layout import ObservationLayout
from episodes.log import EpisodeLog, read_log
from episodes.outcome import Purpose
from episodes.seeds import SeedStream, start_seed
from episodes.spool_position import SpoolPosition
from episodes.validation import check_record
from learner.demonstrations import import_demonstrations
from policies.snapshot import SnapshotError, save_snapshot
from policies.spec import build_policy, spec_from_contract
from reward.config import HumanReward

REACH = SO101SimConfig(task="reach")
CONTRACT = derive_contract(REACH)


def config(out, **settings):
    return RecordConfig(**({"env": "so101_sim", "env_config": REACH, "out": str(out), "episodes": 3} | settings))


def records(out):
    return [entry.record for _, entry in read_log(out / "log")]


def test_records_what_a_learner_takes(tmp_path):
    out = tmp_path / "demos"
    assert record(config(out)) == 0
    position, layout = SpoolPosition(), ObservationLayout(CONTRACT.stored)
    for one in records(out):
        check_record(one, layout, 4)
        position.advance(one)
    assert load_contract(out / "contract.json") == CONTRACT
    assert count_successes(out) == (3, 3)
    assert {r.start.purpose for r in records(out) if r.HasField("start")} == {Purpose.DEMONSTRATION}
    assert all(r.step.human for r in records(out) if r.HasField("step"))
    fingerprint = CONTRACT.interface_fingerprint
    with EpisodeLog(tmp_path / "run", run_id="run-a", interface_fingerprint=fingerprint, sync="os") as log:
        assert import_demonstrations(out, log, CONTRACT) == 3


def test_adds_what_is_missing_with_other_starts(tmp_path):
    assert record(config(tmp_path, episodes=2)) == 0
    assert record(config(tmp_path, episodes=4)) == 0
    starts = [r.start.start_seed for r in records(tmp_path) if r.HasField("start")]
    assert len(starts) == len(set(starts)) == 4
    assert starts == [start_seed(0, SeedStream.DEMONSTRATION, "record", n) for n in range(4)]
    before = len(records(tmp_path))
    assert record(config(tmp_path, episodes=4)) == 0
    assert len(records(tmp_path)) == before


def test_episodes_without_success_do_not_count_and_are_never_learned_from(tmp_path, capsys):
    short = replace(REACH, max_episode_steps=1)
    assert record(config(tmp_path, env_config=short, most_failures=4)) == 1
    assert "4 episodes in a row did not succeed" in capsys.readouterr().err
    ended = [r.end.episode_id for r in records(tmp_path) if r.HasField("end")]
    discarded = [r.amendment.episode_id for r in records(tmp_path) if r.HasField("amendment")]
    assert ended == discarded
    assert len(ended) == 4


class Clumsy:
    """Drives its first episode as one operator, and all others as the other."""

    def __init__(self, first, then):
        self._turns = iter((first,))
        self._one = self._then = then

    def begin_episode(self):
        self._one = next(self._turns, self._then)
        self._one.begin_episode()

    def __getattr__(self, name):
        return getattr(self._one, name)


def test_a_near_miss_that_became_a_success_counts_as_that_and_is_asked_for_again(tmp_path, monkeypatch, capsys):
    def make_clumsy(*args, near_miss, **settings):
        operator = make_operator(*args, near_miss=near_miss, **settings)
        return Clumsy(make_operator(*args, **settings), operator) if near_miss else operator

    monkeypatch.setattr("actor.record.make_operator", make_clumsy)
    lift = SO101SimConfig(task="lift")
    assert record(config(tmp_path, env_config=lift, reward=HumanReward(), episodes=2, near_misses=1)) == 0
    assert "the near miss is asked for again" in capsys.readouterr().out
    assert count_successes(tmp_path) == (2, 3)
    assert count_near_misses(tmp_path) == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"operator": "none"}, "recording needs an operator who drives"),
        ({"env": "gym", "env_config": GymConfig()}, "operator must be one of"),
        ({"pacing": "fast"}, "pacing must be lockstep or realtime. Got: 'fast'"),
    ],
)
def test_refusals(tmp_path, capsys, settings, words):
    assert record(config(tmp_path, **settings)) == 1
    assert words in capsys.readouterr().err


def test_a_folder_of_another_contract_is_refused(tmp_path, capsys):
    assert record(config(tmp_path, episodes=1)) == 0
    assert record(config(tmp_path, episodes=2, env_config=SO101SimConfig(task="lift"))) == 1
    error = capsys.readouterr().err
    assert "task: expected 'so101_sim/lift', got 'so101_sim/reach'" in error
    assert "out=PATH" in error


def test_images_are_recorded_as_the_view_shows_them_and_no_other_view_is_added(tmp_path, capsys):
    view = {"image_height": 20, "image_width": 24, "image_crop": (0, 2, 20, 20), "image_resize": (10, 10)}
    pixels = replace(REACH, obs="pixels", **view)
    assert record(config(tmp_path, episodes=1, env_config=pixels)) == 0
    layout = ObservationLayout(derive_contract(pixels).stored)
    for one in records(tmp_path):
        check_record(one, layout, 4)
    wrist = layout.unpack(records(tmp_path)[-2].step.observation)["observation.images.wrist"]
    assert wrist.shape == (10, 10, 3)
    assert wrist.std() > 5
    assert record(config(tmp_path, episodes=2, env_config=replace(pixels, image_crop=(0, 0, 20, 20)))) == 1
    assert "observation.images.front.crop: expected (0, 0, 20, 20), got (0, 2, 20, 20)" in capsys.readouterr().err
    assert record(config(tmp_path, episodes=2, env_config=replace(pixels, image_stack=3, stack=1))) == 0


def test_killed_in_the_middle_and_started_again(tmp_path):
    code = (
        "import sys; from actor.record import *; from envs.so101_sim import SO101SimConfig; "
        f"sys.exit(record(RecordConfig(env='so101_sim', env_config=SO101SimConfig(task='reach'), out={str(tmp_path)!r},"
        " episodes=3, pacing='realtime', control_hz=20.0)))"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob("log/segment-*.log")) or len(records(tmp_path)) < 5:
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert record(config(tmp_path)) == 0
    position = SpoolPosition()
    for one in records(tmp_path):
        position.advance(one)
    assert count_successes(tmp_path)[0] == 3


def test_evaluation_is_deterministic_and_judges_the_operator_too(tmp_path):
    policy = save_snapshot(build_policy(spec_from_contract(CONTRACT, hidden=(16,))), 7)
    first, second = (evaluate("so101_sim", REACH, policy=policy, episodes=2, seed=3) for _ in range(2))
    assert first == second
    assert (first.policy_version, first.episodes, len(set(first.start_seeds))) == (7, 2, 2)
    operator = evaluate("so101_sim", REACH, operator="scripted", episodes=3, seed=3, render=1)
    assert operator.successes == 3
    assert operator.start_seeds == tuple(start_seed(3, SeedStream.FINAL, "evaluation", n) for n in range(3))
    assert operator.start_seeds[:2] == first.start_seeds
    assert operator.frames[0].shape == (operator.steps[0], 360, 480, 3)
    operator.write(tmp_path / "evaluation.json")
    assert '"success_rate": 1.0' in (tmp_path / "evaluation.json").read_text()


def test_a_policy_of_another_environment_is_refused():
    policy = save_snapshot(build_policy(spec_from_contract(CONTRACT, hidden=(16,))), 7)
    with pytest.raises(
        SnapshotError, match=r"does not fit the environment so101_sim/lift:\n  sizes: expected \(16,\), got \(9,\)\n"
    ):
        evaluate("so101_sim", SO101SimConfig(task="lift"), policy=policy, episodes=1)
