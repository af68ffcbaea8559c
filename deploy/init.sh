#!/bin/sh
# Run once before the others start, and again at each `up`: makes what is missing and touches nothing that is there.
#   /secrets   passwords, readable in the containers that the volume is given to
#   /store     the models; those that the image ships are added whole or not at all, so that a service that watches the
#              folder never sees half of one
set -eu
umask 022

for name in redis-password grafana-password; do
  [ -s "/secrets/$name" ] && continue
  head -c 32 /dev/urandom | sha256sum | cut -c -64 | tr -d '\n' >"/secrets/.$name"
  mv "/secrets/.$name" "/secrets/$name"
done

shipped=$(python -c 'import importlib.util as i; print(i.find_spec("models").submodule_search_locations[0] + "/store")')
for version in "$shipped"/*/*; do
  name=${version#"$shipped"/}
  [ -e "/store/$name" ] && continue
  mkdir -p "/store/${name%/*}"
  rm -rf "/store/.part"
  cp -r "$version" /store/.part
  mv /store/.part "/store/$name"
done
