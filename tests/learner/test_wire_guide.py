"""The Python examples of docs/wire.md, run as they stand against a learner."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOKEN = "token-of-the-tests-0123456789"
GUIDE = Path(__file__).parents[2] / "docs" / "wire.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)


@pytest.mark.parametrize("program", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_prints_the_status(wire, program, tmp_path):
    environment = {**os.environ, "ADDRESS": wire.address, "HOME": str(tmp_path)}
    environment.pop("TANDEM_TOKEN", None)
    token = tmp_path / ".config" / "tandem" / "token"
    token.parent.mkdir(parents=True)
    token.write_text(TOKEN + "\n")
    token.chmod(0o600)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert 'phase: "waiting"' in done.stdout
