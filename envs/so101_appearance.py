"""How the simulated SO-101 looks in one episode: light, cameras and the cube's colour, drawn anew at every reset.

Everything is drawn around what the model file says, so that nothing adds up over episodes.
"""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np

from envs.mujoco_gl import load_mujoco
from envs.so101_interface import SO101SimConfig

_WRIST_SHARE = 0.25
"""Of the front camera's displacement: the wrist camera is bolted to the gripper and sees from a few centimetres."""


class Appearance:
    """Varies one model.

    Args:
        config: How much (``light_jitter``, ``camera_jitter_m``, ``camera_jitter_deg``, ``cube_colours``).
        model: an MjModel of envs.so101_model; its lights, cameras and materials are written.
    """

    def __init__(self, config: SO101SimConfig, model: Any) -> None:
        self._config, self._model = config, model
        self._mujoco = load_mujoco()
        head = model.vis.headlight
        self._usual = (model.light_diffuse.copy(), model.light_dir.copy(), model.cam_pos.copy(), model.cam_quat.copy())
        self._head = (head.ambient.copy(), head.diffuse.copy())
        self._material = model.mat("cube").id
        self._share = {model.cam("front").id: 1.0, model.cam("wrist").id: _WRIST_SHARE}

    def draw(self, rng: np.random.Generator) -> None:
        """Draws the looks of an episode; what does not vary draws nothing, so that its start is the same as ever."""
        if self._config.light_jitter:
            self._draw_light(rng)
        if self._config.camera_jitter_m or self._config.camera_jitter_deg:
            self._draw_cameras(rng)
        if self._config.cube_colours:
            red, green, blue = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.6, 1.0), rng.uniform(0.45, 0.95))
            self._model.mat_rgba[self._material, :3] = (red, green, blue)

    def _draw_light(self, rng: np.random.Generator) -> None:
        jitter, model = self._config.light_jitter, self._model
        diffuse, direction, *_ = self._usual
        brightness = rng.uniform(1 - jitter, 1 + jitter)
        tint = brightness * rng.uniform(1 - jitter / 4, 1 + jitter / 4, 3)
        for light in range(model.nlight):
            model.light_diffuse[light] = diffuse[light] * tint * rng.uniform(1 - jitter / 2, 1 + jitter / 2)
            turned = direction[light] + rng.uniform(-jitter, jitter, 3) * (1.0, 1.0, 0.0)
            model.light_dir[light] = turned / np.linalg.norm(turned)
        model.vis.headlight.ambient[:] = self._head[0] * tint
        model.vis.headlight.diffuse[:] = self._head[1] * tint

    def _draw_cameras(self, rng: np.random.Generator) -> None:
        move, turn = self._config.camera_jitter_m, np.deg2rad(self._config.camera_jitter_deg)
        *_, position, orientation = self._usual
        for camera, share in self._share.items():
            self._model.cam_pos[camera] = position[camera] + share * rng.uniform(-move, move, 3)
            turned, tilt = np.zeros(4), np.zeros(4)
            self._mujoco.mju_euler2Quat(tilt, share * rng.uniform(-turn, turn, 3), "xyz")
            self._mujoco.mju_mulQuat(turned, orientation[camera], tilt)
            self._model.cam_quat[camera] = turned
