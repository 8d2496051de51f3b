#!/bin/sh
# Builds the guest programs from their source into a folder: build.sh [FOLDER]
#
# Needs GNU binutils for powerpc64 (Debian: binutils-powerpc64-linux-gnu), and for the programs in
# C GNU C for powerpc64le, which makes big-endian code too (Debian: gcc-powerpc64le-linux-gnu).
# Other prefixes of their names can be given in CROSS_COMPILE and CROSS_COMPILE_C. Without FOLDER,
# the programs beside the source are replaced.
set -eu

source=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$source}
cross=${CROSS_COMPILE:-powerpc64-linux-gnu-}
cross_c=${CROSS_COMPILE_C:-powerpc64le-linux-gnu-}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

program() { # NAME BITS ADDRESS
	"${cross}as" "-a$2" -mbig -o "$scratch/$1.o" "$source/client.S"
	"${cross}ld" "-melf$2ppc" --no-warn-rwx-segments -N -Ttext "$3" -s -o "$folder/$1.elf" "$scratch/$1.o"
}

object() { # NAME
	# The compiler must not make calls of a library out of loops, or code that depends on where
	# the source is.
	(cd "$source" && "${cross_c}gcc" -std=c11 -Wall -Wextra -Wno-unused-parameter -Werror -O2 \
		-mbig-endian -m32 -mcpu=powerpc -msoft-float -msdata=none -fno-pic -ffreestanding \
		-fno-builtin -fno-stack-protector -fno-asynchronous-unwind-tables \
		-fno-tree-loop-distribute-patterns -c -o "$scratch/$1.o" "$1.c")
}

c_program() { # NAME ADDRESS
	object "$1"
	"${cross}ld" -melf32ppc --no-warn-rwx-segments -N -Ttext "$2" -s -o "$folder/$1.elf" \
		"$scratch/start.o" "$scratch/guest.o" "$scratch/$1.o"
}

mkdir -p "$folder"
program client32 32 0x200000
program client64 64 0x400000

"${cross}as" -a32 -mbig -o "$scratch/start.o" "$source/start.S"
object guest
for name in yaboot ofwboot freebsd services hostile floods races leftover outputs; do
	c_program "$name" 0x200000
done
c_program chained 0x800000
