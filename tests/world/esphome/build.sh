#!/usr/bin/env bash
# Makes real ESPHome firmware run on this machine: the C++ that ESPHome generates for its platform `host`, built by g++ alone,
# since PlatformIO has a registry of its own.   usage: build.sh CONFIG.yaml OUT   with ESPHOME naming the program
set -euo pipefail
yaml=$1 out=$2
"${ESPHOME:-esphome}" compile --only-generate "$yaml" >esphome.log 2>&1 || { cat esphome.log >&2; exit 1; }
name=$(sed -n 's/^  name: *//p' "$yaml" | head -1)
dir=$(dirname "$yaml")/.esphome/build/$name
# Flags for the compiler out of the project file; those with {...} are PlatformIO's own.
flags=$(sed -n '/^build_flags =/,/^[a-z]/p' "$dir/platformio.ini" | sed -n 's/^    //p' | grep -v -e '^-l' -e '{' | tr '\n' ' ')
export dir flags
mkdir -p "$dir/obj"
(cd "$dir" && find src -name '*.cpp') | xargs -P "$(nproc)" -I{} sh -c \
  'exec g++ -O0 -w -I"$dir/src" $flags -c "$dir/{}" -o "$dir/obj/$(echo {} | tr / _).o"'
g++ "$dir"/obj/*.o -lcrypto -lpthread -o "$out"
