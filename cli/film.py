"""Short GIFs of a policy at work, for the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

EPISODES = 2
HOLD_FRAMES = 8
WIDTH = 400


def film_policy(env_name: str, env_config: Any, policy_file: Path, gif: Path, seeds: list[int], hz: float) -> None:
    """Writes a GIF of deterministic episodes, one per start seed. Slow machines take a few seconds.

    Raises RenderError where nothing can be rendered here, saying what to install.
    """
    import numpy as np
    from PIL import Image

    from envs.registry import derive_contract, make_env
    from policies.snapshot import load_snapshot
    from policies.stacking import FrameStack

    spec, _, policy = load_snapshot(policy_file.read_bytes())
    contract = derive_contract(env_name, env_config)
    env = make_env(env_name, env_config, render_mode="rgb_array")
    frames: list[Any] = []
    try:
        for seed in seeds:
            stack = FrameStack(contract.view)
            observation, _ = env.reset(seed=seed)
            frames.append(env.render())
            stacked = stack.reset(observation)
            done = False
            while not done:
                action = policy.act(stacked, deterministic=True)
                observation, _, terminated, truncated, _ = env.step(action)
                frames.append(env.render())
                stacked = stack.push(observation)
                done = bool(terminated or truncated)
            frames += [frames[-1]] * HOLD_FRAMES
    finally:
        env.close()
    del spec, np
    pictures = [Image.fromarray(frame) for frame in frames]
    height = round(pictures[0].height * WIDTH / pictures[0].width)
    pictures = [picture.resize((WIDTH, height), Image.Resampling.LANCZOS) for picture in pictures]
    palette = pictures[len(pictures) // 2].quantize(128)
    small = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    small[0].save(gif, save_all=True, append_images=small[1:], duration=round(1000 / hz), loop=0, optimize=True)
