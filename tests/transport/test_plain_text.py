"""Text of the other side steers no terminal of this one."""

import pytest

from transport.plain_text import MOST_CHARACTERS, plain_text


@pytest.mark.parametrize("letter", ["\x1b", "\x07", "\n", "\r", "\t", "\x7f", "\x9b", "\u202e", "\u2028", "\udc80"])
def test_what_is_not_printable_is_a_space(letter):
    assert plain_text(f"a{letter}b") == "a b"


def test_letters_of_every_language_stay():
    assert plain_text("Größe 5 µm, 手首 [/b] ✓") == "Größe 5 µm, 手首 [/b] ✓"


def test_of_a_long_text_both_ends_stay():
    text = "what is wrong " + "x" * 3000 + " what to do"
    cut = plain_text(text)
    assert len(cut) == MOST_CHARACTERS
    assert cut.startswith("what is wrong x")
    assert cut.endswith("x what to do")
    assert plain_text(text, None) == text
    assert plain_text("x" * MOST_CHARACTERS) == "x" * MOST_CHARACTERS
