"""Labels are kept as they are given; the last word on an episode counts."""

import pytest

from reward.config import RewardError
from reward.labels import FILE, Span, append_labels, counts, read_labels, spans_of


def test_the_last_labels_of_an_episode_count_and_a_torn_line_does_not(tmp_path):
    append_labels(tmp_path, "a" * 32, [Span(0, 4, "failure")], "person", finished=False)
    append_labels(tmp_path, "b" * 32, [Span(0, 1, "air")], "operator")
    append_labels(tmp_path, "a" * 32, [Span(0, 2, "failure"), Span(3, 3, "success")], "person")
    with open(tmp_path / FILE, "ab") as file:
        file.write(b'{"episode": "b')
    found = read_labels(tmp_path)
    assert found["a" * 32].of_frames(6) == ["failure"] * 3 + ["success", "", ""]
    assert found["a" * 32].finished
    assert counts(found) == {"success": 1, "failure": 3, "almost": 0, "air": 2, "drop": 0, "wrong": 0}
    assert read_labels(tmp_path / "nowhere") == {}


def test_spans_and_frames_are_inverse():
    labels = ["", "failure", "failure", "success", "", "success"]
    assert spans_of(labels) == [Span(1, 2, "failure"), Span(3, 3, "success"), Span(5, 5, "success")]


def test_a_damaged_line_and_a_label_that_is_none_are_named(tmp_path):
    (tmp_path / FILE).write_text('{"episode": "x", "spans": [[3, 1, "air"]], "finished": true}\n')
    with pytest.raises(RewardError, match=r"labels.jsonl, line 1, is no label.*first <= last"):
        read_labels(tmp_path)
    with pytest.raises(RewardError, match=r"a label must be one of success, failure.* Got: 'yes'"):
        Span(0, 0, "yes")
