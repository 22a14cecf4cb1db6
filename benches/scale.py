"""What a table of many runs costs: pages, exports, uploads, questions, and the refit of the largest family.

    cargo build --release
    python3 benches/scale.py [RUNS] [FAMILIES] [--largest RUNS] [--rounds N]

RUNS (1,000,000) are all runs, FAMILIES (a thousandth of them) the families, of which the largest has `--largest`
(10,000): the same whatever RUNS is, so that two sizes can be compared. Needs psql. Everything lies in a temporary
directory (`TMPDIR`; about 600 bytes a run) with a private PostgreSQL, and goes at the end. The runs are put into
the table by SQL, as the service stores them; everything else is asked over HTTP. Times are medians of N rounds (21);
nothing is asserted about them, and whatever is no success ends it.
"""

import argparse
import http.client
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse

PROGRAM = os.environ.get("PROGRAM", "target/release/sparsity-planner")
# The longest that loading, or one request, may take.
LONGEST_S = 7_200

# Families first, the largest before the others; ids are UUIDv7 in the order of arrival.
LOAD = """
CREATE FUNCTION id_at(number bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(1790000000000 + number / 100), 12, '0') || '7' || lpad(to_hex(number % 100), 3, '0')
        || substr(md5(number::text), 1, 16))::uuid
$$;
INSERT INTO families (id, name, description, data_unit, flops_per_param, pruning_start, pruning_end, pruning_exponent,
    residual, delta, created_at, updated_at)
SELECT id_at(i), 'family-' || i, '', 'tokens', 6, 0.25, 0.75, 3, 'log', 1e-3, now(), now()
FROM generate_series(0, {families} - 1) AS i;
INSERT INTO runs (id, family_id, external_id, nonzero_params, sparsity, data, loss, start, tags, excluded, created_at,
    updated_at)
SELECT id_at({families} + i), id_at(CASE WHEN i % {every} = 0 AND i / {every} < {largest} THEN 0
        ELSE 1 + i % ({families} - 1) END),
    'sweep-' || i / 1000 || '/run-' || i % 1000, n, s, d,
    ((16.8 * (1 - s) ^ 0.722 + 45) * n ^ -0.245 + (6.9e8 / d) ^ 0.203 + 0.651) * (1 + 0.002 * sin(i)),
    'scratch', jsonb_build_object('team', 'team-' || i % 20, 'seed', (i % 7)::text), false, now(), now()
FROM (
    SELECT i, 1e6 * 2 ^ (i % 11 + (i % 97) / 97.0) AS n, (ARRAY[0, 0.5, 0.75, 0.875])[1 + i / 11 % 4] AS s,
        1e9 * 2 ^ (i / 44 % 9 + (i % 89) / 89.0) AS d
    FROM generate_series(0::bigint, {runs} - 1) AS i
) AS made;
DROP FUNCTION id_at(bigint);
VACUUM ANALYZE;
"""


def psql(url, sql):
    command = ["psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", url, "-f", "-"]
    done = subprocess.run(command, input=sql, capture_output=True, text=True, timeout=LONGEST_S)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout.strip()


class Postgres:
    """A private one, which ends when its standard input closes."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="planner-scale-")
        os.chmod(self.directory, 0o755)
        command = [PROGRAM, "--log", "warn", "postgres", "--data-dir", self.directory]
        self.process = subprocess.Popen(
            [*command, "sh", "-c", 'echo "$DATABASE_URL"; cat'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.url = self.process.stdout.readline().strip()

    def stop(self):
        self.process.stdin.close()
        self.process.wait(timeout=LONGEST_S)
        shutil.rmtree(self.directory, ignore_errors=True)


class Service:
    """`serve` on a database, stopped at the end."""

    def __init__(self, url):
        self.log = tempfile.TemporaryFile("w+")
        command = [PROGRAM, "serve", "--bind", "127.0.0.1:0", "--transfer-timeout-ms", "7200000"]
        self.process = subprocess.Popen(command, env={**os.environ, "DATABASE_URL": url}, stderr=self.log)
        found = None
        while not found:
            if self.process.poll() is not None:
                raise SystemExit("the service has ended")
            time.sleep(0.05)
            self.log.seek(0)
            found = re.search(r"listening.*address=(\S+)|address=(\S+).*listening", self.log.read())
        self.address = found[1] or found[2]
        self.connection = http.client.HTTPConnection(self.address, timeout=LONGEST_S)

    def ask(self, method, path, body=None, **headers):
        """Whatever is no success ends it; the body, and the bytes of it."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {text[:500]}")
        return text

    def json(self, method, path, body=None):
        headers = {} if body is None else {"content_type": "application/json"}
        return json.loads(self.ask(method, path, None if body is None else json.dumps(body), **headers))

    def memory_mb(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=LONGEST_S)


def seconds(work):
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def measure(service, families, rounds):
    """Yields what was done, and milliseconds."""
    largest, usual = "/v1/families/family-0", f"/v1/families/family-{families // 2}"

    def median(what, work):
        return what, statistics.median(1e3 * seconds(lambda: work(i)) for i in range(rounds))

    for name, family in ("the largest family", largest), ("another", usual):
        yield median(f"a page of 100 runs of {name}", lambda _: service.ask("GET", f"{family}/runs?limit=100"))
    cursor = None
    for _ in range(20):
        page = service.json("GET", f"{largest}/runs?limit=100" + (f"&cursor={cursor}" if cursor else ""))
        cursor = page["next_cursor"] or cursor
    yield median("its twentieth page", lambda _: service.ask("GET", f"{largest}/runs?limit=100&cursor={cursor}"))
    for which, tag in ("a tag that a seventh has", "seed:3"), ("a tag that only others have", "team:team-7"):
        path = f"{largest}/runs?limit=100&tags={tag}"
        yield median(f"100 of its runs by {which}", lambda _, path=path: service.ask("GET", path))
    named = urllib.parse.quote(page["items"][0]["external_id"], safe="")
    yield median("one run by its name", lambda _: service.ask("GET", f"{largest}/runs?external_id={named}"))
    yield median("a page of 100 families", lambda _: service.ask("GET", "/v1/families?limit=100"))
    for kind in "application/x-ndjson", "text/csv", "application/vnd.apache.parquet":
        name = kind.rsplit(".", 1)[-1].rsplit("/", 1)[-1].removeprefix("x-")
        yield (
            f"an export of the largest family as {name}",
            1e3 * min(seconds(lambda: service.ask("GET", f"{largest}/runs", accept=kind)) for _ in range(3)),
        )

    def rows(i, count):
        header = "external_id,nonzero_params,sparsity,data,loss\n"
        return header + "".join(f"new-{i}-{j},{1e7 + j},0.5,2e10,2.5\n" for j in range(count))

    for count in 1, 1_000, 10_000:
        yield median(
            f"an upload of {count:,} runs",
            lambda i: service.ask("POST", f"{usual}/runs", rows(f"{count}-{i}", count), content_type="text/csv"),
        )

    def refit(family):
        path = f"/v1/refits/{service.json('POST', f'{family}/refits', {'starts': 4, 'bootstrap': 100})['id']}"
        while not (state := service.json("GET", path))["finished_at"]:
            time.sleep(0.1)
        if state["state"] != "succeeded":
            raise SystemExit(f"the refit of {family}: {state}")

    yield "a refit of the largest family, 4 starts and 100 resamples", 1e3 * seconds(lambda: refit(largest))
    question = f"{largest}/optimal-sparsity?nonzero_params=1e8&compute=1e20&flop_mode=sparse"
    yield "a question, asked for the first time", 1e3 * seconds(lambda: service.ask("GET", question))
    yield median("a question", lambda i: service.ask("GET", question.replace("1e20", f"1.{i:03}e20")))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=int, nargs="?", default=1_000_000)
    parser.add_argument("families", type=int, nargs="?")
    parser.add_argument("--largest", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=21)
    asked = parser.parse_args()
    families = max(2, asked.families or asked.runs // 1_000)
    largest = min(asked.largest, asked.runs // 2)
    postgres = Postgres()
    try:
        subprocess.run(
            [PROGRAM, "--log", "warn", "migrate"], check=True, env={**os.environ, "DATABASE_URL": postgres.url}
        )
        print(f"loading {asked.runs:,} runs of {families:,} families", file=sys.stderr)
        numbers = {"runs": asked.runs, "families": families, "largest": largest, "every": asked.runs // largest}
        loading = seconds(lambda: psql(postgres.url, LOAD.format(**numbers)))
        size = psql(postgres.url, "SELECT pg_database_size(current_database())")
        print(f"| {asked.runs:,} runs in {families:,} families, the largest of {largest:,} | ms |\n|---|---|")
        service = Service(postgres.url)
        try:
            for what, milliseconds in measure(service, families, asked.rounds):
                print(f"| {what} | {milliseconds:,.1f} |", flush=True)
            memory = service.memory_mb()
        finally:
            service.stop()
        print(
            f"\nThe database takes {int(size) / 1e6:,.0f} MB and was loaded in {loading:,.0f} s; "
            f"the service took {memory:,.0f} MB at most."
        )
    finally:
        postgres.stop()


if __name__ == "__main__":
    main()
