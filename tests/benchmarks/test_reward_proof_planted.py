"""Who corrects a classifier that can be exploited, and the labels it is made from."""

from benchmarks.reward_proof_planted import Onlooker, Version, label_in_a_hurry
from episodes.log import EpisodeLog
from episodes.outcome import Outcome, Purpose
from reward.labels import Span, append_labels, read_labels
from transport import records_pb2 as pb


def episode(name, true, version):
    classifier = [pb.Reward(source=f"classifier:{version}", value=1.0), pb.Reward(source=f"score:{version}", value=0.9)]
    yield {"start": pb.EpisodeStart(episode_id=name, purpose=int(Purpose.TRAINING))}
    yield {"step": pb.Step(episode_id=name, rewards=[pb.Reward(source="env", value=true), *classifier])}
    yield {"end": pb.EpisodeEnd(episode_id=name, outcome=int(Outcome.SUCCESS), author=f"classifier:{version}", steps=1)}


def test_successes_that_were_none_are_counted_by_version_and_corrected_once(tmp_path):
    wrong, right, later = ("a" * 32, "b" * 32, "c" * 32)
    bodies = [*episode(wrong, 0, "x@1"), *episode(right, 1, "x@1"), *episode(later, 0, "x@2")]
    onlooker = Onlooker(tmp_path)
    onlooker.look()
    with EpisodeLog(tmp_path / "log", run_id="r", interface_fingerprint="0" * 64, sync="os") as log:
        for number, body in enumerate(bodies, start=1):
            log.append([pb.LogEntry(record=pb.Record(sequence=number, **body)).SerializeToString()])
    onlooker.look()
    assert onlooker.versions == {"x@1": Version(2, 1), "x@2": Version(1, 1)}
    onlooker.correct()
    onlooker.look()
    onlooker.correct()
    onlooker.look()
    assert onlooker.corrections == 2
    again = Onlooker(tmp_path)
    again.look()
    assert (again.versions, again.corrections) == (onlooker.versions, 2)


def test_a_person_in_a_hurry_labels_no_hard_negatives(tmp_path):
    spans = [Span(0, 11, "failure"), Span(12, 20, "success"), Span(21, 22, "failure")]
    append_labels(tmp_path, "a" * 32, spans, "operator")
    label_in_a_hurry(tmp_path)
    assert read_labels(tmp_path)["a" * 32].spans == (Span(0, 4, "failure"), Span(12, 20, "success"))
