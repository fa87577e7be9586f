"""What a demo that goes on does with the demonstrations that are there."""

import json

import pytest

from cli.demonstrations import NOTE, finished, set_others_aside, unfinished

FIVE, SIX = ["env=so101_sim", "seed=5"], ["env=so101_sim", "seed=6"]


@pytest.fixture(params=[finished, unfinished])
def place(request, tmp_path):
    """Demonstrations, all of them or not yet, with seed 5."""
    set_others_aside(tmp_path, FIVE)
    found = request.param(tmp_path)
    found.mkdir()
    return found


def noted(run):
    return json.loads((run / NOTE).read_text())


def test_those_of_the_same_settings_stay(place):
    assert set_others_aside(place.parent, FIVE) == []
    assert place.exists()


def test_those_of_others_are_set_aside_and_not_lost(place):
    (place / "a").touch()
    taken = place.with_name(f"{place.name}.old1")
    taken.mkdir()
    aside = place.with_name(f"{place.name}.old2")
    assert set_others_aside(place.parent, SIX) == [f"demonstrations recorded with other settings are now in {aside}"]
    assert [(aside / "a").exists(), place.exists(), noted(place.parent)] == [True, False, SIX]


def test_those_a_learner_began_with_stay_and_a_rest_does_not(place):
    (place.parent / "run.json").touch()
    set_others_aside(place.parent, SIX)
    assert place.exists() == (place == finished(place.parent))
    assert noted(place.parent) == (FIVE if place.exists() else SIX)


@pytest.mark.parametrize("text", [None, "", "3", '{"seed'])
def test_without_a_readable_note_a_rest_is_set_aside(place, text):
    if text is None:
        (place.parent / NOTE).unlink()
    else:
        (place.parent / NOTE).write_text(text)
    set_others_aside(place.parent, FIVE)
    assert place.exists() == (place == finished(place.parent))
