"""Uploads of a million runs beside psql's \\copy of the same rows into the same table; memory; hot paths.

    cargo build --release
    python3 benches/ingest.py [ROWS] [ROUNDS]

Needs psql and curl. The service and \\copy write into one private PostgreSQL, in turns, each time into the
empty table of runs with all its constraints and indexes. The table has the medians. Everything that it
starts, it stops.
"""

import csv
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid

PROGRAM = os.environ.get("PROGRAM", "target/release/sparsity-planner")
FAMILY = "018a9623-2400-7000-8000-000000000001"
PATH = "/v1/families/t5-c4/runs"
KINDS = {
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}


def psql(url: str, sql: str) -> str:
    command = ["psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", url, "-c", sql]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def write_inputs(directory: str, rows: int) -> None:
    """The same runs as uploads, and as rows of the table for \\copy."""
    rng = random.Random(2309)
    now = "2026-11-25T00:00:00Z"
    with (
        open(f"{directory}/{rows}.csv", "w", newline="") as csv_file,
        open(f"{directory}/{rows}.ndjson", "w") as ndjson_file,
        open(f"{directory}/{rows}.copy", "w", newline="") as copy_file,
    ):
        upload, copy = csv.writer(csv_file), csv.writer(copy_file)
        fields = ["external_id", "nonzero_params", "sparsity", "data", "loss", "tags"]
        upload.writerow(fields)
        for i in range(rows):
            tags = {"team": f"team-{i % 20}", "seed": str(i % 7)}
            run = [
                f"sweep-{i // 1000:04}/run-{i % 1000:03}",
                float(rng.randrange(10**6, 10**10)),
                rng.choice([0.0, 0.5, 0.75, 0.875]),
                rng.uniform(1e9, 1e12),
                rng.uniform(1.5, 4.0),
            ]
            text = json.dumps(tags)
            upload.writerow([*run, text])
            ndjson_file.write(json.dumps(dict(zip(fields, [*run, tags]))) + "\n")
            # UUIDv7, as the service makes them.
            id_ = uuid.UUID(int=(1_790_000_000_000 + i // 100 << 80) | 7 << 76 | i % 100 << 64
                            | 2 << 62 | rng.getrandbits(62))
            copy.writerow([id_, FAMILY, *run, "scratch", "", text, "f", "", now, now])


class Postgres:
    """A private one, which ends when its standard input closes."""

    def __init__(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="planner-bench-")
        os.chmod(self.directory, 0o755)
        command = [PROGRAM, "--log", "warn", "postgres", "--data-dir", self.directory]
        self.process = subprocess.Popen([*command, "sh", "-c", 'echo "$DATABASE_URL"; cat'],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class Service:
    """`serve` on a database, stopped at the end."""

    def __init__(self, url: str) -> None:
        command = [PROGRAM, "serve", "--bind", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, env={**os.environ, "DATABASE_URL": url},
                                        stderr=subprocess.PIPE, text=True)
        line = ""
        while "listening" not in line:
            line = self.process.stderr.readline()
        self.base = "http://" + re.search(r"address=(\S+)", line).group(1)

    def peak(self) -> float:
        """Peak resident memory so far, in MB."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmHWM:\s+(\d+) kB", status.read()).group(1)) / 1024

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate()

    def upload(self, file: str, kind: str) -> dict:
        command = ["curl", "-sS", "--fail-with-body", "-T", file, "-X", "POST",
                   "-H", f"Content-Type: {KINDS[kind]}", self.base + PATH]
        return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)

    def export(self, file: str, kind: str) -> None:
        command = ["curl", "-sS", "--fail-with-body", "-o", file,
                   "-H", f"Accept: {KINDS[kind]}", self.base + PATH]
        subprocess.run(command, check=True)


def timed(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def empty(url: str) -> None:
    psql(url, "TRUNCATE runs")
    psql(url, "CHECKPOINT")


def copy(url: str, file: str) -> None:
    columns = ("id, family_id, external_id, nonzero_params, sparsity, data, loss, start, pattern, tags, "
               "excluded, exclusion_reason, created_at, updated_at")
    psql(url, f"\\copy runs ({columns}) FROM '{file}' (FORMAT csv)")


def throughput(url: str, directory: str, rows: int, rounds: int) -> None:
    seconds: dict[str, list[float]] = {}
    service = Service(url)
    try:
        for _ in range(rounds):
            for what in ["copy", "csv", "ndjson"]:
                empty(url)
                file = f"{directory}/{rows}.{what}"
                work = (lambda: copy(url, file)) if what == "copy" else lambda: check(
                    service.upload(file, what), rows)
                seconds.setdefault(what, []).append(timed(work))
        # The same again: nothing is written.
        seconds["csv, all unchanged"] = [timed(lambda: service.upload(f"{directory}/{rows}.csv", "csv"))]
        for kind in ["csv", "ndjson", "parquet"]:
            out = f"{directory}/out.{kind}"
            seconds[f"export {kind}"] = [timed(lambda: service.export(out, kind))]
        empty(url)
        seconds["parquet"] = [timed(lambda: service.upload(f"{directory}/out.parquet", "parquet"))]
    finally:
        service.stop()
    base = statistics.median(seconds["copy"])
    print(f"\n| {rows:,} rows | seconds | rows/s | of \\copy | rounds |\n|---|---|---|---|---|")
    for what, times in seconds.items():
        median = statistics.median(times)
        shown = " ".join(f"{t:.1f}" for t in times)
        print(f"| {what} | {median:.1f} | {rows / median:,.0f} | {base / median:.2f} | {shown} |")


def check(result: dict, rows: int) -> None:
    if result["created"] != rows:
        raise SystemExit(f"not what was sent: {result}")


def memory(url: str, directory: str, sizes: list[int]) -> None:
    print("\n| peak memory of the service, MB | " + " | ".join(f"{n:,} rows" for n in sizes) + " |")
    print("|---|" + "---|" * len(sizes))
    table: dict[str, list[float]] = {}
    for rows in sizes:
        for kind in ["csv", "ndjson", "parquet"]:
            empty(url)
            service = Service(url)
            try:
                file = f"{directory}/{rows}.{kind}"
                if kind == "parquet":
                    service.upload(f"{directory}/{rows}.csv", "csv")
                    service.export(file, kind)
                    service.stop()
                    empty(url)
                    service = Service(url)
                check(service.upload(file, kind), rows)
                table.setdefault(f"upload {kind}", []).append(service.peak())
                service.stop()
                service = Service(url)
                service.export(f"{directory}/out.{kind}", kind)
                table.setdefault(f"export {kind}", []).append(service.peak())
            finally:
                service.stop()
    for what, peaks in table.items():
        print(f"| {what} | " + " | ".join(f"{peak:.0f}" for peak in peaks) + " |")


def hot_paths(url: str) -> None:
    """A million runs in a thousand families: times, and scans of the whole table."""
    empty(url)
    psql(url, """
        INSERT INTO families (id, name, description, data_unit, flops_per_param, pruning_start, pruning_end,
            pruning_exponent, residual, delta, created_at, updated_at)
        SELECT gen_random_uuid(), 'family-' || i, '', 'tokens', 6, 0.25, 0.75, 3, 'log', 0.001, now(), now()
        FROM generate_series(1, 1000) AS i;
        INSERT INTO runs (id, family_id, external_id, nonzero_params, sparsity, data, loss, start, tags,
            excluded, created_at, updated_at)
        SELECT gen_random_uuid(), families.id, 'run-' || i, 1e6 * (1 + i % 8), 0.25 * (i % 4),
            1e9 * (1 + i % 5), 2 + random(), 'scratch',
            jsonb_build_object('seed', (i % 10)::text, 'run', i || name), false, now(), now()
        FROM families, generate_series(1, 1000) AS i WHERE name LIKE 'family-%'""")
    psql(url, "VACUUM ANALYZE runs")
    psql(url, "VACUUM ANALYZE families")
    before = int(psql(url, "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'runs'"))
    service = Service(url)
    runs = "/v1/families/family-500/runs"
    print("\n| 1,000,000 runs in 1,000 families | median ms of 50 |\n|---|---|")
    try:
        get = subprocess.run(["curl", "-sS", service.base + runs], capture_output=True, check=True)
        page = json.loads(get.stdout)
        for name, path in {
            "families, a page": "/v1/families",
            "runs, the first page of 100": runs,
            "runs, a later page": f"{runs}?cursor={page['next_cursor']}",
            "runs, by ranges": f"{runs}?min_loss=2.5&max_sparsity=0.5",
            "runs, by a frequent tag": f"{runs}?tags=seed:3",
            "runs, by a tag of one run": f"{runs}?tags=run:7family-500",
            "one run": f"{runs}/{page['items'][0]['id']}",
        }.items():
            write = "%{time_total} %{http_code}"
            command = ["curl", "-sS", "-o", "/dev/null", "-w", write, service.base + path]
            lines = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
                     for _ in range(50)]
            if any(code != "200" for _, code in lines):
                raise SystemExit(f"{path}: {lines[0]}")
            print(f"| {name} | {1000 * statistics.median(float(t) for t, _ in lines):.1f} |")
        small = [{"external_id": "new", "nonzero_params": 1e7, "sparsity": 0.5, "data": 1e9, "loss": 2.5}]
        times = []
        for i in range(50):
            small[0]["loss"] = 2.5 + i
            command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{time_total}", "-X", "POST", "-H",
                       "Content-Type: application/json", "-d", json.dumps(small), service.base + runs]
            times.append(float(subprocess.run(command, capture_output=True, text=True).stdout))
        print(f"| one run sent | {1000 * statistics.median(times):.1f} |")
        command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{time_total}", "-H",
                   "Accept: application/x-ndjson", service.base + runs]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        print(f"| the family's 1,001 runs exported | {1000 * float(out):.1f} |")
    finally:
        service.stop()
    time.sleep(1)
    after = int(psql(url, "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'runs'"))
    print(f"\nScans of the whole table of runs meanwhile: {after - before}")


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    directory = tempfile.mkdtemp(prefix="planner-bench-files-")
    postgres = Postgres()
    try:
        # The service creates the schema.
        Service(postgres.url).stop()
        for size in {rows, rows // 10}:
            write_inputs(directory, size)
        throughput(postgres.url, directory, rows, rounds)
        memory(postgres.url, directory, [rows // 10, rows])
        hot_paths(postgres.url)
    finally:
        postgres.stop()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
