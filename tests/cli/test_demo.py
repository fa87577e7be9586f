"""`tandem demo` with its real programs: killed and resumed."""

import json
import subprocess
import sys
import time

import pytest

SMALL = ("env.task=reach", "seed=5", "demonstrations=2", "final_episodes=4", "film=false", "tracker=none")
SMALL += ("algorithm.hidden=[32,32]", "algorithm.clone_updates=50", "evaluation.episodes=2", "learner.device=cpu")


@pytest.fixture
def demo(tmp_path):
    """Starts a demo in one folder, again and again."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-P", "-m", "cli.main", "demo", f"run={tmp_path / 'run'}", *arguments]
        with (tmp_path / "output.txt").open("a") as output:
            started.append(subprocess.Popen(command, stdout=output, stderr=output))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def programs(folder):
    """Command lines that name the folder: the demo's learner, actor and recorder."""
    said = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in said.splitlines() if str(folder) in line]


def wait_until(happens, timeout_s, output):
    deadline = time.monotonic() + timeout_s
    while not happens():
        assert time.monotonic() < deadline, output.read_text()[-2000:]
        time.sleep(0.1)


def env_steps(folder):
    try:
        return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["env_steps"]
    except (FileNotFoundError, IndexError, ValueError):
        return 0


@pytest.mark.timeout(240)
def test_killed_and_resumed(demo, tmp_path):
    folder, output = tmp_path / "run", tmp_path / "output.txt"
    first = demo(*SMALL, "stop.max_env_steps=100000", "stop.when_autonomous=false")
    wait_until(lambda: env_steps(folder) > 100, 90, output)
    assert f"from another terminal: tandem status run={folder}\n" in output.read_text()
    asked = [sys.executable, "-P", "-m", "cli.main", "status", f"run={folder}", "json=true"]
    status = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    assert (status["env_steps"] > 100, status["fault"]) == (True, "")
    first.kill()
    first.wait()
    wait_until(lambda: not programs(folder), 15, output)

    before = env_steps(folder)
    second = demo(f"stop.max_env_steps={before + 50}")
    assert second.wait(90) == 3, output.read_text()[-2000:]
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["seed"], summary["task"], summary["episodes"], summary["reached"]) == (5, "reach", 4, False)
    assert summary["env_steps"] >= before + 50
    assert (folder / "report.html").is_file()
    assert (
        json.loads((folder / "evaluation-operator.json").read_text())["start_seeds"]
        == (json.loads((folder / "evaluation-final.json").read_text())["start_seeds"])
    )


@pytest.mark.timeout(240)
@pytest.mark.parametrize("algorithm", ["sac", pytest.param("drqv2", marks=pytest.mark.long)])
def test_from_pixels_to_a_summary(demo, tmp_path, algorithm):
    small = ("env.image_width=32", "env.image_height=32", "algorithm.batch_size=16", "algorithm.encoder=small")
    caps = ("stop.max_env_steps=120", "warmup_steps=20", "evaluation.every_env_steps=50")
    process = demo("obs=pixels", f"algorithm={algorithm}", *SMALL, *small, *caps)
    output = tmp_path / "output.txt"
    assert process.wait(200) == 3, output.read_text()[-2000:]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["obs"], summary["episodes"], summary["reached"]) == ("pixels", 4, False)
    assert summary["env_steps"] >= 120
    assert summary["updates"] >= 60
    assert "stop.max_env_steps=120 reached" in output.read_text()
