"""`tandem label`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.composition import Settings
from cli.errors import OK, CommandError
from cli.keys import Group, Key, keys_of
from cli.leaving import interrupted_by_signals


@dataclass(frozen=True)
class LabelConfig:
    """Settings of ``tandem label``.

    Attributes:
        data: Folder of recordings, of a run, also while it runs, or of a LeRobotDataset.
        port: Port on this machine's loopback; 0 for a free one.
        episode: Episode at which the page opens; empty for the newest of a run, else the first that is not done.
        frame: Frame of ``episode`` at which it opens.
    """

    data: str
    port: int = 8009
    episode: str = ""
    frame: int = 0


PATHS = {name: name for name in ("data", "port", "episode", "frame")}


def list_keys() -> list[Key]:
    return keys_of(LabelConfig, PATHS)


def list_groups() -> list[Group]:
    return []


def run(settings: Settings) -> int:
    """Serves the page until Ctrl-C."""
    from reward.dataset_labelling import DatasetLabelling
    from reward.label_server import LabelServer
    from reward.labelling import Labelling
    from reward.labels import FILE
    from reward.sources import is_dataset

    config = settings.build(LabelConfig, PATHS)
    folder, place = Path(config.data).expanduser(), ""
    labelling = DatasetLabelling(folder) if is_dataset(folder) else Labelling(folder, Amender(folder).amend)
    if config.episode:
        labelling.picture(config.episode, config.frame)
        place = f"#{config.episode}/{config.frame}"
    server = LabelServer(labelling, config.port)
    with contextlib.suppress(KeyboardInterrupt), interrupted_by_signals(), contextlib.closing(server):
        print(f"label the frames of {folder} at {server.url}{place}")
        print(f"(over SSH: ssh -L {server.port}:localhost:{server.port} ...)")
        print(f"labels are kept in {folder / FILE} as you give them; Ctrl-C ends this", flush=True)
        server.serve()
    print(f"\ntrain with: tandem reward train data={folder}")
    return OK


class Amender:
    """Changes outcomes: through the learner of a run while it runs, else in the log itself.

    Args:
        folder: Of the run or the recordings.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def amend(self, amendment: Any) -> None:
        """Returns when the amendment is in the log. Raises RewardError saying what to do where it cannot get there."""
        from episodes.log import EpisodeLog, LogError
        from learner.service_file import ServiceFileError, read_service_file
        from reward.config import RewardError
        from transport import records_pb2 as pb

        try:
            service = read_service_file(self._folder)
        except ServiceFileError:
            pass
        else:
            from cli.connection import Connection

            try:
                with Connection(service.address, service.token_path, ca=service.ca) as connection:
                    connection.amend(service.run_id, amendment)
                return
            except CommandError as error:
                raise RewardError(f"the outcome was not changed: {error}") from error
        try:
            with EpisodeLog(self._folder / "log") as log:
                position = log.positions().get("")
                record = pb.Record(sequence=position.sequence + 1 if position else 1, amendment=amendment)
                log.append([pb.LogEntry(actor="label", record=record).SerializeToString()])
        except (LogError, OSError) as error:
            raise RewardError(f"the outcome was not changed: {error}") from error
