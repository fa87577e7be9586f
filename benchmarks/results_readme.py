"""The tables of README.md's "What it reaches", from the rows of docs/results.json."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

BEGIN, END = "<!-- by make results -->\n", "<!-- end -->\n"
LIFT, INSERT = ("lift-pixels", "lift-state"), ("insert-pixels", "insert-state")
COMPARED = (
    ("cloning alone, 20 demonstrations", "cloning-20"),
    ("cloning alone, 100 demonstrations", "cloning-100"),
    ("DAgger: cloning, and the same help", "dagger"),
)  # with insert

TRAINING = "training from the first step on, evaluations included, cloning before it not"

type Rows = Sequence[dict]


def with_tables(readme: str, rows: Rows, pooled: dict[str, dict]) -> str:
    """``readme`` with both tables anew, and the machines they are of, between their marks."""
    head, _, rest = readme.partition(BEGIN)
    _, _, tail = rest.partition(END)
    if not tail:
        raise ValueError(f"README.md lacks {BEGIN.strip()!r} or {END.strip()!r}")
    return head + BEGIN + "\n".join([*_machines(rows), *_tables(rows, pooled)]) + "\n" + END + tail


def _machines(rows: Rows) -> list[str]:
    """A sentence, without the versions of packages."""
    shown = (*LIFT, *INSERT, *(f"{insert}-{name}" for insert in INSERT for _, name in COMPARED))
    found = dict.fromkeys(row["machine"].partition(";")[0] for row in rows if row["group"] in shown)
    which = "; [docs/results.md](docs/results.md) says which row" if len(found) > 1 else ""
    return [f"On {', and on '.join(found)}{which}.", ""] if found else []


def _tables(rows: Rows, pooled: dict[str, dict]) -> list[str]:
    def of(group: str) -> Rows:
        return [row for row in rows if row["group"] == group]

    def success(group: str) -> str:
        p = pooled.get(group)
        return f"{p['successes']} of {p['episodes']} ({p['ci_low']:.1%} to {p['ci_high']:.1%})" if p else "not run"

    def line(what: str, groups: Sequence[str], say: Callable[[Rows], str], *asked: str) -> str:
        return "| " + " | ".join([what, *(say(of(g)) if of(g) else "not run" for g in groups), *asked]) + " |"

    first = [
        "| lift | from cameras | from state | asked |",
        "|---|---|---|---|",
        f"| success alone on unseen starts (95 % interval) | {success(LIFT[0])} | {success(LIFT[1])} | 95 % |",
        line("worst of the seeds", LIFT, _worst, "90 %"),
        line("training ended by itself, before 3,000 steps", LIFT, _ended, ""),
        line(TRAINING, LIFT, _span("train_wall_s", ".0f", " s"), "300 s, 120 s"),
        line(
            "interventions, share of the last 20 episodes' steps", LIFT, _span("intervention_rate", ".1%"), "under 5 %"
        ),
        line("mean cycle, and the scripted person's on the same starts", LIFT, _cycles, "shorter"),
        line("start to the first gradient step (of cloning)", LIFT, _span("first_update_s", ".1f", " s"), "20 s"),
    ]
    second = [
        "| insert | from cameras | from state | asked |",
        "|---|---|---|---|",
        f"| success alone on unseen starts (95 % interval) | {success(INSERT[0])} | {success(INSERT[1])} "
        "| 90 %, 95 % |",
        *(
            f"| {what} | {success(f'{INSERT[0]}-{name}')} | {success(f'{INSERT[1]}-{name}')} | |"
            for what, name in COMPARED
        ),
        line(TRAINING, INSERT, _span("train_wall_s", ".0f", " s"), "3,600 s, 240 s"),
        line("interventions, share of steps, first and last quarter of training", INSERT, _help, "falling"),
        line("mean cycle, and the scripted person's on the same starts", INSERT, _cycles, "shorter"),
    ]
    return [*first, "", *second]


def _worst(rows: Rows) -> str:
    row = min(rows, key=lambda row: row["success_rate"])
    return f"{row['successes']} of {row['episodes']}"


def _ended(rows: Rows) -> str:
    return f"{sum(row['reached'] for row in rows)} of {len(rows)} seeds"


def _help(rows: Rows) -> str:
    """Least and greatest of the seeds, and on how many it fell."""
    quarters = [_first_and_last(row) for row in rows]
    spans = [f"{min(part):.0%} to {max(part):.0%}" for part in zip(*quarters, strict=True)]
    fell = sum(last < first for first, last in quarters)
    return f"{spans[0]}, then {spans[1]}, fewer on {fell} of {len(rows)} seeds"


def _first_and_last(row: dict) -> tuple[float, float]:
    """Mean of the curve of interventions over the first and over the last quarter of the steps."""
    steps, rates = row["curves"]["intervention_rate"]
    early = [rate for at, rate in zip(steps, rates, strict=True) if at <= row["env_steps"] / 4]
    late = [rate for at, rate in zip(steps, rates, strict=True) if at > row["env_steps"] * 3 / 4]
    return fmean(early), fmean(late)


def _span(key: str, form: str, unit: str = "") -> Callable[[Rows], str]:
    """Least and greatest of the seeds."""

    def said(rows: Rows) -> str:
        values = [row[key] for row in rows if row[key] is not None]
        return f"{min(values):{form}} to {max(values):{form}}{unit}" if values else "-"

    return said


def _cycles(rows: Rows) -> str:
    """The means over the seeds, and in how many the policy's is the shorter one."""
    pairs = [(row["cycle_steps"], row["operator_cycle_steps"]) for row in rows if row["cycle_steps"] is not None]
    own, person = (fmean(values) for values in zip(*pairs, strict=True))
    shorter = sum(a < b for a, b in pairs)
    return f"{own:.1f} against {person:.1f} steps, shorter on {shorter} of {len(pairs)} seeds"
