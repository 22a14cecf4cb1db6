"""What 100,000 points in one request cost, and how many questions of which no two are alike are answered a second.

    python3 benches/many_points.py PROGRAM [PROGRAM ...]

Each program serves its demo on a database of its own, one after the other in each round. CPU seconds are those of the
service's process, parsing and writing included; rates need wrk. Medians of three rounds; loopback only.
"""

import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROUNDS, POINTS = 3, 100_000
ARROW = "application/vnd.apache.arrow.stream"
LUA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "anywhere.lua")


class Service:
    def __init__(self, program, directory):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.base = f"http://127.0.0.1:{port}/v1/families/demo/"
        self.log = open(os.path.join(directory, "log"), "w")
        self.process = subprocess.Popen(
            [program, "--log", "warn", "demo", "--bind", f"127.0.0.1:{port}", "--data-dir", f"{directory}/planner"],
            stdout=self.log, stderr=subprocess.STDOUT,
        )
        for _ in range(600):
            try:
                with urllib.request.urlopen(self.base + "laws") as laws:
                    if json.load(laws)["items"]:
                        return
            except (urllib.error.URLError, ConnectionError):
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.2)
        sys.exit(f"{program} did not start")

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            user, system = stat.read().rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def ask(self, question, body, accept):
        headers = {"content-type": "application/json", "accept": accept}
        request = urllib.request.Request(self.base + question, json.dumps(body).encode(), headers)
        before = self.cpu()
        with urllib.request.urlopen(request) as answer:
            answer.read()
        return self.cpu() - before

    def rate(self):
        told = subprocess.run(
            ["wrk", "-t1", "-c16", "-d4s", "-s", LUA, self.base + "optimal-sparsity"],
            check=True, capture_output=True, text=True,
        )
        return float(re.search(r"Requests/sec:\s+([\d.]+)", told.stdout).group(1))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def main():
    draw = random.Random(1)
    budgets = [
        {"nonzero_params": 10 ** draw.uniform(6, 10), "compute": 10 ** draw.uniform(17, 23)} for _ in range(POINTS)
    ]
    models = [
        {"nonzero_params": 10 ** draw.uniform(6, 10), "sparsity": draw.uniform(0, 0.95), "data": 10 ** draw.uniform(9, 12)}
        for _ in range(POINTS)
    ]
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        services = []
        for number, program in enumerate(sys.argv[1:]):
            own = os.path.join(directory, str(number))
            os.mkdir(own, 0o755)
            services.append(Service(program, own))
        try:
            for _ in range(ROUNDS):
                for number, service in enumerate(services):
                    for question, points, more in (
                        ("optimal-sparsities", budgets, {"flop_mode": "sparse"}), ("predictions", models, {}),
                    ):
                        for intervals in (True, False):
                            for accept in (ARROW, "application/json"):
                                body = {"points": points, "intervals": intervals, **more}
                                what = f"{question}{' with intervals' if intervals else ''} | {'Arrow' if accept == ARROW else 'JSON'}"
                                found.setdefault(what, {}).setdefault(number, []).append(service.ask(question, body, accept))
                    if shutil.which("wrk"):
                        what = "optimal-sparsity, no two alike | a second"
                        found.setdefault(what, {}).setdefault(number, []).append(service.rate())
        finally:
            for service in services:
                service.stop()
    print(f"| {POINTS:,} points, CPU seconds | as |" + "".join(f" {program} |" for program in sys.argv[1:]))
    print("|---|---|" + "---|" * len(services))
    for what, each in found.items():
        medians = (statistics.median(each[number]) for number in range(len(services)))
        print(f"| {what} |" + "".join(f" {median:,.2f} |" for median in medians))


if len(sys.argv) < 2:
    sys.exit(__doc__)
main()
