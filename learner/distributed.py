"""Updates by several processes together, the ranks that torchrun started, one for each GPU::

    torchrun --nproc-per-node 2 --no-python tandem learner env=so101_sim run=runs/mine

Rank 0 is the learner: service, log, replay, checkpoints and all that is printed. Of every batch it sends each rank an
equal share. All ranks make the same update, with the gradients averaged, so that they hold the same weights: those that
one process would have from the whole batch. They follow rank 0, ``learner/rank_updates.py``, and end with it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from learner.config import ConfigError, LearnerConfig
from learner.gpu_memory import what_to_lower
from learner.rank_watch import RankWatch, leave_words

if TYPE_CHECKING:
    from episodes.contract import Contract
    from learner.algorithms import Algorithm


@dataclass(frozen=True)
class Ranks:
    """This process among those that torchrun started.

    Attributes:
        rank: Of this process, from 0.
        count: Of all.
    """

    rank: int = 0
    count: int = 1


def started_ranks() -> Ranks:
    """What torchrun says of this process in its environment; one rank where nothing did."""
    try:
        return Ranks(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    except (KeyError, ValueError):
        return Ranks()


def tells_torchrun[C](run: Callable[[C], int]) -> Callable[[C], int]:
    """``run``, which returns an exit code, with why it failed in the report that torchrun prints last.

    torchrun exits with 1 whatever that code was, and calls every code but 0 a failure.
    """

    @functools.wraps(run)
    def told(config: C) -> int:
        try:
            code = run(config)
        except Exception as error:
            _leave_report(str(error))
            raise
        if code:
            _leave_report(
                f"tandem learner ended with exit code {code}. What it said stands above, and in training.json"
            )
        return code

    return told


def _leave_report(text: str) -> None:
    """Writes why this rank ends to the file that torchrun reads; without torchrun there is none."""
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        with contextlib.suppress(OSError):
            Path(file).write_text(json.dumps({"message": text, "timestamp": int(time.time())}))


def check_ranks(config: LearnerConfig, ranks: Ranks) -> None:
    """Raises ConfigError where these ranks cannot train together."""
    if ranks.count == 1:
        return
    import torch

    if int(os.environ.get("LOCAL_WORLD_SIZE", ranks.count)) != ranks.count:
        raise ConfigError("a learner's ranks must be on one machine: start torchrun with --nnodes 1")
    if config.device == "mps":
        raise ConfigError(f"learner.device=mps trains with one rank. Got: {ranks.count}. Use learner.device=cpu")
    size = config.algorithm.batch_size
    if size % ranks.count:
        nearest = max(ranks.count, size // ranks.count * ranks.count)
        raise ConfigError(
            f"algorithm.batch_size={size} cannot be shared equally by {ranks.count} ranks. Use a multiple of "
            f"{ranks.count}, like {nearest}, or another --nproc-per-node"
        )
    found = torch.cuda.device_count()
    if _on_cuda(config) and ranks.count > found:
        raise ConfigError(
            f"torchrun started {ranks.count} ranks, and torch finds {found} CUDA devices: each rank needs one of its "
            f"own. Start torchrun with --nproc-per-node {max(found, 1)}, or use learner.device=cpu"
        )


def lead(config: LearnerConfig, ranks: Ranks, contract: Contract, run: Path, algorithm: Algorithm) -> Algorithm:
    """The algorithm, updated from now on by all ranks, in rank 0; ``algorithm`` itself where there is one rank.

    Raises:
        RankError: where the other ranks do not join in time, or later, in the main thread, where one ends.
    """
    if ranks.count == 1:
        return algorithm
    from learner.rank_updates import LedAlgorithm
    from learner.rank_wire import join, processes, send

    join(ranks, cuda=_on_cuda(config))
    send(json.dumps(setup_of(config, contract, run)).encode())
    led = LedAlgorithm(algorithm, ranks, RankWatch(0, processes(ranks), run.resolve()))
    led.load()
    return cast("Algorithm", led)


def release(algorithm: Algorithm) -> None:
    """Lets the other ranks end, once no update is under way. Where this is not called they end with this process."""
    if end := getattr(algorithm, "end_ranks", None):
        end()


def follow(config: LearnerConfig, ranks: Ranks) -> int:
    """What every other rank does: follows rank 0 until that ends. Returns the exit code."""
    try:
        check_ranks(config, ranks)
    except ConfigError:
        return 1  # rank 0 says it
    from learner.rank_updates import follow_updates
    from learner.rank_wire import join, leave, processes, receive

    join(ranks, cuda=_on_cuda(config))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # rank 0 saves first, for which it needs the others
    setup = json.loads(receive())
    run = Path(setup["run"])
    watch = RankWatch(ranks.rank, {0: processes(ranks)[0]}, run)
    try:
        follow_updates(algorithm_of(config, setup), ranks)
    except Exception as error:
        leave_words(run, ranks.rank, what_to_lower(error, config) or f"{type(error).__name__}: {error}")
        return 1
    watch.close()
    leave()
    return 0


def setup_of(config: LearnerConfig, contract: Contract, run: Path) -> dict[str, Any]:
    """What rank 0 tells the others of a run that their own settings may not say, of JSON types."""
    return {
        "contract": contract.to_message().SerializeToString().hex(),
        "algorithm": asdict(config.algorithm),
        "seed": config.acting.seed,
        "run": str(run.resolve()),
    }


def algorithm_of(config: LearnerConfig, setup: dict[str, Any]) -> Algorithm:
    """The algorithm of another rank than 0, which is told ``setup``."""
    from episodes.contract import Contract
    from learner.algorithms import ALGORITHMS
    from learner.run_algorithm import run_algorithm
    from transport import records_pb2 as pb

    contract = Contract.from_message(pb.Contract.FromString(bytes.fromhex(setup["contract"])))
    settings: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in setup["algorithm"].items()}
    algorithm = ALGORITHMS[settings["name"]].config(**settings)
    return run_algorithm(
        replace(config, algorithm=algorithm, acting=replace(config.acting, seed=setup["seed"])), contract
    )


def _on_cuda(config: LearnerConfig) -> bool:
    """Whether updates run on CUDA."""
    import torch

    return config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
