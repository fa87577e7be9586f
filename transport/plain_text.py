"""Text from the other side, which a terminal of this side shows: it may be anything."""

from __future__ import annotations

MOST_CHARACTERS = 400
"""Of one text of the other side: the first three quarters and the last, where the advice is."""


def plain_text(text: str, most: int | None = MOST_CHARACTERS) -> str:
    """One line of printable characters: nothing in it steers a terminal or looks like a line of its own.

    Args:
        text: Whoever wrote it.
        most: Characters that are left of it; None for all.
    """
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    if most is None or len(text) <= most:
        return text
    return f"{text[: most * 3 // 4 - 5]} ... {text[-(most // 4) :]}"
