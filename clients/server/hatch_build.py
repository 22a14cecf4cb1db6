"""Puts a program that was built before into the wheel; `build` says which, and for what machines."""

import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ProgramHook(BuildHookInterface):
    """Adds the program, and says what it runs on."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Take both from the environment, in which `build` puts them."""
        if version == "editable":
            return
        program = Path(os.environ["SPARSITY_PLANNER_PROGRAM"])
        machine = os.environ["SPARSITY_PLANNER_MACHINE"]
        build_data["pure_python"] = False
        # `auditwheel` reads in the program which systems have what it needs, and puts their names here.
        build_data["tag"] = f"py3-none-linux_{machine}"
        build_data["force_include"][str(program)] = "sparsity_planner_server/bin/sparsity-planner"
        build_data["extra_metadata"] = {str(Path(self.root, "../../LICENSE").resolve()): "LICENSE"}
