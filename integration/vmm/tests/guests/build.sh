#!/bin/sh
# Builds the guest programs from their source into a folder: build.sh [FOLDER]
#
# rules.sh says what it needs. Without FOLDER, the programs beside the source are replaced.
set -eu

source=$(cd "$(dirname "$0")" && pwd)
shared=$source
folder=${1:-$source}
. "$shared/rules.sh"

program() { # NAME BITS ADDRESS
	assemble "$source/client.S" "$2" "$1"
	link "$1" "$2" "$3" "$1.o"
}

program client32 32 0x200000
program client64 64 0x400000
for name in yaboot yaboot_disk ofwboot ofwboot_disk freebsd freebsd_disk services hostile floods \
	races disks leftover outputs bootpath moments moves; do
	c_program "$name" 0x200000
done
c_program chained 0x800000
