"""`tandem label` as a user runs and ends it."""

import re
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest

from cli.composition import compose_verb
from cli.label import list_groups, list_keys, run
from envs.registry import derive_contract
from envs.so101_interface import SO101SimConfig
from episodes.contract_file import save_contract
from episodes.layout import ObservationLayout
from episodes.log import EpisodeLog
from reward.config import RewardError
from reward.labels import label_place
from transport import records_pb2 as pb


def test_ctrl_c_ends_labelling_with_what_to_do_next(tmp_path):
    contract = derive_contract("so101_sim", SO101SimConfig(obs="pixels", image_width=24, image_height=16))
    save_contract(tmp_path / "contract.json", contract)
    fingerprint, episode = contract.interface_fingerprint, "1e5" + 29 * "0"
    observation = ObservationLayout(contract.stored).pack({f.name: np.zeros(f.shape, f.dtype) for f in contract.stored})
    start = pb.Record(sequence=1, start=pb.EpisodeStart(episode_id=episode, observation=observation))
    with EpisodeLog(tmp_path / "log", run_id="r", interface_fingerprint=fingerprint, sync="os") as log:
        log.append([pb.LogEntry(spool_id="s", actor="arm", record=start).SerializeToString()])
    refused, opened = (shlex.split(label_place(tmp_path, episode, frame))[1:] for frame in (1, 0))
    with pytest.raises(RewardError, match=r"the episode has frames 0 to 0\. Got: 1"):
        run(compose_verb("label", list_keys(), list_groups(), refused[1:]))
    command = [sys.executable, "-m", "cli.main", *opened, "port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        said = process.stdout.readline().rstrip()
        assert said.endswith(f"#{episode}/0"), process.stderr.read()
        port = re.search(r"localhost:(\d+)/", said)[1]
        assert f"ssh -L {port}:localhost:{port} " in process.stdout.readline()
        while "Ctrl-C ends this" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        said, wrong = process.communicate(timeout=60)
    assert (process.returncode, wrong) == (0, "")
    assert said == f"\ntrain with: tandem reward train data={tmp_path}\n"
