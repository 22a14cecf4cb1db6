"""Keys, against a service that asks for one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from conftest import PROGRAM, service

from sparsity_planner import Planner, ProblemError


def created_key(data: Path, scope: str) -> str:
    command = [str(PROGRAM), "keys", "create", "--name", scope, "--scope", scope, "--data-dir", str(data)]
    environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return str(done.stdout).strip()


def test_a_key_opens_what_its_scope_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = created_key(tmp_path, "read"), created_key(tmp_path, "write")
    serve = ["serve", "--bind", "127.0.0.1:0", "--data-dir", str(tmp_path)]
    with service(*serve, ready=r"listening.*address=(\S+)") as address:
        url = f"http://{address}"
        with Planner(url) as planner, pytest.raises(ProblemError) as caught:
            planner.family("t5-c4").info()
        assert (caught.value.kind, caught.value.status) == ("unauthenticated", 401)

        with Planner(url, reader) as planner:
            assert reader not in repr(planner)
            assert planner.family("t5-c4").optimal_sparsity(1e8, 1e20, "sparse").sparsity > 0
            caller = planner.caller()
            assert (caller.kind, caller.name, caller.scope, caller.families) == ("key", "read", "read", None)
            with pytest.raises(ProblemError) as caught:
                planner.create_family("mine")
            assert caught.value.kind == "forbidden"

        monkeypatch.setenv("SPARSITY_PLANNER_URL", url)
        monkeypatch.setenv("SPARSITY_PLANNER_KEY", writer)
        with Planner() as planner:
            mine = planner.create_family("mine")
            assert mine.log_run("a", nonzero_params=1e7, sparsity=0, data=1e9, loss=3.0).outcome == "created"
