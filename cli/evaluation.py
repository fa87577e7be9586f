"""The policies of a run folder, and their evaluation and film on starts that nothing else has used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cli.errors import CommandError

POLICIES = ("best", "last", "first")
GIF_WIDTH = 400
GIF_COLOURS = 128
FRAME_MS = 80
LAST_FRAME_MS = 800


def policy_file(run_folder: Path, which: str) -> Path:
    """The policy ``best``, ``last`` or ``first`` (version 0) of a run. Raises CommandError saying what there is."""
    path = _policy_place(run_folder, which)
    if not path.is_file():
        there = [f"policy={other}" for other in POLICIES if _policy_place(run_folder, other).is_file()]
        best = ": none was chosen by an evaluation yet" if which == "best" and there else ""
        what = f"Choose {' or '.join(there)}" if there else "Train it first"
        raise CommandError(f"{run_folder} holds no {which} policy ({path} is not there){best}. {what}")
    return path


def _policy_place(run_folder: Path, which: str) -> Path:
    from learner.checkpoint import newest_checkpoint, pointed

    if which == "first":
        return run_folder / "policies" / "version-0.safetensors"
    folder = run_folder / "checkpoints"
    checkpoint = pointed(folder, which) if which == "best" else newest_checkpoint(folder)
    return (checkpoint or folder / which) / "policy.safetensors"


def best_policy(run_folder: Path) -> Path:
    """The best policy by scheduled evaluations; the last one of a run that had none."""
    try:
        return policy_file(run_folder, "best")
    except CommandError:
        return policy_file(run_folder, "last")


def frozen_part(run_folder: Path, policy: bytes) -> bytes:
    """The file of the part of a run's policy that was pretrained and never changes; empty where it has none.

    It is the copy that the run keeps, or else what its settings name.

    Raises EncoderFileError or CommandError where it is no longer what the run learned with.
    """
    import yaml

    from learner.encoder_copy import kept_copy
    from policies.pretrained import read_weights_file
    from policies.snapshot import read_snapshot

    sha256 = read_snapshot(policy).frozen_sha256
    if not sha256:
        return b""
    if copy := kept_copy(run_folder, sha256):
        return copy.data
    try:
        reference = yaml.safe_load((run_folder / "config.yaml").read_text())["algorithm"]["encoder_weights"]
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise CommandError(f"{run_folder / 'config.yaml'} cannot be used: {type(error).__name__}: {error}") from error
    if not reference:
        raise CommandError(
            f"the policy needs the encoder weights of sha256 {sha256}, and {run_folder} has none: evaluate it with the "
            "run folder it was trained in"
        )
    return read_weights_file(str(reference), sha256).data


def write_gif(frames: Any, path: Path) -> None:
    """Episodes as a GIF. ``frames`` holds one uint8 array (T, H, W, 3) per episode."""
    from PIL import Image

    pictures, durations = [], []
    for episode in frames:
        height = round(episode.shape[1] * GIF_WIDTH / episode.shape[2])
        pictures += [Image.fromarray(f).resize((GIF_WIDTH, height), Image.Resampling.LANCZOS) for f in episode]
        durations += [FRAME_MS] * (len(episode) - 1) + [LAST_FRAME_MS]
    palette = pictures[len(pictures) // 2].quantize(GIF_COLOURS)
    small = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    small[0].save(path, save_all=True, append_images=small[1:], duration=durations, loop=0, optimize=False)


def environment_of(run_folder: Path) -> tuple[str, Any, int]:
    """Name and config of the environment of a run, and its seed, from run.json and config.yaml.

    Raises RunFolderError or CommandError where the folder holds no run.
    """
    import typing

    import yaml

    from envs.registry import env_config_type
    from learner.run_folder import read_run

    env = str(read_run(run_folder)["env"])
    try:
        config = yaml.safe_load((run_folder / "config.yaml").read_text())
        kind = env_config_type(env)
        hints = typing.get_type_hints(kind)
        values = {
            name: tuple(value) if typing.get_origin(hints[name]) is tuple else value
            for name, value in config["env_config"].items()
        }
        return env, kind(**values), int(config["acting"]["seed"])
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise CommandError(f"{run_folder / 'config.yaml'} cannot be used: {type(error).__name__}: {error}") from error
