#!/bin/sh
# Builds the guest program from its source into a folder: build.sh [FOLDER]
#
# rules.sh says what it needs. Without FOLDER, the program beside the source is replaced.
set -eu

source=$(cd "$(dirname "$0")" && pwd)
shared=$source/../../../vmm/tests/guests
folder=${1:-$source}
. "$shared/rules.sh"

assemble "$source/work.S" 32 work
c_program counter 0x200000 work.o
