"""Two network namespaces and a wire between them with delay, loss and partitions: TUN devices, read in user space."""

from __future__ import annotations

import fcntl
import os
import random
import select
import shutil
import struct
import subprocess
import threading
import time
from collections import deque

_TUNSETIFF, _IFF_TUN_NO_PI = 0x400454CA, 0x1001
ADDRESSES = ("10.99.0.1", "10.99.0.2")


def why_not() -> str:
    """Why there can be none here; empty where there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not os.path.exists("/dev/net/tun"):
        return "no /dev/net/tun here"
    return "" if shutil.which("ip") else "no ip command here (iproute2)"


class Wire:
    """Use as a context manager.

    Attributes:
        names: Of the namespaces, each with one of ``ADDRESSES``.
        delay_s, loss: Of every packet; may be changed at any time.
        cut: True lets nothing through.
    """

    def __init__(self, delay_s: float = 0.0, loss: float = 0.0) -> None:
        self.delay_s, self.loss, self.cut = delay_s, loss, False
        self.names = tuple(f"tandem-{os.getpid()}-{side}" for side in "ab")
        self._random = random.Random(0)
        self._ended = threading.Event()
        self._tuns: list[int] = []
        self._thread = threading.Thread(target=self._forward, daemon=True)

    def command(self, side: int) -> tuple[str, ...]:
        """What runs a program in a namespace, before its own words."""
        return ("ip", "netns", "exec", self.names[side])

    def __enter__(self) -> Wire:
        for name, address in zip(self.names, ADDRESSES, strict=True):
            subprocess.run(["ip", "netns", "add", name], check=True)
            maker = threading.Thread(target=self._open, args=(name,))  # only that thread enters the namespace
            maker.start()
            maker.join()
            for words in (
                ("addr", "add", f"{address}/24", "dev", "tun0"),
                ("link", "set", "tun0", "up", "mtu", "1400"),
            ):
                subprocess.run(["ip", "-n", name, *words], check=True)
            subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for tun in self._tuns:
            os.close(tun)
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=True)

    def _open(self, name: str) -> None:
        with open(f"/run/netns/{name}") as namespace:
            os.setns(namespace.fileno(), os.CLONE_NEWNET)
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", b"tun0", _IFF_TUN_NO_PI))
        self._tuns.append(tun)

    def _forward(self) -> None:
        flying: deque[tuple[float, int, bytes]] = deque()
        while not self._ended.is_set():
            wait_s = max(0.0, flying[0][0] - time.monotonic()) if flying else 0.05
            for tun in select.select(self._tuns, [], [], min(wait_s, 0.05))[0]:
                packet = os.read(tun, 1 << 16)
                if not self.cut and self._random.random() >= self.loss:
                    to = self._tuns[1 - self._tuns.index(tun)]
                    flying.append((time.monotonic() + self.delay_s, to, packet))
            while flying and flying[0][0] <= time.monotonic():
                _, to, packet = flying.popleft()
                if not self.cut:
                    os.write(to, packet)
