"""report.json and report.html of a training: one page with every picture inside it and no link to anywhere."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from episodes.durable import write_durably
from metrics.report import STYLE
from reward.training import Trained

JSON_FILE, HTML_FILE = "report.json", "report.html"
_PICTURE_SIDE = 128


def write_report(folder: Path, trained: Trained) -> None:
    """Writes both files into ``folder``."""
    write_durably(folder / JSON_FILE, (json.dumps(trained.report, indent=1) + "\n").encode())
    write_durably(folder / HTML_FILE, _page(trained).encode())


def _page(trained: Trained) -> str:
    report = trained.report
    per_episode, hourly = report["per_episode"], report["false_positives_an_hour"]
    with_gates = ", with gates" if report["gates"] else ""
    of_allowed = " Of the frames that the gates allow." if report["gates"] else ""
    numbers = [
        (_percent(per_episode["precision"]), f"of the episodes confirmed were successes{with_gates}"),
        (_percent(per_episode["recall"]), f"of the successes were confirmed{with_gates}"),
        (
            f"{hourly['rate']:.1f}",
            f"false positives an hour of {report['control_hz']:g} frames a second: from {60 * hourly['hours']:.1f} "
            f"minutes, 95 % interval {hourly['interval'][0]:.1f} to {hourly['interval'][1]:.1f}{with_gates}",
        ),
        (f"{report['threshold']:.3f}", f"the stored threshold, {report['confirm']} frames in a row"),
    ]
    cards = "".join(f'<div class="card number"><b>{b}</b><span>{html.escape(text)}</span></div>' for b, text in numbers)
    pictures = "".join(_mistake(trained, mistake) for mistake in report["worst"])
    pictures = pictures or "None: every frame is on its side of one half."
    figures = [
        (
            "Reliability",
            f"Share of success by score. On the diagonal a score is a probability.{of_allowed}",
            _reliability(report),
        ),
        (
            "Learning curve",
            "Balanced log loss on the episodes of the first fold, by frames used: one fit a point. What the terminal "
            "shows of a fit is the log loss of the episodes that say when to stop, other ones: do not compare."
            f"{of_allowed}",
            _learning_curve(report),
        ),
        (
            "Scores",
            f"Of held-out frames of each class, with the stored threshold.{of_allowed}",
            _histogram(trained),
        ),
    ]
    everything = html.escape(json.dumps(report, indent=1))
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(report["classifier"])}</title>
<style>{STYLE}</style><main>
<h1>Success classifier {html.escape(report["classifier"])}</h1>
<p class="soft">{html.escape(report["task"])} · {report["episodes"]} episodes, {html.escape(_labels(report))}</p>
<p class="verdict">Every frame is scored by a network that had seen no frame of its episode, and every decision in the
figures is made at a threshold chosen on other episodes ({html.escape(_thresholds(report))}), whose networks had seen
this one. The stored threshold is chosen on all; so is the temperature, which changes the log loss and the reliability,
and no decision.
{html.escape(report["more_labels"][:1].upper() + report["more_labels"][1:])}.{html.escape(gates_line(report))}</p>
<div class="numbers">{cards}</div>
<h2>Frames and episodes</h2><div class="grid"><div class="card">{_frame_table(report)}</div>
<div class="card">{_confusion_table(per_episode, with_gates)}</div></div>
<h2>Curves</h2><div class="grid">{"".join(_figure(*figure) for figure in figures)}</div>
<h2>Worst mistakes</h2><p class="note">The frames whose score is on the wrong side of one half, the furthest first, at
most two of an episode. The threshold, {report["threshold"]:.3f}, is another: what is shown need not have looked like
success, or the lack of it, to the rule that runs.{of_allowed} Below each
is the command that opens it where its label can be changed, or its file, whose folder is its label.</p>
<div class="film">{pictures}</div>
<h2>All figures</h2><div class="card"><details><summary>{JSON_FILE}</summary><pre>{everything}</pre></details></div>
</main></html>
"""


def gates_line(report: dict[str, Any]) -> str:
    """What the gates are and what they do alone, in a sentence that follows others; empty where there is none."""
    if not report["gates"]:
        return ""
    alone, hourly = report["gates_alone"], report["gates_alone"]["false_positives_an_hour"]
    low, high = hourly["interval"]
    return (
        f" Gates: {', '.join(report['gates'])}. They rule out {report['ruled_out']} frames, which are not learned "
        f"from, so the classifier is worth nothing without them; they alone, whatever the cameras show, would have "
        f"per episode precision {_percent(alone['per_episode']['precision'])}, recall "
        f"{_percent(alone['per_episode']['recall'])}, and {hourly['events']} false positives: {hourly['rate']:.1f} an "
        f"hour, 95 % interval {low:.1f} to {high:.1f}."
    )


def _thresholds(report: dict[str, Any]) -> str:
    return ", ".join(f"{threshold:.3f}" for threshold in report["thresholds_of_folds"])


def _percent(rate: dict[str, Any]) -> str:
    return "-" if rate["value"] is None else f"{rate['value']:.1%}"


def _labels(report: dict[str, Any]) -> str:
    return ", ".join(f"{count} {label}" for label, count in report["labels"].items())


def _frame_table(report: dict[str, Any]) -> str:
    frames = report["frames"]
    rows = [
        (
            name.replace("_", " "),
            f"{_percent(frames[name])} ({frames[name]['count']} of {frames[name]['of']}), 95 % "
            f"interval {frames[name]['interval'][0]:.1%} to {frames[name]['interval'][1]:.1%}",
        )
        for name in ("precision", "recall", "false_positive_rate")
    ]
    allowed, with_gates = (", of the frames allowed", " and with gates, of all") if report["gates"] else ("", "")
    rows += [(f"log loss{allowed}", f"{frames['log_loss']:.4f}"), ("temperature", f"{report['temperature']:.2f}")]
    return _table(f"Frames at the thresholds of their folds{with_gates}", rows)


def _confusion_table(found: dict[str, Any], with_gates: str) -> str:
    names = {
        "success_confirmed": "success, confirmed",
        "success_confirmed_early": "success, confirmed before it was one",
        "success_missed": "success, never confirmed",
        "success_too_short": "success, with too few labelled frames of it in a row to be confirmed: not counted",
        "failure_confirmed": "no success, confirmed",
        "failure_passed": "no success, never confirmed",
    }
    return _table(
        f"Episodes after confirmation{with_gates}", [(text, str(found[name])) for name, text in names.items()]
    )


def _table(title: str, rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f'<tr><td>{html.escape(k)}</td><td class="value">{html.escape(v)}</td></tr>' for k, v in rows)
    return f"<figcaption>{title}</figcaption><table>{cells}</table>"


def _figure(title: str, note: str, picture: str) -> str:
    return (
        f'<figure class="card"><figcaption>{title}</figcaption><p class="note">{note}</p>'
        f'<img alt="{title}" src="data:image/png;base64,{picture}"></figure>'
    )


def _mistake(trained: Trained, mistake: dict[str, Any]) -> str:
    import cv2

    row, parts = mistake["row"], []
    for camera in trained.frames.cameras:
        frame = trained.frames.images[camera.name][row]
        side = (round(_PICTURE_SIDE * camera.width / camera.height), _PICTURE_SIDE)
        parts.append(cv2.resize(frame, side, interpolation=cv2.INTER_NEAREST))
    _, png = cv2.imencode(".png", cv2.cvtColor(np.hstack(parts), cv2.COLOR_RGB2BGR))
    text = f"labelled {mistake['label']}, score {mistake['score']:.3f}"
    where = f"Episode {mistake['episode']}, frame {mistake['frame']}"
    return (
        f'<figure class="card"><img alt="{html.escape(text)}" src="data:image/png;base64,'
        f'{base64.b64encode(png.tobytes()).decode()}"><figcaption>{html.escape(text)}</figcaption>'
        f'<p class="note">{html.escape(where)}</p><pre>{html.escape(mistake["place"])}</pre></figure>'
    )


def _reliability(report: dict[str, Any]) -> str:
    def draw(axes: Any) -> None:
        bins = report["reliability"]
        axes.plot([0, 1], [0, 1], color="#94a3b8", lw=1, ls="--")
        sizes = [20 + 180 * (b["frames"] / max(b["frames"] for b in bins)) ** 0.5 for b in bins]
        axes.scatter([b["score"] for b in bins], [b["success"] for b in bins], s=sizes, color="#2563eb", alpha=0.8)
        axes.set_xlabel("mean score")
        axes.set_ylabel("share of success")
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)

    return _png(draw)


def _learning_curve(report: dict[str, Any]) -> str:
    def draw(axes: Any) -> None:
        points = report["learning_curve"]
        used = [p["positives"] + p["negatives"] for p in points]
        axes.plot(used, [p["loss"] for p in points], marker="o", color="#2563eb")
        axes.set_xlabel("labelled frames used")
        axes.set_ylabel("log loss")
        axes.set_ylim(bottom=0)

    return _png(draw)


def _histogram(trained: Trained) -> str:
    def draw(axes: Any) -> None:
        positive, allowed, bins = trained.frames.positive, ~trained.frames.gated, np.linspace(0, 1, 31)
        axes.hist(trained.scores[~positive & allowed], bins, color="#dc2626", alpha=0.6, label="no success", log=True)
        axes.hist(trained.scores[positive & allowed], bins, color="#16a34a", alpha=0.6, label="success", log=True)
        axes.axvline(trained.report["threshold"], color="#0f172a", lw=1, ls="--")
        axes.set_xlabel("score")
        axes.set_ylabel("frames")
        axes.legend()

    return _png(draw)


def _png(draw: Any) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.4), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    draw(axes)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode()
