"""Progress of a demo without a terminal."""

from cli.progress import Progress
from transport import service_pb2 as pb


def test_progress_says_how_far_cloning_is_and_not_for_each_update(capsys):
    progress = Progress("title", 0.0)
    for done in (47.0, 48.0, 49.0):
        metrics = {"cloning_updates": done, "cloning_updates_due": 600.0}
        progress.show(pb.Status(phase="cloning", metrics=metrics), "")
    (line,) = capsys.readouterr().out.splitlines()
    assert "  cloning (47 of 600 updates): training" in line
