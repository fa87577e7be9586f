"""The replay buffer against a naive one: episodes as plain lists, transitions made from them step by step."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from episodes.contract import Contract, Feature, FeatureView, Interface, View
from episodes.outcome import Outcome, Purpose
from learner.replay import ReplayBuffer
from learner.replay_rows import row_bytes
from policies.stacking import FrameStack
from transport import records_pb2 as pb

STATE, IMAGE = "observation.state", "observation.images.front"


@dataclass
class Setup:
    n_step: int
    gamma: float
    stacks: dict[str, int]
    cut_at_takeover: bool
    capacity_rows: int
    protected_share: float

    @property
    def contract(self) -> Contract:
        observations = (Feature(STATE, "float32", (2,)), Feature(IMAGE, "uint8", (3, 2, 3)))
        return Contract(
            Interface("test", observations, Feature("action", "float32", (2,))),
            View(tuple(FeatureView(name, stack=stack) for name, stack in self.stacks.items())),
        )


@dataclass
class Frame:
    observation: dict[str, np.ndarray]
    stacked: dict[str, np.ndarray]
    clean: bool


@dataclass
class NaiveEpisode:
    id: str
    purpose: Purpose
    stack: FrameStack
    frames: list[Frame] = field(default_factory=list)
    steps: list[pb.Step] = field(default_factory=list)
    protected: bool = False
    running: bool = True
    interrupted: bool = False
    forgotten: int = 0
    frames_to_clean: int = 0
    finite: list[bool] = field(default_factory=list)
    recorded: Outcome | None = None
    word: tuple[Outcome, int | None] | None = None


class NaiveReplay:
    """What the design says, as plainly as it can be said; nothing is quick and nothing is shared."""

    def __init__(self, setup: Setup):
        self.setup = setup
        self.sides: dict[bool, list[NaiveEpisode]] = {False: [], True: []}
        self.protected_rows = int(setup.capacity_rows * setup.protected_share)

    def find(self, episode_id: str) -> NaiveEpisode | None:
        return next((e for side in self.sides.values() for e in side if e.id == episode_id), None)

    def rows(self, *sides: bool) -> int:
        return sum(len(e.frames) for side in sides for e in self.sides[side])

    def make_room(self, side: bool, asking: NaiveEpisode) -> None:
        episodes = self.sides[side]
        for episode in episodes:
            if not episode.running:
                return episodes.remove(episode)
        for episode in episodes:
            if len(episode.frames) > 1:
                self.forget_half(episode)
                return None
        return episodes.remove(next(e for e in episodes if e is not asking))

    def forget_half(self, episode: NaiveEpisode) -> None:
        half = len(episode.frames) // 2
        episode.forgotten += half
        episode.steps, episode.frames = episode.steps[half:], episode.frames[half:]
        below = max(self.setup.stacks.values()) - 1
        for frame in episode.frames[:below]:
            frame.clean = False
        episode.frames_to_clean = max(below - len(episode.frames) + 1, episode.frames_to_clean)

    def add_frame(self, episode: NaiveEpisode, observation: dict[str, np.ndarray]) -> None:
        while episode.protected and self.rows(True) >= self.protected_rows:
            self.make_room(True, episode)
        while self.rows(True, False) >= self.setup.capacity_rows:
            self.make_room(False, episode)
        stacked = episode.stack.push(observation) if episode.frames else episode.stack.reset(observation)
        episode.frames_to_clean -= 1
        episode.finite.append(bool(np.isfinite(observation[STATE]).all()))
        clean = all(episode.finite[-max(self.setup.stacks.values()) :]) and episode.frames_to_clean <= 0
        episode.frames.append(Frame(observation, stacked, clean))

    def start(self, episode_id: str, purpose: Purpose, observation: dict[str, np.ndarray]) -> None:
        if purpose is Purpose.EVALUATION:
            return
        episode = NaiveEpisode(episode_id, purpose, FrameStack(self.setup.stacks))
        episode.protected = purpose is Purpose.DEMONSTRATION
        self.sides[episode.protected].append(episode)
        self.add_frame(episode, observation)

    def step(self, step: pb.Step, observation: dict[str, np.ndarray]) -> None:
        episode = self.find(step.episode_id)
        if episode is None or not episode.running or episode.interrupted:
            return
        if step.human and not episode.protected:
            self.sides[False].remove(episode)
            self.sides[True].append(episode)
            episode.protected = True
            while self.rows(True) > self.protected_rows:
                self.make_room(True, episode)
        if step.interrupted:
            episode.interrupted = True
            return
        self.add_frame(episode, observation)
        episode.steps.append(step)

    def end(self, episode_id: str, outcome: Outcome, author: str) -> None:
        episode = self.find(episode_id)
        if episode is None or not episode.running:
            return
        episode.running = False
        last = episode.steps[-1] if episode.steps else None
        episode.recorded = outcome
        if author == "person" and last is not None and last.terminated and last.rewards[0].value > 0:
            episode.recorded = Outcome.SUCCESS
        if outcome is Outcome.DISCARDED or (author == "person" and outcome in (Outcome.SUCCESS, Outcome.FAILURE)):
            episode.word = (outcome, None)

    def amend(self, episode_id: str, outcome: Outcome, step: int) -> None:
        episode = self.find(episode_id)
        if episode is not None:
            episode.word = (outcome, step)

    def steps_of(self, episode: NaiveEpisode) -> list[tuple[float, bool, bool, bool]]:
        """Effective reward, terminated, whether a window ends here for good, and whether the step may be sampled."""
        out = []
        last = len(episode.steps) - 1
        for i, step in enumerate(episode.steps):
            reward, terminated, truncated = step.rewards[0].value, step.terminated, step.truncated
            usable = episode.frames[i].clean and episode.frames[i + 1].clean and not step.held
            if episode.word is not None:
                outcome, named = episode.word
                if outcome is Outcome.DISCARDED:
                    usable = False
                elif outcome is Outcome.FAILURE and episode.recorded is Outcome.SUCCESS and i == last:
                    reward, terminated, truncated = 0.0, False, True
                elif outcome is Outcome.SUCCESS:
                    at = last if named is None else named - episode.forgotten
                    if not episode.running:
                        at = min(at, last)
                    if i == at:
                        reward, terminated, truncated = 1.0, True, False
                    usable = usable and not (i > at)
            out.append((reward, terminated, truncated, usable))
        return out

    def windows(self, demonstrations: bool) -> list[tuple]:
        found = []
        for episode in [*self.sides[False], *self.sides[True]]:
            steps = self.steps_of(episode)
            is_demonstration = episode.purpose is Purpose.DEMONSTRATION
            for start, (_, _, _, usable) in enumerate(steps):
                human = episode.steps[start].human
                in_view = (is_demonstration or human) if demonstrations else not is_demonstration
                if usable and in_view:
                    found.append(self.window(episode, steps, start))
        return found

    def window(self, episode: NaiveEpisode, steps: list, start: int) -> tuple:
        total, k, terminated = 0.0, 0, False
        while k < self.setup.n_step and start + k < len(steps):
            reward, terminated_here, truncated, usable = steps[start + k]
            changes = episode.steps[start + k].human != episode.steps[start].human
            if not usable or (changes and self.setup.cut_at_takeover):
                break
            total += self.setup.gamma**k * reward
            k += 1
            terminated = terminated_here
            if terminated or truncated:
                break
        first = episode.steps[start]
        discount = 0.0 if terminated else self.setup.gamma**k
        return key(
            episode.frames[start].stacked,
            first.chosen,
            total,
            discount,
            episode.frames[start + k].stacked,
            first.human,
            k,
            first.proposed or [math.nan] * 2,
        )


def key(observation, action, reward, discount, following, human, k, proposed) -> tuple:
    def tensors(values):
        return tuple(np.asarray(values[name]).tobytes() for name in (STATE, IMAGE))

    numbers = tuple(np.asarray(v, np.float32).tobytes() for v in (action, proposed))
    scalars = (float(reward), float(discount), bool(human), int(k))
    return (*tensors(observation), *numbers, *scalars, *tensors(following))


def windows_of(replay: ReplayBuffer, rows: np.ndarray) -> list[tuple]:
    b = replay.windows(rows)
    return [
        key(
            {name: value[i] for name, value in b.observation.items()},
            b.action[i],
            b.reward[i],
            b.discount[i],
            {name: value[i] for name, value in b.next_observation.items()},
            b.human[i],
            b.k[i],
            b.proposed[i],
        )
        for i in range(len(b))
    ]


setups = st.builds(
    Setup,
    n_step=st.integers(1, 4),
    gamma=st.sampled_from([1.0, 0.5]),
    stacks=st.fixed_dictionaries({STATE: st.integers(1, 3), IMAGE: st.integers(1, 3)}),
    cut_at_takeover=st.booleans(),
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


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(setups, streams)
def test_holds_exactly_the_windows_of_a_naive_buffer(setup, stream):
    recorder = Recorder(setup)
    for i, (name, *arguments) in enumerate(stream):
        getattr(recorder, name)(*arguments)
        if i % 5 == 0:
            recorder.check()
    recorder.check()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(setups, streams)
def test_row_and_generation_name_one_observation_for_good(setup, stream):
    """Features that were cached for a row of a generation are those of what is read there at any later time."""
    recorder = Recorder(setup)
    seen: dict[tuple[int, int], tuple] = {}
    for name, *arguments in stream:
        getattr(recorder, name)(*arguments)
        replay = recorder.replay
        for view in (replay.online_rows, replay.demonstration_rows):
            b = replay.windows(view)
            np.testing.assert_array_equal(b.generation, replay.generation[b.rows])
            np.testing.assert_array_equal(b.next_generation, replay.generation[b.next_rows])
            for rows, generations, observation in (
                (b.rows, b.generation, b.observation),
                (b.next_rows, b.next_generation, b.next_observation),
            ):
                for i, place in enumerate(zip(rows.tolist(), generations.tolist(), strict=True)):
                    there = tuple(value[i].tobytes() for value in observation.values())
                    assert seen.setdefault(place, there) == there


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(setups, streams)
def test_shifted_batch_holds_crops_of_the_padded_stacks(setup, stream):
    recorder = Recorder(setup)
    for name, *arguments in stream:
        getattr(recorder, name)(*arguments)
    replay = recorder.replay
    if not (replay.online_size or replay.demonstration_size):
        return
    shifted = replay.sample(8, shift_px=1)
    plain = replay.windows(shifted.rows)
    for name in ("action", "reward", "discount", "human", "k", "proposed", "rows", "next_rows"):
        np.testing.assert_array_equal(getattr(shifted, name), getattr(plain, name))
    for got, whole in ((shifted.observation, plain.observation), (shifted.next_observation, plain.next_observation)):
        np.testing.assert_array_equal(got[STATE], whole[STATE])
        for image, stack in zip(got[IMAGE], whole[IMAGE], strict=True):
            padded = np.pad(stack, ((1, 1), (1, 1), (0, 0)), mode="edge")
            assert image.tobytes() in {padded[y : y + 3, x : x + 2].tobytes() for y in range(3) for x in range(3)}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(setups, streams, st.integers(0, 1))
def test_images_on_a_device_are_those_on_the_host(setup, stream, shift_px):
    host, device = Recorder(setup), Recorder(setup, device="cpu")
    for name, *arguments in stream:
        getattr(host, name)(*arguments)
        getattr(device, name)(*arguments)
    if not (host.replay.online_size or host.replay.demonstration_size):
        return
    left, right = host.replay.sample(8, shift_px=shift_px), device.replay.sample(8, shift_px=shift_px)
    assert isinstance(right.observation[IMAGE], torch.Tensor)
    np.testing.assert_array_equal(left.rows, right.rows)
    for name in (STATE, IMAGE):
        np.testing.assert_array_equal(left.observation[name], np.asarray(right.observation[name]))
        np.testing.assert_array_equal(left.next_observation[name], np.asarray(right.next_observation[name]))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(setups, streams)
def test_batches_depend_on_the_entries_and_the_seed_alone(setup, stream):
    """A buffer that was drawn from on the way, then given its generator's state, goes on as one that was rebuilt."""
    drawn, rebuilt = Recorder(setup), Recorder(setup)
    for name, *arguments in stream:
        getattr(drawn, name)(*arguments)
        getattr(rebuilt, name)(*arguments)
        if drawn.replay.online_size or drawn.replay.demonstration_size:
            drawn.replay.sample(4)
    if not (drawn.replay.online_size or drawn.replay.demonstration_size):
        return
    rebuilt.replay.set_rng_state(drawn.replay.rng_state())
    left, right = drawn.replay.sample(16, shift_px=1), rebuilt.replay.sample(16, shift_px=1)
    for name in ("action", "reward", "discount", "human", "k", "demonstration", "proposed"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    for name in (STATE, IMAGE):
        np.testing.assert_array_equal(left.observation[name], right.observation[name])
        np.testing.assert_array_equal(left.next_observation[name], right.next_observation[name])
