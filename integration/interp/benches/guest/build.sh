#!/bin/sh
# Builds loops.bin and loops-big-endian.bin (package gcc-powerpc64le-linux-gnu, which makes both).
set -e
cd "$(dirname "$0")"
cat > /tmp/loops.ld <<'L'
SECTIONS { . = 0x10000; .text : { *(.text.first) *(.text*) *(.rodata*) } /DISCARD/ : { *(*) } }
L
build() { # FILE OPTION...
	file=$1
	shift
	powerpc64le-linux-gnu-gcc "$@" -mabi=elfv2 -O2 -mcpu=power8 -mno-vsx -mno-altivec \
	    -ffreestanding -nostdlib -static -fno-pic -fno-tree-loop-distribute-patterns \
	    -fno-asynchronous-unwind-tables -no-pie -Wl,--no-toc-optimize,-T,/tmp/loops.ld loops.c \
	    -o /tmp/loops.elf
	powerpc64le-linux-gnu-objcopy -O binary /tmp/loops.elf "$file"
}
build loops.bin
build loops-big-endian.bin -mbig-endian
