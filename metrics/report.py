"""report.html: one file that shows a run, with every picture inside it and no link to anywhere."""

from __future__ import annotations

import base64
import html
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metrics import names
from metrics.curves import PANELS, draw
from metrics.history import History, read_history

BEFORE_GIF = "before.gif"
AFTER_GIF = "after.gif"

STYLE = """
:root { --ink: #0f172a; --soft: #64748b; --line: #e2e8f0; --card: #ffffff; --page: #f6f7f9; --accent: #2563eb; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; margin: 0 0 2px; letter-spacing: -0.01em; }
h2 { font-size: 17px; margin: 36px 0 12px; }
.soft { color: var(--soft); }
.verdict { font-size: 17px; margin: 10px 0 22px; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 14px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; }
.number b { display: block; font-size: 28px; line-height: 1.2; letter-spacing: -0.02em; }
.number span { color: var(--soft); font-size: 13px; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(430px, 1fr)); gap: 14px; }
@media (max-width: 520px) { .grid { grid-template-columns: 1fr; } }
figure { margin: 0; }
figure img { width: 100%; height: auto; display: block; }
figcaption { font-weight: 600; margin-bottom: 6px; }
figcaption + .note, .note { color: var(--soft); font-size: 13px; margin: 2px 0 0; }
.film { display: flex; gap: 14px; flex-wrap: wrap; }
.film figure { flex: 1 1 300px; max-width: 440px; }
.film img { border-radius: 6px; }
table { border-collapse: collapse; width: 100%; }
td { padding: 5px 8px; border-top: 1px solid var(--line); vertical-align: top; }
tr:first-child td { border-top: 0; }
td:first-child { color: var(--soft); white-space: nowrap; width: 1%; }
td.value { font-variant-numeric: tabular-nums; }
details summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; font: 12.5px/1.45 ui-monospace, "DejaVu Sans Mono", monospace; margin: 10px 0 0; }
"""

MEANINGS = {
    "seed": "seed of the run",
    "obs": "what the policy sees",
    "success_rate": "of the final evaluation, without a person, on starts never used before",
    "successes": "episodes of it that succeeded",
    "episodes": "episodes of it",
    "ci_low": "95 % Wilson interval of success_rate, lower end",
    "ci_high": "upper end",
    "intervention_rate": "human steps among all, last 20 training episodes",
    "train_wall_s": "first actor step to the stop, evaluations included, cloning before it not [s]",
    "first_update_s": "start of the command to the first gradient step, of cloning where there is any [s]",
    "env_steps": "environment steps of training",
    "updates": "critic updates",
    "cycle_steps": "mean steps of the policy's successful episodes",
    "operator_cycle_steps": "the scripted person's on the same starts, at 60 % of the arm's top speed",
    "operator_successes": "of these starts the scripted person solved",
    "demonstration_cycle_steps": "mean steps of the demonstrations",
    "intervention_rate_first": "human steps among all, first 20 training episodes",
    "intervention_rate_peak": "the most in any 20 training episodes that follow each other",
    "selection_success_rate": "of the best evaluation during training, on other starts",
    "reached": "training stopped by itself, and success_rate is at least 0.9",
}


def write_report(run_folder: Path) -> Path:
    """Writes RUN_FOLDER/report.html from metrics.jsonl, summary.json, config.yaml and the GIFs, as far as they exist.

    Returns its path. The file appears at once and complete.
    """
    history = read_history(run_folder / "metrics.jsonl")
    summary = _summary(run_folder)
    page = _page(run_folder, history, summary)
    target = run_folder / "report.html"
    partial = target.with_suffix(".html.part")
    partial.write_text(page)
    os.replace(partial, target)
    return target


def _page(run_folder: Path, history: History, summary: Mapping[str, Any]) -> str:
    title = f"Tandem: {summary.get('task', 'run')} {run_folder.resolve().name}"
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f'<div class="soft">{html.escape(_subtitle(summary))}</div>',
        f'<p class="verdict">{html.escape(str(summary.get("verdict", "")))}</p>',
        _numbers(history, summary),
        _film(run_folder),
        _curves(history, summary),
        _table(summary),
        _config(run_folder),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main></body></html>\n"
    )


def _summary(run_folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((run_folder / "summary.json").read_text()))
    except FileNotFoundError:
        return {}


def _subtitle(summary: Mapping[str, Any]) -> str:
    parts = [
        f"{key} {summary[key]}" for key in ("obs", "seed", "run_id", "finished_at") if summary.get(key) is not None
    ]
    return ", ".join(parts)


def _numbers(history: History, summary: Mapping[str, Any]) -> str:
    cards = []
    if "success_rate" in summary:
        low, high = summary.get("ci_low", 0.0), summary.get("ci_high", 1.0)
        note = f"{summary.get('successes')} of {summary.get('episodes')} unseen starts, 95 %: {low:.1%} to {high:.1%}"
        cards.append(_number(f"{summary['success_rate']:.0%}", f"success on its own; {note}"))
    if isinstance(seconds := summary.get("train_wall_s"), int | float):
        cards.append(_number(f"{seconds:.0f} s", f"training, {summary.get('env_steps', 0):,} steps"))
    if isinstance(rate := summary.get("intervention_rate"), int | float):
        first = summary.get("intervention_rate_first")
        before = f"; {first:.0%} in the first 20 episodes" if isinstance(first, int | float) else ""
        cards.append(_number(f"{rate:.1%}", f"of steps human, last 20 episodes{before}"))
    if isinstance(cycle := summary.get("cycle_steps"), int | float):
        operator = summary.get("operator_cycle_steps")
        against = f"; the operator needs {operator:.1f}" if isinstance(operator, int | float) else ""
        cards.append(_number(f"{cycle:.1f}", f"steps a cycle{against}"))
    if not cards:
        for name, label in ((names.SUCCESS_RATE, "success, last 20 episodes"), (names.ENV_STEPS, "environment steps")):
            value = history.last(name)
            if value is not None:
                cards.append(_number(f"{value:.0%}" if name == names.SUCCESS_RATE else f"{value:,.0f}", label))
    return f'<div class="numbers">{"".join(cards)}</div>' if cards else ""


def _number(value: str, label: str) -> str:
    return f'<div class="card number"><b>{html.escape(value)}</b><span>{html.escape(label)}</span></div>'


def _film(run_folder: Path) -> str:
    captions = (
        (BEFORE_GIF, "Before: version 0, cloned from the demonstrations"),
        (AFTER_GIF, "After: the best policy, on the same starts"),
    )
    figures = [
        f'<figure class="card"><figcaption>{caption}</figcaption>'
        f'<img alt="{caption}" src="{_data_uri("image/gif", (run_folder / name).read_bytes())}"></figure>'
        for name, caption in captions
        if (run_folder / name).is_file()
    ]
    return f'<h2>Before and after</h2><div class="film">{"".join(figures)}</div>' if figures else ""


def _curves(history: History, summary: Mapping[str, Any]) -> str:
    figures = []
    for panel in PANELS:
        if picture := draw(panel, history, summary):
            note = f'<p class="note">{html.escape(panel.note)}</p>' if panel.note else ""
            figures.append(
                f'<figure class="card"><figcaption>{html.escape(panel.title)}</figcaption>'
                f'<img alt="{html.escape(panel.title)}" src="{_data_uri("image/svg+xml", picture.encode())}">'
                f"{note}</figure>"
            )
    return f'<h2>Training</h2><div class="grid">{"".join(figures)}</div>' if figures else ""


def _table(summary: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><td>{html.escape(key)}</td><td class="value">{html.escape(_text(value))}</td>'
        f'<td class="soft">{html.escape(MEANINGS.get(key, ""))}</td></tr>'
        for key, value in summary.items()
        if key != "verdict"
    )
    return f'<h2>Summary</h2><div class="card"><table>{rows}</table></div>' if rows else ""


def _config(run_folder: Path) -> str:
    path = run_folder / "config.yaml"
    if not path.is_file():
        return ""
    text = html.escape(path.read_text())
    return f'<h2>Config</h2><div class="card"><details><summary>config.yaml</summary><pre>{text}</pre></details></div>'


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "not known" if value is None else str(value)


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
