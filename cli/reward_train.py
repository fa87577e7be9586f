"""`tandem reward train`."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cli.composition import Settings
from cli.errors import OK, CommandError
from cli.keys import Group, Key, keys_of

if TYPE_CHECKING:
    from reward.frames import LabelledFrames
    from reward.training import TrainConfig


def list_keys() -> list[Key]:
    from reward.network import ENCODERS
    from reward.training import TrainConfig

    return keys_of(TrainConfig, paths(), choices={"encoder": ENCODERS})


def list_groups() -> list[Group]:
    return []


def run(settings: Settings) -> int:
    """Trains with progress on one line, and prints what came of it."""
    import torch

    from cli.step_progress import show_steps
    from episodes.log_lock import FolderLock
    from episodes.log_segment import LogError
    from reward.frames import counted
    from reward.replacement import CANDIDATE, leave
    from reward.report import write_report
    from reward.sources import load_frames, task_of
    from reward.storage import FILE
    from reward.training import TrainConfig, train

    if not settings["out"]:
        settings.values["out"] = f"runs/reward-{time.strftime('%Y%m%d-%H%M%S')}"
    folder = Path(settings["out"]).expanduser()
    settings.values["name"] = settings["name"] or folder.resolve().name
    if line := take_over(settings, folder / FILE):
        print(line)
    config = settings.build(TrainConfig, paths())
    torch.set_num_threads(config.torch_threads)
    frames = load_frames(config.data, config.cameras, config.gates, say=print)
    task, data_hz = task_of(config.data)
    candidate, made = folder / CANDIDATE, not folder.exists()
    try:
        candidate.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"out={folder} cannot be made: {error.strerror}") from error
    try:
        lock = FolderLock(candidate)
    except LogError as error:
        raise CommandError(f"another `tandem reward train` writes {candidate}: wait for it, or give out=") from error
    print(f"{len(frames)} labelled frames of {len(set(frames.episodes))} episodes: {counted(frames)}")
    try:
        with show_steps() as say:
            control_hz = config.control_hz or data_hz or 10.0
            trained = train(frames, config, candidate, task=task, control_hz=control_hz, say=say)
    except BaseException:
        lock.release()
        leave(folder)
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    write_report(candidate, trained)
    print(summary(trained.report))
    try:
        old = of_the_one_there(folder / FILE, trained.frames, config, control_hz)
        put_in_place(folder, old, trained.report, replace=config.replace)
    finally:
        lock.release()
    return OK


def of_the_one_there(file: Path, frames: LabelledFrames, config: TrainConfig, control_hz: float) -> dict | None:
    """What the classifier in ``file`` makes of ``frames``; None where there is none, or none that can judge them."""
    from reward.config import RewardError
    from reward.measures import of_another
    from reward.sources import load_frames
    from reward.storage import load_classifier

    if not file.is_file():
        return None
    try:
        classifier = load_classifier(file.read_bytes(), str(file))
        if classifier.calibration.gates != config.gates:
            frames = load_frames(config.data, config.cameras, classifier.calibration.gates)
        return of_another(classifier, frames, control_hz)
    except (RewardError, OSError):
        return None


def put_in_place(folder: Path, old: dict | None, report: dict, *, replace: bool) -> None:
    """Takes the candidate into ``folder``, and says what that means for who uses the classifier there.

    Args:
        folder: Of the classifier.
        old: What the one there makes of the same frames; None where that cannot be said.
        report: Of the candidate.
        replace: Take it in whatever it is worth.

    Raises CommandError where the one there, or none, is better, unless ``replace``, and where it confirms nothing.
    """
    from learner.reward_watch import FOLDER
    from reward.replacement import CANDIDATE, comparison, confirms_nothing, objections, take_in
    from reward.report import HTML_FILE
    from reward.storage import FILE

    of_run = folder.resolve().name == FOLDER and (folder.resolve().parent / "run.json").is_file()
    there = (folder / FILE).is_file()
    if there:
        print(comparison(old, report) if old else f"{folder / FILE} cannot judge these data: nothing to compare with")
    against = objections(old if there else None, report)
    if against and (there or of_run) and not replace:
        raise CommandError(
            f"{folder / FILE} {'stays as it is' if there else 'is not made'}: {'; '.join(against)}. The new classifier "
            f"and its report are in {folder / CANDIDATE}. Label more, or give replace=true to use it all the same"
        )
    take_in(folder)
    print(f"{folder / FILE}, {folder / HTML_FILE}")
    if of_run:
        print("Actors of this run take it now: with reward=classifier, each when its next episode begins")
    if nothing := confirms_nothing(report):
        raise CommandError(f"{nothing}: do not use it. {folder / HTML_FILE} shows what it mistakes; label more")
    if not of_run:
        print(f"Use it with: reward=classifier reward.model={folder}")


def take_over(settings: Settings, file: Path) -> str:
    """Takes ``gates`` and ``confirm``, where nobody gave them, from the classifier that is replaced; says so in a line.

    Raises CommandError where that cannot be read.
    """
    from reward.config import RewardError
    from reward.storage import load_classifier

    given = {argument.partition("=")[0] for argument in settings.given}
    missing = [key for key in ("gates", "confirm") if key not in given]
    if not missing or not file.is_file():
        return ""
    try:
        calibration = load_classifier(file.read_bytes(), str(file)).calibration
    except (RewardError, OSError) as error:
        raise CommandError(f"{error}. What it had is unknown: give gates=[...] and confirm=, or delete it") from error
    settings.values.update({key: getattr(calibration, key) for key in missing})
    taken = ", ".join(
        f"{key}={settings[key]}" if key != "gates" else f"gates=[{','.join(calibration.gates)}]" for key in missing
    )
    return f"{taken} as in the classifier that {file} holds so far"


def summary(report: dict) -> str:
    """The figures that matter, in a few lines."""
    from reward.report import gates_line

    found, hourly = report["per_episode"], report["false_positives_an_hour"]
    rates = " ".join(
        f"{name} {rate['value']:.1%} ({rate['count']} of {rate['of']})" if rate["of"] else f"{name} unknown"
        for name, rate in (("precision", found["precision"]), ("recall", found["recall"]))
    )
    low, high = hourly["interval"]
    per_episode = "per episode with gates" if report["gates"] else "per episode"
    return (
        f"{report['classifier']} in {report['seconds']:.0f} s: {per_episode} {rates}; "
        f"{hourly['events']} false positives in {60 * hourly['hours']:.1f} minutes without success: "
        f"{hourly['rate']:.1f} an hour, 95 % interval {low:.1f} to {high:.1f}. Threshold {report['threshold']:.3f}, "
        f"{report['confirm']} frames in a row. {report['more_labels'][:1].upper()}{report['more_labels'][1:]}."
        f"{gates_line(report)}"
    )


def paths() -> dict[str, str]:
    """The key of every field of TrainConfig."""
    from reward.training import TrainConfig

    return {f.name: f.name for f in dataclasses.fields(TrainConfig)}
