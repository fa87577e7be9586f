"""`tandem demo` with its real programs: killed, resumed, and from pixels to a summary."""

import json
import signal
import subprocess
import sys
import time

import pytest

from episodes.log import read_log
from episodes.seeds import SeedStream, start_seed

SMALL = ("env.task=reach", "seed=5", "demonstrations=2", "final_episodes=4", "film=false", "tracker=none")
SMALL += ("algorithm.hidden=[32,32]", "algorithm.clone_updates=50", "evaluation.episodes=2", "learner.device=cpu")
PIXELS = ("obs=pixels", "env.image_width=32", "env.image_height=32", "algorithm.batch_size=16")
PIXELS += ("algorithm.encoder=small", "warmup_steps=20", "evaluation.every_env_steps=50")


class Demo:
    """Demos in one folder, one after the other.

    Attributes:
        folder: Of the run.
        output: File of what all of them printed.
    """

    def __init__(self, place):
        self.folder, self.output = place / "run", place / "output.txt"
        self._started = []

    def start(self, *arguments):
        command = [sys.executable, "-P", "-m", "cli.main", "demo", f"run={self.folder}", *arguments]
        with self.output.open("a") as output:
            self._started.append(subprocess.Popen(command, stdout=output, stderr=output))
        return self._started[-1]

    @property
    def text(self):
        return self.output.read_text()

    @property
    def env_steps(self):
        try:
            return json.loads((self.folder / "metrics.jsonl").read_text().splitlines()[-1])["env_steps"]
        except (FileNotFoundError, IndexError, ValueError):
            return 0

    @property
    def summary(self):
        return self.load("summary.json")

    def load(self, name):
        return json.loads((self.folder / name).read_text())

    def programs(self):
        """Command lines that name the folder: the demo's learner, actor and recorder."""
        said = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        return [line for line in said.splitlines() if str(self.folder) in line]

    def wait_until(self, happens, timeout_s):
        deadline = time.monotonic() + timeout_s
        while not happens():
            assert time.monotonic() < deadline, self.text[-2000:]
            time.sleep(0.1)

    def close(self):
        for process in self._started:
            process.kill()
            process.wait()


@pytest.fixture
def demo(tmp_path):
    made = Demo(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def resumed_pixels(tmp_path_factory):
    """A demo from pixels that was killed and resumed, and its environment steps when it was killed."""
    made = Demo(tmp_path_factory.mktemp("demo"))
    try:
        yield made, kill_and_resume(made, *PIXELS)
    finally:
        made.close()


def kill_and_resume(demo, *settings):
    """Environment steps at the kill; the resumed demo ends 50 steps later."""
    first = demo.start(*SMALL, *settings, "stop.max_env_steps=100000", "stop.when_autonomous=false")
    demo.wait_until(lambda: demo.env_steps > 100 or first.poll() is not None, 180)
    assert first.poll() is None, demo.text[-2000:]
    assert f"from another terminal: tandem status run={demo.folder}\n" in demo.text
    asked = [sys.executable, "-P", "-m", "cli.main", "status", f"run={demo.folder}", "json=true"]
    status = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    assert (status["env_steps"] > 100, status["fault"]) == (True, "")
    first.kill()
    first.wait()
    demo.wait_until(lambda: not demo.programs(), 30)
    before = demo.env_steps
    second = demo.start(f"stop.max_env_steps={before + 50}")
    assert second.wait(180) == 3, demo.text[-2000:]
    return before


@pytest.mark.timeout(480)
@pytest.mark.parametrize("obs", ["pixels", pytest.param("state", marks=pytest.mark.long)])
def test_killed_and_resumed(request, obs):
    if obs == "pixels":
        demo, before = request.getfixturevalue("resumed_pixels")
    else:
        demo = request.getfixturevalue("demo")
        before = kill_and_resume(demo, "obs=state")
    summary = demo.summary
    assert (summary["seed"], summary["task"], summary["obs"]) == (5, "reach", obs)
    assert (summary["episodes"], summary["reached"]) == (4, False)
    assert summary["env_steps"] >= before + 50
    assert (demo.folder / "report.html").is_file()
    assert demo.load("evaluation-operator.json")["start_seeds"] == demo.load("evaluation-final.json")["start_seeds"]


@pytest.mark.timeout(480)
@pytest.mark.parametrize("algorithm", ["sac", pytest.param("drqv2", marks=pytest.mark.long)])
def test_from_pixels_to_a_summary(request, algorithm):
    if algorithm == "sac":
        demo, before = request.getfixturevalue("resumed_pixels")
        steps = before + 50
    else:
        demo, steps = request.getfixturevalue("demo"), 120
        process = demo.start(f"algorithm={algorithm}", *SMALL, *PIXELS, f"stop.max_env_steps={steps}")
        assert process.wait(200) == 3, demo.text[-2000:]
    summary = demo.summary
    assert (summary["obs"], summary["episodes"], summary["reached"]) == ("pixels", 4, False)
    assert summary["env_steps"] >= steps
    assert summary["updates"] >= 60
    assert f"stop.max_env_steps={steps} reached" in demo.text


@pytest.mark.timeout(120)
def test_a_setting_refused_once_torch_is_there_ends_recording_and_says_how_to_change_it(demo):
    process = demo.start(*SMALL, "obs=proprio", "demonstrations=100000", "learner.device=mps")
    assert process.wait(100) == 1, demo.text[-2000:]
    assert "tandem: learner.device=mps, and torch finds no MPS device. Use learner.device=cpu or auto" in demo.text
    assert f"change it: tandem demo run={demo.folder} KEY=VALUE. To go on: make demo RUN={demo.folder}" in demo.text
    assert demo.programs() == []


@pytest.mark.timeout(180)
@pytest.mark.parametrize("rate", ["actor_lr", "critic_lr"])
def test_a_demo_that_diverged_says_which_rates_to_go_on_with(demo, rate):
    """While it clones, with the actor's, or learns."""
    process = demo.start(*SMALL, "obs=state", f"algorithm.{rate}=1e38", "stop.when_autonomous=false", "warmup_steps=20")
    assert process.wait(150) == 1, demo.text[-2000:]
    last = demo.text.splitlines()[-1]
    assert f"with lower learning rates: tandem demo run={demo.folder} algorithm.critic_lr=" in last
    assert f" algorithm.{rate}=3e+37" in last
    assert "make demo" not in demo.text.partition("the learner ended")[2]
    assert demo.programs() == []


def recorded_starts(folder):
    """Start seeds of the episodes in a recording, in order."""
    if not list(folder.glob("log/segment-*.log")):
        return []
    records = [entry.record for _, entry in read_log(folder / "log")]
    return [record.start.start_seed for record in records if record.WhichOneof("body") == "start"]


@pytest.mark.timeout(180)
def test_demonstrations_of_another_seed_are_not_joined(demo):
    """A demo that is stopped while it records and goes on with other settings records from the start."""
    first = demo.start(*SMALL, "obs=proprio", "demonstrations=100000")
    part = demo.folder / "demonstrations.part"
    demo.wait_until(lambda: len(recorded_starts(part)) > 2 or first.poll() is not None, 100)
    first.send_signal(signal.SIGINT)
    assert first.wait(30) == 130, demo.text[-2000:]
    assert len(recorded_starts(part)) > 2
    second = demo.start("seed=6", "demonstrations=4", "stop.max_env_steps=20", "stop.when_autonomous=false")
    assert second.wait(100) in (0, 3), demo.text[-2000:]
    starts = recorded_starts(demo.folder / "demonstrations")
    assert starts == [start_seed(6, SeedStream.DEMONSTRATION, "record", number) for number in range(len(starts))]
    assert len(starts) >= 4
