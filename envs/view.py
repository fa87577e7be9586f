"""A live picture of a simulated robot in a browser, drawn by a process of its own: the control loop only copies joints.

Works over SSH (``ssh -L 8008:localhost:8008``), on Wayland and without a desktop.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from envs.errors import EnvError
from envs.mujoco_gl import load_mujoco, make_renderer

FRAMES_HZ = 15.0
HEIGHT, WIDTH = 480, 640
PAGE = b"""<!doctype html><title>Tandem</title>
<body style="margin:0;background:#222"><img src="/stream" style="width:100vw;height:100vh;object-fit:contain">"""


class LiveView:
    """Shows one MuJoCo environment at http://localhost:PORT/. Belongs to the process that steps the environment."""

    def __init__(self, env: gym.Env, port: int) -> None:
        """``port`` 0 takes a free one. Raises EnvError for an environment without a MuJoCo model or a taken port."""
        robot = env.unwrapped
        model: Any = getattr(robot, "model", None)
        data: Any = getattr(robot, "data", None)
        if not hasattr(model, "nq") or not hasattr(data, "qpos"):
            raise EnvError(
                f"only MuJoCo environments can be viewed live. Got: {type(robot).__name__}. Leave the view off"
            )
        self._data = data
        self._mocap = data.mocap_pos.size > 0
        size = 8 * (1 + _state_size(model))
        listener = _listener(port)
        self.url = f"http://localhost:{listener.getsockname()[1]}/"
        with tempfile.TemporaryFile() as file:
            os.ftruncate(file.fileno(), size)
            self._memory = np.frombuffer(mmap.mmap(file.fileno(), size), np.float64)
            descriptor, self._model = tempfile.mkstemp(suffix=".mjb")
            os.close(descriptor)
            load_mujoco().mj_saveModel(model, self._model)
            fds = (file.fileno(), listener.fileno())
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "envs.view", self._model, *map(str, fds), str(os.getpid())],
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
            )
        listener.close()
        self.show()

    def show(self) -> None:
        """Hands the robot's state over: two copies of a few hundred bytes. Never blocks, never raises."""
        data, memory = self._data, self._memory
        memory[1 : 1 + data.qpos.size] = data.qpos
        if self._mocap:
            memory[1 + data.qpos.size :] = np.concatenate((data.mocap_pos.ravel(), data.mocap_quat.ravel()))
        memory[0] += 1

    def close(self) -> None:
        """Safe to call twice."""
        self._process.kill()
        self._process.wait()
        Path(self._model).unlink(missing_ok=True)


def _state_size(model: Any) -> int:
    return model.nq + 7 * model.nmocap


def _listener(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise EnvError(f"port {port} for the view is taken ({error.strerror}). Choose another one") from error
    listener.listen()
    return listener


class _Screen:
    """The newest frame, drawn only while somebody looks."""

    def __init__(self, model_path: str, memory_fd: int) -> None:
        mujoco = load_mujoco()
        self._mujoco = mujoco
        self._model = mujoco.MjModel.from_binary_path(model_path)
        Path(model_path).unlink()
        self._data = mujoco.MjData(self._model)
        size = 8 * (1 + _state_size(self._model))
        self._memory = np.frombuffer(mmap.mmap(memory_fd, size), np.float64)
        front = mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_CAMERA, "front")
        self._camera = front if front >= 0 or self._model.ncam == 0 else 0
        self.fresh = threading.Condition()
        self.frame = b""
        self.viewers = 0

    def run(self, parent: int) -> None:
        self._model.vis.global_.offheight = max(self._model.vis.global_.offheight, HEIGHT)
        self._model.vis.global_.offwidth = max(self._model.vis.global_.offwidth, WIDTH)
        renderer = make_renderer(self._model, HEIGHT, WIDTH)
        while os.getppid() == parent:
            time.sleep(1.0 / FRAMES_HZ)
            if not self.viewers:
                continue
            frame = self._draw(renderer)
            with self.fresh:
                self.frame = frame
                self.fresh.notify_all()

    def _draw(self, renderer: Any) -> bytes:
        import imageio.v3 as imageio

        data, nq, nmocap = self._data, self._model.nq, self._model.nmocap
        while True:
            count = self._memory[0]
            state = self._memory[1:].copy()
            if self._memory[0] == count:
                break
        data.qpos[:] = state[:nq]
        data.mocap_pos[:] = state[nq : nq + 3 * nmocap].reshape(nmocap, 3)
        data.mocap_quat[:] = state[nq + 3 * nmocap :].reshape(nmocap, 4)
        self._mujoco.mj_forward(self._model, data)
        renderer.update_scene(data, camera=self._camera)
        return imageio.imwrite("<bytes>", renderer.render(), extension=".jpg", quality=85)


def _handler(screen: _Screen) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/":
                self._answer("text/html", PAGE)
            elif self.path == "/stream":
                with contextlib.suppress(OSError):
                    self._stream()
            else:
                self.send_error(404)

        def _answer(self, kind: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            screen.viewers += 1
            try:
                while True:
                    with screen.fresh:
                        screen.fresh.wait(2.0)
                        frame = screen.frame
                    if not frame:
                        continue
                    head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(frame)
                    self.wfile.write(head + frame + b"\r\n")
            finally:
                screen.viewers -= 1

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


def main(model_path: str, memory_fd: str, socket_fd: str, parent: str) -> None:
    """The drawing process. Ends with its parent."""
    with contextlib.suppress(OSError):
        os.nice(10)
    screen = _Screen(model_path, int(memory_fd))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(screen), bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=int(socket_fd))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    screen.run(int(parent))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(*sys.argv[1:])
