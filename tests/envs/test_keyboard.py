"""Which keyboard is taken where."""

import pytest

from envs.teleop.keyboard import KeyboardError, open_keyboard, terminal_reason


@pytest.mark.parametrize(
    ("environment", "platform", "reason"),
    [
        ({"DISPLAY": ":0"}, "linux", ""),
        ({}, "linux", "there is no DISPLAY"),
        ({"DISPLAY": ":0", "WAYLAND_DISPLAY": "wayland-0"}, "linux", "Wayland"),
        ({"DISPLAY": ":0", "XDG_SESSION_TYPE": "wayland"}, "linux", "Wayland"),
        ({"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "1 2 3 4"}, "linux", "over SSH"),
        ({}, "darwin", ""),
    ],
)
def test_auto_takes_the_terminal_where_no_global_listener_can_work(environment, platform, reason) -> None:
    found = terminal_reason(environment, platform)
    assert found.startswith(reason) if reason else found == ""


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(KeyboardError, match=r"must be one of \['auto', 'pynput', 'terminal'\]\. Got: 'gamepad'"):
        open_keyboard("gamepad")
