"""Load during a failover, and a check of what was acknowledged. Clients send unanswered requests again, as
`docs/operating.md` advises.
"""

import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from client import all_runs, ask, run, service, sure  # noqa: E402
from processes import free_port, listens, running, until  # noqa: E402

BATCH = 50
# Number of uploads and laws to be acknowledged before a failover, and again after it.
UPLOADS, LAWS = 40, 3


class Load:
    """Continuous uploads and refits, and those that were acknowledged."""

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

    def over(self, failover):
        """Fails over under the load. Returns the seconds from its beginning to its end, and to the first write after it.

        `failover` returns once a new primary accepts writes, and gives the time at which it began.
        """
        self.until_done(UPLOADS, LAWS)
        before = (len(self.uploads), len(self.laws))
        began = failover()
        ended = time.monotonic()
        until("a write after the failover", lambda: self.failed or self.uploads[-1][1] > ended)
        self.until_done(before[0] + UPLOADS, before[1] + LAWS)
        written = next(at for _, at in self.uploads if at > ended)
        return ended - began, written - began

    def kept(self):
        """Fails if anything acknowledged is lost or changed; otherwise says how much was kept."""
        stored = all_runs(self.bases, "uploads")
        lost = [id for ids, _ in self.uploads for id in ids if id not in stored]
        assert not lost, f"acknowledged runs are lost: {lost}"
        for refit in self.refits:
            until(
                f"refit {refit} ends",
                lambda refit=refit: sure(self.bases, f"/v1/refits/{refit}")["state"] == "succeeded",
            )
        for path, coefficients in self.laws.items():
            assert sure(self.bases, path)["coefficients"] == coefficients, f"another law at {path}"
        newest = sure(self.bases, "/v1/families/refits/laws?limit=1")["items"][0]["version"]
        question = "/v1/families/refits/optimal-sparsity?nonzero_params=1e8&compute=1e19&flop_mode=sparse"
        for base in self.bases:
            until(f"{base} hears again", lambda base=base: ask(base, "/readyz")[1].get("follows_announcements"))
            assert sure([base], question)["law"]["version"] == newest
        return f"{len(stored)} runs, {len(self.refits)} refits and {len(self.laws)} laws"


@contextmanager
def two_services(program, url, data):
    """Starts two services on one database and creates the families of the load; returns the addresses."""
    with ExitStack() as stack:
        bases = [stack.enter_context(service(program, url, data / f"{name}.log")) for name in ("one", "other")]
        for family in ("uploads", "refits"):
            sure(bases, "/v1/families", {"name": family})
        sweep = [
            run(f"{n:g}-{s}-{d:g}", n, s, d)
            for n in (1e6, 4e6, 1.6e7, 6.4e7) for s in (0.0, 0.5, 0.75, 0.875) for d in (4e9, 1.6e10, 6.4e10)
        ]  # fmt: skip
        sure(bases, "/v1/families/refits/runs", sweep)
        yield bases


@contextmanager
def haproxy(program, data, servers):
    """Starts HAProxy in front of database servers, of which it uses the first healthy one; returns its port."""
    port, settings, log = free_port(), data / "haproxy.cfg", data / "haproxy.log"
    settings.write_text(f"""
defaults
    mode tcp
    timeout connect 2s
    timeout client 1h
    timeout server 1h
listen planner
    bind 127.0.0.1:{port}
    default-server check inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
{servers}
""")
    with running([program, "-db", "-f", str(settings)], log) as process:
        until("HAProxy listens", lambda: listens(process, log, port))
        yield port
