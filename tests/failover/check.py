"""Failover of the database under load: nothing that was acknowledged may be lost.

Two services reach PostgreSQL through HAProxy, which leads to the primary, and where that is down to the standby. The primary
is killed with all of its processes, as when its machine loses power; the standby, to which it replicates synchronously, is
promoted. Clients send again what was not answered, as `docs/operating.md` tells them to.
"""

import http.client
import json
import os
import pwd
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from processes import PATIENCE_S, free_port, listens, running, until  # noqa: E402

PROGRAM, HAPROXY, BIN, DATA = sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
PASSWORD = secrets.token_hex(16)
BATCH = 50
# Of each kind, acknowledged before the primary is killed, and again after it.
UPLOADS, LAWS = 40, 3

OWNER = {}
if os.geteuid() == 0:
    # PostgreSQL does not run as root.
    nobody = pwd.getpwnam("nobody")
    OWNER = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def postgres_program(name, *arguments):
    environment = {**os.environ, "PGPASSWORD": PASSWORD}
    done = subprocess.run(
        [BIN / name, *arguments], cwd=DATA, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, **OWNER
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class Cluster:
    """A server of PostgreSQL."""

    def __init__(self, name):
        self.name, self.port, self.home = name, free_port(), DATA / name
        self.log = DATA / f"{name}.log"
        self.home.mkdir(mode=0o700)
        if OWNER:
            os.chown(self.home, OWNER["user"], OWNER["group"])

    def ask(self, sql):
        url = f"host=127.0.0.1 port={self.port} user=planner dbname=postgres"
        return postgres_program("psql", "--no-psqlrc", "--tuples-only", "--no-align", "--command", sql, url)

    @contextmanager
    def started(self):
        command = [BIN / "postgres", "-D", self.home, "-p", str(self.port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        with open(self.log, "w") as output:
            process = subprocess.Popen(
                command, cwd=self.home, stdout=output, stderr=output, start_new_session=True, **OWNER
            )  # fmt: skip
        try:
            until(f"{self.name} listens", lambda: listens(process, self.log, self.port))
            until(f"{self.name} answers", self.answers)
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)

    def answers(self):
        try:
            return self.ask("SELECT 1") == "1"
        except AssertionError:
            return False


@contextmanager
def pair():
    """A primary and its synchronous standby, with the primary's process."""
    password = DATA / "password"
    password.write_text(PASSWORD)
    password.chmod(0o644)
    primary, standby = Cluster("primary"), Cluster("standby")
    postgres_program(
        "initdb", "--pgdata", primary.home, "--username", "planner", "--pwfile", password,
        "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C",
    )  # fmt: skip
    with primary.started() as process:
        source = f"host=127.0.0.1 port={primary.port} user=planner password={PASSWORD} application_name=standby"
        postgres_program(
            "pg_basebackup", "--pgdata", standby.home, "--dbname", source, "--write-recovery-conf", "--checkpoint=fast"
        )  # fmt: skip
        with standby.started():
            # From now on a commit is answered when the standby has it, too. The standby does not know this of itself: when it
            # is promoted it has none of its own yet.
            primary.ask("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
            primary.ask("SELECT pg_reload_conf()")
            state = "SELECT sync_state FROM pg_stat_replication"
            until("the standby is synchronous", lambda: primary.ask(state) == "sync")
            yield primary, standby, process


@contextmanager
def proxy(primary, standby):
    port, settings, log = free_port(), DATA / "haproxy.cfg", DATA / "haproxy.log"
    settings.write_text(f"""
defaults
    mode tcp
    timeout connect 2s
    timeout client 1h
    timeout server 1h
listen planner
    bind 127.0.0.1:{port}
    option pgsql-check user planner
    default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
    server primary 127.0.0.1:{primary.port} check
    server standby 127.0.0.1:{standby.port} check backup
""")
    with running([HAPROXY, "-db", "-f", str(settings)], log) as process:
        until("HAProxy listens", lambda: listens(process, log, port))
        yield f"postgres://planner:{PASSWORD}@127.0.0.1:{port}/postgres"


@contextmanager
def service(name, url):
    log = DATA / f"{name}.log"
    command = [PROGRAM, "serve", "--bind", "127.0.0.1:0", "--lease-ms", "3000", "--poll-interval-ms", "200"]
    with running(command, log, env={**os.environ, "DATABASE_URL": url}) as process:

        def address():
            if process.poll() is not None:
                raise SystemExit(f"{name} ended: {log.read_text()}")
            found = re.search(r"listening address=.*?(127\.0\.0\.1:\d+)", log.read_text())
            return found and f"http://{found[1]}"

        yield until(f"{name} listens", address)


def ask(base, path, body=None):
    """An answer's status and JSON; 0 where none came."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base + path, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except (OSError, http.client.HTTPException):
        return 0, {}


def sure(bases, path, body=None):
    """An answer, asked for again as long as the service says that it cannot for now."""

    def answered():
        sure.turn += 1
        status, answer = ask(bases[sure.turn % len(bases)], path, body)
        if status in (0, 500, 503):
            # What went wrong is told from what is away for now.
            assert status != 500, (path, answer)
            return None
        assert status in (200, 201, 202), (status, path, answer)
        return (status, answer)

    return until(path, answered)[1]


sure.turn = 0


def run(id, n, s, d):
    loss = (16.79 * (1 - s) ** 0.7216 + 45.02) * n**-0.2451 + (6.9e8 / d) ** 0.2027 + 0.6507
    return {"external_id": id, "nonzero_params": n, "sparsity": s, "data": d, "loss": loss}


class Load:
    """Uploads and refits without pause, and what was acknowledged of them."""

    def __init__(self, bases):
        self.bases, self.stop, self.failed = bases, threading.Event(), []
        self.uploads, self.refits, self.laws = [], [], {}

    @contextmanager
    def running(self):
        threads = [threading.Thread(target=self.guarded, args=(work,)) for work in (self.upload, self.refit)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()
        assert not self.failed, self.failed

    def guarded(self, work):
        try:
            while not self.stop.is_set():
                work()
        except (Exception, SystemExit) as error:  # noqa: BLE001
            self.failed.append(error)

    def upload(self):
        first = len(self.uploads) * BATCH
        ids = [f"run-{first + i}" for i in range(BATCH)]
        body = [run(id, 1e6 + first + i, 0.5, 4e9) for i, id in enumerate(ids)]
        sure(self.bases, "/v1/families/uploads/runs", body)
        self.uploads.append((ids, time.monotonic()))

    def refit(self):
        options = {"seed": len(self.refits), "bootstrap": 0, "starts": 4}
        refit = sure(self.bases, "/v1/families/refits/refits", options)["id"]
        self.refits.append(refit)

        def ended():
            found = sure(self.bases, f"/v1/refits/{refit}")
            assert found["state"] in ("queued", "running", "succeeded"), found
            return found["state"] == "succeeded" and found["law"]

        law = until(f"refit {refit} ends", ended)
        path = f"/v1/families/refits/laws/{law['version']}"
        self.laws[path] = sure(self.bases, path)["coefficients"]

    def until_done(self, uploads, laws):
        def done():
            return self.failed or (len(self.uploads) >= uploads and len(self.laws) >= laws)

        until(f"{uploads} uploads and {laws} laws are acknowledged", done)
        assert not self.failed, self.failed


def all_runs(bases, family):
    found, cursor = set(), ""
    while cursor is not None:
        page = sure(bases, f"/v1/families/{family}/runs?limit=1000{cursor and f'&cursor={cursor}'}")
        found.update(item["external_id"] for item in page["items"])
        cursor = page["next_cursor"]
    return found


def main():
    with ExitStack() as stack:
        primary, standby, process = stack.enter_context(pair())
        url = stack.enter_context(proxy(primary, standby))
        bases = [stack.enter_context(service(name, url)) for name in ("one", "other")]
        for family in ("uploads", "refits"):
            sure(bases, "/v1/families", {"name": family})
        sweep = [
            run(f"{n:g}-{s}-{d:g}", n, s, d)
            for n in (1e6, 4e6, 1.6e7, 6.4e7) for s in (0.0, 0.5, 0.75, 0.875) for d in (4e9, 1.6e10, 6.4e10)
        ]  # fmt: skip
        sure(bases, "/v1/families/refits/runs", sweep)

        load = Load(bases)
        with load.running():
            load.until_done(UPLOADS, LAWS)
            os.killpg(process.pid, signal.SIGKILL)
            killed = time.monotonic()
            acknowledged = (len(load.uploads), len(load.laws))
            assert standby.ask("SELECT pg_promote(wait => true, wait_seconds => 60)") == "t"
            promoted = time.monotonic()
            until("a write after the failover", lambda: load.failed or load.uploads[-1][1] > promoted)
            load.until_done(acknowledged[0] + UPLOADS, acknowledged[1] + LAWS)

        written = next(at for _, at in load.uploads if at > promoted)
        stored = all_runs(bases, "uploads")
        lost = [id for ids, _ in load.uploads for id in ids if id not in stored]
        assert not lost, f"acknowledged runs are lost: {lost}"
        for refit in load.refits:
            until(f"refit {refit} ends", lambda refit=refit: sure(bases, f"/v1/refits/{refit}")["state"] == "succeeded")
        for path, coefficients in load.laws.items():
            assert sure(bases, path)["coefficients"] == coefficients, f"another law at {path}"
        newest = sure(bases, "/v1/families/refits/laws?limit=1")["items"][0]["version"]
        question = "/v1/families/refits/optimal-sparsity?nonzero_params=1e8&compute=1e19&flop_mode=sparse"
        for base in bases:
            until(f"{base} hears again", lambda base=base: ask(base, "/readyz")[1].get("follows_announcements"))
            assert sure([base], question)["law"]["version"] == newest
        print(
            f"nothing lost of {len(stored)} runs, {len(load.refits)} refits and {len(load.laws)} laws; from the death of the "
            f"primary to its standby's promotion {promoted - killed:.1f} s, to the first write {written - killed:.1f} s"
        )


main()
