#!/usr/bin/env bash
# patroni 3.3.2 with PostgreSQL 16.2: a node that is called `first` (or `any`) is never a synchronous standby.
#
# Seen: with `synchronous_mode` on, Patroni writes the name of the standby into synchronous_standby_names as it is, where
# PostgreSQL reads `first` and `any` as keywords and refuses the value. The server goes on with the value of before, which
# after a switchover is none: Patroni logs "Assigning synchronous standby status" each turn, commits do not wait for the
# standby, and when the primary dies nothing may be promoted. The same in 3.0.2, which Debian 12 has, and in 4.0.0; from
# 4.0.2 on Patroni puts every name in quotes, which PostgreSQL takes.
#
# Why it matters: it looks like a cluster that loses nothing, and is one that cannot fail over. Call nodes something else.
#
# Ends with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check patroni==3.3.2 psycopg2-binary==2.9.11 pgserver==0.1.4
programs=$(echo "$folder"/venv/lib/python3*/site-packages/pgserver/pginstall/bin)

# PostgreSQL does not run as root.
as_user() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"; else "$@"; fi; }
mkdir "$folder/data"
if [ "$(id -u)" = 0 ]; then chown 65534:65534 "$folder/data"; fi
as_user "$programs/initdb" --pgdata "$folder/data" --auth trust >/dev/null

# What a server on its own, without connections, makes of synchronous_standby_names.
takes() {
    as_user "$programs/postgres" --single -D "$folder/data" -c "synchronous_standby_names=$1" postgres </dev/null 2>&1
}

for name in first any; do
    as_patroni=$("$folder/venv/bin/python" -c \
        'import sys; from patroni.postgresql.sync import quote_ident; print(quote_ident(sys.argv[1]))' "$name")
    echo "Patroni writes $as_patroni for a node that is called $name"
    [ "$as_patroni" = "$name" ] || exit 1
    said=$(takes "$as_patroni") && exit 1
    grep -q 'invalid value for parameter "synchronous_standby_names"' <<<"$said" || exit 1
    echo "PostgreSQL refuses it"
    takes "\"$name\"" >/dev/null || exit 1
    echo "PostgreSQL takes \"$name\" in quotes"
done
