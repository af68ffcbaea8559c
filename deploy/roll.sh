#!/usr/bin/env bash
# Replace the containers of the service, or of another, one after the other, each only once its successor is ready:
#   deploy/roll.sh [service|worker]
# For a new image or new settings, without a request that fails: nginx looks for replicas each second, and a service that is
# told to stop says so, ends what it has begun and only then goes. DOCKER and DOCKER_COMPOSE name other commands.
set -euo pipefail
cd "$(dirname "$0")/.."
DOCKER=${DOCKER:-docker}
DOCKER_COMPOSE=${DOCKER_COMPOSE:-$DOCKER compose}
name=${1:-service}
patience_s=${PATIENCE_S:-120}

old=$($DOCKER_COMPOSE ps --quiet "$name")
[ -n "$old" ] || { echo "no container of $name runs; \`docker compose up\` starts it" >&2; exit 1; }
replicas=$(wc -w <<<"$old")

healthy() { [ "$($DOCKER inspect --format '{{.State.Health.Status}}' "$1")" = healthy ]; }

for container in $old; do
  $DOCKER_COMPOSE up --detach --no-deps --no-build --no-recreate --scale "$name=$((replicas + 1))" "$name"
  for successor in $($DOCKER_COMPOSE ps --quiet "$name"); do
    [[ " $(echo $old) " == *" $successor "* ]] && continue
    deadline=$((SECONDS + patience_s))
    until healthy "$successor"; do
      [ $SECONDS -lt $deadline ] || { echo "${successor:0:12} is not healthy after $patience_s s; the old ones go on" >&2; exit 1; }
      sleep 0.5
    done
  done
  sleep 2  # nginx has then looked, and shares requests out among all
  $DOCKER stop "$container" >/dev/null
  $DOCKER rm "$container" >/dev/null
  echo "${container:0:12} has a successor"
done
