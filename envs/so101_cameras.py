"""Camera images of the simulated SO-101: small and quick ones for policies, a large one with shadows for people."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.mujoco_gl import load_mujoco, make_renderer


class Cameras:
    """Renders one model. The OpenGL context is made on first use and belongs to that thread from then on.

    Args:
        model: an MjModel with the cameras.
        height, width: size of the images in pixels.
        beauty: shadows and anti-aliasing: some fifty times slower, for videos only.
    """

    def __init__(self, model: Any, height: int, width: int, *, beauty: bool = False) -> None:
        self._model, self._height, self._width, self._beauty = model, height, width, beauty
        self._renderer: Any = None

    def image(self, data: Any, camera: str) -> np.ndarray:
        """RGB image, uint8, shape (height, width, 3). Raises RenderError where OpenGL cannot be had."""
        if self._renderer is None:
            self._open()
        self._renderer.update_scene(data, camera=camera)
        return self._renderer.render()

    def _open(self) -> None:
        mujoco = load_mujoco()
        quality = self._model.vis.quality
        if self._beauty:
            quality.shadowsize, quality.offsamples = 4096, 8
        try:
            self._renderer = make_renderer(self._model, self._height, self._width)
        finally:
            quality.shadowsize, quality.offsamples = 0, 0
        flags = self._renderer.scene.flags
        flags[mujoco.mjtRndFlag.mjRND_SHADOW] = self._beauty
        flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = self._beauty

    def close(self) -> None:
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
