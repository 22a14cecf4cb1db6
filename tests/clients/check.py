"""Asks one question with each generated client, and compares the answers with that of the service.

Runs below `sparsity-planner postgres`, which names its server in DATABASE_URL.
"""

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from processes import PATIENCE_S, running, until  # noqa: E402

PROGRAM, DATA, WORK = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
QUESTION = "/v1/families/t5-c4/optimal-sparsity?nonzero_params=1e8&compute=1e19&flop_mode=sparse"

PYTHON = """
import json, os, sys
sys.path.insert(0, "python")
from planner_client import Client
from planner_client.api.families import get_family
from planner_client.api.questions import get_optimal_sparsity
from planner_client.models import Family, OptimalSparsity

client = Client(base_url=os.environ["BASE"], raise_on_unexpected_status=True)
answer = get_optimal_sparsity.sync("t5-c4", client=client, nonzero_params=1e8, compute=1e19, flop_mode="sparse")
assert isinstance(answer, OptimalSparsity), answer
print(json.dumps({"sparsity": answer.sparsity, "loss": answer.loss, "version": answer.law.version}))
"""


def answer(name, base, *command):
    environment = {**os.environ, "BASE": base}
    said = subprocess.run(
        command, cwd=WORK, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )  # fmt: skip
    if said.returncode != 0:
        raise SystemExit(f"{name}: {said.stdout}{said.stderr}")
    return json.loads(said.stdout)


def main():
    log = DATA / "service.log"
    with running([PROGRAM, "--log-format", "json", "serve", "--bind", "127.0.0.1:0"], log):
        found = until("the service listens", lambda: re.search(r'"address":"(127\.0\.0\.1:\d+)"', log.read_text()))
        base = f"http://{found[1]}"
        with urllib.request.urlopen(base + QUESTION, timeout=PATIENCE_S) as response:
            whole = json.load(response)
        expected = {"sparsity": whole["sparsity"], "loss": whole["loss"], "version": whole["law"]["version"]}
        for name, command in [
            ("openapi-typescript", ["node", "out/openapi-typescript.js"]),
            ("hey-api", ["node", "out/hey-api.js"]),
            ("orval", ["node", "out/orval.js"]),
            ("openapi-python-client", ["venv/bin/python", "-c", PYTHON]),
        ]:
            got = answer(name, base, *command)
            assert got == expected, (name, got, expected)
            print(f"{name} answers as the service does: {got}")


main()
