#!/usr/bin/env bash
# docker-compose.yml proved by running it: keys, build, up, a forecast, jobs, a worker killed, two workers, down.
# DOCKER_COMPOSE names another command that takes `docker compose`'s arguments.
set -euo pipefail
cd "$(dirname "$0")/.."
DOCKER_COMPOSE=${DOCKER_COMPOSE:-docker compose}
URL=http://127.0.0.1:${NEXTDAY_PORT:-8000}
NEXTDAY=.venv/bin/nextday
work=$(mktemp -d)

say() { printf '[%4ds] %s\n' "$SECONDS" "$*"; }
fail() { say "FAILED: $*"; exit 1; }
compose() { $DOCKER_COMPOSE "$@"; }
eventually() { # SECONDS COMMAND...
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || return 1; sleep 0.5; done
}
workers() { curl -sf "$URL/readyz" | grep -q "\"workers\":$1"; }

compose version >/dev/null 2>&1 && compose ps >/dev/null 2>&1 || {
  echo "no Docker engine answers to \`$DOCKER_COMPOSE\`; install Docker with Compose 2.26 or newer, or name another command in DOCKER_COMPOSE"
  exit 2
}
[ -x $NEXTDAY ] || fail "run \`make up\` or \`make test\` once: it installs the client that this drives"
trap 'compose down --volumes --timeout 60 >/dev/null 2>&1; rm -rf "$work"' EXIT

compose config --quiet; say "the file is sound"
new_key() { compose run --rm --no-deps -T service nextday keys new "$@" 2>>"$work/keys.log" | tail -n 1; }
status() { curl -s -o /dev/null -w '%{http_code}' "$URL/v1/jobs" -H "Authorization: Bearer $1"; }
compose run --rm --no-deps -T service nextday serve >"$work/no-keys.log" 2>&1 && fail "it starts without a key"
grep -q "make one with .nextday keys new" "$work/no-keys.log" || { cat "$work/no-keys.log"; fail "no word of keys"; }
NEXTDAY_API_KEY=$(new_key e2e --scope forecast --scope jobs) || { cat "$work/keys.log"; fail "no key"; }
export NEXTDAY_API_KEY
say "a key"
compose up --build --detach >"$work/up.log" 2>&1 || { tail "$work/up.log"; fail "up"; }
eventually 60 curl -sf "$URL/readyz" || fail "the service is not ready"
eventually 60 workers 1 || fail "no worker"
say "up and ready"

[ "$(status none)" = 401 ] || fail "a stranger was let in"
answer=$(curl -sf "$URL/v1/forecasts" -H "Authorization: Bearer $NEXTDAY_API_KEY" -H 'Content-Type: application/json' \
  -d '{"series":[{"id":"yesterday and today","closes":[101.5,102.25]}]}') || fail "no forecast"
case $answer in *'"quantiles"'*) say "two closes give tomorrow" ;; *) fail "$answer" ;; esac

$NEXTDAY prices sp500 --days 250 -o "$work/prices.csv"
$NEXTDAY score "$work/prices.csv" -o "$work/out.csv" --url "$URL"
[ "$(wc -l <"$work/out.csv")" = 21 ] || fail "20 stocks do not have 20 forecasts"

awk 'BEGIN { srand(1); for (row = 0; row < 50000; row++) { printf "{\"id\":\"s%d\",\"closes\":[100", row
  close_ = 100; for (day = 1; day < 60; day++) { close_ *= 1 + (rand() - 0.5) / 50; printf ",%.2f", close_ }
  print "]}" } }' >"$work/many.ndjson"
$NEXTDAY score "$work/many.ndjson" -o "$work/before.ndjson" --url "$URL" --levels 0.05,0.5,0.95
compose up --detach --no-build --scale worker=2 >/dev/null 2>&1
eventually 60 workers 2 || fail "there are not two workers"
say "two workers"

sed 's/"id":"/"id":"again-/' "$work/many.ndjson" >"$work/again.ndjson"
$NEXTDAY score "$work/again.ndjson" -o "$work/after.ndjson" --url "$URL" --levels 0.05,0.5,0.95 &
scoring=$!
sleep 2
# All that this user may kill in the container: its first process then ends too, and Docker starts it again.
compose exec -T --index 1 worker python -c 'import os; os.kill(-1, 9)' >/dev/null 2>&1 || true
wait $scoring || fail "the job did not survive its worker"
sed 's/"id":"again-/"id":"/' "$work/after.ndjson" | cmp - "$work/before.ndjson" || fail "rows differ"
say "50,000 rows with a worker killed: the same answers, each once"

other=$(compose exec -T service nextday keys new other --scope jobs 2>/dev/null)
opens() { [ "$(status "$other")" = "$1" ]; }
eventually 5 opens 200 || fail "a new key is not let in while the service runs"
id=${other#nd_}
compose exec -T service nextday keys revoke "${id%%_*}" 2>/dev/null
sleep 2
for _ in 1 2 3 4 5 6; do opens 401 || fail "a revoked key is let in"; done
say "a key made and revoked while the service runs"

[ "$(compose exec -T service id -u)" = 10001 ] || fail "the service runs as root"
(exec 3<>/dev/tcp/127.0.0.1/6379) 2>/dev/null && fail "Redis can be reached from outside"
compose down --volumes --timeout 60 >/dev/null 2>&1
[ -z "$(compose ps --all --quiet)" ] || fail "containers were left behind"
say "down, nothing left behind"
