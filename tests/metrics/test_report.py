"""report.html: complete, self-contained, and written for runs that have little to show."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from metrics import names
from metrics.curves import GREY, PANELS, draw
from metrics.history import read_history
from metrics.report import write_report


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.sources, self.links, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if "src" in found:
            self.sources.append(found["src"])
        if "href" in found or tag in ("link", "script", "iframe"):
            self.links.append((tag, found))

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def run_folder(tmp_path):
    logged = [metric.name for metric in names.METRICS]
    lines = [dict.fromkeys(logged, 0.1 + i / 10) | {"env_steps": 10 * i, "updates": 20 * i} for i in range(1, 9)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    summary = {"seed": 4, "obs": "state", "success_rate": 0.98, "successes": 49, "episodes": 50, "ci_low": 0.895}
    summary |= {"ci_high": 0.9965, "intervention_rate": 0.012, "train_wall_s": 88.2, "env_steps": 3120}
    summary |= {"cycle_steps": 17.2, "operator_cycle_steps": 21.6, "verdict": "Reached: <b>well</b>"}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "config.yaml").write_text("algorithm:\n  gamma: 0.97\n")
    frames = [Image.fromarray(np.full((24, 32, 3), 40 * i, np.uint8)) for i in range(3)]
    for name in ("before.gif", "after.gif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    return tmp_path


def test_everything_is_inside_and_nothing_outside(run_folder):
    text = write_report(run_folder).read_text()
    page = Page(text)
    assert page.links == []
    assert not re.search(r"https?://|@import|url\(", text)
    kinds = [source.partition(";")[0] for source in page.sources]
    assert kinds.count("data:image/gif") == 2
    assert kinds.count("data:image/svg+xml") == len(PANELS)
    for source in page.sources:
        assert base64.b64decode(source.partition(",")[2], validate=True)


def test_it_tells_the_summary_and_the_config(run_folder):
    text = Page(write_report(run_folder).read_text()).text
    for part in ("98%", "49 of 50 unseen starts", "88 s", "17.2", "the operator needs 21.6", "gamma: 0.97"):
        assert part in text
    assert "Reached: <b>well</b>" in text


def test_every_curve_the_user_is_promised_has_a_panel():
    drawn = {line.metric for panel in PANELS for line in panel.lines}
    promised = {"success_rate", "success_rate_autonomous", "eval_success_rate", "intervention_rate", "critic_loss"}
    promised |= {"actor_loss", "q_mean", "return_to_go", "utd_ratio", "policy_lag_steps"}
    assert promised <= drawn <= set(names.BY_NAME)


@pytest.fixture
def drawn(run_folder):
    """Draws the panel of a title."""
    history = read_history(run_folder / "metrics.jsonl")
    return lambda title: draw(next(panel for panel in PANELS if panel.title == title), history, {})


def test_of_curves_that_coincide_each_is_seen(drawn):
    widths = [float(width) for width in re.findall(r"stroke: #[0-9a-f]{6}; stroke-width: ([\d.]+)", drawn("Success"))]
    curves = [width for width in widths if width > 1.5]
    assert len(set(curves)) == 3
    assert curves[:3] == sorted(curves[:3], reverse=True)


def test_every_label_of_an_axis_is_grey(drawn):
    picture = drawn("Temperature")
    ticks = [tick.partition('id="legend')[0] for tick in re.split(r'id="[xy]tick_', picture)[1:]]
    labels = [tick.partition('id="text_')[2] for tick in ticks if 'id="text_' in tick]
    assert len(labels) > 6
    assert all(f"fill: {GREY}" in label for label in labels)


def test_a_run_without_summary_or_pictures_has_a_report(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"env_steps": 5, "updates": 0, "success_rate": 0.5}\n')
    page = Page(write_report(tmp_path).read_text())
    assert len(page.sources) == 1
    assert "50%" in page.text


def test_an_empty_folder_has_a_report(tmp_path):
    assert Page(write_report(tmp_path).read_text()).sources == []
