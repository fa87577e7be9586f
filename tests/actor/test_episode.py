"""One episode, step by step, in a real environment with operators that say what the test wants."""

import gymnasium as gym
import numpy as np
import pytest

from actor.episode import EpisodeRunner, Plan, ResetError
from actor.pacing import LockstepPacer
from actor.pilot import Idle
from actor.safety import Guard
from envs.so101_sim import SO101SimConfig, derive_contract, make
from envs.teleop.operator import Event, NoOperator, OperatorInput
from episodes.layout import ObservationLayout
from episodes.outcome import Held, Outcome, Purpose
from episodes.spool_position import SpoolPosition
from episodes.validation import check_record
from transport import records_pb2 as pb

CONFIG = SO101SimConfig(task="reach", max_episode_steps=8)
CONTRACT = derive_contract(CONFIG)
INTERFACE = CONTRACT.interface
TRAINING = Plan(Purpose.TRAINING, 7)


class Records:
    """A sink that keeps and checks everything."""

    def __init__(self):
        self.records, self.begun = [], []

    def _keep(self, **body):
        self.records.append(pb.Record(sequence=len(self.records) + 1, **body))

    def start_episode(self, start):
        self._keep(start=start)

    def begin_step(self, step):
        assert not step.observation
        self.begun.append(step.index)

    def finish_step(self, step, observation):
        step.observation.extend(map(bytes, observation))
        assert self.begun[-1] == step.index
        self._keep(step=step)

    def end_episode(self, end):
        self._keep(end=end)

    @property
    def steps(self):
        return [r.step for r in self.records if r.HasField("step")]

    def check(self):
        position, layout = SpoolPosition(), ObservationLayout(CONTRACT.stored)
        for record in self.records:
            check_record(record, layout, INTERFACE.action.shape[0])
            position.advance(record)


class Fixed(Idle):
    """Proposes what it is given."""

    version = 3
    hands_off = False

    def __init__(self, *proposals):
        self.proposals, self.seen, self.asked = list(proposals), 0, 0

    def begin_episode(self, observation):
        self.seen = 1

    def observe(self, observation):
        self.seen += 1
        assert all(np.isfinite(value).all() for value in observation.values())

    def propose(self):
        self.asked += 1
        return np.float32(self.proposals[min(self.seen, len(self.proposals)) - 1])


class Script(NoOperator):
    """Says one thing per poll, then nothing."""

    def __init__(self, *said, between=()):
        self.said, self.between = list(said), list(between)

    def poll(self, observation, proposed):
        return self.said.pop(0) if self.said else OperatorInput()

    def between_episodes(self):
        return self.between.pop(0) if self.between else OperatorInput(events=(Event.READY,))


class Faulty(gym.Wrapper):
    """Returns NaN, or stale observations, after given steps."""

    def __init__(self, env, nan_at=(), stale_at=(), nan_resets=0):
        super().__init__(env)
        self.nan_at, self.stale_at, self.nan_resets, self.count = nan_at, stale_at, nan_resets, 0

    def reset(self, **settings):
        observation, info = self.env.reset(**settings)
        self.count = 0
        if self.nan_resets:
            self.nan_resets -= 1
            observation = {k: v * np.float32(np.nan) for k, v in observation.items()}
        return observation, info

    def step(self, action):
        assert np.isfinite(action).all()
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.count += 1
        if self.count in self.nan_at:
            observation = {k: v * np.float32(np.nan) for k, v in observation.items()}
        if self.count in self.stale_at:
            info = info | {"observation_age_s": 3.0}
        return observation, reward, terminated, truncated, info


@pytest.fixture
def world():
    env = make(CONFIG)
    yield env
    env.close()


def run(world, pilot, operator=None, plan=TRAINING, **settings):
    sink = Records()
    runner = EpisodeRunner(world, CONTRACT, sink, Guard(CONTRACT), LockstepPacer(), **settings)
    episode = runner.run(plan, pilot, operator or NoOperator())
    sink.check()
    return episode, sink


def test_a_time_out_is_truncated_and_whole(world):
    episode, sink = run(world, Fixed([0, 0, 0.1, 1]))
    assert (episode.outcome, episode.steps) == (Outcome.TIMEOUT, 8)
    assert [s.truncated for s in sink.steps] == [False] * 7 + [True]
    assert not any(s.terminated or s.human or s.held for s in sink.steps)
    assert {s.policy_version for s in sink.steps} == {3}
    assert sink.records[0].start.start_seed == 7
    assert sink.records[-1].end.author == "env"
    first = ObservationLayout(CONTRACT.stored).unpack(sink.records[0].start.observation)
    assert np.array_equal(first["observation.state"], world.reset(seed=7)[0]["observation.state"])


def test_three_actions_are_kept_while_a_person_drives(world):
    driven = OperatorInput(action=np.float32([5, 0, 0, -1]), events=(Event.INTERVENE,))
    episode, sink = run(world, Fixed([0, 0.5, 0, 1]), Script(OperatorInput(), driven))
    first, second = sink.steps[:2]
    assert (first.human, second.human) == (False, True)
    assert list(second.proposed) == pytest.approx([0, 0.5, 0, 1])
    assert list(second.chosen) == pytest.approx([1, 0, 0, -1])
    assert max(second.sent) <= 1
    assert episode.human_steps == 1


@pytest.mark.parametrize(
    ("event", "outcome", "value"), [(Event.SUCCESS, Outcome.SUCCESS, 1), (Event.FAILURE, Outcome.FAILURE, 0)]
)
def test_a_persons_verdict_ends_the_step_in_progress(world, event, outcome, value):
    episode, sink = run(world, Fixed([0] * 4), Script(OperatorInput(), OperatorInput(events=(event,))))
    assert (episode.outcome, episode.steps) == (outcome, 2)
    last = sink.steps[-1]
    assert (last.terminated, last.truncated, last.human) == (True, False, False)
    assert [(r.source, r.value) for r in last.rewards] == [("env", 0), ("person", value)]
    assert sink.records[-1].end.author == "person"


@pytest.mark.parametrize(
    ("event", "outcome", "again", "stop"),
    [
        (Event.DISCARD, Outcome.DISCARDED, False, False),
        (Event.RERECORD, Outcome.DISCARDED, True, False),
        (Event.STOP, Outcome.CUT, False, True),
    ],
)
def test_discard_and_stop_take_no_further_step(world, event, outcome, again, stop):
    episode, sink = run(world, Fixed([0] * 4), Script(OperatorInput(), OperatorInput(events=(event,))))
    assert (episode.outcome, episode.again, episode.stop, episode.steps) == (outcome, again, stop, 1)
    assert sink.records[-1].end.outcome == outcome


def test_pausing_counts_as_nothing(world):
    pause = OperatorInput(events=(Event.PAUSE,))
    between = [OperatorInput(), OperatorInput(), OperatorInput(events=(Event.READY,))]
    episode, _ = run(world, Fixed([0] * 4), Script(OperatorInput(), pause, between=between))
    assert (episode.steps, episode.held_steps) == (8, 0)
    episode, _ = run(world, Fixed([0] * 4), Script(pause, between=[OperatorInput(events=(Event.DISCARD,))]))
    assert (episode.outcome, episode.steps) == (Outcome.DISCARDED, 0)


def test_what_was_chosen_before_a_pause_is_not_executed_after_it(world):
    driven = OperatorInput(action=np.float32([1, 1, 1, -1]), events=(Event.INTERVENE, Event.PAUSE))
    pilot = Fixed([0, 0.5, 0, 1])
    episode, sink = run(world, pilot, Script(driven, between=[OperatorInput()]))
    assert (episode.steps, episode.human_steps, pilot.asked) == (8, 0, 9)
    assert list(sink.steps[0].chosen) == pytest.approx([0, 0.5, 0, 1])


def test_no_deadline_no_lateness(world):
    _, sink = run(world, Fixed([0] * 4))
    assert all(step.period_error_ms == 0 for step in sink.steps)


def test_a_nan_observation_holds_and_the_policy_never_sees_it(world):
    pilot = Fixed([0.5, 0, 0, -0.5])
    episode, sink = run(Faulty(world, nan_at=(3,)), pilot)
    assert [s.held for s in sink.steps] == [0, 0, Held.NAN_OBSERVATION, Held.NAN_OBSERVATION, 0, 0, 0, 0]
    assert list(sink.steps[3].chosen) == pytest.approx([0, 0, 0, -0.5])
    assert pilot.asked == 7
    assert episode.held_steps == 2


def test_a_stale_observation_holds(world):
    _, sink = run(Faulty(world, stale_at=(2, 3)), Fixed([0.5, 0, 0, 1]))
    assert [s.held for s in sink.steps][:5] == [0, *[Held.STALE_OBSERVATION] * 3, 0]


def test_a_nan_action_holds_for_its_step(world):
    proposals = [[0.1, 0, 0, 0.3], [np.nan, 0, 0, 0], [0.1, 0, 0, 0.3]]
    _, sink = run(world, Fixed(*proposals))
    assert [s.held for s in sink.steps][:3] == [0, Held.NAN_ACTION, 0]
    assert list(sink.steps[1].sent) == pytest.approx([0, 0, 0, 0.3])
    bad = OperatorInput(action=np.float32([np.nan, 0, 0, 0]))
    _, sink = run(world, Fixed([0.1, 0, 0, 0.3]), Script(OperatorInput(), bad))
    assert [s.held for s in sink.steps][:3] == [0, Held.NAN_ACTION, 0]
    assert not sink.steps[1].human


def test_a_lost_device_holds_instead_of_handing_back(world):
    lost = OperatorInput(lost=True)
    drive = OperatorInput(action=np.float32([0.5, 0, 0, -1]))
    _, sink = run(world, Fixed([1, 1, 1, 1]), Script(drive, lost, lost))
    assert [s.held for s in sink.steps][:4] == [0, Held.LOST_DEVICE, Held.LOST_DEVICE, 0]
    assert list(sink.steps[1].chosen) == pytest.approx([0, 0, 0, -1])


def test_an_environment_that_never_starts_whole_is_named(world):
    episode, _ = run(Faulty(world, nan_resets=2), Fixed([0] * 4))
    assert episode.steps == 8
    with pytest.raises(ResetError, match=r"was reset 5 times and its first observation was never whole"):
        run(Faulty(world, nan_resets=9), Fixed([0] * 4))


def test_the_gate_cuts_between_two_steps(world):
    answers = ["", "", "", "told to stop"]
    episode, sink = run(world, Fixed([0] * 4), gate=lambda purpose: answers.pop(0))
    assert (episode.outcome, episode.steps) == (Outcome.CUT, 3)
    assert sink.records[-1].end.author == "actor"


def test_a_step_whose_call_fails_was_written_before(world):
    class Failing(gym.Wrapper):
        def step(self, action):
            raise RuntimeError("cable pulled")

    sink = Records()
    runner = EpisodeRunner(Failing(world), CONTRACT, sink, Guard(CONTRACT), LockstepPacer())
    with pytest.raises(RuntimeError, match=r"cable pulled"):
        runner.run(TRAINING, Fixed([0] * 4), NoOperator())
    assert sink.begun == [0]
    assert not sink.steps


def test_only_the_operator_acts_where_hands_are_off(world):
    drive = OperatorInput(action=np.float32([0, 0, 1, 1]))
    said = [OperatorInput(), OperatorInput(), *[drive] * 20]
    episode, _ = run(world, Idle(4), Script(*said))
    assert episode.human_steps == episode.steps == 8
