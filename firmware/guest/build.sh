#!/bin/sh
# Builds the images from their source into a folder: build.sh [FOLDER]
#
# Needs GNU binutils for powerpc64 (Debian: binutils-powerpc64-linux-gnu); another prefix of their
# names can be given in CROSS_COMPILE. Without FOLDER, the images that the crate ships are replaced.
set -eu

source=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$source/../image}
cross=${CROSS_COMPILE:-powerpc64-linux-gnu-}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

image() { # NAME LOAD_ADDRESS
	"${cross}as" -a64 -mbig -o "$scratch/$1.o" "$source/$1.S"
	"${cross}ld" -EB --no-warn-rwx-segments --defsym "LOAD_ADDRESS=$2" -T "$source/image.ld" \
		-o "$scratch/$1.elf" "$scratch/$1.o"
	"${cross}objcopy" -O binary "$scratch/$1.elf" "$folder/$1.bin"
}

mkdir -p "$folder"
image vof 0x100
image rtas 0
# Where the entry of the client interface is, for the crate's test.
"${cross}nm" "$scratch/vof.elf" | sed -n 's/ [Tt] / /p' | sort >"$folder/vof.map"
