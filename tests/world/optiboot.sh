#!/bin/sh
# Builds optiboot from Debian's arduino-core-avr source so that it fits: the packaged optiboot_atmega328.hex and
# _atmega168.hex are 534 bytes for a 512-byte boot section, so their appStart lies past the end of flash. In a simulator
# the program counter wraps, and it looks as if it worked.   usage: optiboot.sh MCU BASE OUT.hex
set -e
source=/usr/share/arduino/hardware/arduino/avr/bootloaders/optiboot
mcu=$1 base=$2 out=$3
elf=$out.elf
avr-gcc -Os -fno-inline -fno-inline-small-functions -fno-split-wide-types -mshort-calls \
  -fno-jump-tables -fno-move-loop-invariants -fno-tree-loop-optimize \
  -mmcu="$mcu" -DF_CPU=16000000L -DBAUD_RATE=115200 -DLED_START_FLASHES=3 \
  -Wl,--section-start=.text="$base" -Wl,--section-start=.version="$(printf '%#x' $((base + 0x1fe)))" \
  -Wl,--relax -Wl,--gc-sections -nostartfiles -nostdlib -I"$source" -o "$elf" "$source/optiboot.c"
size=$(avr-size -A "$elf" | awk '$1 == ".text" { print $2 }')
[ "$size" -le 510 ] || { echo "optiboot for $mcu is too big: $size bytes" >&2; exit 1; }
avr-objcopy -j .text -j .data -j .version --set-section-flags .version=alloc,load -O ihex "$elf" "$out"
rm "$elf"
