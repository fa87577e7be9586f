"""Reading metrics.jsonl."""

import json

from metrics.history import read_history


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_series_and_last(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, [{"env_steps": 1, "updates": 0}, {"env_steps": 2, "updates": 3, "q_mean": 0.5}])
    history = read_history(path)
    assert history.series("q_mean") == ([2], [0.5])
    assert history.series("q_mean", "updates") == ([3], [0.5])
    assert history.last("q_mean") == 0.5
    assert history.last("temperature") is None


def test_what_a_resumed_run_does_again_is_there_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    steps = [(10, 0), (20, 10), (30, 20), (30, 15), (40, 25)]
    write(path, [{"env_steps": s, "updates": u, "q_mean": i} for i, (s, u) in enumerate(steps)])
    assert read_history(path).series("q_mean") == ([10, 20, 30, 40], [0, 1, 3, 4])


def test_a_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"env_steps": 1, "updates": 1, "q_mean": 1}\n{"env_steps": 2, "upd')
    assert len(read_history(path).lines) == 1


def test_no_file_is_an_empty_history(tmp_path):
    assert read_history(tmp_path / "metrics.jsonl").lines == ()
