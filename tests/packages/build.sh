#!/usr/bin/env bash
# Puts the Debian together that the package is installed into (tests/e2e_package.rs): a folder in .cache/packages (or
# $NUNCIO_CACHE/packages), which no test ever writes to. Idempotent; quick when it is there.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${NUNCIO_CACHE:-$here/../../.cache}
mkdir -p "$cache/packages"
packages=$(cd "$cache/packages" && pwd)

suite=bookworm
# avrdude flashes; libsimavr2 and libelf1 are what the simulated board needs, which runs in there, too.
wanted=systemd,systemd-sysv,udev,dbus,kmod,procps,apt,ca-certificates,avrdude,libsimavr2,libelf1

fail() {
  printf 'tests/packages/build.sh: %s\n' "$*" >&2
  exit 1
}

. "$here/../peers/retry.sh"

debian() {
  rm -rf "$packages/root.new"
  mmdebstrap --quiet --mode=root --variant=minbase --include="$wanted" --aptopt='Acquire::Languages "none"' "$suite" \
    "$packages/root.new"
}

exec 9>"$packages/.lock"
flock 9
stamp="$suite $wanted"
[ "$(cat "$packages/.stamp" 2>/dev/null)" = "$stamp" ] && exit 0
[ "$(id -u)" = 0 ] || fail "a Debian can only be put together by root: run it as root, or with sudo -E"
command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing; run: tests/peers/install.sh deb"
began=$(date +%s)
rm -f "$packages/.stamp"
retry debian || fail "the Debian could not be put together"
rm -rf "$packages/root"
mv "$packages/root.new" "$packages/root"
printf '%s\n' "$stamp" >"$packages/.stamp"
printf 'packages root built (%s s)\n' "$(($(date +%s) - began))"
