#!/usr/bin/env bash
# Three replicas and a worker on one private PostgreSQL, without containers: uploads runs, asks for a
# refit, kills whoever works on it, waits for the law, starts the killed one again, and checks that every
# replica gives the same answer. Everything that it starts, it stops.
#
#   cargo build --release && docker/local-cluster.sh
#
# Needs curl and PostgreSQL's server programs. PLANNER names another build of the program.
set -euo pipefail
cd "$(dirname "$0")/.."
planner=${PLANNER:-target/release/sparsity-planner}
replicas="a b c"

dir=$(mktemp -d)
chmod 755 "$dir"
mkfifo "$dir/hold"
postgres=

stop_all() {
    for file in "$dir"/*.pid; do
        [ -e "$file" ] && kill "$(cat "$file")" 2>/dev/null || true
    done
    for file in "$dir"/*.pid; do
        [ -e "$file" ] && wait "$(cat "$file")" 2>/dev/null || true
    done
    # PostgreSQL ends with its standard input.
    exec 9>&-
    [ -z "$postgres" ] || wait "$postgres" 2>/dev/null || true
    rm -rf "$dir"
}
trap stop_all EXIT
trap 'exit 130' INT TERM

# until_true WHAT COMMAND...: waits, at most two minutes, until the command succeeds.
until_true() {
    local what=$1
    shift
    for _ in $(seq 1200); do
        if "$@"; then return; fi
        sleep 0.1
    done
    echo "never: $what" >&2
    tail -n 5 "$dir"/*.log >&2
    exit 1
}

# begin NAME LOGGED COMMAND [OPTION...]: starts a process of the program, and waits until it says so.
begin() {
    local name=$1 logged=$2
    shift 2
    DATABASE_URL=$url "$planner" "$@" --lease-ms 1000 --poll-interval-ms 200 \
        2>"$dir/$name.log" 9>&- &
    echo $! >"$dir/$name.pid"
    until_true "$name starts" grep -q "$logged" "$dir/$name.log"
}

# replica NAME ADDRESS: starts a replica, and notes where it listens.
replica() {
    begin "$1" listening serve --bind "$2"
    sed -n 's/.*address=//p' "$dir/$1.log" | head -n 1 >"$dir/$1.address"
    echo "replica $1 listens on $(cat "$dir/$1.address")"
}

# ask NAME PATH [OPTION...]: a request to a replica.
ask() {
    local name=$1 path=$2
    shift 2
    curl -sS --fail-with-body --max-time 300 "$@" "http://$(cat "$dir/$name.address")$path"
}

post() { ask "$1" "$2" -H 'Content-Type: application/json' "${@:3}"; }

# The first of the processes with this line in its log.
whose() { grep -l "$1" "$dir"/*.log 2>/dev/null | head -n 1 | sed 's|.*/||; s|\.log$||' | grep .; }

answers() {
    for name in $replicas; do
        ask "$name" "/v1/families/mine/optimal-sparsity?nonzero_params=5e7&compute=1e19&flop_mode=sparse" \
            >"$dir/$name.answer" 2>/dev/null || return 1
        cmp -s "$dir/a.answer" "$dir/$name.answer" || return 1
    done
}

"$planner" --log warn postgres --data-dir "$dir/data" \
    sh -c 'echo "$DATABASE_URL" >"$1/url.new"; mv "$1/url.new" "$1/url"; cat' sh "$dir" <"$dir/hold" &
postgres=$!
exec 9>"$dir/hold"
until_true "PostgreSQL starts" test -s "$dir/url"
url=$(cat "$dir/url")

for name in $replicas; do replica "$name" 127.0.0.1:0; done
begin worker working worker

post a /v1/families -d '{"name": "mine", "data_unit": "tokens"}' >/dev/null
post b /v1/families/mine/runs --data-binary @examples/demo-runs.json >/dev/null
refit=$(post c /v1/families/mine/refits -d '{"starts": 2048}' -o /dev/null -w '%header{location}')
echo "runs are uploaded; $refit is asked for"

until_true "somebody works on the refit" whose "refit claimed" >/dev/null
killed=$(whose "refit claimed")
if grep -q "refit ended" "$dir/$killed.log"; then
    echo "the refit ended before its worker could be killed" >&2
    exit 1
fi
kill -9 "$(cat "$dir/$killed.pid")"
wait "$(cat "$dir/$killed.pid")" 2>/dev/null || true
echo "$killed worked on it and is killed"

other=a
[ "$killed" != a ] || other=b
ask "$other" "$refit/events" --no-buffer >"$dir/events"
grep -q '"state":"succeeded"' "$dir/events"
echo "the refit went on with $(mv "$dir/$killed.log" "$dir/killed" && whose "refit ended")"

if [ "$killed" = worker ]; then
    begin worker working worker
else
    replica "$killed" "$(cat "$dir/$killed.address")"
fi
until_true "all replicas answer alike" answers
for name in $replicas; do
    echo "$name: $(cat "$dir/$name.answer")"
done
echo "all replicas answer alike"
