"""PostgreSQL servers for a test."""

import os
import pwd
import secrets
import signal
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path

from processes import PATIENCE_S, free_port, listens, until

OWNER = {}
if os.geteuid() == 0:
    # PostgreSQL does not run as root.
    nobody = pwd.getpwnam("nobody")
    OWNER = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def kill_with_its_own(process):
    """Kills a process with all of its descendants, as in a power failure of their machine."""
    killed = [process.pid]
    for each in killed:
        # The process may have ended meanwhile.
        with suppress(OSError):
            for children in Path(f"/proc/{each}/task").glob("*/children"):
                killed += map(int, children.read_text().split())
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    process.wait(timeout=60)


class Installation:
    """PostgreSQL's programs in a directory, and the directory for the data of their servers."""

    def __init__(self, programs, data):
        self.programs, self.data, self.password = programs, data, secrets.token_hex(16)

    def run(self, name, *arguments):
        """Runs a program and returns what it prints; raises an error if it fails."""
        environment = {**os.environ, "PGPASSWORD": self.password}
        done = subprocess.run(
            [self.programs / name, *arguments],
            cwd=self.data, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, **OWNER,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def initialised(self, name, auth="scram-sha-256"):
        """Creates a new server with the user planner."""
        password = self.data / "password"
        password.write_text(self.password)
        password.chmod(0o644)
        server = Server(self, name)
        self.run(
            "initdb", "--pgdata", server.home, "--username", "planner", "--pwfile", password,
            "--auth", auth, "--encoding", "UTF8", "--locale", "C",
        )  # fmt: skip
        return server


class Server:
    """A PostgreSQL server."""

    def __init__(self, installation, name):
        self.installation, self.name, self.port = installation, name, free_port()
        self.home = installation.data / name
        self.log = installation.data / f"{name}.log"
        self.process = None
        self.home.mkdir(mode=0o700)
        if OWNER:
            os.chown(self.home, OWNER["user"], OWNER["group"])

    def url(self, database="postgres"):
        return f"postgres://planner:{self.installation.password}@127.0.0.1:{self.port}/{database}"

    def ask(self, sql, database="postgres"):
        where = f"host=127.0.0.1 port={self.port} user=planner dbname={database}"
        return self.installation.run(
            "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--command", sql, where
        )  # fmt: skip

    def start(self):
        command = [self.installation.programs / "postgres", "-D", self.home, "-p", str(self.port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        # If the server is also a client of others (Citus), it looks for certificates in its home directory, which it
        # must be able to read.
        environment = {**os.environ, "HOME": str(self.home)}
        with open(self.log, "a") as output:
            self.process = subprocess.Popen(
                command, cwd=self.home, env=environment, stdout=output, stderr=output, start_new_session=True, **OWNER
            )  # fmt: skip
        until(f"{self.name} listens", lambda: listens(self.process, self.log, self.port))
        until(f"{self.name} answers", self.answers)

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=60)

    def kill(self):
        """Kills the server with all of its processes, as in a power failure."""
        kill_with_its_own(self.process)

    @contextmanager
    def started(self):
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def answers(self):
        try:
            return self.ask("SELECT 1") == "1"
        except AssertionError:
            return False
