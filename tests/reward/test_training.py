"""From labelled frames to a classifier and its report, and what is refused."""

import html
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policies.resnet import EncoderFileError
from reward import fitting, training
from reward.classifier import Calibration
from reward.config import RewardError
from reward.fitting import FitConfig, fit
from reward.frames import LabelledFrames
from reward.measures import LearningPoint, measured
from reward.network import NetworkSpec
from reward.preprocessing import Preprocessing
from reward.report import gates_line, write_report
from reward.storage import load_classifier, read_classifier
from reward.training import TrainConfig, Trained, train
from tests.reward.squares import CAMERAS, constant_classifier, square_frames


@pytest.fixture
def planted(monkeypatch):
    """Frames that networks tell apart, and the rows, bool (N,), of one episode of failure that looks like success."""
    frames = square_frames(8, 20)
    rows = frames.of_episodes(["data/3"])
    logits = np.where(frames.positive, 6.0, -6.0) + 14.0 * rows
    monkeypatch.setattr(training, "logits_of", lambda network, preprocessing, of, rows, *shown: logits[rows])
    return frames, rows


def config(**settings):
    return TrainConfig(**({"data": ("data",), "max_steps": 40, "folds": 2, "name": "squares"} | settings))


def test_a_classifier_learns_what_success_looks_like_and_says_how_well(tmp_path):
    frames, said = square_frames(8, 20), []
    trained = train(frames, config(), tmp_path, task="squares", control_hz=10.0, say=said.append)
    write_report(tmp_path, trained)
    report = json.loads((tmp_path / "report.json").read_text())
    found = report["per_episode"]
    assert (found["success_confirmed"], found["failure_passed"]) == (4, 4), found
    assert report["frames"]["recall"]["value"] > 0.9
    assert report["false_positives_an_hour"]["events"] == 0
    low, high = report["false_positives_an_hour"]["interval"]
    assert low == 0
    assert high == pytest.approx(3.6889 / report["false_positives_an_hour"]["hours"], rel=1e-3)
    assert [point["positives"] for point in report["learning_curve"]] == sorted(
        point["positives"] for point in report["learning_curve"]
    )
    assert any("fold 2 of 2" in line for line in said)

    stored = load_classifier(read_classifier(tmp_path))
    assert report["classifier"] == stored.version
    unseen = square_frames(4, 20, seed=9)
    logits = stored.logits(unseen.images)
    assert logits[unseen.positive].min() > logits[~unseen.positive].max()

    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 3
    assert "http" not in page.split("<style>")[1].replace("http-equiv", "")


def test_the_most_frames_are_drawn_for_fitting_and_everything_else_is_of_all_frames(tmp_path, monkeypatch):
    """What confirms is frames in a row, of which a draw leaves none: nothing would ever be a false positive."""
    fitted_to = []

    def watched(network, preprocessing, rows, stop, *rest, **settings):
        fitted_to.extend((rows.positive.sum(), (~rows.positive).sum()))
        return fit(network, preprocessing, rows, stop, *rest, **settings)

    monkeypatch.setattr(training, "fit", watched)
    frames = square_frames(8, 30)
    report = train(frames, config(most_frames=20, max_steps=2), tmp_path).report
    assert max(fitted_to) == 20
    assert report["labels"]["success"] == frames.positive.sum()
    assert report["frames"]["false_positive_rate"]["of"] == (~frames.positive).sum()


def test_what_only_an_episode_shows_is_learned_by_heart_and_no_figure_gains_by_it(tmp_path):
    """Each episode has a pattern of its own and a label drawn at random: a leak between folds would look like skill."""
    rng, episodes, length, cells = np.random.default_rng(0), 16, 4, 3
    success = rng.permutation(np.arange(episodes) % 2 == 0)
    images = {}
    for camera in CAMERAS:
        pattern = 200 * rng.integers(0, 2, (episodes, cells, cells)) + 20
        rows, columns = (np.arange(side) * cells // side for side in (camera.height, camera.width))
        shown = pattern[:, rows][:, :, columns].astype(np.uint8)
        images[camera.name] = np.repeat(np.repeat(shown[..., None], 3, 3), length, 0)
    labels = tuple("success" if success[i // length] else "failure" for i in range(episodes * length))
    names = tuple(f"e{i // length}" for i in range(episodes * length))
    frames = LabelledFrames(CAMERAS, images, labels, names, np.tile(np.arange(length), episodes))
    trained = train(frames, config(), tmp_path)
    known = (trained.classifier.logits(frames.images) > 0) == frames.positive
    held_out = (trained.scores > 0.5) == frames.positive
    assert known.mean() > 0.75, "it has learned the episodes it was fitted to, which are all but one sixth"
    assert held_out.mean() < 0.7
    assert trained.classifier.calibration.temperature > 5, "who guesses must not be sure"
    assert trained.report["frames"]["log_loss"] < 0.8


def test_the_report_measures_with_the_gates_and_says_what_they_do_alone(frames):
    """What shows no success looks like none from frame 5 on, and the gates rule it out before."""
    logits = np.where(frames.positive | (frames.indices < 5), 4.0, -4.0)
    gated = replace(frames, gated=~frames.positive & (frames.indices < 5))
    calibration = Calibration(threshold=0.5, confirm=3, gates=("tool.z>0.06",))
    report = measured(gated, logits, np.full(len(frames), 0.5), calibration, 0.0001, 10.0)
    assert report["gates"] == ["tool.z>0.06"]
    assert report["false_positives_an_hour"]["events"] == 0
    assert report["per_episode"]["precision"]["value"] == 1.0
    alone = report["gates_alone"]
    assert alone["false_positives_an_hour"]["events"] == 8
    assert alone["per_episode"]["precision"]["value"] < 1.0
    assert measured(frames, logits, np.full(len(frames), 0.5), Calibration(), 0.0001, 10.0)["gates_alone"] is None


def test_what_is_measured_with_gates_and_of_which_frames_is_written_beside_every_figure(frames, tmp_path):
    logits = np.full(len(frames), 4.0)
    places = [f"tandem label 'data=/a & b' episode={e} frame=4" for e in frames.episodes]
    gated = replace(frames, gated=~frames.positive & (frames.indices > 5), places=tuple(places))
    for gates, allowed, with_gates in ((("tool.z>0.06",), 5, 5), ((), 0, 0)):
        calibration = Calibration(threshold=0.7, confirm=3, gates=gates)
        found = measured(gated, logits, np.full(len(frames), 0.7), calibration, 0.0001, 10.0)
        more = {"classifier": "a@1", "task": "t", "learning_curve": [], "more_labels": "more", "seconds": 1.0}
        classifier = load_classifier(constant_classifier(CAMERAS, 0.0))
        trained = Trained(classifier, found | more, gated, np.full(len(frames), 0.98))
        write_report(tmp_path, trained)
        page = (tmp_path / "report.html").read_text().partition("<h2>All figures</h2>")[0]
        assert page.count("rames that the gates allow") + page.count("of the frames allowed") == allowed
        assert page.count("with gates") == with_gates
        assert "wrong side of one half" in page
        assert len(found["worst"]) == 12
        for mistake in found["worst"]:
            assert f"Episode {mistake['episode']}, frame {mistake['frame']}<" in page
            assert f"<pre>{html.escape(places[mistake['row']])}</pre>" in page
        assert "the episodes that say when to stop, other ones" in page
        assert "The threshold, 0.700, is another" in page
        assert ("they alone, whatever the cameras show" in page) == bool(gates)
        if gates:
            low, high = found["gates_alone"]["false_positives_an_hour"]["interval"]
            assert f"an hour, 95 % interval {low:.1f} to {high:.1f}." in gates_line(found)


@pytest.mark.parametrize(
    ("after", "error", "said"),
    [
        (0.2, 0.1, "more labels will probably help"),
        (0.29, 0.1, "little difference on this split"),
        (0.6, 0.1, "cannot be told"),
        (0.02, 0.0, "next to nothing to gain"),
        (0.02, 0.1, "more labels will probably help"),
    ],
)
def test_the_learning_curve_says_no_more_than_one_split_can_tell(after, error, said):
    text = LearningPoint.advice([LearningPoint(20, 20, 0.3, 0.1), LearningPoint(40, 40, after, error)])
    assert said in text
    assert f"log loss 0.300 with 40 frames, {after:.3f} with 80, by one fit a point on one split" in text


def test_what_a_gate_rules_out_is_not_learned_from(tmp_path):
    """Many frames say the opposite of what can be seen; a gate rules them out."""
    frames = square_frames(8, 20)
    odd = np.array([int(name.rpartition("/")[2]) % 2 == 1 for name in frames.episodes]) & (frames.indices < 15)
    lying = replace(frames, labels=tuple(_other(a) if b else a for a, b in zip(frames.labels, odd, strict=True)))

    misled = train(lying, config(), tmp_path).report
    gated = train(replace(lying, gated=odd), config(folds=2, max_steps=120), tmp_path)
    report, logits = gated.report, gated.classifier.logits(frames.images)
    assert ((logits > 0) == frames.positive)[~odd].mean() > 0.9
    assert ((logits > 0) == frames.positive)[odd].mean() > 0.9, "the kept network did not learn the lies either"
    assert np.median(np.abs(logits)) > 2, "nor is it torn between them"
    known = gated.classifier.calibration
    assert np.median(known.negative_logits) < 0 < np.median(known.positive_logits)
    scores = np.log(gated.scores / (1 - gated.scores))
    for quantiles, of_class in ((known.negative_logits, ~lying.positive), (known.positive_logits, lying.positive)):
        np.testing.assert_allclose(quantiles[0], scores[~odd & of_class].min(), rtol=1e-3)
        np.testing.assert_allclose(quantiles[-1], scores[~odd & of_class].max(), rtol=1e-3)
    assert misled["frames"]["log_loss"] > 0.5
    assert report["ruled_out"] == odd.sum()
    assert report["frames"]["log_loss"] < 0.3
    assert report["frames"]["false_positive_rate"]["count"] == 0
    assert not any(odd[mistake["row"]] for mistake in report["worst"])


def _other(label: str) -> str:
    return "failure" if label == "success" else "success"


def test_frames_that_the_gates_leave_must_be_enough(tmp_path):
    frames = square_frames(8, 20)
    with pytest.raises(RewardError, match=r"the gates rule out \d+ of the \d+ frames of no success, and at least 20"):
        train(replace(frames, gated=~frames.positive), config(), tmp_path)


def test_what_a_gate_rules_out_does_not_make_the_threshold_stricter(tmp_path, planted):
    """One episode of failure looks more like success than success does."""
    frames, rows = planted
    bare = train(frames, config(max_steps=1), tmp_path).report
    gated = train(replace(frames, gated=rows), config(max_steps=1), tmp_path).report
    assert bare["per_episode"]["recall"]["value"] < 1.0
    assert gated["threshold"] < bare["threshold"]
    assert gated["per_episode"]["recall"]["value"] == 1.0
    assert gated["false_positives_an_hour"]["events"] == 0


def test_the_threshold_is_stricter_for_what_another_day_could_show(tmp_path, monkeypatch):
    """As they are, the frames are told apart; on one of the other days one episode of failure looks like success."""
    frames = square_frames(8, 20)
    rows = frames.of_episodes(["data/3"])
    logits = np.where(frames.positive, 6.0, -6.0)
    other_day = logits + 9.0 * rows

    def seen(network, preprocessing, of, rows, *shown):
        return (other_day if shown else logits)[rows]

    monkeypatch.setattr(training, "logits_of", seen)
    stricter = train(frames, config(max_steps=1), tmp_path).classifier.calibration.threshold
    monkeypatch.setattr(training, "logits_of", lambda network, preprocessing, of, rows, *shown: logits[rows])
    assert stricter > train(frames, config(max_steps=1), tmp_path).classifier.calibration.threshold


def test_a_fit_ends_by_what_other_days_could_show_too(monkeypatch):
    """As they are the stopping frames are told apart from the first look; as another day shows them, less and less
    wrongly."""
    frames = square_frames(8, 20)
    stop = frames.of_episodes(["data/0", "data/1"])
    shown = iter(range(100))

    def seen(network, preprocessing, of):
        as_they_are = all(np.array_equal(of.images[name], held.images[name]) for name in held.images)
        return np.where(of.positive, 4.6, -4.6) * (1.0 if as_they_are else 0.1 * next(shown) - 1)

    held = frames.subset(stop)
    monkeypatch.setattr(fitting, "logits_of", seen)
    preprocessing, spec = Preprocessing(CAMERAS, (CAMERAS[0].height, CAMERAS[0].width)), NetworkSpec(len(CAMERAS))
    settings = FitConfig(max_steps=3, check_every=1)
    assert fit(spec, preprocessing, frames.subset(~stop), held, settings, seed=0).steps == 3


def test_what_the_report_says_of_a_fold_is_decided_by_the_other_folds(tmp_path, planted):
    """One episode of failure looks like success throughout: a threshold that had seen it would let nobody be wrong."""
    frames, _ = planted
    report = train(frames, config(max_steps=1), tmp_path).report
    assert report["false_positives_an_hour"]["events"] == 1
    assert report["per_episode"]["failure_confirmed"] == 1
    assert report["threshold"] > min(report["thresholds_of_folds"]), "chosen on all, it has seen the episode"


def test_too_few_labels_and_frames_all_alike_are_refused(tmp_path):
    frames = square_frames(8, 20)
    few = frames.subset(np.flatnonzero(~frames.positive | (np.arange(len(frames)) < 20)))
    with pytest.raises(RewardError, match=r"at least 20 frames of success are needed.* Got: 8"):
        train(few, config(), tmp_path)
    alike = LabelledFrames(
        CAMERAS,
        {name: np.repeat(value[:1], len(value), 0) for name, value in frames.images.items()},
        frames.labels,
        frames.episodes,
        frames.indices,
    )
    with pytest.raises(RewardError, match="all frames are alike"):
        train(alike, config(), tmp_path)


def test_one_long_episode_of_success_alone_does_not_decide_when_to_stop(tmp_path):
    """It is dealt out first, and without an episode of failure alone nothing would come to it."""
    frames = square_frames(12, 20)
    episode = np.repeat(np.arange(12), 20)
    one = frames.subset((episode % 2 == 0) & ((episode > 0) | frames.positive))
    long = replace(
        one,
        labels=tuple("success" if e == "data/2" else label for label, e in zip(one.labels, one.episodes, strict=True)),
    )
    said = []
    trained = train(long, config(max_steps=2, folds=3), tmp_path, say=said.append)
    assert trained.report["steps"] > 0
    assert not [line for line in said if "nan" in line]


def test_a_class_in_too_few_episodes_to_train_stop_and_measure_is_named(tmp_path):
    frames = square_frames(6, 40)
    labels = tuple("success" if row % 80 < 30 and row < 160 else "air" for row in range(len(frames)))
    with pytest.raises(RewardError, match=r"frames of success must come from at least 3 episodes.* Got: 2"):
        train(replace(frames, labels=labels), config(folds=3), tmp_path)


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
def test_a_loss_that_is_never_finite_leaves_no_network(frames):
    lone = frames.subset(frames.positive)
    with pytest.raises(RewardError, match="none of its log losses on 32 frames of other episodes was finite"):
        fit(NetworkSpec(2), Preprocessing(CAMERAS, (32, 40)), frames, lone, FitConfig(max_steps=1), seed=0)


def test_settings_that_make_no_sense_name_their_key():
    with pytest.raises(RewardError, match=r"folds must be at least 2. Got: 1"):
        config(folds=1)
    with pytest.raises(EncoderFileError, match="its weights: set encoder_weights to"):
        train(square_frames(8, 20), config(encoder="resnet10"), Path("none"))
    with pytest.raises(RewardError, match="data must name at least one folder"):
        config(data=())
