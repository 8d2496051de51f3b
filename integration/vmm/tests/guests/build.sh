#!/bin/sh
# Builds the guest programs from their source into a folder: build.sh [FOLDER]
#
# Needs GNU binutils for powerpc64 (Debian: binutils-powerpc64-linux-gnu); another prefix of their
# names can be given in CROSS_COMPILE. Without FOLDER, the programs beside the source are replaced.
set -eu

source=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$source}
cross=${CROSS_COMPILE:-powerpc64-linux-gnu-}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

program() { # NAME BITS ADDRESS
	"${cross}as" "-a$2" -mbig -o "$scratch/$1.o" "$source/client.S"
	"${cross}ld" "-melf$2ppc" --no-warn-rwx-segments -N -Ttext "$3" -s -o "$folder/$1.elf" "$scratch/$1.o"
}

mkdir -p "$folder"
program client32 32 0x200000
program client64 64 0x400000
