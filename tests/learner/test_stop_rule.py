"""Which conditions end training, and where each of them stands."""

import pytest

from learner.config import EvaluationConfig, StopConfig
from learner.evaluation import EvaluationResult
from learner.stop_rule import StopCondition, stop_conditions
from metrics import names

CONFIG = EvaluationConfig(every_env_steps=500, episodes=4, success_mark=0.95, in_a_row=2, patience_s=30.0)


def conditions(rates, cycle, operator, interventions, cycle_ratio=1.0):
    results = [
        EvaluationResult(i + 1, i, 500 * i, 0, "c", round(20 * rate), 20, cycle, 0.0) for i, rate in enumerate(rates)
    ]
    return stop_conditions(
        results,
        CONFIG,
        StopConfig(intervention_rate=0.05, cycle_ratio=cycle_ratio),
        operator_cycle_steps=operator,
        intervention_rate=interventions,
    )


@pytest.mark.parametrize(
    ("rates", "cycle", "operator", "interventions", "stops"),
    [
        ((0.95, 1.0), 15.0, 20.0, 0.04, True),
        ((1.0,), 15.0, 20.0, 0.04, False),
        ((1.0, 0.9, 1.0), 15.0, 20.0, 0.04, False),
        ((0.5, 1.0, 0.95), 15.0, 20.0, 0.04, True),
        ((1.0, 1.0), 20.5, 20.0, 0.04, False),
        ((1.0, 1.0), 20.5, None, 0.04, True),
        ((1.0, 1.0), 15.0, 20.0, 0.05, False),
        ((1.0, 1.0), 15.0, 20.0, None, True),
        ((1.0, 1.0), None, 20.0, 0.04, False),
    ],
)
def test_training_stops_when_the_policy_succeeds_on_its_own(rates, cycle, operator, interventions, stops):
    assert all(condition.met for condition in conditions(rates, cycle, operator, interventions)) is stops


def test_where_each_condition_stands():
    assert conditions((1.0, 0.85), 17.2, 15.5, 0.07) == [
        StopCondition(names.EVAL_SUCCESS_RATE, 0.85, 0.95, False, 0, 2),
        StopCondition(names.EVAL_CYCLE_STEPS, 17.2, 15.5, False),
        StopCondition(names.INTERVENTION_RATE, 0.07, 0.05, False),
    ]
    assert conditions((0.85, 1.0), 15.0, 15.5, 0.0) == [
        StopCondition(names.EVAL_SUCCESS_RATE, 1.0, 0.95, False, 1, 2),
        StopCondition(names.EVAL_CYCLE_STEPS, 15.0, 15.5, True),
        StopCondition(names.INTERVENTION_RATE, 0.0, 0.05, True),
    ]


def test_before_the_first_evaluation_nothing_is_claimed():
    assert conditions((), None, 15.5, None) == [
        StopCondition(names.EVAL_SUCCESS_RATE, None, 0.95, False, 0, 2),
        StopCondition(names.EVAL_CYCLE_STEPS, None, 15.5, False),
    ]


def test_the_cycle_may_have_to_be_a_good_deal_shorter_than_the_operators():
    (_, cycle, _) = conditions((1.0, 1.0), 15.0, 16.0, 0.0, cycle_ratio=0.9)
    assert (cycle.mark, cycle.met) == (pytest.approx(14.4), False)
    assert all(condition.met for condition in conditions((1.0, 1.0), 14.4, 16.0, 0.0, cycle_ratio=0.9))
