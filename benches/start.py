"""What a service with many families costs when it starts, and what their laws take in memory.

    python3 benches/start.py PROGRAM [PROGRAM ...]

Each program makes FAMILIES (default 1,000) families of the demo's runs in a database of its own, each with a law of 1,000
resamples, and is stopped. Then, program after program in each of three rounds, it starts again and every family is asked
once for its best sparsity with an interval, over 16 connections. Medians; loopback only.
"""

import concurrent.futures
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

FAMILIES = int(os.environ.get("FAMILIES", "1000"))
ROUNDS, CONNECTIONS, RESAMPLES = 3, 16, 1000
RUNS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "examples", "demo-runs.json")
# Seven coefficients and a residual of each resampled law.
COEFFICIENTS_MIB = FAMILIES * RESAMPLES * 8 * 8 / 2**20


class Service:
    def __init__(self, program, directory):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.started = time.monotonic()
        self.log = open(os.path.join(directory, "log"), "a")
        self.process = subprocess.Popen(
            [program, "--log", "error", "serve", "--bind", f"127.0.0.1:{self.port}", "--data-dir", f"{directory}/planner"],
            stdout=self.log, stderr=subprocess.STDOUT,
        )
        self.connections = threading.local()
        while time.monotonic() < self.started + 120:
            try:
                if self.ask("GET", "/readyz")[0] == 200:
                    return
            except OSError:
                self.connections = threading.local()
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        sys.exit(f"{program} did not start")

    def ask(self, method, path, body=None):
        kept = getattr(self.connections, "kept", None)
        if kept is None:
            kept = self.connections.kept = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        headers = {"content-type": "application/json"} if body else {}
        kept.request(method, path, body, headers)
        answer = kept.getresponse()
        return answer.status, answer.read()

    def question(self, number):
        path = f"/v1/families/many-{number}/optimal-sparsity?nonzero_params=1e8&compute=1e20&flop_mode=sparse"
        status, body = self.ask("GET", path)
        if status != 200 or json.loads(body)["interval"] is None:
            sys.exit(f"{status}: {body[:300]}")

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            user, system = stat.read().rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)


def fill(program, directory):
    service = Service(program, directory)
    with open(RUNS) as runs:
        runs = runs.read()
    for number in range(FAMILIES):
        service.ask("POST", "/v1/families", json.dumps({"name": f"many-{number}"}))
        status, body = service.ask("POST", f"/v1/families/many-{number}/runs", runs)
        if status >= 300:
            sys.exit(f"{status}: {body[:300]}")
        options = {"starts": 4, "bootstrap": RESAMPLES, "seed": number, "holdout": []}
        status, body = service.ask("POST", f"/v1/families/many-{number}/refits", json.dumps(options))
        if status >= 300:
            sys.exit(f"{status}: {body[:300]}")
    for number in range(FAMILIES):
        while not json.loads(service.ask("GET", f"/v1/families/many-{number}/laws")[1])["items"]:
            time.sleep(0.2)
    service.stop()


def round_of(program, directory):
    service = Service(program, directory)
    ready, idle = time.monotonic() - service.started, service.memory_mib()
    before, since = service.cpu(), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(service.question, range(FAMILIES)))
    asked, cpu = time.monotonic() - since, service.cpu() - before
    taken = service.memory_mib() - idle
    service.stop()
    return {
        "seconds until ready": ready,
        "seconds until each family was answered": asked,
        "CPU seconds of these answers": cpu,
        "MiB more than before them": taken,
        "the same, of the coefficients": taken / COEFFICIENTS_MIB,
    }


def main():
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        own = [os.path.join(directory, str(number)) for number in range(len(sys.argv) - 1)]
        for program, place in zip(sys.argv[1:], own):
            os.mkdir(place, 0o755)
            fill(program, place)
        for _ in range(ROUNDS):
            for number, (program, place) in enumerate(zip(sys.argv[1:], own)):
                for what, value in round_of(program, place).items():
                    found.setdefault(what, {}).setdefault(number, []).append(value)
    print(f"| {FAMILIES:,} families |" + "".join(f" {program} |" for program in sys.argv[1:]))
    print("|---|" + "---|" * len(own))
    for what, each in found.items():
        print(f"| {what} |" + "".join(f" {statistics.median(each[number]):,.2f} |" for number in range(len(own))))


if len(sys.argv) < 2:
    sys.exit(__doc__)
main()
