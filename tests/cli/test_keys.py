"""Keys from dataclasses: docs in both forms, words for types, values as text."""

from dataclasses import dataclass

import pytest

from cli.keys import as_text, docs_of, keys_of, type_name


@dataclass(frozen=True)
class InDocstring:
    """Something.

    Attributes:
        first: Its ``first`` line
            and the second.
        second, third: Both.

    Raises nothing.
    """

    first: int = 1
    second: float = 2.0
    third: str = ""


@dataclass(frozen=True)
class Inherited(InDocstring):
    """Something else.

    Attributes:
        fourth: Its own.
    """

    first: int = 2
    fourth: int = 4


@dataclass(frozen=True)
class BelowFields:
    """Something."""

    first: int = 1
    """Of the field above."""
    second: tuple[float, ...] = (1.0,)


def test_docs_of_both_forms():
    assert docs_of(InDocstring) == {"first": "Its first line and the second.", "second": "Both.", "third": "Both."}
    assert docs_of(Inherited) == docs_of(InDocstring) | {"fourth": "Its own."}
    assert docs_of(BelowFields) == {"first": "Of the field above."}


def test_keys_take_type_default_and_doc_from_the_field():
    (key,) = keys_of(InDocstring, {"second": "some.where"})
    assert (key.path, key.kind, key.default, key.doc) == ("some.where", float, 2.0, "Both.")


def test_a_key_for_a_field_that_is_not_there_is_refused():
    with pytest.raises(KeyError):
        keys_of(InDocstring, {"fourth": "fourth"})


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (int, "a whole number"),
        (float | None, "a number"),
        (tuple[int, ...], "a list of whole numbers"),
        (bool, "true or false"),
    ],
)
def test_types_in_words(kind, words):
    assert type_name(kind) == words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (0.1 + 0.2, "0.30000000000000004"),
        (3e-4, "0.0003"),
        ((1, 2.5), "[1,2.5]"),
        ("a b", "a b"),
    ],
)
def test_values_as_text(value, text):
    assert as_text(value) == text
