"""The gripper critic against a reference written from the papers: HIL-SERL (2410.21845), double DQN (1509.06461).

The reference goes through a batch one transition at a time, and imports nothing of ours but the settings.
"""

import copy
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from episodes.contract import Contract, Feature, FeatureView, Interface, RewardBounds, View
from episodes.outcome import Outcome, Purpose
from learner.algorithms import build_algorithm, discrete_gripper, policy_spec
from learner.replay import ReplayBuffer
from policies.snapshot import SnapshotError, read_snapshot, save_snapshot
from policies.spec import PolicySpecError, build_policy
from tests.learner.reference import Adam, Recorder, close, close_losses, follow, gradients
from tests.learner.sac_reference import actor_of, critics_of, trainable
from tests.learner.test_sac_exactness import BASE as SAC
from tests.learner.test_sac_exactness import BATCH
from tests.learner.test_sac_exactness import Reference as SacReference
from transport import records_pb2 as pb

NAME, COMMAND, GRIPPER = "observation.state", 3, 1
CONTRACT = Contract(
    Interface(
        "t",
        (Feature(NAME, "float32", (5,), ("a", "b", "c", "gripper.command", "d")),),
        Feature("action", "float32", (3,), ("x", "gripper.command", "y"), low=(-1.0,), high=(1.0,)),
        reward=RewardBounds(True, 0.0, 1.0, True),
    ),
    View((FeatureView(NAME),)),
)
CLOSE, STAY, OPEN = range(3)


def batch(seed, n_step=1, gamma=0.97):
    rng = np.random.default_rng(seed)

    def state():
        state = 2 * rng.standard_normal((BATCH, 5)).astype(np.float32)
        state[:, COMMAND] = rng.choice(np.float32([-1, -0.4, 0, 0.6, 1]), BATCH)
        return {NAME: state}

    k = rng.integers(1, n_step + 1, BATCH)
    action = np.tanh(rng.standard_normal((BATCH, 3))).astype(np.float32)
    action[:6] = np.sign(action[:6])
    return SimpleNamespace(
        observation=state(),
        next_observation=state(),
        action=action,
        reward=(rng.random(BATCH) * 1.5 - 0.3).astype(np.float32),
        discount=(gamma**k * (rng.random(BATCH) >= 0.2)).astype(np.float32),
        toggles=(rng.integers(0, 3, BATCH) * 0.9).astype(np.float32),
        human=rng.random(BATCH) < 0.4,
        demonstration=np.zeros(BATCH, bool),
    )


class Reference:
    """The gripper critic, one transition at a time, in float64."""

    def __init__(self, sac, config):
        self.c, self.q = config, actor_of(sac.policy.gripper_critic)
        self.target, self.ema, self.updates = copy.deepcopy(self.q), copy.deepcopy(self.q), 0
        self.adam = Adam(trainable(self.q), config.critic_lr)

    @staticmethod
    def classes_there(last):
        """To close what is closed already, or to open what is open, is to stay."""
        return [STAY, *([CLOSE] if last >= 0 else []), *([OPEN] if last <= 0 else [])]

    @staticmethod
    def class_of(command, last):
        if command > 0 >= last:
            return OPEN
        return CLOSE if command < 0 <= last else STAY

    def clone_loss(self, values, last, kind):
        there = self.classes_there(last)
        logits = torch.stack([values[each] / self.c.gripper_temperature for each in there])
        return -torch.log_softmax(logits, 0)[there.index(kind)]

    def update(self, b, s, s2):
        c, worst = self.c, self.c.gripper_penalty / (1 - self.c.gamma)
        errors, clones = [], []
        for i in range(BATCH):
            last, next_last = (o[NAME][i, COMMAND] for o in (b.observation, b.next_observation))
            kind = self.class_of(b.action[i, GRIPPER], last)
            with torch.no_grad():
                online, target = self.q(s2[i]), self.target(s2[i])
                best = max(self.classes_there(next_last), key=lambda k: float(online[k]))
                y = float(b.reward[i]) + c.gripper_penalty * float(b.toggles[i]) + float(b.discount[i]) * target[best]
                if c.clamp_targets:
                    y = y.clamp(worst, 1.0)
            values = self.q(s[i])
            errors.append((values[kind] - y) ** 2)
            if b.human[i]:
                clones.append(self.clone_loss(values, last, kind))
        temporal = torch.stack(errors).mean()
        loss = c.q_weight * temporal
        if c.clone_weight and not c.clone_filter:
            loss = loss + c.clone_weight * math.exp(-self.updates / c.clone_decay_updates) * torch.stack(clones).mean()
        found = torch.autograd.grad(loss, self.adam.parameters)
        self.adam.step(found)
        follow([self.target], [self.q], c.tau)
        follow([self.ema], [self.q], c.ema)
        self.updates += 1
        return {"gripper_loss": temporal}, found


BASE = replace(SAC, gripper="discrete")
CASES = {
    "plain": {},
    "clamped, n-step, noise": {"clamp_targets": True, "n_step": 3, "gamma": 0.9, "input_noise": 0.1},
    "another penalty": {"gripper_penalty": -0.3},
    "cloning term": {"clone_weight": 0.5, "clone_decay_updates": 2.0},
    "cloning term, another temperature": {"clone_weight": 0.5, "gripper_temperature": 1.0},
    "cloning of what the critics prefer": {"clone_weight": 0.5, "clone_filter": True},
    "cloning without value": {"clone_weight": 0.5, "q_weight": 0.0},
}


def trained(case, updates=3):
    config = replace(BASE, **CASES[case])
    sac = build_algorithm(CONTRACT, config, device="cpu", seed=3)
    rng = np.random.default_rng(9)
    sac.freeze_statistics({NAME: (rng.standard_normal(5), 0.5 + rng.random(5))})
    with torch.no_grad():
        sac.policy.gripper_critic.head.weight.mul_(20)  # so that classes differ in value
        sac.gripper.follow()
        sac.ema_policy.load_state_dict(sac.policy.state_dict())
    return sac, config, [batch(i, config.n_step, config.gamma) for i in range(updates)]


@pytest.mark.parametrize("case", CASES)
def test_three_updates_agree_with_the_reference(case):
    """The rest of SAC is what it is without a gripper, on the other components."""
    sac, config, batches = trained(case)
    reference, rest = Reference(sac, config), SacReference(sac, config)
    noise = sac.noise
    for b in batches:
        sac.noise = Recorder(noise)
        metrics = sac.update(b)
        draws = {k: v.double() for k, v in sac.noise.draws.items()}
        zero = torch.zeros(())
        s = rest.vectors(b.observation[NAME], draws.get("observation", zero))
        s2 = rest.vectors(b.next_observation[NAME], draws.get("next_observation", zero))
        losses, critic_gradients = reference.update(b, s, s2)
        b.action = np.delete(b.action, GRIPPER, 1)
        rest_losses, _, actor_gradients = rest.update(b, sac.noise.draws)
        close_losses(metrics, losses | rest_losses)
        close(trainable(actor_of(gradients(sac.policy.gripper_critic))), critic_gradients, "gripper gradients")
        close(trainable(actor_of(gradients(sac.policy))), actor_gradients, "actor gradients")
    for mine, wanted, what in (
        (sac.policy, reference.q, "critic"),
        (sac.ema_policy, reference.ema, "moving average"),
    ):
        close(trainable(actor_of(mine.gripper_critic)), trainable(wanted), what)
    close(trainable(actor_of(sac.gripper.target)), trainable(reference.target), "target")
    close(trainable(*critics_of(sac.critic)), trainable(*rest.critics), "critics of the rest")
    close(trainable(actor_of(sac.policy)), trainable(rest.actor), "actor")
    close([sac.log_temperature], [rest.log_alpha], "temperature")


def test_the_cases_differ():
    results = {}
    for case in CASES:
        sac, _, batches = trained(case)
        for b in batches:
            sac.update(b)
        results[case] = torch.cat([p.detach().ravel() for p in sac.policy.gripper_critic.parameters()])
    results.pop("cloning of what the critics prefer")  # leaves the term out
    cases = list(results)
    for i, left in enumerate(cases):
        for right in cases[i + 1 :]:
            assert (results[left] - results[right]).abs().max() > 1e-6, (left, right)


def replay(n_step, gamma=0.5, **settings):
    config = replace(BASE, n_step=n_step, gamma=gamma, **settings)
    return ReplayBuffer(
        CONTRACT,
        capacity_bytes=100_000,
        n_step=n_step,
        gamma=gamma,
        gripper=discrete_gripper(CONTRACT, config),
    )


def record(into, commands, *, human=(), outcome=Outcome.TIMEOUT, name="a", first=1.0):
    """An episode of these gripper commands, each shown by the observation after it; the first by ``first``."""

    def observed(command):
        return [np.float32([0, 0, 0, command, 0]).tobytes()]

    start = pb.EpisodeStart(episode_id=name, purpose=Purpose.TRAINING, observation=observed(first))
    into.apply(pb.LogEntry(record=pb.Record(start=start)))
    for i, command in enumerate(commands):
        last = i == len(commands) - 1
        step = pb.Step(
            episode_id=name,
            index=i,
            chosen=[i / 100, command, 0.0],
            observation=observed(command),
            rewards=[pb.Reward(source="env", value=float(last and outcome is Outcome.SUCCESS))],
            terminated=last and outcome is Outcome.SUCCESS,
            truncated=last and outcome is not Outcome.SUCCESS,
            human=i in human,
        )
        into.apply(pb.LogEntry(record=pb.Record(step=step)))
    end = pb.EpisodeEnd(episode_id=name, outcome=outcome, author="env")
    into.apply(pb.LogEntry(record=pb.Record(end=end)))


def counted(of):
    """{index of the first step: (steps, discounted changes of side)} of every window."""
    b = of.windows(of.online_rows)
    return {round(100 * float(a)): (int(k), float(t)) for a, k, t in zip(b.action[:, 0], b.k, b.toggles, strict=True)}


def test_a_window_counts_the_changes_of_side_of_all_its_steps():
    """Noise on a person's commands is no change; a window that ends at a takeover counts its own steps alone."""
    three = replay(3)
    commands = [1.0, -1.0, -1.0, 0.9, 0.7, -0.2]
    record(three, commands)
    assert counted(three) == {0: (3, 0.5), 1: (3, 1.25), 2: (3, 0.5), 3: (3, 1.25), 4: (2, 0.5), 5: (1, 1.0)}
    taken = replay(3)
    record(taken, commands, human=(2, 3))
    assert counted(taken) == {0: (2, 0.5), 1: (1, 1.0), 2: (2, 0.5), 3: (1, 1.0), 4: (2, 0.5), 5: (1, 1.0)}


def test_without_a_gripper_critic_nothing_is_counted():
    plain = ReplayBuffer(CONTRACT, capacity_bytes=100_000)
    record(plain, [1.0, -1.0])
    assert len(plain.sample(8).toggles) == 0


@pytest.mark.parametrize(("utd_ratio", "n_step"), [(1.0, 1), (4.0, 3)])
def test_the_penalty_counts_at_every_ratio_and_length(utd_ratio, n_step):
    """LeRobot drops it at one update per step."""
    results = []
    for penalty in (0.0, -0.02):
        config = replace(BASE, utd_ratio=utd_ratio, n_step=n_step, gripper_penalty=penalty)
        sac = build_algorithm(CONTRACT, config, device="cpu", seed=0)
        of = replay(n_step)
        record(of, [1.0, -1.0, 1.0, -1.0])
        sac.update(of.sample(BATCH))
        results.append(sac.gripper.critic.head.weight.clone())
    assert not torch.equal(*results)


def test_changing_the_side_costs_the_penalty_and_only_where_the_gripper_is_chosen():
    config = replace(BASE, gripper_penalty=-0.2, gamma=0.5, critic_lr=3e-3)
    sac, of = build_algorithm(CONTRACT, config, device="cpu", seed=0), replay(1)
    record(of, [-1.0], outcome=Outcome.SUCCESS, name="closes")
    record(of, [1.0], outcome=Outcome.SUCCESS, name="stays")
    for _ in range(200):
        sac.update(of.sample(BATCH))
    features = sac.policy.vectors({NAME: torch.tensor([[0.0, 0, 0, 1, 0]])})
    close_value, stay_value, _ = sac.gripper.critic(features)[0].tolist()
    assert close_value == pytest.approx(0.8, abs=0.02)
    assert stay_value == pytest.approx(1.0, abs=0.02)
    assert sac.critic(features, torch.zeros(1, 2)).tolist() == [[pytest.approx(1.0, abs=0.02)]] * 2


def test_cloning_teaches_the_classes_and_the_moving_average_and_target_follow():
    sac = build_algorithm(CONTRACT, replace(BASE, critic_lr=3e-3), device="cpu", seed=0)
    b = batch(0)
    sac.freeze_statistics({NAME: (np.zeros(5), np.ones(5))})
    for _ in range(150):
        sac.clone(b)
    stacked = [{NAME: row} for row in b.observation[NAME]]
    last = b.observation[NAME][:, COMMAND]
    for policy in (sac.policy, sac.ema_policy):
        acted = np.stack([policy.act(each, deterministic=True) for each in stacked])
        kinds = sac.gripper.codec.classes(b.action, last)
        assert (sac.gripper.codec.classes(acted, last) == kinds).mean() > 0.95
    critics = (sac.policy.gripper_critic, sac.gripper.target, sac.ema_policy.gripper_critic)
    for left, *others in zip(*(c.parameters() for c in critics), strict=True):
        assert all(torch.equal(left, other) for other in others)
    assert sac.warmup_until == BASE.critic_warmup_updates


def test_a_resumed_algorithm_goes_on_exactly():
    config = replace(BASE, clone_weight=0.5, input_noise=0.1)
    first, resumed = (build_algorithm(CONTRACT, config, device="cpu", seed=seed) for seed in (0, 9))
    first.clone(batch(7))
    for i in range(3):
        first.update(batch(i))
    resumed.load_state(*first.state())
    for i in range(3, 6):
        first.update(batch(i))
        resumed.update(batch(i))
    expected, got = first.state()[0], resumed.state()[0]
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert {"gripper_target.head.bias", "gripper_adam.head.bias.exp_avg", "ema.gripper_critic.head.bias"} <= set(got)


def test_a_run_starts_from_a_policy_with_the_same_gripper_alone():
    given = build_policy(policy_spec(CONTRACT, BASE))
    given.freeze_statistics({NAME: (np.zeros(5), np.ones(5))}, 0.01)
    snapshot = read_snapshot(save_snapshot(given, 4))
    sac = build_algorithm(CONTRACT, BASE, device="cpu", seed=5)
    sac.load_policy(snapshot)
    for name, value in given.gripper_critic.state_dict().items():
        assert torch.equal(sac.gripper.target.state_dict()[name], value)
    continuous = build_algorithm(CONTRACT, replace(BASE, gripper="continuous"), device="cpu", seed=5)
    with pytest.raises(SnapshotError, match="does not fit this run: gripper: expected -1, got 1; gripper_input"):
        continuous.load_policy(snapshot)


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"gripper": "binary"}, r"algorithm.gripper must be one of \('continuous', 'discrete'\). Got: 'binary'"),
        ({"gripper_penalty": 0.02}, "algorithm.gripper_penalty must be 0 or less. Got: 0.02"),
        ({"gripper_temperature": 0.0}, "algorithm.gripper_temperature must be greater than 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(setting, text):
    with pytest.raises(ValueError, match=text):
        replace(BASE, **setting)


def test_a_contract_without_a_gripper_is_refused_before_anything_is_made():
    interface = replace(CONTRACT.interface, action=Feature("action", "float32", (2,)))
    with pytest.raises(PolicySpecError, match="gripper=discrete needs an action with a component named gripper"):
        policy_spec(Contract(interface, CONTRACT.view), BASE)
