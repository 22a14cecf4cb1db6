"""Measures how one caller fares while another does the worst that its key allows."""

import contextlib
import http.client
import json
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

PROGRAM, SECONDS = sys.argv[1], float(sys.argv[2])
SLOWER = float(os.environ.get("SLOWER", "5"))
FLOOR_MS = float(os.environ.get("FLOOR_MS", "20"))
# Two measurements of the same case on one machine differ by up to this factor.
NOISE = float(os.environ.get("NOISE", "1.25"))
HEALTH_MS = float(os.environ.get("HEALTH_MS", "100"))
MEMORY_MIB = 512.0
DRAIN_MS = 2000
# Time to stop on a machine whose cores are all busy.
STOP_SECONDS = DRAIN_MS / 1000 + 2
RUNS = 100_000


class Service:
    """The program on a private PostgreSQL, with a key for each of two callers."""

    def __init__(self, directory):
        os.mkdir(directory)
        os.chmod(directory, 0o755)
        data = ["--data-dir", os.path.join(directory, "planner")]
        self.keys = {}
        for name in ("aggressor", "neighbour"):
            made = subprocess.run(
                [PROGRAM, "--log", "warn", "keys", "create", "--name", name, "--scope", "write", *data],
                check=True, capture_output=True, text=True,
            )
            self.keys[name] = made.stdout.strip()
        self.log = open(os.path.join(directory, "log"), "w+")
        self.process = subprocess.Popen(
            [PROGRAM, "--log", "info", "serve", "--bind", "127.0.0.1:0", "--drain-timeout-ms", str(DRAIN_MS),
             "--write-timeout-ms", "5000", *data],
            stdout=self.log, stderr=subprocess.STDOUT,
        )
        self.port = None
        for _ in range(600):
            with open(self.log.name) as log:
                found = re.search(r"listening.*127\.0\.0\.1:(\d+)", re.sub(r"\x1b\[[0-9;]*m", "", log.read()))
            if found:
                self.port = int(found.group(1))
                break
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        if self.port is None:
            with open(self.log.name) as log:
                sys.exit("the service did not start:\n" + log.read())

    def ask(self, method, path, key="neighbour", body=None, headers=None, timeout=120):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        sent = {"Authorization": f"Bearer {self.keys[key]}"} if key else {}
        if body is not None and not isinstance(body, (bytes, str)):
            body, sent["Content-Type"] = json.dumps(body), "application/json"
        sent.update(headers or {})
        try:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def done(self, method, path, **more):
        status, text = self.ask(method, path, **more)
        if status >= 300:
            sys.exit(f"{method} {path}: {status} {text[:300]!r}")
        return json.loads(text)

    def memory(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1)) / 1024

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # The service is not killed, as it must also stop its PostgreSQL.
        if self.process.poll() is None:
            self.stop()

    def stop(self):
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
        return time.monotonic() - begun


def run(i):
    """A run by a law, with noise that depends only on its number."""
    size, sparsity, data = 1e6 * (1 + i % 40), 0.25 * (i % 4), 1e9 * (1 + i * 7 % 50)
    loss = (8.0 * (1 - sparsity) ** 0.4 + 2.0) * size ** -0.15 + (5e7 / data) ** 0.3 + 0.7
    return f"run-{i},{size},{sparsity},{data},{loss * (1 + (i * 37 % 97 - 48) / 20_000)}"


def csv(first, count):
    rows = [run(i) for i in range(first, first + count)]
    return "external_id,nonzero_params,sparsity,data,loss\n" + "\n".join(rows) + "\n"


def prepare(service):
    service.done("POST", "/v1/families", key="aggressor", body={"name": "large"})
    service.done("POST", "/v1/families", key="neighbour", body={"name": "small"})
    text = {"Content-Type": "text/csv"}
    service.done("POST", "/v1/families/large/runs", key="aggressor", body=csv(0, RUNS), headers=text)
    service.done("POST", "/v1/families/small/runs", body=csv(0, 200), headers=text)
    for family, key in (("small", "neighbour"), ("small", "neighbour")):
        options = {"starts": 2, "bootstrap": 200, "holdout": []}
        refit = service.done("POST", f"/v1/families/{family}/refits", key=key, body=options)
        while refit["finished_at"] is None:
            time.sleep(0.1)
            refit = service.done("GET", f"/v1/refits/{refit['id']}")
        if refit["state"] != "succeeded":
            sys.exit(f"a refit failed: {refit}")


def neighbour(service, seconds):
    """Asks, uploads and reads /healthz for this long. Returns the times of each, in milliseconds, and the failures."""
    times, failed = {"question": [], "upload": [], "health": []}, []
    end = time.monotonic() + seconds

    def every(kind, pause, ask):
        number = 0
        while time.monotonic() < end:
            begun = time.monotonic()
            try:
                status, text = ask(number)
                if status != 200:
                    failed.append(f"{kind} {status} {text[:100]!r}")
            except OSError as error:
                failed.append(f"{kind} {error}")
            times[kind].append((time.monotonic() - begun) * 1000)
            number += 1
            time.sleep(pause)

    question = "/v1/families/small/optimal-sparsity?nonzero_params={}&compute=1e20&flop_mode={}"
    jobs = [
        ("question", 0.01, lambda i: service.ask(
            "GET", question.format(1e8 + i * 1e5, ("sparse", "example-block-sparse")[i % 8 == 0]))),
        ("upload", 0.05, lambda i: service.ask(
            "POST", "/v1/families/small/runs", body=csv(i % 10, 5), headers={"Content-Type": "text/csv"})),
        ("health", 0.02, lambda i: service.ask("GET", "/healthz", key=None)),
    ]
    threads = [threading.Thread(target=every, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times, failed


def p99(times):
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


class Aggressor:
    """A process with threads that repeat an action, whatever the answers are."""

    def __init__(self, threads, act):
        # A separate process, so that the neighbour's times are those of the service and not of threads in the same
        # process.
        forked = multiprocessing.get_context("fork")
        self.stopped = forked.Event()
        self.process = forked.Process(target=self.run, args=(threads, act), daemon=True)
        self.process.start()

    def run(self, threads, act):
        def again(number):
            while not self.stopped.is_set():
                try:
                    act(number, self.stopped)
                except (OSError, http.client.HTTPException):
                    pass

        for number in range(threads):
            threading.Thread(target=again, args=(number,), daemon=True).start()
        self.stopped.wait()

    def stop(self):
        self.stopped.set()
        self.process.join(5)


def raw(service, head, stopped, read=0):
    """Opens a connection that sends this head, reads this many bytes, and then stands still."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as stream:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stream.sendall(head.encode())
        if read:
            stream.recv(read)
        stopped.wait(SECONDS)


def cases(service):
    """The actions of the aggressor: name, number of threads, and function."""
    key = service.keys["aggressor"]
    ask = lambda *words, **more: service.ask(*words, key="aggressor", **more)
    long_name = json.dumps({"name": "a", "x" * 15_000_000: 1})
    points = [{"nonzero_params": 1e7 + i, "compute": 1e20} for i in range(900)]
    searched = {"flop_mode": "example-block-sparse", "points": points}
    grid = {"flop_mode": "sparse", "nonzero_params": {"from": 1e7, "to": 1e9, "steps": 300},
            "compute": {"from": 1e18, "to": 1e22, "steps": 300}}
    blank = b"\n" * (32 << 20)
    import gzip
    bomb = gzip.compress(blank * 4, 6)
    small = "/v1/families/small"
    large = "/v1/families/large"
    authorised = f"Host: a\r\nAuthorization: Bearer {key}\r\n"
    refit = service.ask("POST", f"{large}/refits", key="aggressor", body={"starts": 64, "bootstrap": 1000})
    location = json.loads(refit[1]).get("id", "")
    return [
        ("long field names", 4, lambda n, s: ask(
            "POST", f"{small}/optimal-sparsities", body=long_name, headers={"Content-Type": "application/json"})),
        ("comparisons", 8, lambda n, s: ask("GET", f"{small}/laws/compare?a=1&b=2")),
        ("questions in a profile's mode", 8, lambda n, s: ask(
            "GET", f"{small}/optimal-sparsity?nonzero_params={1e8 + time.time()}&compute=1e20&flop_mode=example-block-sparse")),
        ("many points, searched", 6, lambda n, s: ask("POST", f"{small}/optimal-sparsities", body=searched)),
        ("many points", 4, lambda n, s: ask("POST", f"{small}/optimal-sparsities", body=grid)),
        ("bodies that expand", 4, lambda n, s: ask(
            "POST", f"{large}/runs?on_error=skip", body=bomb,
            headers={"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"})),
        ("large uploads", 4, lambda n, s: ask(
            "POST", f"{large}/runs", body=csv(n * 20_000, 20_000), headers={"Content-Type": "text/csv"})),
        ("exports that nobody takes", 16, lambda n, s: raw(
            service, f"GET {large}/runs HTTP/1.1\r\n{authorised}Accept: text/csv\r\n\r\n", s, 100)),
        ("refits", 2, lambda n, s: (ask("POST", f"{large}/refits", body={"starts": 64, "bootstrap": 200}), s.wait(0.2))),
        ("streams of events", 100, lambda n, s: raw(
            service, f"GET /v1/refits/{location}/events HTTP/1.1\r\n{authorised}\r\n", s, 100)),
    ]


def fare(service, threads, act, memory):
    """Measures how the neighbour of a service fares during an action of the aggressor. Returns 99th percentiles of questions
    and uploads and the longest /healthz in milliseconds, memory above idle in MiB, and the failures.
    """
    aggressor = Aggressor(threads, act)
    time.sleep(0.3)
    peak = [0.0]
    watching = threading.Event()

    def watch():
        while not watching.wait(0.05):
            peak[0] = max(peak[0], service.memory() - memory)

    watcher = threading.Thread(target=watch)
    watcher.start()
    times, failed = neighbour(service, SECONDS)
    watching.set()
    watcher.join()
    aggressor.stop()
    return p99(times["question"]), p99(times["upload"]), max(times["health"]), peak[0], failed


def stopped(service):
    """Seconds that the service takes to stop while the longest questions are computed."""
    aggressor = Aggressor(6, lambda n, s: service.ask(
        "POST", "/v1/families/small/optimal-sparsities", key="aggressor",
        body={"flop_mode": "example-block-sparse",
              "points": [{"nonzero_params": 1e7 + i, "compute": 1e20} for i in range(900)]}))
    time.sleep(1)
    took = service.stop()
    aggressor.stop()
    return took


def main():
    failures = []
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        os.chmod(directory, 0o755)
        # The neighbour sends nothing to the other service: attacking that one shows the cost of sharing the machine.
        service, other = (stack.enter_context(Service(os.path.join(directory, name))) for name in ("one", "other"))
        for each in (service, other):
            prepare(each)
        neighbour(service, 1)
        idle, failed = neighbour(service, SECONDS)
        if failed:
            failures.append(f"idle: {failed[0]}")
        memory = service.memory()
        print("| aggressor | question p99 ms | upload p99 ms | /healthz max ms | memory above idle MiB | failed |")
        print("|---|---|---|---|---|---|")
        usual = [p99(idle["question"]), p99(idle["upload"]), max(idle["health"])]
        print(f"| none | {usual[0]:.1f} | {usual[1]:.1f} | {usual[2]:.1f} | 0 | 0 |", flush=True)
        limits = [SLOWER * max(usual[0], FLOOR_MS / SLOWER), SLOWER * max(usual[1], FLOOR_MS / SLOWER), HEALTH_MS]
        rows = list(zip(cases(service), cases(other), strict=True))
        only = os.environ.get("ONLY")
        if only and only not in [name for (name, _, _), _ in rows]:
            sys.exit(f"ONLY names no row: {only}")
        for (name, threads, act), (_, _, elsewhere) in rows:
            if name != (only or name):
                continue
            *beside, _, _ = fare(service, threads, elsewhere, memory)
            *found, grown, failed = fare(service, threads, act, memory)
            cells = " | ".join(f"{here:.1f} ({there:.1f})" for here, there in zip(found, beside, strict=True))
            print(f"| {name} | {cells} | {grown:.0f} | {len(failed)} |", flush=True)
            for kind, here, there, most in zip(("question p99", "upload p99", "/healthz"), found, beside, limits, strict=True):
                # If the times are as long while another service is attacked, the machine is the cause.
                if here > max(most, NOISE * there):
                    failures.append(f"{name}: {kind} {here:.1f} ms, more than {most:.1f}, and {there:.1f} beside another service")
            if grown > MEMORY_MIB:
                failures.append(f"{name}: {grown:.0f} MiB")
            if failed:
                failures.append(f"{name}: {len(failed)} failed, {failed[0]}")
        took = stopped(service)
        print(f"\nstopped by SIGTERM after {took:.1f} s, drain {DRAIN_MS / 1000:.0f} s")
        if took > STOP_SECONDS:
            failures.append(f"it took {took:.1f} s to stop")
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if failures else 0


sys.exit(main())
