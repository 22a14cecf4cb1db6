"""Tests a service whose tables are distributed by Citus over three nodes: a coordinator and two workers.

The tests, in this order: no service starts on a worker; the tables are distributed while runs are uploaded; all requests are
also sent to a service on plain PostgreSQL, which must give the same answers; equal requests at the same time; a worker dies
and comes back; the coordinator dies under uploads and comes back. After each, everything acknowledged must still be there.
"""

import concurrent.futures
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from client import all_runs, ask, run, service, sure  # noqa: E402
from processes import until  # noqa: E402
from servers import Installation  # noqa: E402

PROGRAM, BIN, DATA = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
INSTALLATION = Installation(BIN, DATA)
DATABASE = "planner"
SETTINGS = """
shared_preload_libraries = 'citus'
citus.shard_count = {shards}
max_connections = 300
max_prepared_transactions = 100
max_worker_processes = 32
"""
SWEEP = [
    run(f"{n:g}-{s}-{d:g}", n, s, d)
    for n in (1e6, 4e6, 1.6e7, 6.4e7) for s in (0.0, 0.5, 0.75, 0.875) for d in (4e9, 1.6e10, 6.4e10)
]  # fmt: skip
FAMILIES = [f"family-{i}" for i in range(8)]


@contextmanager
def nodes(shards):
    """Starts a coordinator and two workers, which do not know each other until `joined` is called."""
    with ExitStack() as stack:
        found = []
        for name in ("coordinator", "one", "other"):
            node = INSTALLATION.initialised(name, auth="trust")
            with open(node.home / "postgresql.conf", "a") as settings:
                settings.write(SETTINGS.format(shards=shards))
            found.append(stack.enter_context(node.started()))
        yield found


def join(coordinator, workers):
    for node in (coordinator, *workers):
        node.ask(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
        node.ask("CREATE EXTENSION citus", DATABASE)
    coordinator.ask(f"SELECT citus_set_coordinator_host('127.0.0.1', {coordinator.port})", DATABASE)
    for worker in workers:
        coordinator.ask(f"SELECT citus_add_node('127.0.0.1', {worker.port})", DATABASE)


def url_of(node):
    # The certificate that Citus creates at its first start is too old to be checked.
    return f"{node.url(DATABASE)}?sslmode=disable"


def planner(url, *arguments):
    """Runs a command of the program; returns its exit code and its output."""
    command = [PROGRAM, "--log", "warn", *arguments]
    done = subprocess.run(command, env={**os.environ, "DATABASE_URL": url}, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stderr


def send(base, method, path, body=None, **headers):
    """Sends a request; returns the status and text of the answer."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None and not isinstance(body, bytes):
        body, headers = json.dumps(body).encode(), {"content-type": "application/json", **headers}
    request = urllib.request.Request(base + path, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def refit(base, family, **options):
    id = sure([base], f"/v1/families/{family}/refits", {"bootstrap": 100, "starts": 4, **options})["id"]
    until(f"the refit of {family} ends", lambda: sure([base], f"/v1/refits/{id}")["state"] == "succeeded")


class Walk:
    """Requests of all operations; values that must differ between two services are left out of the answers."""

    OWN = re.compile(
        r'"(id|\w+_id|\w+_at|at|as_of|until|request_id|fit_ms|next_cursor|data_digest)":("[^"]*"|[\d.]+|null)'
        r"|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    )

    def __init__(self, base):
        self.base, self.answers = base, []

    def ask(self, method, path, body=None, expected=None, **headers):
        status, text = send(self.base, method, path, body, **headers)
        assert status == expected if expected else 200 <= status < 300, (method, path, status, text[:1000])
        self.answers.append((f"{method} {path}", status, self.OWN.sub("", text)))
        return json.loads(text) if text.startswith(("{", "[")) and "\n{" not in text else text

    def one(self, list_path):
        return json.loads(send(self.base, "GET", list_path)[1])["items"][0]

    def walk(self):
        family, own = "/v1/families/walk", "/v1/families"
        self.ask("POST", own, {"name": "walk", "description": "walked"})
        self.ask("POST", own, {"name": "walk"}, 409)
        self.ask("PATCH", family, {"description": "walked through"})
        self.ask("GET", family)
        self.ask("GET", f"{own}?limit=1000")
        self.ask("PUT", f"{family}/mappings/nightly", {"map": {"loss": "val"}})
        self.ask("GET", f"{family}/mappings")
        self.ask("GET", f"{family}/mappings/nightly")
        self.ask("DELETE", f"{family}/mappings/nightly")
        # Store runs in three ways; send them again, with errors and with corrections; delete some.
        self.ask("POST", f"{family}/runs", SWEEP[:20])
        self.ask("POST", f"{family}/runs", SWEEP[:20])
        header = ",".join(SWEEP[0])
        table = "\n".join([header, *(",".join(map(str, row.values())) for row in SWEEP[20:])]).encode()
        self.ask("POST", f"{family}/runs", table, content_type="text/csv")
        # This many runs go through the staging table.
        self.ask("POST", own, {"name": "many"})
        many = [run(f"many-{i}", 1e6 + i, 0.5, 4e9) for i in range(5000)]
        lines = "\n".join(map(json.dumps, many)).encode()
        self.ask("POST", f"{own}/many/runs?dry_run=true", lines, content_type="application/x-ndjson")
        self.ask("POST", f"{own}/many/runs", lines, content_type="application/x-ndjson")
        self.ask("POST", f"{family}/runs", [{**SWEEP[0], "loss": -1}, SWEEP[1]], 422)
        self.ask("POST", f"{family}/runs", [{**SWEEP[0], "loss": 3.5, "tags": {"team": "a"}}])
        self.ask("POST", f"{family}/runs", SWEEP[:1])
        self.ask("POST", f"{family}/runs", [{**SWEEP[0], "pattern": "2:4", "sparsity": 0.5}])
        kept = {**SWEEP[0], "external_id": "kept", "sparsity": 0.75}
        self.ask("POST", f"{family}/runs", [{**kept, "pattern": "1:4"}])
        self.ask("POST", f"{family}/runs", [{**kept, "sparsity": 0.25}], 422)
        self.ask("DELETE", f"{family}/runs/by-external-id/kept")
        self.ask("POST", f"{family}/runs", SWEEP[:1])
        self.ask("GET", f"{family}/runs?limit=50&tags=team:a")
        self.ask("GET", f"{family}/runs?limit=50&min_sparsity=0.6")
        self.ask("GET", f"{family}/runs?external_id=1e%2B06-0.5-4e%2B09")
        one = self.one(f"{family}/runs?external_id=1e%2B06-0.5-4e%2B09")["id"]
        send(self.base, "GET", f"{family}/runs/{one}")
        self.ask("PATCH", f"{family}/runs/by-external-id/4e%2B06-0.5-4e%2B09", {"excluded": True, "exclusion_reason": "broken"})
        self.ask("PATCH", f"{family}/runs/by-external-id/4e%2B06-0.5-4e%2B09", {"excluded": False})
        self.ask("DELETE", f"{family}/runs/by-external-id/4e%2B06-0.5-4e%2B09")
        self.ask("DELETE", f"{family}/runs/by-external-id/4e%2B06-0.5-4e%2B09", expected=404)
        for kind in "application/x-ndjson", "text/csv":
            self.ask("GET", f"{own}/many/runs", accept=kind)
        # An upload that is answered before it is stored.
        upload = self.ask("POST", f"{family}/runs", SWEEP[:5], prefer="respond-async")["id"]
        path = f"{family}/uploads/{upload}"
        until("the upload is stored", lambda: ask(self.base, path)[1]["state"] == "succeeded")
        self.ask("GET", f"{family}/uploads")
        # Refits and laws.
        refit(self.base, "walk", seed=1)
        refit(self.base, "walk", seed=1, bootstrap=0)
        self.ask("GET", f"{family}/refits")
        self.ask("GET", f"{family}/laws")
        self.ask("GET", f"{family}/laws/1")
        self.ask("GET", f"{family}/laws/compare?a=1&b=2")
        self.ask("GET", f"{family}/fit-quality")
        self.ask("GET", f"{family}/fit-quality?law_version=1")
        law = {
            "coefficients": {"a_s": 16.8, "b_s": 0.72, "c_s": 45, "b_n": 0.245, "a_d": 6.9e8, "b_d": 0.2, "c": 0.65},
            "reference": "made up",
        }
        self.ask("POST", f"{family}/laws", law)
        self.ask("PUT", f"{family}/active-law", {"version": 1})
        # Questions.
        size, mode = "nonzero_params=1e8", "flop_mode=sparse"
        for question in (
            f"optimal-sparsity?{size}&compute=1e20&{mode}",
            f"prediction?{size}&sparsity=0.5&data=1e10",
            f"loss-by-sparsity?{size}&compute=1e20&{mode}",
            f"contours?{mode}",
            "gain",
            f"effective-params?{size}&sparsity=0.5",
        ):
            self.ask("GET", f"{family}/{question}")
        self.ask("GET", f"{family}/data-multiplier?{size}&sparsity=0.5&data=1e10", expected=409)
        point = {"nonzero_params": 1e8, "compute": 1e20, "flop_mode": "sparse"}
        self.ask("POST", f"{family}/optimal-sparsities", {"points": [point]})
        self.ask("POST", f"{family}/predictions", {"points": [{"nonzero_params": 1e8, "sparsity": 0.5, "data": 1e10}]})
        self.ask("POST", f"{family}/plans", {"compute": 1e20, "flop_mode": "sparse"})
        self.ask("POST", f"{family}/suggestions", {"runs": 3, "compute": 1e20, "target": {"coefficient": "b_d"}})
        self.ask("GET", f"/v1/compare?a=walk&b=t5-c4&{mode}")
        # Forecasts: registered before, together with and after their runs.
        forecast = {"external_id": "planned", "nonzero_params": 1e8, "sparsity": 0.5, "data": 1e10}
        id = self.ask("POST", f"{family}/forecasts", forecast)["id"]
        self.ask("POST", f"{family}/forecasts", forecast)
        self.ask("POST", f"{family}/forecasts", {**forecast, "sparsity": 0.6}, 409)
        self.ask("POST", f"{family}/forecasts", {**forecast, "external_id": SWEEP[3]["external_id"]}, 409)
        self.ask("POST", f"{family}/runs", [run("planned", 1e8, 0.5, 1e10)])
        self.ask("GET", f"{family}/forecasts")
        send(self.base, "GET", f"{family}/forecasts/{id}")
        self.ask("GET", f"{family}/forecasts/calibration")
        self.ask("GET", f"{family}/optimal-sparsity?{size}&compute=1e20&{mode}")
        # Profiles, the audit log, and other lists.
        profile = {"name": "walked", "cost": {"points": [[0.5, 0.8], [0.75, 0.5]]}}
        self.ask("POST", "/v1/hardware-profiles", profile)
        self.ask("POST", "/v1/hardware-profiles", profile, 409)
        self.ask("GET", "/v1/hardware-profiles/walked")
        self.ask("DELETE", "/v1/hardware-profiles/walked")
        self.ask("POST", "/v1/keys", {"name": "walker", "scope": "admin"}, 403)
        self.ask("GET", "/v1/audit-events?family=walk&limit=5")
        for name in "walk", "many":
            self.ask("DELETE", f"{own}/{name}")
        self.ask("GET", family, expected=404)
        self.ask("GET", f"{family}/runs", expected=404)
        return self.answers


def main():
    with ExitStack() as stack:
        coordinator, *workers = stack.enter_context(nodes(32))
        check_workers_refuse(coordinator, workers)
        url = url_of(coordinator)
        base = stack.enter_context(service(PROGRAM, url, DATA / "service.log"))
        kept = Kept(base)
        distribute_in_use(url, base, kept)
        walk_beside_plain(base)
        at_once(base)
        kill_a_worker(base, coordinator, workers, kept)
        kill_the_coordinator(base, coordinator, kept)
        print("all of it held")


class Kept:
    """Continuous uploads, and the runs that were acknowledged."""

    def __init__(self, base):
        self.base, self.ids, self.failed = base, [], []

    @contextmanager
    def uploading(self, families):
        stop = threading.Event()

        def upload():
            try:
                while not stop.is_set():
                    family = families[len(self.ids) % len(families)]
                    ids = [f"kept-{len(self.ids)}-{i}" for i in range(20)]
                    sure([self.base], f"/v1/families/{family}/runs", [run(id, 1e7, 0.5, 4e9) for id in ids])
                    self.ids.append((family, ids))
            except (Exception, SystemExit) as error:  # noqa: BLE001
                self.failed.append(error)

        thread = threading.Thread(target=upload)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        assert not self.failed, self.failed

    def until_more(self, uploads):
        goal = len(self.ids) + uploads
        until(f"{uploads} more uploads", lambda: self.failed or len(self.ids) >= goal)

    def check(self):
        stored = {family: all_runs([self.base], family) for family in {family for family, _ in self.ids}}
        lost = [id for family, ids in self.ids for id in ids if id not in stored[family]]
        assert not lost, f"acknowledged runs are lost: {lost[:20]}"


def check_workers_refuse(coordinator, workers):
    """A coordinator without workers is an ordinary PostgreSQL; on a worker the service does not start and leaves nothing."""
    coordinator.ask("CREATE DATABASE alone TEMPLATE template0")
    coordinator.ask("CREATE EXTENSION citus", "alone")
    alone = f"{coordinator.url('alone')}?sslmode=disable"
    assert planner(alone, "migrate")[0] == 0
    with service(PROGRAM, alone, DATA / "alone.log") as base:
        until("announcements are heard", lambda: ask(base, "/readyz")[1].get("follows_announcements"))
    code, said = planner(alone, "migrate", "--distribute")
    assert code != 0 and "citus_add_node" in said, said
    coordinator.ask("DROP DATABASE alone WITH (FORCE)")
    join(coordinator, workers)
    for command in (["migrate"], ["serve", "--bind", "127.0.0.1:0"]):
        code, said = planner(url_of(workers[0]), *command)
        assert code != 0 and "names a worker of Citus" in said, said
    tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    assert workers[0].ask(tables, DATABASE) == "0"
    code, said = planner(coordinator.url(DATABASE), "migrate")
    assert code != 0 and "version 1 of X.509" in said, said


def distribute_in_use(url, base, kept):
    for family in FAMILIES:
        sure([base], "/v1/families", {"name": family})
        sure([base], f"/v1/families/{family}/runs", SWEEP)
    refit(base, FAMILIES[0])
    with kept.uploading(FAMILIES):
        kept.until_more(5)

        def distributed():
            code, said = planner(url, "migrate", "--distribute")
            # A statement gave up because a table was in use for too long.
            assert code == 0 or "what was done stays" in said, said
            return code == 0

        begun = time.monotonic()
        until("the tables are distributed", distributed)
        took = time.monotonic() - begun
        kept.until_more(5)
    kept.check()
    code, said = planner(url, "migrate", "--distribute")
    assert code != 0 and "distributed already" in said, said
    assert planner(url, "migrate")[0] == 0
    print(f"distributed in {took:.1f} s, while {len(kept.ids)} uploads were stored")


def walk_beside_plain(base):
    """Sends the same requests to a service on plain PostgreSQL, and compares the answers."""
    begun = time.monotonic()
    here = Walk(base).walk()
    took = time.monotonic() - begun
    with INSTALLATION.initialised("plain", auth="trust").started() as plain:
        with service(PROGRAM, f"{plain.url()}?sslmode=disable", DATA / "plain.log") as there_base:
            for family in FAMILIES:
                sure([there_base], "/v1/families", {"name": family})
            there = Walk(there_base).walk()
    differ = [(one, other) for one, other in zip(here, there, strict=True) if one[:2] != other[:2]]
    assert not differ, "\n".join(f"{one}\n    {other}" for one, other in differ)
    failed = [one for one in here if one[1] >= 500]
    assert not failed, failed
    # Lists of all families also contain those of other tests.
    others = [(one, other) for one, other in zip(here, there, strict=True) if one != other and "families?" not in one[0]]
    assert not others, "\n".join(f"{one}\n    {other}" for one, other in others)
    print(f"{len(here)} requests were answered as on plain PostgreSQL, in {took:.1f} s")


def at_once(base):
    """Equal requests for refits, families and runs, and forecasts together with their runs, from many clients at once."""
    with concurrent.futures.ThreadPoolExecutor(16) as threads:

        def together(requests):
            return [done.result() for done in [threads.submit(send, base, "POST", *one) for one in requests]]

        for path, body, expected in (
            (f"/v1/families/{FAMILIES[1]}/refits", {"bootstrap": 0, "starts": 4}, {200, 202}),
            ("/v1/families", {"name": "at-once"}, {201, 409}),
            (f"/v1/families/{FAMILIES[1]}/runs", SWEEP, {200}),
        ):
            found = {status for status, _ in together([(path, body)] * 16)}
            assert found <= expected, (path, found)
        both = 0
        for i in range(20):
            name = f"at-once-{i}"
            forecast = {"external_id": name, "nonzero_params": 1e8, "sparsity": 0.5, "data": 1e10}
            family = f"/v1/families/{FAMILIES[0]}"
            one = (f"{family}/forecasts", forecast)
            other = (f"{family}/runs", [run(name, 1e8, 0.5, 1e10)])
            # The two requests are sent in alternating order.
            sent = together([one, other][:: 1 if i % 2 else -1])
            (status, _), (stored, _) = sent[:: 1 if i % 2 else -1]
            assert status in (201, 409) and stored == 200, (status, stored)
            both += status == 201
        # An accepted forecast was stored before its run, so it must be scored.
        scored = json.loads(send(base, "GET", f"/v1/families/{FAMILIES[0]}/forecasts?limit=100")[1])["items"]
        assert len(scored) == both, (len(scored), both)


def family_on(coordinator, worker):
    """The families whose runs are on a worker."""
    on = coordinator.ask(
        f"""SELECT string_agg(name, ',') FROM families WHERE (
            SELECT nodeport FROM citus_shards
            WHERE shardid = get_shard_id_for_distribution_column('runs', families.id)
        ) = {worker.port}""",
        DATABASE,
    )
    return [family for family in on.split(",") if family in FAMILIES]


def kill_a_worker(base, coordinator, workers, kept):
    dead, alive = (family_on(coordinator, worker) for worker in workers)
    assert len(dead) > 1 and len(alive) > 1, (dead, alive)
    question = "optimal-sparsity?nonzero_params=1e8&compute=1e20&flop_mode=sparse"
    for family in dead[:1] + alive[:1]:
        refit(base, family)
        sure([base], f"/v1/families/{family}/{question}")
    workers[0].kill()
    status, ready = ask(base, "/readyz")
    assert status == 200, ready
    # The rows on the dead worker cannot be read or written; a question about a law in memory is answered.
    one = f"/v1/families/{dead[0]}"
    assert ask(base, f"{one}/runs")[0] == 503
    assert ask(base, f"{one}/runs", SWEEP[:1])[0] == 503
    assert ask(base, f"{one}/{question}")[0] == 200
    other = f"/v1/families/{alive[0]}"
    until("runs of the others are read", lambda: ask(base, f"{other}/runs")[0] == 200)
    # Refits: none can be requested for families on the dead worker. One that was requested before is postponed, and a
    # refit of another family is computed; its law is stored when all nodes are back, as laws are on every node.
    assert ask(base, f"{one}/refits", {"bootstrap": 0, "starts": 4, "seed": 2})[0] == 503
    put_off = coordinator.ask(
        f"""INSERT INTO refits (id, family_id, state, phase, progress, options, attempts, cancel_requested, created_at,
                requested_by, work)
            SELECT gen_random_uuid(), family_id, 'queued', 'queued', 0, options, 0, false, now(), requested_by, work
            FROM refits WHERE family_id = (SELECT id FROM families WHERE name = '{dead[0]}') LIMIT 1
            RETURNING id""",
        DATABASE,
    )
    computed = sure([base], f"{other}/refits", {"bootstrap": 0, "starts": 4, "seed": 3})["id"]
    assert ask(base, "/v1/families", {"name": "while-a-node-is-away"})[0] == 503

    def phase(refit):
        return sure([base], f"/v1/refits/{refit}")["phase"]

    with kept.uploading(alive):
        kept.until_more(5)
        until("one refit is put off", lambda: phase(put_off) == "waiting")
        until("the other is computed", lambda: phase(computed) == "diagnosing")
        kept.until_more(5)
    workers[0].start()
    back = time.monotonic()
    for refit_ in put_off, computed:
        until("both end", lambda id=refit_: sure([base], f"/v1/refits/{id}")["state"] == "succeeded")
    took = time.monotonic() - back
    sure([base], f"{one}/runs", SWEEP[:1])
    kept.check()
    print(f"with a worker dead, other families took uploads; both refits ended {took:.1f} s after its return")


def kill_the_coordinator(base, coordinator, kept):
    with kept.uploading(FAMILIES):
        kept.until_more(20)
        coordinator.kill()
        killed = time.monotonic()
        assert ask(base, "/readyz")[0] == 503
        coordinator.start()
        kept.until_more(1)
        written = time.monotonic() - killed
        kept.until_more(20)
    kept.check()
    until("announcements are heard again", lambda: ask(base, "/readyz")[1].get("follows_announcements"))
    print(f"nothing lost of {len(kept.ids)} uploads; the first after the coordinator's death was stored after {written:.1f} s")


def speed():
    """Measures uploads, reads and exports, compared with plain PostgreSQL. Prints a table and asserts nothing about it.
    Short times are the least of 21.
    """
    rows = "".join(
        f"run-{i},{1e6 * (1 + i % 97):g},{0.25 * (i % 4)},{1e9 * (1 + i % 89):g},{2.5 + i % 83 / 100}\n" for i in range(100_000)
    )
    csv = ("external_id,nonzero_params,sparsity,data,loss\n" + rows).encode()

    def measured(base, name):
        sure([base], "/v1/families", {"name": name})
        sure([base], f"/v1/families/{name}/runs", SWEEP)
        refit(base, name)

        def took(method, path, body=None, **headers):
            begun = time.monotonic()
            status, text = send(base, method, f"/v1/families/{name}{path}", body, **headers)
            assert status == 200, text
            return time.monotonic() - begun

        csv_s = took("POST", "/runs", csv, content_type="text/csv")
        few = min(took("POST", "/runs", [run(f"few-{i}", 1e7, 0.5, 4e9)]) for i in range(21))
        page = min(took("GET", "/runs?limit=100") for _ in range(21))
        export = took("GET", "/runs", accept="text/csv")
        question = "/optimal-sparsity?nonzero_params=1e8&compute=1e19&flop_mode=sparse"
        ask_s = min(took("GET", question) for _ in range(21))
        return [f"{100_000 / csv_s:,.0f} /s", *(f"{1e3 * value:.1f} ms" for value in (few, page, export, ask_s))]

    with ExitStack() as stack:
        coordinator, *workers = stack.enter_context(nodes(32))
        join(coordinator, workers)
        url = url_of(coordinator)
        base = stack.enter_context(service(PROGRAM, url, DATA / "service.log"))
        code, said = planner(url, "migrate", "--distribute")
        assert code == 0, said
        plain = stack.enter_context(INSTALLATION.initialised("plain", auth="trust").started())
        beside = stack.enter_context(service(PROGRAM, f"{plain.url()}?sslmode=disable", DATA / "plain.log"))
        for each in (base, beside):
            measured(each, "warm")
        names = ("an upload of 100,000 runs as CSV", "of one run", "a page of 100 runs", "an export as CSV", "a question")
        print("| | plain PostgreSQL | over three nodes |\n|---|---|---|")
        for row in zip(names, measured(beside, "mine"), measured(base, "mine"), strict=True):
            print(f"| {' | '.join(row)} |")


def suite():
    """Runs the tests of the service, each on a database over the three nodes."""
    with nodes(4) as found:
        urls = ",".join(f"{node.url()}?sslmode=disable" for node in found)
        command = ["cargo", "test", "--locked", "--test", "it", "--", *os.environ.get("TESTS", "").split()]
        raise SystemExit(subprocess.run(command, env={**os.environ, "TEST_CITUS": urls}, check=False).returncode)


if sys.argv[4:] == ["suite"]:
    suite()
elif sys.argv[4:] == ["speed"]:
    speed()
else:
    main()
