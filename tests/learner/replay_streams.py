"""Random streams of log entries, told to a replay buffer and to the naive one."""

import math

import numpy as np
from hypothesis import strategies as st

from episodes.outcome import Outcome, Purpose
from learner.replay import ReplayBuffer
from learner.replay_rows import row_bytes
from tests.learner.naive_replay import IMAGE, STATE, NaiveReplay, Setup, windows_of
from transport import records_pb2 as pb

setups = st.builds(
    Setup,
    n_step=st.integers(1, 4),
    gamma=st.sampled_from([1.0, 0.5]),
    stacks=st.fixed_dictionaries({STATE: st.integers(1, 3), IMAGE: st.integers(1, 3)}),
    cut_at_takeover=st.booleans(),
    takeover_discount=st.sampled_from([1.0, 0.5, 0.0]),
    capacity_rows=st.sampled_from([6, 9, 16, 30, 200]),
    protected_share=st.sampled_from([0.34, 0.5, 0.6]),
)
often = st.sampled_from([False, False, False, False, False, True])
rarely = st.sampled_from([False] * 11 + [True])
runs_of_steps = st.tuples(
    st.just("steps"),
    st.integers(0, 1),
    st.integers(1, 6),
    st.fixed_dictionaries(
        {
            "human": st.booleans(),
            "held": often,
            "interrupted": rarely,
            "terminated": often,
            "truncated": often,
            "not_finite": often,
            "reward": st.sampled_from([0.0, 0.0, 0.0, 1.0, -0.5]),
            "no_proposal": often,
        }
    ),
)
ends = st.tuples(
    st.just("end"), st.integers(0, 1), st.sampled_from(list(Outcome)), st.sampled_from(["env", "person", "actor"])
)
amendments = st.tuples(
    st.just("amend"),
    st.integers(0, 5),
    st.sampled_from([Outcome.SUCCESS, Outcome.FAILURE, Outcome.DISCARDED]),
    st.integers(0, 9),
)
starts = st.tuples(
    st.just("start"),
    st.integers(0, 1),
    st.sampled_from([Purpose.TRAINING] * 4 + [Purpose.DEMONSTRATION, Purpose.EVALUATION]),
    often,
)


# Short lists, which hypothesis prefers, would hardly ever evict, amend and go on.
streams = st.lists(st.one_of(runs_of_steps, runs_of_steps, ends, amendments, starts), min_size=25, max_size=45)


class Recorder:
    """Two actors; says the same to both buffers and gives every observation and action a value of its own."""

    def __init__(self, setup: Setup, device: str | None = None):
        self.replay = ReplayBuffer(
            setup.contract,
            capacity_bytes=setup.capacity_rows * row_bytes(setup.contract),
            protected_share=setup.protected_share,
            n_step=setup.n_step,
            gamma=setup.gamma,
            cut_at_takeover=setup.cut_at_takeover,
            takeover_discount=setup.takeover_discount,
            device=device,
        )
        self.naive = NaiveReplay(setup)
        self.ids: list[str] = []
        self.open: dict[int, str] = {}
        self.lengths: dict[str, int] = {}
        self.clock = 0

    def observation(self, finite: bool = True) -> dict[str, np.ndarray]:
        self.clock += 1
        state = np.array([self.clock, self.clock if finite else math.nan], np.float32)
        image = (np.arange(18) * 13 + self.clock * 7) % 251
        return {STATE: state, IMAGE: image.astype(np.uint8).reshape(3, 2, 3)}

    def apply(self, **body) -> None:
        self.replay.apply(pb.LogEntry(record=pb.Record(**body)))

    def start(self, actor: int, purpose: Purpose, not_finite: bool) -> None:
        if actor in self.open:
            self.end(actor, Outcome.TIMEOUT, "env")
        episode_id = f"{len(self.ids):032x}"
        self.ids.append(episode_id)
        self.open[actor], self.lengths[episode_id] = episode_id, 0
        observation = self.observation(finite=not not_finite)
        data = [observation[STATE].tobytes(), observation[IMAGE].tobytes()]
        self.apply(start=pb.EpisodeStart(episode_id=episode_id, purpose=purpose, observation=data))
        self.naive.start(episode_id, purpose, observation)

    def steps(self, actor: int, count: int, flags: dict) -> None:
        if actor not in self.open:
            self.start(actor, Purpose.TRAINING, False)
        episode_id = self.open[actor]
        for i in range(count):
            last = i == count - 1
            observation = self.observation(finite=not (flags["not_finite"] and last))
            step = pb.Step(
                episode_id=episode_id,
                index=self.lengths[episode_id],
                proposed=[] if flags["no_proposal"] else [self.clock / 1000, 0.5],
                chosen=[self.clock / 1000, -0.5],
                rewards=[pb.Reward(source="env", value=flags["reward"] + (0.25 if i % 2 else 0))],
                terminated=flags["terminated"] and last,
                truncated=flags["truncated"] and last,
                human=flags["human"],
                held=int(flags["held"] and i == 0),
                interrupted=flags["interrupted"] and last,
            )
            if not step.interrupted:
                step.observation.extend([observation[STATE].tobytes(), observation[IMAGE].tobytes()])
            self.lengths[episode_id] += 1
            self.apply(step=step)
            self.naive.step(step, observation)

    def end(self, actor: int, outcome: Outcome, author: str) -> None:
        episode_id = self.open.pop(actor, None)
        if episode_id is not None:
            self.apply(end=pb.EpisodeEnd(episode_id=episode_id, outcome=outcome, author=author))
            self.naive.end(episode_id, outcome, author)

    def amend(self, back: int, outcome: Outcome, step: int) -> None:
        """The episode started ``back`` before the newest; one that never existed where there are fewer."""
        episode_id = self.ids[-1 - back] if back < len(self.ids) else "f" * 32
        self.apply(amendment=pb.Amendment(episode_id=episode_id, outcome=outcome, step=step))
        self.naive.amend(episode_id, outcome, step if outcome is Outcome.SUCCESS else None)

    def check(self) -> None:
        replay, naive = self.replay, self.naive
        assert replay.rows == naive.rows(False, True)
        assert sorted(windows_of(replay, replay.online_rows)) == sorted(naive.windows(demonstrations=False))
        assert sorted(windows_of(replay, replay.demonstration_rows)) == sorted(naive.windows(demonstrations=True))
