"""The command that goes on with a run."""

from learner.resuming import DEMO_SETTINGS, SUMMARY, resume_command


def test_a_demo_is_gone_on_with_as_a_demo(tmp_path):
    folder = tmp_path / "my run"
    folder.mkdir()
    assert resume_command(folder) == f"tandem learner run='{folder}'"
    (folder / DEMO_SETTINGS).write_text("{}")
    assert resume_command(folder, "seed=1", "obs=state") == f"tandem demo run='{folder}' seed=1 obs=state"
    (folder / SUMMARY).write_text("{}")
    assert resume_command(folder) == f"tandem learner run='{folder}'", "the demo has ended"
