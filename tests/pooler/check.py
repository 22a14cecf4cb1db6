"""Refits through a pooler: no replica may take an old law for the newest and answer by it.

Runs below `sparsity-planner postgres`, which names its server in DATABASE_URL.
"""

import json
import os
import pwd
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from processes import PATIENCE_S, free_port, listens, running, until  # noqa: E402

PROGRAM, PGBOUNCER, DATA = sys.argv[1], sys.argv[2], Path(sys.argv[3])
SERVER = urllib.parse.urlsplit(os.environ["DATABASE_URL"])
# From this version on PgBouncer carries prepared statements over to other connections.
CARRIES_STATEMENTS = (1, 21)
REFITS = 8


def version() -> tuple[int, int]:
    said = subprocess.run([PGBOUNCER, "--version"], capture_output=True, text=True, check=True).stdout
    major, minor = re.search(r"PgBouncer (\d+)\.(\d+)", said).groups()
    return int(major), int(minor)


@contextmanager
def pooler(mode):
    """Runs PgBouncer with its default settings except for the necessary ones; gives the URL through it."""
    home = DATA / f"pooler-{mode}"
    home.mkdir()
    port = free_port()
    (home / "users").write_text(f'"{SERVER.username}" "{SERVER.password}"\n')
    (home / "settings").write_text(
        f"[databases]\n* = host={SERVER.hostname} port={SERVER.port}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = scram-sha-256\nauth_file = {home}/users\npool_mode = {mode}\n"
    )
    options = {}
    if os.geteuid() == 0:
        # PgBouncer does not run as root.
        nobody = pwd.getpwnam("nobody")
        options = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        for path in (home, *home.iterdir()):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    log = DATA / f"pooler-{mode}.log"
    with running([PGBOUNCER, str(home / "settings")], log, **options) as process:
        until("the pooler listens", lambda: listens(process, log, port))
        yield SERVER._replace(netloc=f"{SERVER.username}:{SERVER.password}@127.0.0.1:{port}").geturl()


def ask(base, path, body=None):
    """JSON and status of an answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base + path, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def good(base, path, body=None):
    status, answer = ask(base, path, body)
    if status not in (200, 201, 202):
        raise SystemExit(f"{status} from {path}: {answer}")
    return answer


@contextmanager
def replica(name, url, *arguments):
    """Runs a service on this database URL; gives its address once it listens."""
    log = DATA / f"{name}.log"
    command = [PROGRAM, "--log", "info", "serve", "--bind", "127.0.0.1:0", *arguments]
    environment = {**os.environ, "DATABASE_URL": url}
    with running(command, log, env=environment) as process:

        def address():
            if process.poll() is not None:
                raise SystemExit(f"{name} ended: {log.read_text()}")
            found = re.search(r"listening address=.*?(127\.0\.0\.1:\d+)", log.read_text())
            return found and f"http://{found[1]}"

        yield until("the service listens", address)


def runs():
    """Runs of a sweep that follow the published law, in its units."""
    for n in (1e6, 4e6, 1.6e7, 6.4e7):
        for s in (0.0, 0.5, 0.75, 0.875):
            for d in (4e9, 1.6e10, 6.4e10):
                loss = (16.79 * (1 - s) ** 0.7216 + 45.02) * n**-0.2451 + (6.9e8 / d) ** 0.2027 + 0.6507
                yield {
                    "external_id": f"{n:g}-{s}-{d:g}", "nonzero_params": n, "sparsity": s, "data": d, "loss": loss,
                }  # fmt: skip


def never_old(family, bases):
    """Requests refits from one replica after the other; soon after each, all replicas answer by its law, and alike."""
    good(bases[0], "/v1/families", {"name": family})
    good(bases[0], f"/v1/families/{family}/runs", list(runs()))
    question = f"/v1/families/{family}/optimal-sparsity?nonzero_params=1e8&compute=1e19&flop_mode=sparse"
    for round in range(REFITS):
        asked = bases[round % len(bases)]
        queued = good(asked, f"/v1/families/{family}/refits", {"seed": round, "bootstrap": 0, "starts": 4})

        def law(asked=asked, queued=queued):
            refit = good(asked, f"/v1/refits/{queued['id']}")
            if refit["state"] in ("failed", "cancelled"):
                raise SystemExit(refit)
            return refit["state"] == "succeeded" and refit["law"]["version"]

        newest = until("the refit ends", law)
        for base in bases:
            # Announcements take a moment; the test fails if a replica keeps answering by an old law.
            until(
                f"law {newest} answers at {base}",
                lambda base=base: good(base, question)["law"]["version"] == newest,
            )


def follows(base):
    return good(base, "/readyz")["follows_announcements"]


def main():
    print(f"PgBouncer {version()}")
    with pooler("session") as url:
        with replica("session-1", url) as one, replica("session-2", url) as two:
            until("both hear", lambda: follows(one) and follows(two))
            never_old("session", [one, two])
    print("by session: announcements are heard, and every refit answers")

    with pooler("transaction") as url:
        if version() < CARRIES_STATEMENTS:
            environment = {**os.environ, "DATABASE_URL": url}
            ended = subprocess.run(
                [PROGRAM, "serve", "--bind", "127.0.0.1:0"],
                env=environment, capture_output=True, text=True, timeout=PATIENCE_S,
            )  # fmt: skip
            assert ended.returncode != 0, ended
            assert "max_prepared_statements" in ended.stderr, ended.stderr
            print("by transaction: refused with what to do, as this version loses prepared statements")
            return
        with replica("transaction-1", url) as one, replica("transaction-2", url) as two:
            never_old("transaction", [one, two])
            assert not follows(one) and not follows(two)
        for name in ("transaction-1", "transaction-2"):
            log = (DATA / f"{name}.log").read_text()
            assert "lends connections by transaction" in log, log
            assert "NotificationResponse" not in log and "not stored" not in log, log
        print("by transaction: every question looks its law up")
        direct = ("--listen-database-url", SERVER.geturl())
        with replica("direct-1", url, *direct) as one, replica("direct-2", url, *direct) as two:
            until("both hear", lambda: follows(one) and follows(two))
            never_old("direct", [one, two])
        print("by transaction, listening past the pooler: announcements are heard")


main()
