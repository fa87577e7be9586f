from pathlib import Path

import pytest

from episodes.contract import Contract, Feature, FeatureView, Interface, View
from episodes.contract_file import save_contract
from episodes.log import EpisodeLog
from learner.demonstrations import DemonstrationError, import_demonstrations
from transport import records_pb2 as pb


def contract(size: int = 2) -> Contract:
    action = Feature("action", "float32", (1,), low=(-1.0,), high=(1.0,))
    return Contract(
        Interface("tests/demos", (Feature("observation.state", "float32", (size,)),), action),
        View((FeatureView("observation.state"),)),
    )


def open_log(folder: Path, run_id: str, of: Contract) -> EpisodeLog:
    return EpisodeLog(folder, run_id=run_id, interface_fingerprint=of.interface_fingerprint, sync="os")


def record(folder: Path, outcomes, *, purpose=pb.PURPOSE_DEMONSTRATION, end_last=True) -> None:
    """Appends an episode of 3 steps for each outcome, as two spools in turns would."""
    folder.mkdir(exist_ok=True)
    save_contract(folder / "contract.json", contract())
    with open_log(folder, "demos-run", contract()) as log:
        marks = log.watermarks()
        first = sum(marks.values())
        for number, outcome in enumerate(outcomes):
            spool, episode_id = f"spool-{number % 2}", f"{first + number:032x}"
            bodies = [{"start": pb.EpisodeStart(episode_id=episode_id, purpose=purpose, observation=[bytes(8)])}]
            bodies += [
                {"step": pb.Step(episode_id=episode_id, index=i, chosen=[0.5], human=True, observation=[bytes(8)])}
                for i in range(3)
            ]
            if end_last or number < len(outcomes) - 1:
                bodies += [{"end": pb.EpisodeEnd(episode_id=episode_id, outcome=outcome, author="env", steps=3)}]
            entries = []
            for body in bodies:
                marks[spool] = marks.get(spool, 0) + 1
                item = pb.Record(sequence=marks[spool], **body)
                entries.append(pb.LogEntry(spool_id=spool, actor="arm", record=item).SerializeToString())
            log.append(entries)


def kinds(log: EpisodeLog) -> list[str]:
    return [entry.record.WhichOneof("body") for _, entry in log.read()]


SUCCESS, TIMEOUT, FAILURE = pb.OUTCOME_SUCCESS, pb.OUTCOME_TIMEOUT, pb.OUTCOME_FAILURE


def test_demonstrations_come_into_the_log_once_and_new_ones_are_added(tmp_path):
    demos = tmp_path / "demos"
    record(demos, [SUCCESS, TIMEOUT])
    with open_log(tmp_path / "log", "run", contract()) as log:
        assert import_demonstrations(demos, log, contract()) == 2
        once = kinds(log)
        assert once == ["start", "step", "step", "step", "end"] * 2
        assert import_demonstrations(demos, log, contract()) == 2
        assert kinds(log) == once
        record(demos, [SUCCESS])
        assert import_demonstrations(demos, log, contract()) == 3
        assert kinds(log) == once + once[:5]
        assert set(log.watermarks()) == {"demos:demos-run"}


def test_an_import_that_was_broken_off_goes_on_where_it_stopped(tmp_path):
    record(tmp_path / "demos", [SUCCESS] * 3)
    with open_log(tmp_path / "whole", "run", contract()) as whole:
        import_demonstrations(tmp_path / "demos", whole, contract())
        entries = [entry.SerializeToString() for _, entry in whole.read()]
    with open_log(tmp_path / "log", "run", contract()) as log:
        log.append(entries[:7])
        import_demonstrations(tmp_path / "demos", log, contract())
        assert [entry.SerializeToString() for _, entry in log.read()] == entries


def amend(folder: Path, episode: int, outcome) -> None:
    with open_log(folder, "demos-run", contract()) as log:
        sequence = log.watermarks()["spool-0"] + 1
        amendment = pb.Amendment(episode_id=f"{episode:032x}", author="actor", outcome=outcome)
        item = pb.Record(sequence=sequence, amendment=amendment)
        log.append([pb.LogEntry(spool_id="spool-0", actor="arm", record=item).SerializeToString()])


def test_discarded_and_unfinished_ones_are_left_out_and_failures_that_were_kept_are_not(tmp_path):
    record(tmp_path / "demos", [SUCCESS, FAILURE, pb.OUTCOME_DISCARDED, pb.OUTCOME_CUT, SUCCESS], end_last=False)
    with open_log(tmp_path / "log", "run", contract()) as log:
        assert import_demonstrations(tmp_path / "demos", log, contract()) == 2
        ends = [entry.record.end.outcome for _, entry in log.read() if entry.record.HasField("end")]
        assert ends == [SUCCESS, FAILURE]


def test_only_what_will_be_learned_from_is_counted(tmp_path):
    demos = tmp_path / "demos"
    record(demos, [TIMEOUT, FAILURE])
    amend(demos, 0, pb.OUTCOME_DISCARDED)
    with open_log(tmp_path / "log", "run", contract()) as log:
        assert import_demonstrations(demos, log, contract()) == 1
        amend(demos, 1, pb.OUTCOME_DISCARDED)
        with pytest.raises(DemonstrationError, match=r"holds no finished demonstration to learn from\. Record some"):
            import_demonstrations(demos, log, contract())
        amend(demos, 0, SUCCESS)
        assert import_demonstrations(demos, log, contract()) == 1
        assert kinds(log)[-2:] == ["amendment", "amendment"]


def test_a_path_that_holds_nothing_is_refused(tmp_path):
    with open_log(tmp_path / "log", "run", contract()) as log:
        with pytest.raises(DemonstrationError, match=r"nowhere is no folder. Record some with `tandem record`"):
            import_demonstrations(tmp_path / "nowhere", log, contract())
        (tmp_path / "empty").mkdir()
        with pytest.raises(
            DemonstrationError, match=r"empty is no folder of demonstrations: .*contract\.json is absent"
        ):
            import_demonstrations(tmp_path / "empty", log, contract())
        save_contract(tmp_path / "empty" / "contract.json", contract())
        with pytest.raises(DemonstrationError, match=r"holds no demonstrations that can be read: .*no episode log"):
            import_demonstrations(tmp_path / "empty", log, contract())
        record(tmp_path / "training", [SUCCESS], purpose=pb.PURPOSE_TRAINING)
        with pytest.raises(DemonstrationError, match="holds no finished demonstration"):
            import_demonstrations(tmp_path / "training", log, contract())
        assert kinds(log) == []


def test_demonstrations_of_another_contract_are_refused_by_key_expected_and_actual(tmp_path):
    record(tmp_path / "demos", [SUCCESS])
    with open_log(tmp_path / "log", "run", contract(5)) as log, pytest.raises(DemonstrationError) as error:
        import_demonstrations(tmp_path / "demos", log, contract(5))
    assert "observation.state.shape: expected (5,), got (2,)" in str(error.value)


def test_demonstrations_of_another_view_are_refused_even_where_the_images_have_one_size(tmp_path):
    front = Feature("observation.images.front", "uint8", (8, 8, 3))
    interface = Interface("tests/demos", (front,), contract().interface.action)
    recorded, other, stacked = (
        Contract(interface, View((FeatureView(front.name, crop, (4, 4), stack),)))
        for crop, stack in (((0, 0, 6, 6), 1), ((2, 2, 6, 6), 1), ((0, 0, 6, 6), 3))
    )
    (tmp_path / "demos").mkdir()
    save_contract(tmp_path / "demos" / "contract.json", recorded)
    with open_log(tmp_path / "log", "run", other) as log:
        with pytest.raises(
            DemonstrationError, match=r"crop: expected \(2, 2, 6, 6\), got \(0, 0, 6, 6\)\nRecord new ones"
        ):
            import_demonstrations(tmp_path / "demos", log, other)
        with pytest.raises(DemonstrationError, match="no episode log"):  # frames are stacked when a batch is drawn
            import_demonstrations(tmp_path / "demos", log, stacked)
