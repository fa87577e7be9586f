"""docs/results.md and its picture, from the summaries of the runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.cells import GROUPS, Cell
from benchmarks.origin import numbered
from metrics import names
from metrics.wilson import wilson_interval

FULL_SPEED_CYCLE_STEPS = 11.3  # ScriptedOperatorConfig(speed=1.0, demonstrate=True), lift, 5 seeds of 50 unseen starts
PICTURE = "results.png"
PICTURED = ("lift-pixels", "lift-state", "insert-state", "insert-pixels")
CURVES = (names.EVAL_SUCCESS_RATE, names.INTERVENTION_RATE)  # kept of each run, against environment steps


def pool(rows: Sequence[dict]) -> dict[str, dict]:
    """What the seeds of each group reached together, by group."""
    pooled = {}
    for group in GROUPS:
        members = [r for r in rows if r["group"] == group]
        if members:
            successes, episodes = sum(r["successes"] for r in members), sum(r["episodes"] for r in members)
            low, high = wilson_interval(successes, episodes)
            pooled[group] = {
                "seeds": len(members),
                "successes": successes,
                "episodes": episodes,
                "success_rate": successes / episodes,
                "ci_low": low,
                "ci_high": high,
                "reached": sum(r["reached"] for r in members),
                "worst_seed": min(r["success_rate"] for r in members),
                "longest_train_wall_s": max(
                    (r["train_wall_s"] for r in members if r["train_wall_s"] is not None), default=None
                ),
            }
    return pooled


def document(
    rows: Sequence[dict], pooled: dict[str, dict], missing: Sequence[Cell], outdated: Sequence[str] = ()
) -> str:
    """The text of docs/results.md; ``outdated`` says which rows are in none of its tables, and why."""
    machines = numbered(rows)
    lines = [
        "# Results",
        "",
        *(f"{mark} On {where}.".strip() for where, mark in machines.items()),
        "The simulated SO-101, with learner, actor and demo running. Made by `make results`; each",
        "run is one `tandem demo` with the settings of its group in `benchmarks/cells.py`.",
        "",
        "Success is that of the policy alone, without noise but, in insert, where it has come to rest",
        "(`algorithm.stall_steps`), over start states that no training and no selection of",
        "checkpoints used, with a 95 % Wilson interval. Reached: training stopped by its own rule, not by a cap on",
        "steps or time, and success on these starts was at least 0.9; runs of insert have a fixed budget of steps.",
        "Settings were tuned on seeds 0 to 2; the encoder of the lift from pixels on 3, 7 and 8 as well, and when the",
        "lift from state ends on 5 to 9. Two runs of one seed differ: steps and updates interleave as they come.",
        "",
        f"![Success and interventions while training]({PICTURE})",
    ]
    for section in dict.fromkeys(group.section for group in GROUPS.values()):
        found = [name for name, group in GROUPS.items() if group.section == section and name in pooled]
        if found:
            lines += ["", f"## {section}", "", *_pooled_table({name: pooled[name] for name in found})]
            lines += ["", *_runs_table([r for r in rows if r["group"] in found], machines)]
    lines += [
        "",
        "Interventions are shares of environment steps, over the first and the last 20 training episodes; human steps",
        "are all that the person drove, demonstrations included, at 10 a second. The",
        "operator's cycle is that of the scripted person on the same starts: it drives at 60 % of the arm's top speed,",
        f"as people do; at full speed it lifts in {FULL_SPEED_CYCLE_STEPS} steps. Load is the five-minute load average",
        "of the machine when a run ended, itself included: with much more than it has cores, times are those of a",
        "machine that did something else besides.",
        "",
        *(["Not run yet:", "", *_missing_list(missing)] if missing else ["Every cell has run."]),
        *(["", "Outdated, in results.json alone:", "", *(f"- {said}" for said in outdated)] if outdated else []),
        "",
    ]
    return "\n".join(lines)


def _missing_list(missing: Sequence[Cell]) -> list[str]:
    groups = dict.fromkeys(cell.group for cell in missing)
    return [f"- {g}: seeds {', '.join(str(cell.seed) for cell in missing if cell.group == g)}" for g in groups]


def _pooled_table(pooled: dict[str, dict]) -> list[str]:
    lines = [
        "| group | what | seeds | reached | success (95 % Wilson) | worst seed | longest training |",
        "|---|---|---|---|---|---|---|",
    ]
    for group, p in pooled.items():
        interval = f"{p['success_rate']:.3f} ({p['ci_low']:.3f}-{p['ci_high']:.3f})"
        lines.append(
            f"| {group} | {GROUPS[group].what} | {p['seeds']} | {p['reached']} | {interval} of {p['episodes']} "
            f"| {p['worst_seed']:.2f} | {_number(p['longest_train_wall_s'], '.0f')} s |"
        )
    return lines


def _runs_table(rows: Sequence[dict], machines: dict[str, str]) -> list[str]:
    lines = [
        "| group | seed | reached | success | interventions first 20 | last 20 | cycle, steps | operator's | env steps "
        "| human steps | updates | training s, without cloning | first update (of cloning) s | load | measured |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    return lines + [
        f"| {r['group']} | {r['seed']} | {'yes' if r['reached'] else 'no'} | {r['successes']}/{r['episodes']} "
        f"| {_number(r.get('intervention_rate_first'), '.3f')} | {_number(r['intervention_rate'], '.3f')} "
        f"| {_number(r['cycle_steps'], '.1f')} | {_number(r['operator_cycle_steps'], '.1f')} | {r['env_steps']} "
        f"| {r.get('human_steps') or '-'} | {r['updates']} | {_number(r['train_wall_s'], '.0f')} "
        f"| {_number(r['first_update_s'], '.1f')} "
        f"| {_number(r.get('load'), '.1f')} | {f'{r["date"]} {r["commit"]} {machines[r["machine"]]}'.strip()} |"
        for r in rows
    ]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def draw(rows: Sequence[dict], path: Path) -> None:
    """A picture of success and interventions over environment steps, a line a seed, for the main groups with curves."""
    from matplotlib.figure import Figure

    drawn = [row for row in rows if row.get("curves")]
    groups = [name for name in PICTURED if any(row["group"] == name for row in drawn)]
    if not groups:
        return
    figure = Figure(figsize=(3.2 * len(groups), 4.6), layout="constrained")
    axes = figure.subplots(2, len(groups), squeeze=False, sharex="col", sharey="row")
    for column, name in enumerate(groups):
        for run in (row for row in drawn if row["group"] == name):
            for index, metric in enumerate(CURVES):
                steps, values = run["curves"][metric]
                axes[index][column].plot(steps, [100 * v for v in values], label=f"seed {run['seed']}", linewidth=1.2)
        axes[0][column].set_title(GROUPS[name].section, fontsize=10)
        axes[1][column].set_xlabel("environment steps")
    axes[0][0].set_ylabel("success alone [%]")
    axes[1][0].set_ylabel("interventions,\nlast 20 episodes [% of steps]")
    max(axes[0], key=lambda axis: len(axis.lines)).legend(fontsize=7, frameon=False)  # with every seed there is
    for axis in axes.flat:
        axis.set_ylim(-3, 103)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
