"""`tandem label` as a user runs and ends it."""

import signal
import subprocess
import sys

from envs.registry import derive_contract
from envs.so101_interface import SO101SimConfig
from episodes.contract_file import save_contract
from episodes.log import EpisodeLog


def test_ctrl_c_ends_labelling_with_what_to_do_next(tmp_path):
    contract = derive_contract("so101_sim", SO101SimConfig(obs="pixels", image_width=24, image_height=16))
    save_contract(tmp_path / "contract.json", contract)
    with EpisodeLog(tmp_path / "log", run_id="r", interface_fingerprint=contract.interface_fingerprint, sync="os"):
        pass
    command = [sys.executable, "-m", "cli.main", "label", f"data={tmp_path}", "port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while "Ctrl-C ends this" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        said, wrong = process.communicate(timeout=60)
    assert (process.returncode, wrong) == (0, "")
    assert said == f"\ntrain with: tandem reward train data={tmp_path}\n"
