#!/usr/bin/env bash
# Builds the simulated boards and the firmware images of the tests into .cache/world (or $NUNCIO_CACHE/world).
# Quick when nothing has changed.   usage: tests/world/build.sh [avr|esp|fault|esphome|all]
#
# What it makes is listed in README.md beside this file. A part is built in a folder of its own and moved into place as a
# whole; its stamp is a digest of this folder's files, so a changed source rebuilds it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${NUNCIO_CACHE:-$here/../../.cache}
mkdir -p "$cache/world"
world=$(cd "$cache/world" && pwd)
esptool=$world/../peers/esptool5/bin/esptool
boards=/usr/share/arduino/hardware/arduino/avr/bootloaders

need() { # path-or-program group
  case $1 in /*) [ -e "$1" ] && return ;; *) command -v "$1" >/dev/null && return ;; esac
  printf 'tests/world/build.sh: %s is missing; run: tests/peers/install.sh %s   (or: make peers)\n' "$1" "$2" >&2
  exit 1
}

avr_image() { # name mcu vector board version [defines]
  local name=$1 mcu=$2 vector=$3 board=$4 version=$5
  shift 5
  avr-gcc -Os -mmcu="$mcu" -DF_CPU=16000000UL "-DUSART_VECT=$vector" "-DBOARD=\"$board\"" "-DFW=\"$version\"" "$@" \
    -o "$name.elf" "$here/idfw.c"
  avr-objcopy -O ihex -R .eeprom "$name.elf" "$name.hex"
}

avr() {
  need avr-gcc avr
  need /usr/include/simavr/sim_avr.h avr
  need "$boards/optiboot/optiboot.c" avr
  cc -O2 -Wall -o simboard "$here/simboard.c" -lsimavr -lelf -lutil
  sh "$here/optiboot.sh" atmega328p 0x7e00 boot-uno.hex
  sh "$here/optiboot.sh" atmega168 0x3e00 boot-168.hex
  cp "$boards/stk500v2/stk500boot_v2_mega2560.hex" boot-mega.hex
  cp "$boards/atmega/ATmegaBOOT_168_atmega328.hex" boot-nano-old.hex
  local version
  for version in 1.2.0 1.3.0; do
    avr_image "uno-$version" atmega328p USART_RX_vect uno "$version"
    avr_image "uno-$version-large" atmega328p USART_RX_vect uno "$version" -DPAD=28000
    avr_image "uno-$version-4k" atmega328p USART_RX_vect uno "$version" -DPAD=3600 "-DFILL=0x${version:0:1}${version:2:1}"
    avr_image "nano-$version" atmega328p USART_RX_vect nano "$version" -DPAD=2000
    avr_image "mega-$version" atmega2560 USART0_RX_vect mega "$version" -DPAD=2000
  done
  python3 "$here/spoil.py" hex uno-1.3.0.hex .
}

esp_image() { # chip version DROM IRAM IROM suffix [defines]
  local chip=$1 version=$2 drom=$3 iram=$4 irom=$5 name=$1-$2$6
  shift 6
  riscv64-unknown-elf-gcc -march=rv32imc -mabi=ilp32 -Os -nostdlib -ffreestanding -DPROJECT='"blinky"' \
    "-DVERSION=\"$version\"" "$@" -Wl,--defsym=DROM="$drom",--defsym=IRAM="$iram",--defsym=IROM="$irom" \
    -T "${script:-$here/espapp.ld}" -o "$name.elf" "$here/espapp.c"
  "$esptool" --chip "$chip" elf2image --flash-size 4MB -o "$name.bin" "$name.elf" >elf2image.log ||
    { cat elf2image.log >&2; return 1; }
}

esp() {
  need riscv64-unknown-elf-gcc esp
  need "$esptool" esp
  cc -O2 -Wall -shared -fPIC -o dtrshim.so "$here/dtrshim.c" -ldl
  local version
  for version in 1.4.2 1.5.0; do
    esp_image esp32 "$version" 0x3F400020 0x40080000 0x400D0020 ""
    esp_image esp32c3 "$version" 0x3C020020 0x40380000 0x42000020 ""
    esp_image esp32s3 "$version" 0x3C020020 0x40378000 0x42000020 ""
    # All code in RAM: one segment in flash needs no padding to the chip's pages.
    esp_image esp32 "$version" 0x3F400020 0x40080000 0x40081000 "-4k" -DPAD=3600 \
      "-DFILL=0x${version:0:1}${version:2:1}"
  done
  esp_image esp32 1.5.0 0x3F400020 0x40080000 0x400D0020 -large -DPAD=600000
  # The ESP8266 has no application descriptor, and code in flash would be a file of its own: RAM segments only.
  sed 's/\.flash\.appdesc DROM/.rodata DROM/' "$here/espapp.ld" >esp8266.ld
  for version in 1.4.2 1.5.0; do
    script=esp8266.ld esp_image esp8266 "$version" 0x3FFE8000 0x40100000 0x40100100 "" -DNO_APPDESC '-DBOARD="esp8266"' \
      -DPAD=2000
    mv "esp8266-$version.bin0x00000.bin" "esp8266-$version.bin" # one file per flash address, named so
  done
  python3 "$here/spoil.py" esp esp32-1.5.0.bin .
  python3 "$here/espimage.py" esp32-*.?.?.bin esp32-*-4k.bin esp32c3-*.bin esp32s3-*.bin >images.txt
}

fault() {
  cc -O2 -Wall -shared -fPIC -o faultfs.so "$here/faultfs.c" -ldl
}

esphome() {
  need "$world/../peers/esphome/bin/esphome" esphome
  need c++ esphome
  cp "$here/esphome/kitchen.yaml" .
  ESPHOME=$world/../peers/esphome/bin/esphome "$here/esphome/build.sh" kitchen.yaml kitchen
  rm -rf .esphome
}

part() { # avr|esp|fault|esphome
  local dir=$world/$1 stamp
  stamp=$(cd "$here" && cat build.sh ./*.c ./*.ld optiboot.sh spoil.py esphome/build.sh esphome/kitchen.yaml | sha256sum)
  [ "$(cat "$dir/.stamp" 2>/dev/null)" = "$stamp" ] && return 0
  rm -rf "$dir.new"
  mkdir "$dir.new"
  # Plain commands, no && or ||: those would switch `set -e` off inside.
  (
    cd "$dir.new"
    "$1"
    printf '%s\n' "$stamp" >.stamp
  )
  rm -rf "$dir"
  mv "$dir.new" "$dir"
}

exec 9>"$world/.lock"
flock 9
case ${1:-all} in
  avr | esp | fault | esphome) part "$1" ;;
  all)
    part avr
    part esp
    part fault
    part esphome
    ;;
  *) echo "usage: tests/world/build.sh [avr|esp|fault|esphome|all]" >&2; exit 2 ;;
esac
