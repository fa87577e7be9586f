"""The end of a demo: nothing is judged twice, a stale judgement is not used, and few episodes are filmed."""

import json
from types import SimpleNamespace

import pytest

from cli import final_evaluation, step_progress
from cli.final_evaluation import film, judge
from envs.registry import derive_contract
from envs.so101_sim import SO101SimConfig
from episodes.outcome import Outcome
from metrics.report import AFTER_GIF, BEFORE_GIF
from policies.snapshot import save_snapshot
from policies.spec import build_policy, spec_from_contract

REACH = SO101SimConfig(task="reach", obs="proprio", max_episode_steps=3)
EPISODES = 2


@pytest.fixture
def policy(tmp_path):
    spec = spec_from_contract(derive_contract("so101_sim", REACH), hidden=(8,))
    path = tmp_path / "policies" / "version-0.safetensors"
    path.parent.mkdir()
    path.write_bytes(save_snapshot(build_policy(spec), 0))
    return path


@pytest.fixture
def judged(tmp_path, policy, capsys):
    """Judges, and returns what was judged anew."""

    def once(**settings):
        given = {"env_config": REACH, "episodes": EPISODES, "seed": 0} | settings
        results = judge(tmp_path, "so101_sim", policy=policy, **given)
        assert [result.episodes for result in results] == [given["episodes"]] * 2
        assert results[0].start_seeds == results[1].start_seeds
        said = capsys.readouterr().out
        return {word for word in ("Evaluating", "The scripted person") if word in said}

    return once


BOTH = {"Evaluating", "The scripted person"}


def test_what_was_judged_before_is_not_judged_again(tmp_path, judged):
    assert judged() == BOTH
    before = (tmp_path / final_evaluation.OF_POLICY).read_bytes()
    assert judged() == set()
    (tmp_path / final_evaluation.OF_PERSON).unlink()
    assert judged() == {"The scripted person"}
    assert (tmp_path / final_evaluation.OF_POLICY).read_bytes() == before


def test_another_policy_or_other_settings_are_judged_anew(judged, policy):
    judged()
    policy.write_bytes(save_snapshot(build_policy(spec_from_contract(derive_contract("so101_sim", REACH))), 1))
    assert judged() == {"Evaluating"}
    assert judged(seed=1) == BOTH
    assert judged(seed=1, episodes=1) == BOTH
    assert (
        judged(seed=1, episodes=1, env_config=SO101SimConfig(task="reach", obs="proprio", max_episode_steps=2)) == BOTH
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"of": {}}'])
def test_a_judgement_that_cannot_be_read_is_made_anew(tmp_path, judged, text):
    judged()
    (tmp_path / final_evaluation.OF_POLICY).write_text(text)
    assert judged() == {"Evaluating"}
    assert json.loads((tmp_path / final_evaluation.OF_POLICY).read_text())["episodes"] == EPISODES


def test_of_a_policy_that_fails_only_what_is_shown_is_filmed(tmp_path, policy, capsys, monkeypatch):
    monkeypatch.setattr(step_progress, "_EVERY_S", 0.0)
    film(tmp_path, "so101_sim", REACH, policy, seed=0)
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"s, episodes filmed: {2 * final_evaluation.FILMED}")
    assert (tmp_path / BEFORE_GIF).stat().st_size > 0
    assert (tmp_path / AFTER_GIF).stat().st_size > 0


@pytest.mark.parametrize(
    ("failing", "tried", "shown"),
    [({1, 4, 6}, 5, [1, 4]), ({0, 1, 2}, 2, [0, 1]), ({7}, 12, [7, 0]), (set(), 12, [0, 1])],
)
def test_the_film_shows_both_policies_on_the_first_starts_that_the_first_one_fails(
    tmp_path, policy, monkeypatch, failing, tried, shown
):
    first, last, asked, written = policy.read_bytes(), b"the last", {}, {}

    def evaluate(env, config, *, policy, starts, on_episode, **settings):
        asked[policy] = []
        for index in starts:
            asked[policy].append(index)
            on_episode(SimpleNamespace(outcome=Outcome.FAILURE if index in failing else Outcome.SUCCESS))
        outcomes = ["failure" if index in failing else "success" for index in asked[policy]]
        frames = tuple((policy, index) for index in asked[policy])
        return SimpleNamespace(episodes=len(outcomes), outcomes=outcomes, frames=frames)

    (tmp_path / "last").write_bytes(last)
    monkeypatch.setattr(final_evaluation, "evaluate", evaluate)
    monkeypatch.setattr(final_evaluation, "frozen_part", lambda *of: b"")
    monkeypatch.setattr(final_evaluation, "write_gif", lambda frames, path: written.update({path.name: list(frames)}))
    film(tmp_path, "so101_sim", REACH, tmp_path / "last", seed=0)
    assert asked == {first: list(range(tried)), last: shown}
    assert written == {BEFORE_GIF: [(first, i) for i in shown], AFTER_GIF: [(last, i) for i in shown]}


def test_progress_tells_how_far_an_evaluation_is(judged, tmp_path, policy, capsys, monkeypatch):
    monkeypatch.setattr(step_progress, "_EVERY_S", 0.0)
    judge(tmp_path, "so101_sim", REACH, policy, episodes=EPISODES, seed=0)
    said = capsys.readouterr().out
    assert said.count("s, 1 of 2: 0 succeeded\n") == 2
