"""A run's own copy of the pretrained weights it learns with: RUN/encoders/SHA256.safetensors.

With it a run is resumed and evaluated from its folder alone, whatever became of the file that it was started with.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from episodes.durable import write_durably
from learner.config import LearnerConfig
from learner.run_folder import plain, read_run

if TYPE_CHECKING:
    from episodes.contract import Contract
    from policies.pretrained import WeightsFile

_SETTINGS = ("name", "encoder", "encoder_weights", "encoder_sha256")


def copy_path(run: Path, sha256: str) -> Path:
    """Where a run keeps the weights of this hash."""
    return run / "encoders" / f"{sha256}.safetensors"


def kept_copy(run: Path, sha256: str = "") -> WeightsFile | None:
    """The weights that a run keeps, of this hash or whatever they are; None where it keeps none, or damaged ones."""
    from policies.pretrained import read_weights_file
    from policies.resnet import EncoderFileError

    found = [copy_path(run, sha256)] if sha256 else sorted((run / "encoders").glob("*.safetensors"))
    for path in found:
        try:
            return read_weights_file(str(path), path.stem)
        except EncoderFileError:
            continue
    return None


def keep_copy(run: Path, file: WeightsFile) -> None:
    """Keeps these weights with a run. Raises OSError, with nothing kept, where the disk refuses."""
    path = copy_path(run, file.sha256)
    if kept_copy(run, file.sha256) is None:
        path.parent.mkdir(exist_ok=True)
        write_durably(path, file.data)


def with_kept_encoder(config: LearnerConfig) -> LearnerConfig:
    """``config`` with the copy that its run keeps in place of ``algorithm.encoder_weights``.

    It is left as it is where the run is new, keeps no copy, or was started with another encoder.
    """
    run = Path(config.run)
    if not config.run or not getattr(config.algorithm, "encoder_weights", "") or not (run / "run.json").exists():
        return config
    earlier, now = read_run(run)["settings"].get("algorithm", {}), plain(config.algorithm)
    if any(earlier.get(key) != now.get(key) for key in _SETTINGS):
        return config
    file = kept_copy(run)
    return config if file is None else _reading(config, run, file.sha256)


def keep_encoder(config: LearnerConfig, run: Path, contract: Contract) -> LearnerConfig:
    """Keeps the weights that ``config`` names with its run, and returns ``config`` with the copy in their place.

    Raises OSError, with nothing kept, where the disk refuses.
    """
    from learner.algorithms import encoder_weights

    weights = encoder_weights(contract, config.algorithm)
    if not weights.sha256:
        return config
    keep_copy(run, weights)
    return _reading(config, run, weights.sha256)


def _reading(config: LearnerConfig, run: Path, sha256: str) -> LearnerConfig:
    settings: dict[str, Any] = {"encoder_weights": str(copy_path(run.resolve(), sha256)), "encoder_sha256": sha256}
    return replace(config, algorithm=replace(config.algorithm, **settings))
