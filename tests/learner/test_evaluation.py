import dataclasses
import itertools

from episodes.outcome import Outcome, Purpose
from episodes.seeds import SeedStream, start_seed
from learner.config import EvaluationConfig
from learner.episode_metrics import EpisodeMetrics
from learner.evaluation import EvaluationResult, EvaluationSchedule
from transport import records_pb2 as pb

CONFIG = EvaluationConfig(every_env_steps=500, episodes=4, success_mark=0.95, in_a_row=2, patience_s=30.0)
_ids = itertools.count()


def ask(schedule: EvaluationSchedule, env_steps: int = 500, now_s: float = 0.0, spool_id: str = "a"):
    return schedule.ask(
        version=3,
        env_steps=env_steps,
        updates=2 * env_steps,
        checkpoint=f"{env_steps:08d}-1",
        payload=b"weights",
        spool_id=spool_id,
        now_s=now_s,
    )


def run(schedule, evaluation_id, outcomes, *, steps=5, now_s=1.0, purpose=Purpose.EVALUATION, reward=0.0):
    """Feeds the log entries of evaluation episodes; returns the result, where there was one."""
    metrics, result = EpisodeMetrics(0.9), None
    for outcome in outcomes:
        episode_id = f"{next(_ids):032x}"
        bodies = [{"start": pb.EpisodeStart(episode_id=episode_id, purpose=purpose, evaluation_id=evaluation_id)}]
        bodies += [
            {"step": pb.Step(episode_id=episode_id, index=i, rewards=[pb.Reward(source="env", value=reward)])}
            for i in range(steps)
        ]
        bodies += [{"end": pb.EpisodeEnd(episode_id=episode_id, outcome=outcome, author="env", steps=steps)}]
        for body in bodies:
            entry = pb.LogEntry(spool_id="a", record=pb.Record(**body))
            result = schedule.apply(entry, metrics.apply(entry), now_s) or result
    return result


def results(*rates: float, cycle: float | None = 15.0) -> list[EvaluationResult]:
    return [EvaluationResult(i + 1, i, 500 * i, 0, "c", round(20 * r), 20, cycle, 0.0) for i, r in enumerate(rates)]


def test_an_evaluation_is_due_every_so_many_steps_and_one_at_a_time():
    schedule = EvaluationSchedule(CONFIG, seed=0)
    assert not schedule.due(499)
    assert schedule.due(512)
    request = ask(schedule, 512)
    assert not schedule.due(5000)
    run(schedule, request.evaluation_id, [Outcome.SUCCESS] * 4)
    assert not schedule.due(999)
    assert schedule.due(1000)


def test_kept_for_evaluations_are_the_best_the_pending_and_those_that_may_end_training():
    schedule = EvaluationSchedule(CONFIG, seed=0)
    assert schedule.candidates == []
    kept = {}
    for steps, successes in ((500, 3), (1000, 0), (1500, 2), (2000, 4), (2500, 3)):
        request = ask(schedule, steps)
        assert request.checkpoint in schedule.candidates
        run(schedule, request.evaluation_id, [Outcome.SUCCESS] * successes + [Outcome.FAILURE] * (4 - successes))
        kept[steps] = sorted({int(name.partition("-")[0]) for name in schedule.candidates})
    assert kept == {500: [500], 1000: [500], 1500: [500], 2000: [2000], 2500: [2000]}
    run(schedule, ask(schedule, 3000).evaluation_id, [Outcome.SUCCESS] * 4, steps=9)
    run(schedule, ask(schedule, 3500).evaluation_id, [Outcome.SUCCESS] * 4, steps=8)
    assert {int(name.partition("-")[0]) for name in schedule.candidates} == {2000, 3000, 3500}, (
        "slower, but they end it"
    )


def test_the_checkpoint_of_an_evaluation_is_kept_while_its_result_is_taken():
    kept = []

    class Results(list):
        def append(self, result):
            kept.append(set(schedule.candidates))
            super().append(result)

    schedule = EvaluationSchedule(CONFIG, seed=0)
    schedule.results = Results()
    for steps in (500, 1000):
        run(schedule, ask(schedule, steps).evaluation_id, [Outcome.SUCCESS] * 4, steps=steps // 100)
    assert kept == [{"00000500-1"}, {"00000500-1", "00001000-1"}]


def test_a_result_counts_successes_and_their_cycle():
    schedule = EvaluationSchedule(CONFIG, seed=0)
    request = ask(schedule)
    outcomes = [Outcome.SUCCESS, Outcome.FAILURE, Outcome.TIMEOUT, Outcome.SUCCESS]
    assert run(schedule, request.evaluation_id, outcomes[:3], steps=7) is None
    result = run(schedule, request.evaluation_id, outcomes[3:], steps=9)
    assert result is not None
    assert (result.successes, result.episodes, result.success_rate, result.cycle_steps) == (2, 4, 0.5, 8.0)
    assert result.checkpoint == "00000500-1"
    assert schedule.results == [result]
    assert schedule.best is result


def test_cut_episodes_and_those_of_other_requests_do_not_count():
    schedule = EvaluationSchedule(CONFIG, seed=0)
    request = ask(schedule)
    run(schedule, request.evaluation_id, [Outcome.CUT] * 4)
    run(schedule, request.evaluation_id + 1, [Outcome.SUCCESS] * 4)
    run(schedule, request.evaluation_id, [Outcome.SUCCESS] * 4, purpose=Purpose.TRAINING)
    assert request.episodes == []


def test_starts_are_of_the_selection_stream_and_differ_between_evaluations():
    schedule = EvaluationSchedule(CONFIG, seed=7)
    first = ask(schedule)
    assert first.first_seed == start_seed(7, SeedStream.SELECTION, "", 0)
    run(schedule, first.evaluation_id, [Outcome.SUCCESS] * 4)
    assert ask(schedule, 1000).first_seed == start_seed(7, SeedStream.SELECTION, "", 1)


def test_another_actor_gets_it_from_its_beginning_when_the_first_leaves_or_falls_silent():
    schedule = EvaluationSchedule(CONFIG, seed=0)
    request = ask(schedule, now_s=0.0)
    assert not schedule.silent(["a", "b"], 29.0)
    run(schedule, request.evaluation_id, [Outcome.SUCCESS] * 3, now_s=25.0)
    assert not schedule.silent(["a", "b"], 54.0)
    assert schedule.silent(["a", "b"], 56.0)
    assert schedule.silent(["b"], 26.0)
    old, seed = request.evaluation_id, request.first_seed
    again = schedule.ask_again("b", 60.0)
    assert (again.spool_id, again.episodes, again.first_seed) == ("b", [], seed)
    assert again.evaluation_id > old
    assert run(schedule, old, [Outcome.SUCCESS]) is None
    result = run(schedule, again.evaluation_id, [Outcome.SUCCESS] * 4)
    assert result is not None
    assert result.episodes == 4


def test_best_is_by_success_and_then_by_the_shorter_cycle():
    schedule = EvaluationSchedule(CONFIG, seed=0)
    for successes, steps in ((3, 5), (4, 20), (4, 12), (4, 15), (2, 3)):
        request = ask(schedule)
        outcomes = [Outcome.SUCCESS] * successes + [Outcome.FAILURE] * (4 - successes)
        run(schedule, request.evaluation_id, outcomes, steps=steps)
    assert schedule.best is schedule.results[2]
    assert results(0.0, cycle=None)[0].rank < results(0.05)[0].rank


def test_best_of_a_task_without_success_is_by_return_and_success_stays_first():
    schedule = EvaluationSchedule(CONFIG, seed=0)
    for reward in (-2.0, -0.5, -1.0):
        run(schedule, ask(schedule).evaluation_id, [Outcome.TIMEOUT] * 4, reward=reward)
    assert [r.episode_return for r in schedule.results] == [-10.0, -2.5, -5.0]
    assert schedule.best is schedule.results[1]
    run(schedule, ask(schedule).evaluation_id, [Outcome.SUCCESS, *[Outcome.TIMEOUT] * 3], reward=-9.0)
    assert schedule.best is schedule.results[3]


def test_state_comes_back_and_a_pending_evaluation_is_due_again():
    schedule = EvaluationSchedule(CONFIG, seed=0)
    run(schedule, ask(schedule, 500).evaluation_id, [Outcome.SUCCESS] * 4)
    pending = ask(schedule, 1003)
    other = EvaluationSchedule(CONFIG, seed=0)
    other.load_state(schedule.state())
    assert other.results == schedule.results
    assert other.best == schedule.best
    assert other.pending is None
    assert other.due(1003)
    assert ask(other, 1003).evaluation_id > pending.evaluation_id
    other.skip_ids(40)
    assert other.ask_again("b", 0.0).evaluation_id == 41


def test_no_evaluations_where_none_are_asked_for():
    schedule = EvaluationSchedule(dataclasses.replace(CONFIG, every_env_steps=0), seed=0)
    assert not schedule.due(10_000)
