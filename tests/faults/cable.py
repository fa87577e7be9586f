"""A cable between an actor and a learner that can be pulled: TCP, forwarded from a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading


class Cable:
    """Forwards connections from ``port`` to ``to_port`` of this machine.

    Attributes:
        port: Where it listens on loopback.
    """

    def __init__(self, to_port: int) -> None:
        self.port = 0
        self._to_port = to_port
        self._loop = asyncio.new_event_loop()
        self._whole = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait()

    def pull(self) -> None:
        """From now on nothing gets through, and nobody is told."""
        self._loop.call_soon_threadsafe(self._whole.clear)

    def plug(self) -> None:
        """What was on its way arrives, late; connections that nobody gave up go on."""
        self._loop.call_soon_threadsafe(self._whole.set)

    def reset(self) -> None:
        """Ends every connection."""
        self._loop.call_soon_threadsafe(self._abort)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda loop, context: None)
        server = self._loop.run_until_complete(asyncio.start_server(self._connected, "localhost", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._whole.set()
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await self._whole.wait()
            far_reader, far_writer = await asyncio.open_connection("localhost", self._to_port)
            ways = ((reader, far_writer), (far_reader, writer))
            self._writers |= {writer, far_writer}
            try:
                await asyncio.gather(*(self._forward(*way) for way in ways))
            finally:
                self._writers -= {writer, far_writer}
                far_writer.close()
        writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self._whole.wait()
            writer.write(data)
            await writer.drain()
        writer.write_eof()
