"""Failover of the database under load: nothing that was acknowledged may be lost.

Two services reach PostgreSQL through HAProxy, which leads to the primary or, if that is down, to the standby. The primary is
killed with all of its processes, as in a power failure of its machine. Then the standby, to which it replicates
synchronously, is promoted.
"""

import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from load import Load, haproxy, two_services  # noqa: E402
from processes import until  # noqa: E402
from servers import Installation, Server  # noqa: E402

PROGRAM, HAPROXY, BIN, DATA = sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
INSTALLATION = Installation(BIN, DATA)


@contextmanager
def pair():
    """Starts a primary and its synchronous standby."""
    primary, standby = INSTALLATION.initialised("primary"), Server(INSTALLATION, "standby")
    with primary.started():
        source = f"host=127.0.0.1 port={primary.port} user=planner password={INSTALLATION.password}"
        INSTALLATION.run(
            "pg_basebackup", "--pgdata", standby.home, "--dbname", f"{source} application_name=standby",
            "--write-recovery-conf", "--checkpoint=fast",
        )  # fmt: skip
        with standby.started():
            # From now on a commit is acknowledged only once the standby has it, too. The standby does not inherit
            # this setting, so after its promotion it waits for nobody.
            primary.ask("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
            primary.ask("SELECT pg_reload_conf()")
            state = "SELECT sync_state FROM pg_stat_replication"
            until("the standby is synchronous", lambda: primary.ask(state) == "sync")
            yield primary, standby


def main():
    with ExitStack() as stack:
        primary, standby = stack.enter_context(pair())
        servers = f"""
    option pgsql-check user planner
    server primary 127.0.0.1:{primary.port}
    server standby 127.0.0.1:{standby.port} backup"""
        port = stack.enter_context(haproxy(HAPROXY, DATA, servers))
        url = f"postgres://planner:{INSTALLATION.password}@127.0.0.1:{port}/postgres"
        bases = stack.enter_context(two_services(PROGRAM, url, DATA))
        load = Load(bases)

        def failover():
            primary.kill()
            killed = time.monotonic()
            assert standby.ask("SELECT pg_promote(wait => true, wait_seconds => 60)") == "t"
            return killed

        with load.running():
            promoted, written = load.over(failover)
        print(
            f"nothing lost of {load.kept()}; from the death of the primary to its standby's promotion {promoted:.1f} s, "
            f"to the first write {written:.1f} s"
        )


main()
