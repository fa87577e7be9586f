"""The table of `make bench`: failing benchmarks, marks, figures and their format."""

import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(1, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from benchmarks import __main__ as bench
from benchmarks import imports, isolation, period, scaling, table, weights
from benchmarks.origin import origin

FILES = ["x.py", "y.py"]


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
    assert "no such camera" in table.markdown([good, bad], FILES)


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


def test_a_mark_stands_for_a_peer_that_does_not_exist():
    alone = {"peer": None, "ratio": None}
    pause = bench.judged(row("update loop stands still for a checkpoint, state", **alone))
    assert (pause["peer"], pause["peer_is"], pause["ratio"], pause["met"]) == (50, "the mark", 20.0, True)
    rebuilt = bench.judged(row("replay rebuilt from the log, cameras", better="higher", **alone | {"ours": 100.0}))
    assert (rebuilt["peer"], rebuilt["ratio"], rebuilt["met"]) == (200, 0.5, False)
    none = bench.judged(row("control period error beyond undisturbed, p99", **alone | {"ours": -0.1}))
    assert (none["peer"], none["ratio"], none["met"]) == (2, None, True)


def test_there_is_no_verdict_where_what_is_undisturbed_is_beyond_the_mark():
    alone = {"peer": None, "ratio": None, "ours": -3.7}
    busy = bench.judged(row("control period error beyond undisturbed, p99", undisturbed=6.9, **alone))
    assert (busy["mark"], busy["met"], busy["peer"]) == ("<= 2.00", None, None)
    assert "(no verdict: undisturbed was beyond the mark itself)" in table.markdown([{"group": "x"} | busy], FILES)
    idle = bench.judged(busy | {"undisturbed": 1.2, "ours": 5.0})
    assert (idle["met"], "no_verdict" in idle) == (False, False)


def test_isolation_says_how_busy_the_machine_was():
    class Steps:
        def errors_ms(self, begin_ns, end_ns):
            return np.full(100, 12.5)

    found = isolation.measured("network cut", Steps(), lambda programs, seconds: None, 0.0, 1)
    assert found["undisturbed"] == 12.5
    assert bench.judged(found)["met"] is None


def test_rows_that_are_kept_are_judged_by_the_marks_of_today(tmp_path, monkeypatch):
    kept = row("update loop stands still", command="python benchmarks/resume.py", group="Reliability", ours=30.0)
    (tmp_path / "benchmarks.json").write_text(json.dumps([bench.judged(kept | {"peer": None, "ratio": None})]))
    monkeypatch.setattr(bench, "MARKS", (bench.Mark(("stands still",), "ours", False, 10),))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "--into", str(tmp_path)])
    for _ in range(2):
        bench.main()
        (judged,) = json.loads((tmp_path / "benchmarks.json").read_text())
        assert (judged["mark"], judged["met"], judged["peer"], judged["peer_is"]) == ("<= 10.0", False, 10, "the mark")


def test_more_versions_that_act_in_the_next_step_are_better():
    found = bench.judged(weights.next_step_row([1, 1, 1, 2]))
    assert (found["ours"], found["unit"], found["better"]) == (75.0, "% of versions", "higher")


def test_measuring_one_file_again_keeps_the_rows_of_the_others():
    old = [row("a", ours=1.0), row("b", ours=1.0, date="2026-01-01"), row("c", ours=1.0, command="python y.py")]
    renamed = table.merged(old, [row("b2"), row("a")], "python x.py", FILES)
    assert [(r["name"], r["ours"]) for r in renamed] == [("b2", 2.5), ("a", 2.5), ("c", 1.0)], "x.py has no b any more"
    part = row("growth", command="python x.py --part growth")
    assert table.merged(old, [part], "python x.py --part growth --rounds 3", FILES) == [*old[:2], part, old[2]]
    assert table.merged(old, [], "python y.py", ["x.py"]) == old[:2], "a benchmark that is gone"


def test_a_benchmark_that_fails_keeps_the_rows_it_did_not_come_to():
    old = [row("a", ours=1.0), row("b", ours=1.0), row("c", command="python y.py")]
    failure = row("python x.py failed with exit code 1", failed=True)
    failed = table.merged(old, [row("a"), failure], "python x.py", FILES)
    assert [(r["name"], r["ours"]) for r in failed[:-1]] == [("a", 2.5), (failure["name"], 2.5), ("b", 1.0)]
    mended = table.merged(failed, [row("a"), row("b")], "python x.py", FILES)
    assert [r["name"] for r in mended] == ["a", "b", "c"]


def test_rows_say_when_and_on_which_machine_they_were_measured():
    made = origin()
    assert made["commit"].rstrip("+").isalnum()
    assert "torch" in made["machine"]
    rows = [bench.judged({"group": "Wire"} | row("a") | made)]
    assert f"| {made['date']} {made['commit']} |" in table.markdown(rows, FILES)
    assert f"On {made['machine']}." in table.markdown(rows, FILES)
    rows += [bench.judged({"group": "Wire"} | row("b") | made | {"machine": "another"})]
    text = table.markdown(rows, FILES)
    assert f"| {made['date']} {made['commit']} [2] |" in text
    assert "[2] On another." in text


def test_the_mark_of_scaling_is_at_four_actors():
    rows = [scaling.row(n, 0, 0, [100.0, 100.0], [95.0, 80.0], "note") for n in scaling.ACTORS]
    rows += [scaling.row(4, px, cameras, [10.0], [5.0], "note") for px, cameras in scaling.IMAGES]
    judged = [bench.judged(r) for r in rows]
    assert {r["name"] for r in judged if r["mark"]} == {r["name"] for r in rows if "with 4 simulated" in r["name"]}
    assert len([r for r in judged if r["mark"]]) == 1 + len(scaling.IMAGES)
    assert all(r["better"] == "higher" for r in judged)


def test_scaling_compares_neighbours_in_time():
    found = scaling.row(2, 64, 2, [100.0, 50.0, 10.0], [90.0, 50.0, 8.0], "note")
    assert found["ratio"] == 0.9
    assert found["ratio_range"] == [0.8, 1.0]
    assert (found["ours"], found["peer"]) == (50.0, 50.0)


def test_small_figures_keep_their_digits():
    assert [table.number(v) for v in (None, 0, 0.00123, 0.5, 4.0, 15.26, 123.4, 98_491)] == [
        *("-", "0", "0.00123", "0.500", "4.00", "15.3", "123", "98,491")
    ]


def test_the_table_is_grouped_and_shows_ranges_marks_and_another_peer():
    rows = [
        bench.judged({"group": "Wire"} | row("a", range=[2.0, 3.0], ratio_range=[1.5, 2.5])),
        bench.judged({"group": "Actor"} | row("b", peer_is="no actor")),
    ]
    text = table.markdown(rows, FILES)
    assert text.index("## Wire") < text.index("## Actor")
    assert "| a | ms | lower | 2.50 (2.00 to 3.00) | 5.00 | 2.00 (1.50 to 2.50) | - | - | `python x.py` | - |" in text
    assert "5.00, no actor" in text


def test_the_control_period_is_measured_of_a_real_control_process(monkeypatch):
    monkeypatch.setattr(period, "SECONDS", 0.5)
    begun = period.ours(30.0)
    assert len(begun) == 16
    assert begun == sorted(set(begun))


def test_the_imports_of_an_actor_are_those_of_its_control_process(monkeypatch, capfd):
    def named(text):
        lines = (line for line in text.splitlines() if line.startswith("import time:"))
        return {line.rpartition("|")[2].strip() for line in lines}

    monkeypatch.setattr(period, "SECONDS", 0.2)
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    assert period.ours(30.0)
    real = named(capfd.readouterr().err)
    command = [sys.executable, "-c", imports.CONTROL]
    listed = named(subprocess.run(command, cwd=table.ROOT, capture_output=True, text=True, check=True).stderr)
    assert {"torch", "mujoco", "actor.policy_pilot"} <= real & listed
    rooms = ("actor", "envs", "episodes", "mujoco", "policies", "reward", "transport")
    assert not {name for name in real - listed if name.partition(".")[0] in rooms}
    assert imports.CONTROL in imports.PROGRAMS["actor"][0]


def test_the_rows_just_measured_are_printed_and_what_is_measured_meanwhile(tmp_path, monkeypatch, capsys):
    kept = row("an older row", command="python benchmarks/resume.py", group="Reliability")
    (tmp_path / "benchmarks.json").write_text(json.dumps([bench.judged(kept)]))

    def measured(group, command):
        time.sleep(0.3)
        yield bench.judged(row("a new row", group=group, command="python " + " ".join(command)))

    monkeypatch.setattr(bench, "measured", measured)
    monkeypatch.setattr(bench, "still_measuring", partial(bench.still_measuring, every_s=0.05))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "inference.py", "--into", str(tmp_path)])
    bench.main()
    said = capsys.readouterr()
    assert "a new row" in said.out
    assert "an older row" not in said.out
    assert "an older row" in (tmp_path / "benchmarks.md").read_text()
    assert "  inference.py: measuring for 0 s" in said.err
