"""What a person who records reads, in a narrow terminal."""

import io

from rich.console import Console

from actor import recording_display
from actor.recording_display import RecordingDisplay
from actor.rewarding import ASKING
from envs.teleop.scripted_misses import NEAR_MISSES


def test_the_question_and_its_keys_are_never_cut():
    written = io.StringIO()
    console = Console(file=written, width=60, force_terminal=True, color_system=None)
    asked = f"please {NEAR_MISSES['air']}"
    with RecordingDisplay(console, total=18, completed=4) as display:
        display.complete(5)
        display.say(ASKING, "", asked)
    words = " ".join(written.getvalue().split())
    assert "5/18" in words
    assert f"{ASKING}, {asked}" in words


def test_without_a_terminal_it_is_whole_lines(monkeypatch):
    written = io.StringIO()
    console = Console(file=written, width=60, highlight=False)
    with RecordingDisplay(console, total=18, completed=4) as display:
        display.say("lifting the cube")
        monkeypatch.setattr(recording_display, "_EVERY_S", 0.0)
        display.complete(5)
        display.say("opening", "", "and closing")
    console.print("5 successful episodes")
    assert written.getvalue() == "recording: 5 of 18, opening, and closing\n5 successful episodes\n"
