# How guest programs are built, for the build.sh of a folder that has some. It sets:
#   source   the folder of its own source
#   folder   where the programs go
#   shared   this folder, with what all programs in C have in common
#
# Needs GNU binutils for powerpc64 (Debian: binutils-powerpc64-linux-gnu), and for the programs in
# C GNU C for powerpc64le, which makes big-endian code too (Debian: gcc-powerpc64le-linux-gnu).
# Other prefixes of their names can be given in CROSS_COMPILE and CROSS_COMPILE_C.
cross=${CROSS_COMPILE:-powerpc64-linux-gnu-}
cross_c=${CROSS_COMPILE_C:-powerpc64le-linux-gnu-}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

assemble() { # FILE BITS OBJECT
	"${cross}as" "-a$2" -mbig -o "$scratch/$3.o" "$1"
}

link() { # NAME BITS ADDRESS OBJECT...
	name=$1 bits=$2 address=$3
	shift 3
	(cd "$scratch" && "${cross}ld" "-melf${bits}ppc" --no-warn-rwx-segments -N \
		-Ttext "$address" -s -o program.elf "$@")
	mv "$scratch/program.elf" "$folder/$name.elf"
}

compile() { # FILE OBJECT
	# The compiler must not make calls of a library out of loops, or code that depends on where
	# the source is.
	(cd "$(dirname "$1")" && "${cross_c}gcc" -std=c11 -Wall -Wextra -Wno-unused-parameter \
		-Werror -O2 -mbig-endian -m32 -mcpu=powerpc -msoft-float -msdata=none -fno-pic \
		-ffreestanding -fno-builtin -fno-stack-protector -fno-asynchronous-unwind-tables \
		-fno-tree-loop-distribute-patterns -I "$shared" -c -o "$scratch/$2.o" \
		"$(basename "$1")")
}

c_program() { # NAME ADDRESS [OBJECT...]
	name=$1 address=$2
	shift 2
	compile "$source/$name.c" "$name"
	link "$name" 32 "$address" start.o guest.o "$name.o" "$@"
}

mkdir -p "$folder"
assemble "$shared/start.S" 32 start
compile "$shared/guest.c" guest
