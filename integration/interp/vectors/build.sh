#!/bin/sh
# Builds the oracle for both byte orders into the directory $1 (package binutils-powerpc64le-linux-gnu).
set -e
here=$(dirname "$0")
for order in little:elf64lppc big:elf64ppc; do
    powerpc64le-linux-gnu-as -mpower9 -m"${order%:*}" -a64 "$here/oracle.s" -o "$1/oracle-${order%:*}.o"
    powerpc64le-linux-gnu-ld -m "${order#*:}" -Ttext-segment=0x100000 "$1/oracle-${order%:*}.o" \
        -o "$1/oracle-${order%:*}"
done
