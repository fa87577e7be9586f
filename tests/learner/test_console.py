"""What the learner's own terminal shows."""

from rich.console import Console

from learner.console import _table
from transport import service_pb2 as pb


def test_brackets_of_a_path_are_no_markup():
    status = pb.Status(phase="training", fault="the disk of runs/[/b] [red]x is full")
    screen = Console(width=120)
    with screen.capture() as captured:
        screen.print(_table(status, stands=False))
    assert "the disk of runs/[/b] [red]x is full" in captured.get()
