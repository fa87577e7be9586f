"""A naive replay buffer: episodes as plain lists, transitions made from them step by step."""

import math
from dataclasses import dataclass, field

import numpy as np

from episodes.contract import Contract, Feature, FeatureView, Interface, View
from episodes.outcome import Outcome, Purpose
from learner.replay import ReplayBuffer
from policies.stacking import FrameStack
from transport import records_pb2 as pb

STATE, IMAGE = "observation.state", "observation.images.front"


@dataclass
class Setup:
    n_step: int
    gamma: float
    stacks: dict[str, int]
    cut_at_takeover: bool
    takeover_discount: float
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
        after = start + k
        if after < len(steps) and episode.steps[after].human and not episode.steps[after - 1].human:
            discount *= self.setup.takeover_discount
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
