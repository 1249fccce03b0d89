#!/usr/bin/env bash
# Gets the programs that nuncio is tested against and that we did not write. Idempotent; quick when all is there.
#
#   tests/peers/install.sh [avr|esp|ask|discovery|leshan|node|tls|mqtt|demo|fuzz|disaster|lan|esphome|page|rest|deny|deb|cross|vm|all]...
#
# Debian's packages go to the system, everything else below .cache/peers (or $NUNCIO_CACHE/peers). A folder counts as
# installed once its stamp is written, which is the last thing that happens to it, so nothing is ever half installed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${NUNCIO_CACHE:-$here/../../.cache}
mkdir -p "$cache/peers"
peers=$(cd "$cache/peers" && pwd)

leshan_jar=org.eclipse.leshan:leshan-server-demo:2.0.0-M4:jar:jar-with-dependencies
leshan_sha256=6d1cf53a18d516f02ae0b7bc34dd06dac15f3d67797d163574dec4b5feecbd32
leshan_client_sha256=602d72af85b712830caca9e1468106beb0631754c90ead7c78474cae011a858e
firmata_package=avrgirl-arduino@5.0.1
firmata_sha256=e1e8a7e4a4384ad9f95b5ce7e638a13e43ec8eccdea766b6a3b8d7d6892d14d2
cargo_deny=0.20.2
cargo_deb=3.8.0
improv_package=improv-wifi-serial-sdk@2.8.1
improv_sha256=25dce28ec070c0c7f52b47bca8461dded996441b0d827c77fd6d16902061ab13

fail() {
  printf 'tests/peers/install.sh: %s\n' "$*" >&2
  exit 1
}

. "$here/retry.sh"

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "this needs root: $*"
  fi
}

present() { # what shows that a package is there
  case $1 in
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

debian() { # group
  local group package proof missing=()
  while read -r group package proof; do
    [ "$group" = "$1" ] || continue
    present "$proof" || missing+=("$package")
  done <"$here/debian-packages.txt"
  # python3 without its venv module: only trying tells.
  if [[ $1 = esp || $1 = ask || $1 = esphome || $1 = rest || $1 = mqtt || $1 = vm ]] && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then missing+=(python3-venv); fi
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || fail "no apt-get here; install by hand: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  retry as_root apt-get update -qq || fail "apt-get update failed"
  retry as_root apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    fail "Debian's packages could not be installed: ${missing[*]}"
}

# place NAME WANTED FUNCTION: calls FUNCTION with an empty folder unless NAME's stamp says WANTED.
place() {
  local dir=$peers/$1 wanted=$2
  [ "$(cat "$dir/.stamp" 2>/dev/null)" = "$wanted" ] && return 0
  rm -rf "$dir"
  mkdir -p "$dir"
  "$3" "$dir" || fail "$1 ($wanted) could not be installed"
  printf '%s\n' "$wanted" >"$dir/.stamp"
}

check_sha256() { # file digest
  [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$2" ] || fail "$1 is not the file that is pinned here: its SHA-256 differs"
}

firmata() {
  local tarball
  tarball=$(cd "$1" && retry npm pack --silent "$firmata_package") || return 1
  tar -xzf "$1/$tarball" -C "$1" --strip-components=4 package/junk/hex/duemilanove328/StandardFirmata.cpp.hex
  mv "$1/StandardFirmata.cpp.hex" "$1/StandardFirmata.hex"
  rm "$1/$tarball"
  check_sha256 "$1/StandardFirmata.hex" "$firmata_sha256"
}

venv() { # folder requirements
  python3 -m venv "$1" && retry "$1/bin/python" -m pip install --quiet --disable-pip-version-check -r "$2"
}
esptool4() { venv "$1" "$here/esptool-4.txt"; }
discovery() {
  cp "$here"/discovery/go.mod "$here"/discovery/go.sum "$1"
  (cd "$1" && GOTOOLCHAIN=local GOFLAGS=-mod=mod retry go build -o dummy-discovery \
    github.com/arduino/pluggable-discovery-protocol-handler/v2/dummy-discovery)
}
smpclient() { venv "$1" "$here/smpclient.txt"; }

improv() {
  local tarball
  tarball=$(cd "$1" && retry npm pack --silent "$improv_package") || return 1
  tar -xzf "$1/$tarball" -C "$1" --strip-components=2 package/dist/serial.js package/dist/const.js package/dist/util/hex-formatter.js package/dist/util/to-hex.js
  rm "$1/$tarball"
  # Its files are modules, which the package leaves to whoever bundles it.
  printf '{"type":"module"}\n' >"$1/package.json"
  cp "$1/util/hex-formatter.js" "$1/util/hex-formatter"
  cp "$1/util/to-hex.js" "$1/util/to-hex"
  check_sha256 "$1/serial.js" "$improv_sha256"
}
esptool5() { venv "$1" "$here/esptool-5.txt"; }
hass() {
  python3 -m venv "$1" &&
    retry "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile -r "$here/hass.txt"
}
esphome() { venv "$1" "$here/esphome.txt"; }

leshan() {
  retry mvn -q -B -Dstyle.color=never org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy "-Dartifact=$leshan_jar" \
    "-DoutputDirectory=$1" -Dmdep.stripVersion=true || return 1
  mv "$1"/leshan-server-demo*.jar "$1/leshan-server-demo.jar"
  check_sha256 "$1/leshan-server-demo.jar" "$leshan_sha256"
}

# Leshan's client library, and a device out of it. The digest is that of the jars' own, by name.
leshan_client() {
  retry mvn -q -B -Dstyle.color=never -f "$here/leshan-client/pom.xml" \
    org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies "-DoutputDirectory=$1" || return 1
  (cd "$1" && LC_ALL=C sha256sum -- *.jar) >"$1/jars.sha256"
  check_sha256 "$1/jars.sha256" "$leshan_client_sha256"
  javac -d "$1" -cp "$1/*" "$here/leshan-client/FirmwareClient.java"
}

node_lib() {
  cp "$here/node/package.json" "$here/node/package-lock.json" "$1"
  (cd "$1" && retry npm ci --silent --ignore-scripts --no-audit --no-fund)
}

page() {
  cp "$here/page/package.json" "$here/page/package-lock.json" "$1"
  (cd "$1" && retry npm ci --silent --ignore-scripts --no-audit --no-fund)
}
rest() { venv "$1" "$here/rest.txt"; }

deny() {
  CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=$1/target retry cargo install --quiet --locked --debug --root "$1" \
    --version "$cargo_deny" cargo-deny || return 1
  rm -rf "$1/target"
}

# Without its own compression, which takes long to build: xz does that.
cargo_deb() {
  CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=$1/target retry cargo install --quiet --locked --debug --root "$1" \
    --version "$cargo_deb" --no-default-features cargo-deb || return 1
  rm -rf "$1/target"
}

# Rust for the machines that packages are built for; rustup knows by itself what is there.
targets() {
  command -v rustup >/dev/null || fail "no rustup here; it gets the standard library of other machines"
  (cd "$here" && retry rustup --quiet target add aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf) ||
    fail "the standard libraries could not be installed"
}

group() {
  case $1 in
    avr)
      debian avr
      place firmata "$firmata_package" firmata
      ;;
    esp)
      debian esp
      place esptool4 "$(sha256sum <"$here/esptool-4.txt")" esptool4
      place esptool5 "$(sha256sum <"$here/esptool-5.txt")" esptool5
      ;;
    esphome)
      debian esphome
      place esphome "$(sha256sum <"$here/esphome.txt")" esphome
      ;;
    ask)
      debian ask
      place smpclient "$(sha256sum <"$here/smpclient.txt")" smpclient
      place improv "$improv_package 1" improv
      ;;
    discovery)
      debian discovery
      place discovery "$(sha256sum <"$here/discovery/go.sum")" discovery
      ;;
    leshan)
      debian leshan
      place leshan "$leshan_jar" leshan
      place leshan-client "$(cat "$here"/leshan-client/* | sha256sum)" leshan_client
      ;;
    node)
      debian node
      place node "$(sha256sum <"$here/node/package-lock.json")" node_lib
      ;;
    mqtt)
      debian mqtt
      place hass "$(sha256sum <"$here/hass.txt")" hass
      ;;
    page)
      debian page
      place page "$(sha256sum <"$here/page/package-lock.json")" page
      ;;
    rest)
      debian rest
      place rest "$(sha256sum <"$here/rest.txt")" rest
      ;;
    tls | demo | fuzz | disaster | lan | vm) debian "$1" ;;
    deny) place cargo-deny "$cargo_deny" deny ;;
    deb)
      debian deb
      place cargo-deb "$cargo_deb xz" cargo_deb
      ;;
    cross)
      debian cross
      targets
      ;;
    all) for part in avr esp ask discovery leshan node tls mqtt disaster lan esphome page rest deb; do group "$part"; done ;;
    *) fail "no such group: $1 (avr, esp, ask, discovery, leshan, node, tls, mqtt, demo, fuzz, disaster, lan, esphome, page, rest, deny, deb, cross, vm, all)" ;;
  esac
}

exec 9>"$peers/.lock"
flock 9
for wanted in "${@:-all}"; do
  began=$(date +%s)
  group "$wanted"
  printf 'peers %-7s there (%s s)\n' "$wanted" "$(($(date +%s) - began))"
done
