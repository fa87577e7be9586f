"""What a person who records reads, in a narrow terminal."""

import io

from rich.console import Console

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
