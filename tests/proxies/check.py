"""Uploads, events, addresses of callers and links through nginx, HAProxy, Caddy and Envoy, configured as in docs/proxies.md.

Runs below `sparsity-planner postgres`, which names its server in DATABASE_URL.
"""

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from processes import PATIENCE_S, free_port, listens, running, until  # noqa: E402

PROGRAM, DATA, PAGE, ENVOY = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]).read_text(), sys.argv[4]
# A larger body than nginx accepts by default.
ROWS = 20_000


def configuration(name, service, port):
    """The configuration that follows this marker in the page, changed to these ports."""
    block = re.search(rf"<!-- {name} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)[1]
    return block.replace("8080", str(service)).replace("8443", str(port))


@contextmanager
def nginx(service):
    port, home = free_port(), DATA / "nginx"
    home.mkdir()
    paths = "".join(
        f"{kind}_temp_path {home}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    (home / "conf").write_text(
        f"{user}daemon off;\npid {home}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}"
        f"{configuration('nginx', service, port)}}}\n"
    )
    log = DATA / "nginx.log"
    with running([tool("nginx"), "-c", str(home / "conf")], log) as process:
        until("nginx listens", lambda: listens(process, log, port))
        yield port


@contextmanager
def haproxy(service, options="", impatient=False):
    port = free_port()
    settings = DATA / "haproxy.cfg"
    block = configuration("haproxy", service, port)
    block = block.replace("pool-purge-delay", f"{options} pool-purge-delay")
    settings.write_text(block.replace("timeout server 1h", "timeout server 2s") if impatient else block)
    log = DATA / "haproxy.log"
    with running([tool("haproxy"), "-db", "-f", str(settings)], log) as process:
        until("HAProxy listens", lambda: listens(process, log, port))
        yield port


@contextmanager
def caddy(service):
    port, home = free_port(), DATA / "caddy"
    home.mkdir()
    # No admin address, and no files in the home directory of the user.
    (home / "conf").write_text("{\nadmin off\n}\n" + configuration("caddy", service, port))
    log = DATA / "caddy.log"
    command = [tool("caddy"), "run", "--adapter", "caddyfile", "--config", str(home / "conf")]
    environment = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_DATA_HOME": str(home)}
    with running(command, log, env=environment) as process:
        until("Caddy listens", lambda: listens(process, log, port))
        yield port


@contextmanager
def envoy(service):
    port, settings, log = free_port(), DATA / "envoy.yaml", DATA / "envoy.log"
    settings.write_text(configuration("envoy", service, port))
    # No admin address; each of several instances gets its own id.
    command = [ENVOY, "--config-path", str(settings), "--use-dynamic-base-id", "--log-level", "warning"]
    with running(command, log) as process:
        until("Envoy listens", lambda: listens(process, log, port))
        # Until its health check has found the service, Envoy answers by itself.
        until("Envoy finds the service", lambda: ask(port, "GET", "/planner/readyz")[0].status == 200)
        yield port


def tool(name):
    return shutil.which(name) or f"/usr/sbin/{name}"


@contextmanager
def planner(name, *arguments):
    """Runs a service; gives its port."""
    log = DATA / f"{name}.log"
    command = [PROGRAM, "--log-format", "json", "serve", "--bind", "127.0.0.1:0", *arguments]
    with running(command, log):
        found = until("the service listens", lambda: re.search(r'"address":"127\.0\.0\.1:(\d+)"', log.read_text()))
        yield int(found[1])


def ask(port, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer, text


def rows():
    for i in range(ROWS):
        loss = 2 + (i % 97) / 100
        yield f"run-{i},{1e6 + i},0.5,{1e9 + i},{loss}\n"


def check(name, port):
    """Checks what must work through any proxy below /planner."""
    json_body = {"content-type": "application/json"}
    answer, text = ask(port, "POST", "/planner/v1/families", json.dumps({"name": name}), json_body)
    assert answer.status == 201, text
    assert answer.headers["location"] == f"/planner/v1/families/{name}", answer.headers["location"]
    table = "external_id,nonzero_params,sparsity,data,loss\n" + "".join(rows())
    answer, text = ask(port, "POST", f"/planner/v1/families/{name}/runs", table.encode(), {"content-type": "text/csv"})
    assert answer.status == 200 and json.loads(text)["created"] == ROWS, text

    runs = [
        {
            "external_id": f"{n}-{s}-{d}", "nonzero_params": n, "sparsity": s, "data": d,
            "loss": (16.8 * (1 - s) ** 0.72 + 45) * n**-0.245 + (6.9e8 / d) ** 0.2 + 0.65,
        }
        for n in (1e6, 4e6, 1.6e7) for s in (0, 0.5, 0.75, 0.875) for d in (4e9, 1.6e10, 6.4e10)
    ]  # fmt: skip
    ask(port, "POST", "/planner/v1/families", json.dumps({"name": f"{name}-fit"}), json_body)
    ask(port, "POST", f"/planner/v1/families/{name}-fit/runs", json.dumps(runs), json_body)
    answer, text = ask(port, "POST", f"/planner/v1/families/{name}-fit/refits", "{}", json_body)
    assert answer.status == 202, text
    answer, text = ask(port, "GET", answer.headers["location"] + "/events")
    assert answer.status == 200 and b'"succeeded"' in text, text

    # Every address in the page leads through the proxy.
    answer, page = ask(port, "GET", "/planner/")
    assert answer.status == 200, page
    for address in re.findall(r'(?:href|src)="([^"]+)"', page.decode()):
        there, _ = urllib.parse.urldefrag(urllib.parse.urljoin("/planner/", address))
        answer, text = ask(port, "GET", there)
        assert answer.status == 200, (there, answer.status)


@contextmanager
def held(table):
    """Locks a table against writes, so that uploads wait for their answer as long as large ones do."""
    psql = [tool("psql"), "--quiet", "--no-psqlrc", "--tuples-only", os.environ["DATABASE_URL"]]
    with subprocess.Popen(psql, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.stdin.write(f"BEGIN; LOCK TABLE {table} IN EXCLUSIVE MODE; SELECT 'held';\n")
        process.stdin.flush()
        while "held" not in process.stdout.readline():
            assert process.poll() is None, "psql has ended"
        yield
        process.stdin.write("ROLLBACK;\n")
        process.stdin.close()


def check_impatient(port):
    """Checks what a proxy cuts off that waits two seconds for an answer, and what it does not."""
    name, csv = "impatient", {"content-type": "text/csv"}
    ask(port, "POST", "/planner/v1/families", json.dumps({"name": name}), {"content-type": "application/json"})
    path = f"/planner/v1/families/{name}/runs"
    table = ("external_id,nonzero_params,sparsity,data,loss\n" + "".join(rows())).encode()
    with held("runs"):
        answer, text = ask(port, "POST", path, table, csv)
        assert answer.status == 504, (answer.status, text)
        answer, text = ask(port, "POST", path, table, {**csv, "prefer": "respond-async"})
        assert answer.status == 202, (answer.status, text)
        upload = answer.headers["location"]
        answer, text = ask(port, "GET", upload)
        assert json.loads(text)["state"] in ("queued", "running"), text

    def result():
        answer, text = ask(port, "GET", upload)
        assert answer.status == 200, text
        return json.loads(text)["result"]

    # The upload may have been stored before the service noticed that the connection was cut.
    counts = until("the upload is stored", result)
    assert counts["created"] + counts["unchanged"] == ROWS, counts


def main():
    # Quotas are counted by the address that a trusted proxy names.
    options = ("--trusted-proxies", "127.0.0.1", "--rate-per-address", "1000", "--burst-per-address", "1000")
    with planner("behind-nginx", *options) as service, nginx(service) as port:
        check("nginx", port)
    print("nginx, which takes the path away and says so")
    with planner("behind-haproxy", *options, "--base-path", "/planner") as service, haproxy(service) as port:
        check("haproxy", port)
    print("HAProxy, which passes the path on")
    with planner("behind-haproxy-2", *options, "--base-path", "/planner") as service:
        with haproxy(service, "proto h2") as port:
            check("haproxy-2", port)
    print("the same by HTTP/2")
    with planner("behind-impatient", *options, "--base-path", "/planner") as service:
        with haproxy(service, impatient=True) as port:
            check_impatient(port)
    print("HAProxy that waits two seconds for an answer: respond-async is answered, and stored")
    with planner("behind-caddy", *options) as service, caddy(service) as port:
        check("caddy", port)
    print("Caddy, by HTTP/2")
    with planner("behind-envoy", *options) as service, envoy(service) as port:
        check("envoy", port)
    print("Envoy, by HTTP/2")


main()
