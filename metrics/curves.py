"""Curves of a run as SVG pictures, drawn with matplotlib."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metrics import names
from metrics.history import History

BLUE, ORANGE, GREEN, RED, GREY = "#2563eb", "#ea7317", "#15803d", "#c02646", "#64748b"


@dataclass(frozen=True)
class Line:
    """One curve of a panel: the metric, its label and colour; ``marks`` draws its points too."""

    metric: str
    label: str
    colour: str
    marks: bool = False


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        title: What it shows.
        lines: Curves over ``axis``.
        axis: Metric of the x axis.
        unit: Label of the y axis.
        rate: The y axis is a share, 0 to 100 %.
        log: Logarithmic y axis.
        level: Key of the summary drawn as a dashed line, with its label.
        note: One line on how to read it.
    """

    title: str
    lines: tuple[Line, ...]
    axis: str = names.ENV_STEPS
    unit: str = ""
    rate: bool = False
    log: bool = False
    level: tuple[str, str] | None = None
    note: str = ""


PANELS = (
    Panel(
        "Success",
        (
            Line(names.SUCCESS_RATE, "last 20 episodes, all", BLUE),
            Line(names.SUCCESS_RATE_AUTONOMOUS, "of them without a human step", ORANGE),
            Line(names.EVAL_SUCCESS_RATE, "evaluation, no person, not trained on", GREEN, marks=True),
        ),
        rate=True,
        note="Evaluations act with the moving average of the policy, on starts of their own, without noise (with "
        "algorithm.stall_steps, noise only at rest).",
    ),
    Panel(
        "Intervention rate",
        (
            Line(names.INTERVENTION_RATE, "share of steps", BLUE),
            Line(names.INTERVENTION_RATE_EPISODES, "share of episodes", ORANGE),
        ),
        rate=True,
        note="Over the last 20 training episodes.",
    ),
    Panel(
        "Cycle",
        (
            Line(names.EVAL_CYCLE_STEPS, "evaluation, successful episodes", GREEN, marks=True),
            Line(names.EPISODE_LENGTH, "last 20 training episodes", BLUE),
        ),
        unit="steps",
        level=("operator_cycle_steps", "operator"),
        note="Steps an episode takes; lower is faster.",
    ),
    Panel(
        "Q against return",
        (
            Line(names.Q_MEAN, "mean Q of sampled actions", BLUE),
            Line(names.RETURN_TO_GO, "discounted return that came, last 20 episodes", ORANGE),
        ),
        note="Q far above the return that comes is overestimation.",
    ),
    Panel(
        "Critic loss",
        (Line(names.CRITIC_LOSS, "critic loss", BLUE),),
        axis=names.UPDATES,
        log=True,
        note="Mean squared temporal-difference error.",
    ),
    Panel(
        "Actor loss",
        (Line(names.ACTOR_LOSS, "actor loss", BLUE), Line(names.CLONING_LOSS, "cloning term", ORANGE)),
        axis=names.UPDATES,
    ),
    Panel(
        "Update-to-data ratio",
        (Line(names.UTD_RATIO, "critic updates per environment step", BLUE),),
        level=("utd_ratio", "set"),
        note="Since learning started; held at the set ratio whatever the machine's speed.",
    ),
    Panel(
        "Policy lag",
        (Line(names.POLICY_LAG_STEPS, "steps since the acting version was superseded", BLUE),),
        unit="steps",
    ),
    Panel(
        "Temperature",
        (Line(names.TEMPERATURE, "entropy temperature", BLUE),),
        axis=names.UPDATES,
        log=True,
    ),
    Panel(
        "Exploration",
        (Line(names.EXPLORATION_STD, "standard deviation of exploration noise", BLUE),),
        axis=names.UPDATES,
    ),
    Panel(
        "Replay",
        (Line(names.REPLAY_SIZE, "online view", BLUE), Line(names.DEMO_SIZE, "demonstration view", ORANGE)),
        unit="transitions",
    ),
)


def draw(panel: Panel, history: History, summary: Mapping[str, Any]) -> str | None:
    """The panel as an SVG document, or None when none of its metrics was logged."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    curves = [(line, *history.series(line.metric, panel.axis)) for line in panel.lines]
    curves = [curve for curve in curves if curve[1]]
    if not curves:
        return None
    with matplotlib.rc_context({"font.size": 9, "font.family": "DejaVu Sans", "svg.hashsalt": "tandem"}):
        figure = Figure(figsize=(5.4, 3.0), layout="constrained")
        axes = figure.add_subplot()
        for above, (line, x, y) in zip(reversed(range(len(curves))), curves, strict=True):
            style: dict[str, Any] = {"marker": "o", "markersize": 4.5} if line.marks or len(x) == 1 else {}
            style["linewidth"] = 1.6 + 1.2 * above  # of curves that coincide, all are seen
            axes.plot(x, y, color=line.colour, label=line.label, solid_joinstyle="round", **style)
        if panel.level and isinstance(level := summary.get(panel.level[0]), int | float):
            label = f"{panel.level[1]} {level:.3g}"
            axes.axhline(level, color=GREY, linewidth=1.2, linestyle=(0, (4, 3)), label=label)
        if panel.rate:
            axes.set_ylim(-0.03, 1.05)
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        elif panel.log and all(v > 0 for _, _, y in curves for v in y):
            axes.set_yscale("log")
        elif min(v for _, _, y in curves for v in y) >= 0:
            axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlim(left=0)
        axes.set_xlabel("environment steps" if panel.axis == names.ENV_STEPS else "critic updates", color=GREY)
        if panel.unit:
            axes.set_ylabel(panel.unit, color=GREY)
        axes.grid(color="#e5e7eb", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(which="both", colors=GREY, length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False, fontsize=8)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue().decode()
