"""Questions over HTTP beside a bare axum handler and FastAPI with SciPy, in one run.

    cargo build --release && cargo bench --bench bare --no-run
    python3 benches/over_http.py BARE [ROUNDS]

BARE is the executable that the second command names. Needs wrk, and FastAPI, uvicorn and SciPy for the
Python that runs this. Each round asks every server for SECONDS, one after the other; the table has the
medians and their ratios. Everything that it starts, it stops.
"""

import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

SECONDS = 3
THREADS, CONNECTIONS = 1, 16
WORKERS = 2
SIZE = "nonzero_params=5e7"
QUESTIONS = {
    "optimal-sparsity": f"optimal-sparsity?{SIZE}&compute=1e19&flop_mode=sparse",
    "prediction": f"prediction?{SIZE}&sparsity=0.75&data=3e10",
}


def wait(url: str) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=2).read()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{url} does not answer")


def per_second(url: str, script: str | None = None) -> float:
    command = ["wrk", f"-t{THREADS}", f"-c{CONNECTIONS}", f"-d{SECONDS}s", url]
    if script:
        command[1:1] = ["-s", script]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    if "Non-2xx" in output:
        raise SystemExit(f"{url} answers with errors\n{output}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", output).group(1))


def bulk(base: str, accept: str) -> float:
    """Optimal sparsities a second in one request of 100,000."""
    body = {
        "flop_mode": "sparse",
        "intervals": False,
        "nonzero_params": {"from": 1e6, "to": 1e10, "steps": 250},
        "compute": {"from": 1e17, "to": 1e23, "steps": 400},
    }
    headers = {"content-type": "application/json", "accept": accept}
    url = f"{base}/v1/families/demo/optimal-sparsities"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    start = time.perf_counter()
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()
    return 100_000 / (time.perf_counter() - start)


def main() -> None:
    bare, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3
    directory = tempfile.mkdtemp()
    ports = {"service": 18801, "bare axum": 18802, "FastAPI": 18803}
    base = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    commands = {
        "service": ["target/release/sparsity-planner", "demo", "--bind", "127.0.0.1:18801", "--data-dir", directory],
        "bare axum": [bare, "127.0.0.1:18802"],
        "FastAPI": [sys.executable, "-m", "uvicorn", "--app-dir", "benches", "--port", "18803", "--workers",
                    str(WORKERS), "--no-access-log", "--log-level", "warning", "fastapi_app:app"],
    }
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [subprocess.Popen(command, **quiet) for command in commands.values()]
    try:
        for name, question in QUESTIONS.items():
            for server in base:
                # The demo's first law is ready when it answers.
                wait(f"{base[server]}/v1/families/demo/{question}")
        print("| question | intervals | service, a second | bare axum | FastAPI | of bare | of FastAPI |")
        print("|---|---|---|---|---|---|---|")
        for name, question in QUESTIONS.items():
            for intervals in ["false", "true"]:
                found = {server: [] for server in base}
                for _ in range(rounds):
                    for server in base:
                        url = f"{base[server]}/v1/families/demo/{question}&intervals={intervals}"
                        found[server].append(per_second(url))
                service, axum, python = (statistics.median(found[server]) for server in base)
                shown = "on" if intervals == "true" else "off"
                print(
                    f"| {name} | {shown} | {service:,.0f} | {axum:,.0f} | {python:,.0f} |"
                    f" {service / axum:.0%} | {service / python:.0f}x |",
                    flush=True,
                )
        rates = [per_second(base["service"], "benches/anywhere.lua") for _ in range(rounds)]
        print(f"\nwith intervals, no two questions alike: {statistics.median(rates):,.0f} a second")
        for accept in ["application/json", "application/vnd.apache.arrow.stream"]:
            rate = statistics.median(bulk(base["service"], accept) for _ in range(5))
            print(f"\n100,000 optimal sparsities in one request as {accept}: {rate:,.0f} a second")
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(30)
        shutil.rmtree(directory, ignore_errors=True)


main()
