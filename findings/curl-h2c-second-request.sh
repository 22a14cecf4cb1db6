#!/usr/bin/env bash
# curl 7.88.1 (Debian 12): with `--http2-prior-knowledge` and without TLS only the first request of a connection is
# answered; the second ends with "(16) Error in the HTTP2 framing layer".
#
# Seen: two addresses in one command, asked of Caddy 2.6.2 as a server of h2c. The first is answered (`2 1`: HTTP/2, one
# connection made), the second is not sent as HTTP/2. Other clients ask as often as they like on one connection.
#
# Why it matters: it looks like a fault of the server that is tried with it. One request a command works.
#
# Ends with 0 while that is so, with 1 once it has changed. Needs curl and caddy.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$folder/Caddyfile" <<CADDY
{
    admin off
    servers {
        protocols h1 h2c
    }
}
http://127.0.0.1:$port {
    respond "well"
}
CADDY
HOME=$folder XDG_DATA_HOME=$folder XDG_CONFIG_HOME=$folder \
    caddy run --adapter caddyfile --config "$folder/Caddyfile" >"$folder/log" 2>&1 &
server=$!
base=http://127.0.0.1:$port
curl -sS --retry 50 --retry-connrefused --retry-delay 1 -o "$folder/answer" "$base/"
curl --version | head -1
code=0
curl -sS --http2-prior-knowledge -w '%{http_version} %{num_connects}\n' -o "$folder/answer" "$base/one" \
    -o "$folder/answer" "$base/other" || code=$?
echo "ended with $code"
[ "$code" = 16 ]
