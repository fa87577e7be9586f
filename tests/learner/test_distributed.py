"""Ranks as processes that meet over gloo on loopback, against one process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from envs.generic import GymConfig
from episodes.contract import Contract, Feature, FeatureView, Interface, RewardBounds, View
from learner.algorithms import build_algorithm
from learner.algorithms.drqv2_config import DrQv2Config
from learner.algorithms.sac_config import SACConfig
from learner.config import ConfigError, LearnerConfig
from learner.distributed import Ranks, algorithm_of, check_ranks, follow, lead, release, setup_of, started_ranks
from learner.rank_wire import leave
from learner.run_algorithm import run_algorithm

STATE, IMAGE = "observation.state", "observation.images.front"
ROWS, SIZE = 12, 20
UPDATES = 4
SAC = SACConfig(hidden=(32, 32), batch_size=ROWS, critic_warmup_updates=0, clone_weight=0.1, critic_subset=2)
DRQ = DrQv2Config(hidden=(32, 32), trunk_size=12, batch_size=ROWS, critic_warmup_updates=0, clone_weight=0.1)
CASES = {
    "sac-vectors": (SAC, 0),
    "sac-images": (replace(SAC, target_encoder=True), 1),
    "sac-gripper": (replace(SAC, gripper="discrete"), 1),
    "drqv2": (replace(DRQ, input_noise=0.1), 3),
}


def contract_of(stack: int) -> Contract:
    features = [Feature(STATE, "float32", (4,), ("a", "b", "c", "gripper"))] + [
        Feature(IMAGE, "uint8", (SIZE, SIZE, 3))
    ] * (stack > 0)
    action = Feature("action", "float32", (2,), ("x", "gripper"), low=(-1.0,), high=(1.0,))
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
        toggles=rng.integers(0, 3, ROWS).astype(np.float32),
        human=np.arange(ROWS) >= ROWS - 5,
        demonstration=np.arange(ROWS) >= ROWS - 4,
    )


def trained(algorithm, stack: int) -> list[dict[str, float]]:
    """The metrics of two cloning updates and some updates."""
    algorithm.freeze_statistics({STATE: (np.full(4, 0.1, np.float32), np.full(4, 1.5, np.float32))})
    metrics = [algorithm.clone(batch(100 + i, stack)) for i in range(2)]
    metrics += [algorithm.update(batch(i, stack)) for i in range(UPDATES)]
    return [{name: float(value) for name, value in found.items()} for found in metrics]


def be_rank(case: str, run: str, *wrongs: str) -> int:
    """One rank, which meets the others once for each of ``wrongs``; each but the last must end well."""
    torch.set_num_threads(1)
    for wrong, port in zip(wrongs, os.environ["MASTER_PORTS"].split(), strict=True):
        os.environ["MASTER_PORT"] = port
        if code := train_as_rank(case, run, wrong):
            return code
        leave()
    return 0


def train_as_rank(case: str, run: str, wrong: str) -> int:
    """Follows, or leads and keeps what came of it in ``run``."""
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


def ranks_of(case: str, run: Path, *wrongs: str, count: int = 2) -> list[tuple[int, str]]:
    """Exit code and output of each rank; what goes wrong is "" for nothing."""
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    environment |= {"MASTER_PORTS": " ".join(str(free_port()) for _ in wrongs)}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, case, str(run), *wrongs],
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


@pytest.fixture(scope="module")
def trained_and_killed(tmp_path_factory) -> tuple[Path, list[tuple[int, str]]]:
    """Folder, exit codes and outputs of two ranks that train to the end, and then meet again and lose rank 1."""
    folder = tmp_path_factory.mktemp("ranks")
    return folder, ranks_of("sac-vectors", folder, "", "killed")


def test_two_ranks_make_the_update_of_one_process_on_the_whole_batch(trained_and_killed):
    agrees_with_one_process("sac-vectors", trained_and_killed[0])


@pytest.mark.long
@pytest.mark.parametrize("case", [case for case in CASES if case != "sac-vectors"])
def test_two_ranks_agree_with_one_process_from_images(case, tmp_path):
    found = ranks_of(case, tmp_path, "")
    assert [code for code, _ in found] == [0, 0], found
    agrees_with_one_process(case, tmp_path)


def agrees_with_one_process(case: str, folder: Path) -> None:
    result = torch.load(folder / "result.pt")
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


def test_a_rank_that_ends_ends_the_others_and_is_named(trained_and_killed):
    names_the_rank_that_ended(*trained_and_killed, "killed or crashed")


@pytest.mark.long
def test_a_rank_out_of_memory_says_so_through_the_others(tmp_path):
    found = ranks_of("sac-vectors", tmp_path, "memory")
    names_the_rank_that_ended(tmp_path, found, "the GPU ran out of memory (Tried to allocate 2.00 GiB): lower")


def names_the_rank_that_ended(folder: Path, found: list[tuple[int, str]], said: str) -> None:
    (code, text), (other, _) = found
    assert code == 7
    assert other
    assert "RankError: rank 1 of this learner ended" in text
    assert said in text
    assert f"run={folder} goes on from there" in text
    assert len(text.splitlines()) == 1


def test_a_batch_that_cannot_be_shared_is_refused():
    config = LearnerConfig(env="gym", env_config=GymConfig(), algorithm=replace(SAC, batch_size=9), device="cpu")
    with pytest.raises(ConfigError, match=r"batch_size=9 cannot be shared equally by 2 ranks.*like 8"):
        check_ranks(config, Ranks(0, 2))


def test_another_rank_computes_as_rank_0_does(tmp_path):
    """Also where its own command line names another algorithm and seed than the run has."""
    algorithm, stack = CASES["sac-images"]
    config = LearnerConfig(env="none", env_config=None, algorithm=algorithm, device="cpu", autocast="bfloat16")
    setup = json.loads(json.dumps(setup_of(config, contract_of(stack), tmp_path)))
    first = run_algorithm(config, contract_of(stack))
    other = algorithm_of(replace(config, algorithm=DRQ, acting=replace(config.acting, seed=7)), setup)
    assert other.encoder.autocast is first.encoder.autocast is torch.bfloat16
    assert all(torch.equal(value, other.state()[0][name]) for name, value in first.state()[0].items())


def test_more_ranks_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    config = LearnerConfig(env="gym", env_config=GymConfig(), algorithm=SAC, device="cuda")
    with pytest.raises(ConfigError, match=r"started 2 ranks, and torch finds 1 CUDA devices.*--nproc-per-node 1"):
        check_ranks(config, Ranks(0, 2))
    check_ranks(replace(config, device="cpu"), Ranks(0, 2))


if __name__ == "__main__":
    sys.exit(be_rank(*sys.argv[1:]))
