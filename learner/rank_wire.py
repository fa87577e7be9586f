"""What ranks send each other: commands, bytes, and what all of them gave; joined by torch.distributed."""

from __future__ import annotations

import atexit
import datetime
import hashlib
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor

from learner.rank_watch import RankError

if TYPE_CHECKING:
    from learner.distributed import Ranks

JOIN_S = 120.0
_FOREVER = datetime.timedelta(days=365)  # a rank waits for the next command as long as no actor sends anything


def join(ranks: Ranks, *, cuda: bool) -> None:
    """Meets the other ranks, for updates on the CPU or on CUDA."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    backend = "gloo"
    if cuda:
        torch.cuda.set_device(ranks.rank)
        backend = "cpu:gloo,cuda:nccl"
    failed: list[BaseException] = []

    def meet() -> None:
        try:
            dist.init_process_group(backend, timeout=_FOREVER)
        except BaseException as error:
            failed.append(error)

    # A thread: Ctrl-C ends a learner that waits for the others.
    thread = threading.Thread(target=meet, name="join", daemon=True)
    thread.start()
    until_s = time.monotonic() + JOIN_S
    while thread.is_alive() and time.monotonic() < until_s:
        thread.join(0.1)
    if failed or thread.is_alive():
        why = f": {failed[0]}" if failed else f" within {JOIN_S:g} s"
        raise RankError(f"the {ranks.count} ranks that torchrun started did not meet{why}")
    atexit.register(leave)  # a group that is still there when Python has ended aborts the process


def processes(ranks: Ranks) -> dict[int, int]:
    """Process ids of the other ranks, by rank."""
    found = gathered(os.getpid().to_bytes(8, "little"), ranks)
    return {rank: int.from_bytes(p, "little") for rank, p in enumerate(found) if rank != ranks.rank}


def send_command(*command: int) -> None:
    """Sends the numbers of a command from rank 0, which calls this, to all."""
    dist.broadcast(torch.tensor(command), 0)


def receive_command(size: int) -> list[int]:
    """The ``size`` numbers of the next command; waits for it without end."""
    header = torch.empty(size, dtype=torch.int64)
    dist.broadcast(header, 0)
    return header.tolist()


def send(data: bytes) -> None:
    """Sends bytes from rank 0, which calls this, to all."""
    dist.broadcast(torch.tensor([len(data)]), 0)
    dist.broadcast(torch.frombuffer(bytearray(data), dtype=torch.uint8), 0)


def receive() -> bytes:
    """What rank 0 sent with ``send``."""
    size = torch.empty(1, dtype=torch.int64)
    dist.broadcast(size, 0)
    data = torch.empty(int(size), dtype=torch.uint8)
    dist.broadcast(data, 0)
    return data.numpy().tobytes()


def gathered(data: bytes, ranks: Ranks) -> list[bytes]:
    """What every rank gave, by rank; of one length."""
    mine = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    found = [torch.empty_like(mine) for _ in range(ranks.count)]
    dist.all_gather(found, mine)
    return [tensor.numpy().tobytes() for tensor in found]


def tensor_bytes(tensor: Tensor) -> bytes:
    """The values of a tensor, in order."""
    return tensor.cpu().reshape(-1).view(torch.uint8).numpy().tobytes()


def digest(tensors: dict[str, Tensor]) -> bytes:
    """The same where the tensors are, but for what is not finite."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode())
        tensor = tensors[name]
        found.update(tensor_bytes(tensor.nan_to_num() if tensor.is_floating_point() else tensor))
    return found.digest()


def tensors_of(data: bytes, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the names, dtypes and shapes of ``like``."""
    found, start = {}, 0
    for name in sorted(like):
        size = like[name].numel() * like[name].element_size()
        part = torch.frombuffer(bytearray(data[start : start + size]), dtype=torch.uint8) if size else like[name]
        found[name] = part.view(like[name].dtype).view(like[name].shape)
        start += size
    return found


def leave() -> None:
    """Leaves the group that ``join`` made, where it was not left yet."""
    if dist.is_initialized():
        dist.destroy_process_group()
