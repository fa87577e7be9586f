"""LeRobot 0.6.1's transport of transitions, driven by its own functions, for benchmarks/wire.py."""

from __future__ import annotations

import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

TRANSITIONS = {"image": 200, "state": 4000}
A_MESSAGE = 10


def transitions(kind: str, count: int) -> list[dict[str, Any]]:
    """As its actor makes them on a CPU: float32 tensors, each next state the state of the transition after it."""
    import torch

    random = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {"observation.state": (1, 18)}
    if kind == "image":
        shapes |= {f"observation.images.{name}": (1, 3, 128, 128) for name in ("front", "wrist")}
    states = [{k: torch.rand(shape, generator=random) for k, shape in shapes.items()} for _ in range(count + 1)]
    return [
        {
            "state": states[index],
            "action": torch.zeros(1, 4),
            "reward": 0.0,
            "next_state": states[index + 1],
            "done": False,
            "truncated": False,
            "complementary_info": {"discrete_penalty": torch.tensor([0.0]), "is_intervention": False},
        }
        for index in range(count)
    ]


def serialize(kind: str) -> float:
    """Processor seconds for a transition: tensors to a message, and that to tensors."""
    import torch
    from lerobot.transport.utils import bytes_to_transitions, transitions_to_bytes

    torch.set_num_threads(1)
    made, rounds = transitions(kind, A_MESSAGE), 10
    bytes_to_transitions(transitions_to_bytes(made))
    began = time.process_time()
    for _ in range(rounds):
        bytes_to_transitions(transitions_to_bytes(made))
    return (time.process_time() - began) / rounds / A_MESSAGE


def message_bytes(kind: str) -> int:
    """Bytes of a transition in a message of A_MESSAGE."""
    from lerobot.transport.utils import transitions_to_bytes

    return len(transitions_to_bytes(transitions(kind, A_MESSAGE))) // A_MESSAGE


def actor(port: int, kind: str, result: Any) -> None:
    """Sends messages that were serialized before, through LeRobot's own generator and call."""
    import grpc
    from lerobot.transport import services_pb2, services_pb2_grpc
    from lerobot.transport.utils import grpc_channel_options, send_bytes_in_chunks, transitions_to_bytes

    message = transitions_to_bytes(transitions(kind, A_MESSAGE))
    with grpc.insecure_channel(f"127.0.0.1:{port}", grpc_channel_options()) as channel:
        stub = services_pb2_grpc.LearnerServiceStub(channel)
        stub.Ready(services_pb2.Empty())
        result.send("ready")
        used_s = time.process_time()

        def stream() -> Any:
            for _ in range(TRANSITIONS[kind] // A_MESSAGE):
                yield from send_bytes_in_chunks(message, services_pb2.Transition)

        stub.SendTransitions(stream())
        result.send((time.process_time() - used_s) / TRANSITIONS[kind])


def deliver(kind: str) -> tuple[float, float]:
    """Transitions/s to the learner's tensors, and processor seconds of both processes for a transition.

    Server, service, queue and the loop that empties it are those of ``lerobot.rl.learner`` with its default, threads.
    """
    import grpc
    import torch
    from lerobot.rl.learner_service import MAX_WORKERS, LearnerService
    from lerobot.transport import services_pb2_grpc
    from lerobot.transport.utils import MAX_MESSAGE_SIZE, bytes_to_transitions
    from torch.multiprocessing import Queue

    torch.set_num_threads(1)
    shutdown = threading.Event()
    queues: list[Any] = [Queue() for _ in range(3)]
    service = LearnerService(shutdown, queues[0], 4.0, queues[1], queues[2])
    options = [(f"grpc.max_{way}_message_length", MAX_MESSAGE_SIZE) for way in ("receive", "send")]
    server = grpc.server(ThreadPoolExecutor(max_workers=MAX_WORKERS), options=options)
    services_pb2_grpc.add_LearnerServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    here, there = multiprocessing.Pipe()
    client = multiprocessing.get_context("spawn").Process(target=actor, args=(port, kind, there))
    client.start()
    there.close()
    here.recv()
    used_s = time.process_time()
    taken, times = 0, []
    while taken < TRANSITIONS[kind]:
        taken += len(bytes_to_transitions(queues[1].get()))
        times.append(time.monotonic())
    used_s = time.process_time() - used_s
    actor_s = here.recv()
    client.join()
    shutdown.set()
    server.stop(0)
    for queue in queues:
        queue.close()
        queue.cancel_join_thread()
    return (taken - A_MESSAGE) / (times[-1] - times[0]), actor_s + used_s / taken
