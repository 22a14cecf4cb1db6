"""Failover by Patroni under load: nothing that was acknowledged may be lost.

Two nodes of Patroni replicate synchronously and agree through etcd on which of them is the primary; HAProxy asks them. First
the primary is told to hand over, then the new one is killed with its Patroni and all of its processes, as in a power failure
of its machine; nobody promotes by hand. The node that was killed comes back as the standby.
"""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from load import Load, haproxy, two_services  # noqa: E402
from processes import free_port, listens, running, until  # noqa: E402
from servers import OWNER, Installation, kill_with_its_own  # noqa: E402

PROGRAM, HAPROXY, BIN, DATA = sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
INSTALLATION = Installation(BIN, DATA)


@contextmanager
def etcd():
    """Starts the store through which the nodes agree; returns its address."""
    client, peer, log = free_port(), free_port(), DATA / "etcd.log"
    home = DATA / "etcd"
    home.mkdir(mode=0o700)
    command = [
        "etcd", "--data-dir", str(home), "--name", "etcd",
        "--listen-client-urls", f"http://127.0.0.1:{client}", "--advertise-client-urls", f"http://127.0.0.1:{client}",
        "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
        "--initial-cluster", f"etcd=http://127.0.0.1:{peer}",
    ]  # fmt: skip
    with running(command, log) as process:
        until("etcd listens", lambda: listens(process, log, client))
        yield f"127.0.0.1:{client}"


class Node:
    """A PostgreSQL server that Patroni runs."""

    def __init__(self, name, store):
        self.name, self.port, self.rest = name, free_port(), free_port()
        self.log, self.process = DATA / f"{name}.patroni.log", None
        home = DATA / f"node-{name}"
        home.mkdir(mode=0o700)
        user = {"username": "planner", "password": INSTALLATION.password}
        # JSON is also valid YAML.
        settings = {
            "scope": "planner",
            "name": name,
            "restapi": {"listen": f"127.0.0.1:{self.rest}", "connect_address": f"127.0.0.1:{self.rest}"},
            "etcd3": {"host": store},
            "bootstrap": {
                "dcs": {
                    # The smallest value that Patroni accepts.
                    "ttl": 20,
                    "loop_wait": 1,
                    "retry_timeout": 5,
                    "synchronous_mode": True,
                    "postgresql": {"use_pg_rewind": True},
                },
                "initdb": ["data-checksums", {"encoding": "UTF8"}, {"locale": "C"}],
                "pg_hba": [f"host {what} planner 127.0.0.1/32 scram-sha-256" for what in ("all", "replication")],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{self.port}",
                "bin_dir": str(BIN),
                "data_dir": str(home / "data"),
                "pgpass": str(home / "pgpass"),
                "authentication": {"superuser": user, "replication": user},
                "parameters": {"unix_socket_directories": ""},
            },
        }
        self.settings = home / "patroni.yml"
        self.settings.write_text(json.dumps(settings))
        if OWNER:
            for path in (home, self.settings):
                os.chown(path, OWNER["user"], OWNER["group"])
        self.home = home

    def start(self):
        environment = {**os.environ, "HOME": str(self.home)}
        with open(self.log, "a") as output:
            self.process = subprocess.Popen(
                ["patroni", self.settings], cwd=self.home, env=environment, stdout=output, stderr=output, **OWNER
            )

    @contextmanager
    def started(self):
        self.start()
        try:
            yield self
        finally:
            self.process.terminate()
            self.process.wait(timeout=60)

    def kill(self):
        """Kills Patroni and the server with all of their processes, as in a power failure."""
        kill_with_its_own(self.process)

    def ask(self, path, body=None):
        """Status and JSON of an answer of Patroni; status 0 if there is none."""
        assert self.process.poll() is None, self.log.read_text()
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.rest}{path}", data, timeout=60) as answer:
                text = answer.read().decode()
                return answer.status, json.loads(text) if text.startswith("{") else text
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, None

    def is_primary(self):
        return self.ask("/primary")[0] == 200

    def is_synchronous(self):
        return self.ask("/synchronous")[0] == 200


def main():
    with ExitStack() as stack:
        store = stack.enter_context(etcd())
        left, right = Node("left", store), Node("right", store)
        stack.enter_context(left.started())
        until("the left node is the primary", left.is_primary)
        stack.enter_context(right.started())
        until("the right node replicates synchronously", right.is_synchronous)
        servers = f"""
    option httpchk OPTIONS /primary
    http-check expect status 200
    server left 127.0.0.1:{left.port} port {left.rest}
    server right 127.0.0.1:{right.port} port {right.rest}"""
        port = stack.enter_context(haproxy(HAPROXY, DATA, servers))
        # HAProxy takes every server for a primary until its first check.
        log = DATA / "haproxy.log"
        until("HAProxy knows the standby", lambda: "Server planner/right is DOWN" in log.read_text())
        url = f"postgres://planner:{INSTALLATION.password}@127.0.0.1:{port}/postgres"
        load = Load(stack.enter_context(two_services(PROGRAM, url, DATA)))

        def hand_over():
            began = time.monotonic()
            said = left.ask("/switchover", {"leader": "left", "candidate": "right"})
            assert said[0] == 200, said
            until("the right node is the primary", right.is_primary)
            return began

        def lose_power():
            until("the left node replicates synchronously", left.is_synchronous)
            right.kill()
            killed = time.monotonic()
            until("the left node is the primary again", left.is_primary)
            return killed

        with load.running():
            handed = load.over(hand_over)
            lost = load.over(lose_power)
            right.start()
            until("the right node replicates synchronously again", right.is_synchronous)
        print(
            f"nothing lost of {load.kept()}; Patroni handed over in {handed[0]:.1f} s, the first write came {handed[1]:.1f} s "
            f"after it was told to; from the death of the primary to the next one {lost[0]:.1f} s, to the first write "
            f"{lost[1]:.1f} s"
        )


main()
