"""Ranks as processes that meet over gloo on loopback, against one process; and learners that torchrun starts."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from envs.generic import GymConfig
from episodes.contract import Contract, Feature, FeatureView, Interface, RewardBounds, View
from episodes.log import read_log
from learner.algorithms import build_algorithm
from learner.algorithms.drqv2_config import DrQv2Config
from learner.algorithms.sac_config import SACConfig
from learner.checkpoint import load_checkpoint, newest_checkpoint
from learner.config import ConfigError, LearnerConfig
from learner.distributed import Ranks, check_ranks, follow, lead, release, started_ranks

STATE, IMAGE = "observation.state", "observation.images.front"
ROWS, SIZE = 12, 20
UPDATES = 4
SAC = SACConfig(hidden=(32, 32), batch_size=ROWS, critic_warmup_updates=0, clone_weight=0.1, critic_subset=2)
DRQ = DrQv2Config(hidden=(32, 32), trunk_size=12, batch_size=ROWS, critic_warmup_updates=0, clone_weight=0.1)
CASES = {
    "sac-vectors": (SAC, 0),
    "sac-images": (replace(SAC, target_encoder=True), 1),
    "drqv2": (replace(DRQ, input_noise=0.1), 3),
}
SETTINGS = [
    "learner.device=cpu",
    "learner.checkpoint_every_s=1",
    "warmup_steps=20",
    "algorithm.batch_size=16",
    "algorithm.hidden=[16,16]",
    "algorithm.utd_ratio=1",
    "evaluation.every_env_steps=0",
    "replay.capacity_gb=0.01",
    "tracker=none",
]


def contract_of(stack: int) -> Contract:
    features = [Feature(STATE, "float32", (4,))] + [Feature(IMAGE, "uint8", (SIZE, SIZE, 3))] * (stack > 0)
    action = Feature("action", "float32", (2,), low=(-1.0,), high=(1.0,))
    interface = Interface("t", tuple(features), action, reward=RewardBounds(True, 0.0, 1.0, True))
    return Contract(interface, View(tuple(FeatureView(f.name, stack=stack if f.is_image else 1) for f in features)))


def batch(seed: int, stack: int) -> SimpleNamespace:
    """People's actions and demonstrations lie unequally in the two halves."""
    rng = np.random.default_rng(seed)

    def observation():
        images = {IMAGE: rng.integers(0, 256, (ROWS, SIZE, SIZE, 3 * stack), np.uint8)} if stack else {}
        return {STATE: rng.standard_normal((ROWS, 4)).astype(np.float32), **images}

    return SimpleNamespace(
        observation=observation(),
        next_observation=observation(),
        action=rng.uniform(-0.9, 0.9, (ROWS, 2)).astype(np.float32),
        reward=(rng.random(ROWS) < 0.3).astype(np.float32),
        discount=np.full(ROWS, 0.97, np.float32),
        human=np.arange(ROWS) >= ROWS - 5,
        demonstration=np.arange(ROWS) >= ROWS - 4,
    )


def trained(algorithm, stack: int) -> list[dict[str, float]]:
    """The metrics of two cloning updates and some updates."""
    algorithm.freeze_statistics({STATE: (np.full(4, 0.1, np.float32), np.full(4, 1.5, np.float32))})
    metrics = [algorithm.clone(batch(100 + i, stack)) for i in range(2)]
    metrics += [algorithm.update(batch(i, stack)) for i in range(UPDATES)]
    return [{name: float(value) for name, value in found.items()} for found in metrics]


def be_rank(case: str, run: str, wrong: str) -> int:
    """One rank: follows, or leads and keeps what came of it in ``run``."""
    torch.set_num_threads(1)
    algorithm, stack = CASES[case]
    config = LearnerConfig(env="none", env_config=None, algorithm=algorithm, device="cpu")
    ranks = started_ranks()
    if wrong and ranks.rank == 1:
        from learner import rank_updates

        make = rank_updates.averaged_metrics

        def spoil(metrics):
            if wrong == "memory":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            if wrong == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            return make(metrics)

        rank_updates.averaged_metrics = spoil
        if wrong == "weights":
            tensors = rank_updates.tensors_of
            rank_updates.tensors_of = lambda data, like: {
                name: value + 1 if name == "policy.head.bias" else value for name, value in tensors(data, like).items()
            }
    if ranks.rank:
        return follow(config, ranks)
    contract = contract_of(stack)
    led = lead(config, ranks, contract, Path(run), build_algorithm(contract, algorithm, device="cpu", seed=0))
    try:
        metrics = trained(led, stack)
        tensors, meta = led.state()
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
        return 7
    release(led)
    torch.save({"metrics": metrics, "tensors": tensors, "meta": meta}, Path(run) / "result.pt")
    return 0


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def ranks_of(case: str, run: Path, wrong: str = "", count: int = 2) -> list[tuple[int, str]]:
    """Exit code and output of each rank."""
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    environment |= {"WORLD_SIZE": str(count)}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, case, str(run), wrong],
            env={**environment, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        texts = [process.communicate(timeout=100)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [(process.returncode, text) for process, text in zip(processes, texts, strict=True)]


@pytest.mark.parametrize(
    "case", ["sac-vectors", *(pytest.param(c, marks=pytest.mark.long) for c in CASES if c != "sac-vectors")]
)
def test_two_ranks_make_the_update_of_one_process_on_the_whole_batch(case, tmp_path):
    found = ranks_of(case, tmp_path)
    assert [code for code, _ in found] == [0, 0], found
    result = torch.load(tmp_path / "result.pt")
    config, stack = CASES[case]
    alone = build_algorithm(contract_of(stack), config, device="cpu", seed=0)
    metrics = trained(alone, stack)
    tensors, meta = alone.state()
    assert result["meta"] == meta
    assert meta["updates"] == UPDATES
    for mine, theirs in zip(result["metrics"], metrics, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5, rel=1e-5)
    assert result["tensors"].keys() == tensors.keys()
    for name, value in tensors.items():
        torch.testing.assert_close(
            result["tensors"][name], value, atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )
    assert torch.equal(result["tensors"]["generator"], tensors["generator"])


@pytest.mark.long
def test_a_rank_with_other_weights_is_named_and_nothing_of_it_is_saved(tmp_path):
    (code, text), _ = ranks_of("sac-vectors", tmp_path, "weights")
    assert code == 7
    assert "RankError: rank 1 has other weights than rank 0 after 4 updates" in text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("killed", "killed or crashed"),
        pytest.param("memory", "OutOfMemoryError: CUDA out of memory", marks=pytest.mark.long),
    ],
)
def test_a_rank_that_ends_ends_the_others_and_is_named(tmp_path, wrong, said):
    (code, text), (other, _) = ranks_of("sac-vectors", tmp_path, wrong)
    assert code == 7
    assert other
    assert "RankError: rank 1 of this learner ended" in text
    assert said in text
    assert f"run={tmp_path} goes on from there" in text
    assert len(text.splitlines()) == 1


def test_a_batch_that_cannot_be_shared_is_refused():
    config = LearnerConfig(env="gym", env_config=GymConfig(), algorithm=replace(SAC, batch_size=9), device="cpu")
    with pytest.raises(ConfigError, match=r"batch_size=9 cannot be shared equally by 2 ranks.*like 8"):
        check_ranks(config, Ranks(0, 2))


def test_more_ranks_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    config = LearnerConfig(env="gym", env_config=GymConfig(), algorithm=SAC, device="cuda")
    with pytest.raises(ConfigError, match=r"started 2 ranks, and torch finds 1 CUDA devices.*--nproc-per-node 1"):
        check_ranks(config, Ranks(0, 2))
    check_ranks(replace(config, device="cpu"), Ranks(0, 2))


class Torchrun:
    """`tandem learner` of two ranks, as torchrun starts them."""

    def __init__(self, run: Path, *arguments: str):
        self.run = run
        self.file = run.parent / "learner.txt"
        self.port = free_port()
        environment = {**os.environ, "TANDEM_TOKEN": "token-of-the-tests-0123456789", "OMP_NUM_THREADS": "1"}
        scripts = Path(sys.executable).parent
        command = [scripts / "torchrun", "--nproc-per-node", "2", "--master-port", str(free_port()), "--no-python"]
        command += [scripts / "tandem", "learner", "env=gym"]
        with self.file.open("w") as file:
            self.process = subprocess.Popen(
                [*command, *SETTINGS, f"run={run}", f"learner.address=127.0.0.1:{self.port}", *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=run.parent,
            )
        self.environment = environment

    @property
    def text(self) -> str:
        return self.file.read_text()

    def ranks(self) -> dict[int, int]:
        """Process ids of the ranks."""
        found = {}
        for child in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            rank = re.search(rb"\0RANK=(\d+)\0", Path(f"/proc/{child}/environ").read_bytes())
            if rank:
                found[int(rank[1])] = int(child)
        return found

    def wait(self, condition: Callable[[], bool], timeout_s: float = 200.0) -> None:
        until_s = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, self.text
            assert time.monotonic() < until_s, self.text
            time.sleep(0.1)

    def updates(self) -> int:
        path = newest_checkpoint(self.run / "checkpoints")
        return 0 if path is None else load_checkpoint(path).state["updates"]

    def close(self) -> None:
        if self.process.poll() is None:
            for process in self.ranks().values():
                os.kill(process, signal.SIGKILL)
            self.process.kill()
        self.process.wait()


@pytest.fixture
def torchrun(tmp_path) -> Iterator[Callable[..., Torchrun]]:
    started: list[Torchrun] = []
    actors: list[subprocess.Popen] = []

    def begin(*arguments: str) -> Torchrun:
        started.append(Torchrun(tmp_path / "run", *arguments))
        learner = started[-1]
        learner.wait(lambda: "listens on" in learner.text)
        actor = [Path(sys.executable).parent / "tandem", "actor", f"learner.address=127.0.0.1:{learner.port}"]
        actors.append(
            subprocess.Popen(
                [*actor, f"actor.spool={tmp_path / 'spool'}"],
                env=learner.environment,
                cwd=tmp_path,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        return learner

    yield begin
    for actor in actors:
        actor.send_signal(signal.SIGINT)
        try:
            actor.wait(20)
        except subprocess.TimeoutExpired:
            actor.kill()
            actor.wait()
    for learner in started:
        learner.close()


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the ranks in /proc")
def test_a_learner_of_two_ranks_trains_with_a_real_actor_and_ends_by_itself(torchrun):
    learner = torchrun("stop.max_env_steps=150")
    learner.process.wait(300)
    assert learner.process.returncode == 0, learner.text
    summary = json.loads((learner.run / "training.json").read_text())
    assert summary["env_steps"] >= 150
    assert summary["updates"] >= 80
    assert learner.text.count("listens on") == 1
    assert learner.updates() == summary["updates"]
    steps = [e.record.step for _, e in read_log(learner.run / "log") if e.record.WhichOneof("body") == "step"]
    assert len(steps) == summary["env_steps"]


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the ranks in /proc")
def test_a_killed_rank_ends_the_learner_with_one_message_and_the_run_resumes(torchrun):
    learner = torchrun()
    learner.wait(lambda: learner.updates() > 0)
    os.kill(learner.ranks()[1], signal.SIGKILL)
    learner.process.wait(60)
    assert learner.process.returncode
    assert learner.text.count("tandem: ") == 1, learner.text
    assert "tandem: rank 1 of this learner ended, killed or crashed." in learner.text
    before = learner.updates()
    resumed = torchrun()
    resumed.wait(lambda: resumed.updates() > before)
    resumed.process.send_signal(signal.SIGINT)
    resumed.process.wait(60)
    assert "Everything is saved. Go on with" in resumed.text


if __name__ == "__main__":
    sys.exit(be_rank(*sys.argv[1:]))
