"""Whether labelled frames are enough to train on, said before minutes are spent."""

from __future__ import annotations

from reward.calibration import confirm_episodes
from reward.config import RewardError
from reward.frames import LabelledFrames

LEAST_FRAMES = 20


def check_frames(frames: LabelledFrames, confirm: int) -> None:
    """Raises RewardError where a class has too few frames that no gate rules out, no episode has ``confirm`` frames of
    success in a row, or nothing tells the frames apart."""
    allowed, where = ~frames.gated, " where the gates allow one" if frames.gated.any() else ""
    for name, of_class in (("success", frames.positive), ("no success", ~frames.positive)):
        if (count := int((of_class & allowed).sum())) < LEAST_FRAMES:
            raise RewardError(
                f"at least {LEAST_FRAMES} frames of {name} are needed{where}, better ten times as many. Got: {count} "
                f"of {len(frames)}. Record some with `tandem record reward=human`, or label some with `tandem label`"
            )
    looks = frames.positive & allowed
    found = confirm_episodes(looks, looks, frames.episodes, frames.indices, confirm=confirm, control_hz=1.0)
    if not any(episode.right for episode in found):
        raise RewardError(
            f"no episode has confirm={confirm} labelled frames of success in a row{where}, so none could ever be "
            "confirmed. Label more of what looks like success with `tandem label`, or train with confirm=1"
        )
    if all((value == value[:1]).all() for value in frames.images.values()):
        raise RewardError("all frames are alike: there is nothing to tell success by. Is a camera covered or frozen?")
