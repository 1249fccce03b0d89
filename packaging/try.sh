#!/usr/bin/env bash
# Tries the packages of packaging/deb.sh as far as this machine can run them: what they hold, lintian, and their programs,
# natively or under qemu-user. `make deb` ends with it. Under a real systemd the package is tried by tests/e2e_package.rs.
#
#   packaging/try.sh [ARCH]...
#
# qemu-aarch64 hangs in programs with a second thread (7.2, Debian 12): arm64 is tried with the commands that have only one.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=${CARGO_TARGET_DIR:-$(dirname "$here")/target}
# Largest program, in bytes.
most=$((25 * 1000 * 1000))

fail() {
  printf 'packaging/try.sh: %s\n' "$*" >&2
  exit 1
}

stage=$(mktemp -d)
daemon=
trap 'if [ -n "$daemon" ]; then kill -KILL "$daemon" 2>/dev/null || true; fi; rm -rf "$stage"' EXIT

says() { # words command... : it succeeds and prints these words
  local words=$1 said
  shift
  said=$("$@" 2>&1) || fail "$*: $said"
  [[ $said = *"$words"* ]] || fail "$*: expected '$words' in: $said"
}

# Runs the daemon until its device is registered, asks it, and stops it.
runs() { # command...
  local log=$stage/log began=$SECONDS
  "$@" run >"$log" 2>&1 &
  daemon=$!
  until grep -q 'smoke.*: registered server=builtin' "$log"; do
    kill -0 "$daemon" 2>/dev/null || fail "the daemon ended: $(cat "$log")"
    [ $((SECONDS - began)) -lt 60 ] || fail "no device is registered after 60 s: $(cat "$log")"
    sleep 0.1
  done
  says '1/1' timeout 60 "$@" devices
  kill -TERM "$daemon"
  wait "$daemon" || fail "the daemon ended with $?: $(cat "$log")"
  daemon=
  for words in ': de-registered server=builtin' ': stopped'; do
    grep -q "$words" "$log" || fail "the daemon did not stop as it should, '$words' is missing: $(cat "$log")"
  done
}

native=$(dpkg --print-architecture)
[ $# -gt 0 ] || set -- amd64 arm64 armhf
for arch in "$@"; do
  package=$(ls "$target"/debian/nuncio_*_"$arch".deb 2>/dev/null | tail -1)
  [ -n "$package" ] || fail "there is no package for $arch; run: packaging/deb.sh $arch"
  [ "$(dpkg-deb --field "$package" Architecture)" = "$arch" ] || fail "$package is not for $arch"
  lintian --allow-root --fail-on error --suppress-tags initial-upload-closes-no-bugs "$package" || fail "lintian on $package"
  rm -rf "$stage/$arch"
  dpkg-deb --extract "$package" "$stage/$arch"
  size=$(stat --format %s "$stage/$arch/usr/bin/nuncio")
  [ "$size" -le "$most" ] || fail "the program of $package has $size bytes, more than $most"

  mkdir "$stage/$arch/state"
  config=$stage/$arch/nuncio.toml
  # Nothing of this machine's, and the gateway's own server, at which one device registers.
  cat >"$config" <<END
[gateway]
name = "try"
state = "$stage/$arch/state"
[serial]
watch = []
[mdns]
enabled = false
[ble]
enabled = false
[disk]
enabled = false
[web]
enabled = false
[builtin_server]
enabled = true
port = $((20000 + RANDOM % 10000))
[[device]]
name = "smoke"
board = "arduino-uno"
link = "tcp:127.0.0.1:9"
probe = "never"
END
  nuncio=("$stage/$arch/usr/bin/nuncio" --config "$config")
  case $arch in
    "$native") ;;
    armhf) nuncio=(qemu-arm-static -L /usr/arm-linux-gnueabihf "${nuncio[@]}") ;;
    arm64) nuncio=(qemu-aarch64-static -L /usr/aarch64-linux-gnu "${nuncio[@]}") ;;
    *) fail "$arch cannot be tried on $native" ;;
  esac
  version=$(dpkg-deb --field "$package" Version)
  says "nuncio ${version%-*}" timeout 60 "${nuncio[@]}" --version
  says 'Exit codes' timeout 60 "${nuncio[@]}" --help
  says '0 errors' timeout 120 "${nuncio[@]}" check
  tried='--version, --help, check'
  if [ "$arch" = "$native" ] || [ "$arch" != arm64 ]; then
    runs "${nuncio[@]}"
    tried+=', run'
  fi
  printf '%s: program %s bytes, package %s bytes; tried: %s\n' "$(basename "$package")" "$size" "$(stat --format %s "$package")" "$tried"
done
