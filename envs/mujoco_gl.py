"""MuJoCo imported with an OpenGL backend that works on this machine, and one error where there is none.

MuJoCo chooses its backend once, when it is imported, from MUJOCO_GL. Physics needs none of it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

EGL_PACKAGES = ("libegl1", "libegl-mesa0", "libgl1-mesa-dri")


class RenderError(RuntimeError):
    """Camera images were asked for where none can be rendered. The text says what to install or set."""


def load_mujoco() -> Any:
    """The mujoco module, see ``choose_backend``."""
    choose_backend()
    import mujoco

    return mujoco


def choose_backend() -> None:
    """Before anybody imports mujoco: sets MUJOCO_GL where it is unset without a display, or where EGL is missing."""
    if "mujoco" not in sys.modules and sys.platform == "linux":
        wanted = os.environ.get("MUJOCO_GL", "").lower().strip()
        if wanted == "egl" or (not wanted and not os.environ.get("DISPLAY")):
            # With a missing library `import mujoco` itself fails under MUJOCO_GL=egl, even for physics alone.
            os.environ["MUJOCO_GL"] = "egl" if _egl_loads() else "disable"


def make_renderer(model: Any, height: int, width: int) -> Any:
    """A mujoco.Renderer bound to the calling thread. Raises RenderError where OpenGL cannot be had."""
    mujoco = load_mujoco()
    if os.environ.get("MUJOCO_GL", "").lower() in ("disable", "disabled", "off", "false", "0"):
        raise RenderError(_help("OpenGL is switched off" if _egl_loads() else "the EGL library is missing"))
    try:
        return mujoco.Renderer(model, height=height, width=width)
    except Exception as error:  # PyOpenGL, glfw and MuJoCo each raise their own types
        raise RenderError(_help(f"{type(error).__name__}: {error}")) from error


def _egl_loads() -> bool:
    try:
        ctypes.CDLL("libEGL.so.1")
    except OSError:
        return False
    return True


def _help(cause: str) -> str:
    return (
        f"camera images cannot be rendered with MUJOCO_GL={os.environ.get('MUJOCO_GL', '')!r} ({cause}). On Debian or "
        f"Ubuntu run `apt-get install {' '.join(EGL_PACKAGES)}` and leave MUJOCO_GL unset, or set obs=state or "
        "obs=proprio, which need no camera."
    )
