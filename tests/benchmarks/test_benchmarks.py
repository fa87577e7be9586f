"""The table of `make bench`: failing benchmarks, marks, figures and their format."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import __main__ as bench
from benchmarks import scaling


def row(name, **more):
    return {"name": name, "unit": "ms", "ours": 2.5, "peer": 5.0, "ratio": 2.0, "command": "python x.py"} | more


def test_a_benchmark_that_fails_keeps_its_rows_and_adds_one_that_says_so(tmp_path):
    script = tmp_path / "bench.py"
    script.write_text(
        'print(\'{"name": "a", "unit": "ms", "ours": 1.0, "peer": null, "ratio": null, "command": "c"}\')\n'
        'raise ValueError("no such camera")\n'
    )
    good, bad = bench.measured("Wire", (str(script),))
    assert (good["name"], good["ours"], good["better"]) == ("a", 1.0, "lower")
    assert "failed with exit code 1: ValueError: no such camera" in bad["name"]
    assert bad["failed"]
    assert bad["ours"] is None
    assert "no such camera" in bench.markdown([good, bad], "a machine")


def test_a_benchmark_that_does_not_end_is_stopped_and_its_rows_are_kept(tmp_path):
    script = tmp_path / "bench.py"
    script.write_text(
        'import time\nprint(\'{"name": "a", "unit": "ms", "ours": 1.0, "peer": null, "ratio": null, "command": "c"}\','
        "flush=True)\ntime.sleep(60)\n"
    )
    rows = list(bench.measured("Wire", (str(script),), limit_s=3.0))
    assert [r["name"] for r in rows[:-1]] == ["a"]
    assert "stopped after 3 s" in rows[-1]["name"]


def test_marks_say_whether_a_row_meets_them():
    fast = bench.judged(row("critic and actor updates/s, state, batch 256", unit="updates/s", ratio=4.1))
    slow = bench.judged(row("critic and actor updates/s, state, batch 256", unit="updates/s", ratio=3.9))
    assert (fast["mark"], fast["met"], fast["better"]) == (">= 4.00x", True, "higher")
    assert slow["met"] is False
    heavy = bench.judged(row("bytes on the wire for one image step", unit="bytes", ours=98_900))
    assert (heavy["mark"], heavy["met"], heavy["better"]) == ("<= 98,800", False, "lower")
    assert bench.judged(row("anything else"))["met"] is None


def test_the_mark_of_scaling_is_at_four_actors_from_state_only():
    rows = [scaling.row(n, 0, 0, [100.0, 100.0], [95.0, 80.0], "note") for n in scaling.ACTORS]
    rows += [scaling.row(4, px, cameras, [10.0], [5.0], "note") for px, cameras in scaling.IMAGES]
    judged = [bench.judged(r) for r in rows]
    assert [r["name"] for r in judged if r["mark"]] == [scaling.row(4, 0, 0, [1.0], [1.0], "note")["name"]]
    assert all(r["better"] == "higher" for r in judged)


def test_scaling_compares_neighbours_in_time():
    found = scaling.row(2, 64, 2, [100.0, 50.0, 10.0], [90.0, 50.0, 8.0], "note")
    assert found["ratio"] == 0.9
    assert found["ratio_range"] == [0.8, 1.0]
    assert (found["ours"], found["peer"]) == (50.0, 50.0)


def test_small_figures_keep_their_digits():
    assert [bench.number(v) for v in (None, 0, 0.00123, 0.5, 4.0, 15.26, 123.4, 98_491)] == [
        *("-", "0", "0.00123", "0.500", "4.00", "15.3", "123", "98,491")
    ]


def test_the_table_is_grouped_and_shows_ranges_marks_and_another_peer():
    rows = [
        bench.judged({"group": "Wire"} | row("a", range=[2.0, 3.0], ratio_range=[1.5, 2.5])),
        bench.judged({"group": "Actor"} | row("b", peer_is="no actor")),
    ]
    text = bench.markdown(rows, "a machine")
    assert text.index("## Wire") < text.index("## Actor")
    assert "| a | ms | lower | 2.50 (2.00 to 3.00) | 5.00 | 2.00 (1.50 to 2.50) | - | - | `python x.py` |" in text
    assert "5.00, no actor" in text
    assert "On a machine; Python" in text
