#!/usr/bin/env bash
# Builds Debian packages into $CARGO_TARGET_DIR/debian (or target/debian), or where --output says.
#
#   packaging/deb.sh [--output DIR] [ARCH]...                 release builds for amd64, arm64 and armhf, or the ones named
#   packaging/deb.sh --binary FILE [--output DIR] [--fast]    packs a program for this machine that is built already
#
# cargo-deb packs (tests/peers/install.sh deb gets it); what is packed stands in Cargo.toml, [package.metadata.deb].
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
cargo=${CARGO:-cargo}
cache=${NUNCIO_CACHE:-$root/.cache}
target=${CARGO_TARGET_DIR:-$root/target}
output=
binary=
fast=()
archs=()

fail() {
  printf 'packaging/deb.sh: %s\n' "$*" >&2
  exit 1
}

while [ $# -gt 0 ]; do
  case $1 in
    --output) output=$2 && shift 2 ;;
    --binary) binary=$2 && shift 2 ;;
    --fast) fast=(--fast) && shift ;;
    amd64 | arm64 | armhf) archs+=("$1") && shift ;;
    *) fail "what is $1? See the beginning of this file" ;;
  esac
done

native=$(dpkg --print-architecture)
if [ -n "$binary" ]; then
  [ ${#archs[@]} -eq 0 ] || fail "--binary is for this machine, $native"
  archs=("$native")
elif [ ${#archs[@]} -eq 0 ]; then
  archs=(amd64 arm64 armhf)
fi
# This machine's first: its program makes the pages of all.
if [[ " ${archs[*]} " = *" $native "* ]]; then
  archs=("$native" $(printf '%s\n' "${archs[@]}" | grep -vx "$native" || true))
fi
cargo_deb=$cache/peers/cargo-deb/bin/cargo-deb
[ -x "$cargo_deb" ] || fail "cargo-deb is missing; run: tests/peers/install.sh deb"
mkdir -p "${output:=$target/debian}"
output=$(cd "$output" && pwd)

triple() { # arch
  case $1 in
    amd64) echo x86_64-unknown-linux-gnu ;;
    arm64) echo aarch64-unknown-linux-gnu ;;
    armhf) echo armv7-unknown-linux-gnueabihf ;;
  esac
}

prefix() { # arch: of its cross compiler
  case $1 in
    amd64) echo x86_64-linux-gnu- ;;
    arm64) echo aarch64-linux-gnu- ;;
    armhf) echo arm-linux-gnueabihf- ;;
  esac
}

built() { # arch: builds it, and prints where it is
  local triple
  if [ "$1" = "$native" ]; then
    (cd "$root" && "$cargo" build --locked --release -p nuncio) >&2
    echo "$target/release/nuncio"
    return
  fi
  triple=$(triple "$1")
  command -v "$(prefix "$1")gcc" >/dev/null || fail "$(prefix "$1")gcc is missing; run: tests/peers/install.sh cross"
  local name=${triple//-/_}
  (
    export "CARGO_TARGET_${name^^}_LINKER=$(prefix "$1")gcc" "CC_$name=$(prefix "$1")gcc" "AR_$name=$(prefix "$1")ar"
    cd "$root" && "$cargo" build --locked --release -p nuncio --target "$triple"
  ) >&2
  echo "$target/$triple/release/nuncio"
}

# Debian's own, which names the version only: what changed stands in CHANGELOG.md.
changelog() { # version seconds
  printf 'nuncio (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md of the sources.\n\n -- %s  %s\n' "$1" \
    "$(sed -n 's/^maintainer = "\(.*\)"/\1/p' "$root/Cargo.toml")" "$(LC_ALL=C date -u -R -d "@$2")"
}

# dpkg-shlibdeps cannot be asked: of another machine's libc it knows the version that is here, not the one that is needed.
needs_no_newer_libc() { # program
  local stated newest
  stated=$(sed -n 's/^depends = "libc6 (>= \([0-9.]*\)).*/\1/p' "$root/Cargo.toml")
  newest=$(readelf --version-info "$1" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1)
  [ "$(printf '%s\n' "$stated" "${newest#GLIBC_}" | sort -V | tail -1)" = "$stated" ] ||
    fail "$1 needs $newest, and the package says libc6 (>= $stated): see Cargo.toml"
}

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
# The date of everything in the package: the commit's, so that the same sources make the same package. Told only to what packs:
# a build to which another date is told compiles all C anew, and nothing in it asks for the date.
date=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || date +%s)}

# A program for another machine cannot make its pages here; this machine's makes them for all.
maker=$binary
if [ -z "$maker" ] && [[ " ${archs[*]} " != *" $native "* ]]; then
  (cd "$root" && "$cargo" build --locked -p nuncio) >&2
  maker=$target/debug/nuncio
fi
for arch in "${archs[@]}"; do
  program=${binary:-$(built "$arch")}
  : "${maker:=$program}"
  folder=$stage/$(triple "$arch")/release
  mkdir -p "$folder/pages"
  "$maker" generate-pages "$folder/pages"
  changelog "$("$maker" --version | cut -d' ' -f2)-1" "$date" >"$folder/pages/changelog.Debian"
  gzip -9n "$folder"/pages/man/* "$folder/pages/changelog.Debian"
  # A release build is stripped already, by its profile.
  if [ -n "$binary" ]; then strip -o "$folder/nuncio" "$program"; else cp "$program" "$folder/nuncio"; fi
  needs_no_newer_libc "$folder/nuncio"
  (cd "$root" && SOURCE_DATE_EPOCH=$date CARGO_TARGET_DIR=$stage "$cargo_deb" --quiet --no-build --no-strip --locked --offline --compress-system "${fast[@]}" \
    --target "$(triple "$arch")" --output "$output/")
done
