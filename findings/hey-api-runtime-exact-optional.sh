#!/usr/bin/env bash
# @hey-api/openapi-ts 0.95.0 with its client `client-fetch`, TypeScript 5.9.3: what it writes does not compile where
# `exactOptionalPropertyTypes` is on.
#
# Seen: a client generated from a document with one operation compiles with `strict`, and with `exactOptionalPropertyTypes`
# beside it the files that are the same for every document (`client/`, `core/`) have errors TS2375 and TS2379: undefined
# is handed to properties that may be left out, and may not be undefined.
#
# Why it matters: the option is one of a whole program, so that such a client needs a project of its own there.
#
# Ends with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --prefix . @hey-api/openapi-ts@0.95.0 typescript@5.9.3 >/dev/null

cat >document.json <<'JSON'
{"openapi": "3.1.0", "info": {"title": "Laws", "version": "1"}, "paths": {"/laws": {"get": {
  "operationId": "listLaws",
  "responses": {"200": {"description": "Names", "content": {"application/json": {
    "schema": {"type": "array", "items": {"type": "string"}}}}}}
}}}}
JSON
node_modules/.bin/openapi-ts --input document.json --output client --plugins @hey-api/client-fetch --silent
compile() {
    node_modules/.bin/tsc --noEmit --strict --target es2022 --module esnext --moduleResolution bundler \
        --lib es2022,dom,dom.iterable "$@" client/*.ts
}
compile || exit 1
echo "strict alone compiles"
said=$(compile --exactOptionalPropertyTypes) && exit 1
grep -oE "TS[0-9]+" <<<"$said" | sort | uniq -c
grep -qE '^client/(client|core)/.*TS2379' <<<"$said" && grep -q "'exactOptionalPropertyTypes: true'" <<<"$said" || exit 1
echo "with exactOptionalPropertyTypes it does not"
