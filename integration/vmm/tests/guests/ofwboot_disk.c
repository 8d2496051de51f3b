/*
 * The calls of NetBSD's and OpenBSD's ofwboot that loads a kernel from a disk: it opens all of the
 * disk, whatever partition it is told, looks for the BSD label in the partition of its kind, and
 * reads blocks by seek and read, at positions of 64 bits.
 *
 * The disk is what bsd_disk() in images/mod.rs makes; the arguments say where it is, as
 * DEVICE:LETTER/FILE or, where OpenBSD is meant, DEVICE:/FILE.
 */
#include "disk.h"
#include "ofw.h"

#define NETBSD 0xa9
#define OPENBSD 0xa6
#define LABEL_MAGIC 0x82564557u
#define MAXBSIZE 0x10000u

/* The end of the disk, in sectors. */
#define END_SECTOR 0xc00000u

static cell disk, partition_sector;
static byte buffer[MAXBSIZE];

static cell read_at(doubleword position, void *to, cell length)
{
	cell got;

	do {
		if ((int)OF_seek(disk, position) < 0)
			return NONE;
		got = transfer("read", disk, to, length);
	} while (got == NOTHING_YET);
	return got;
}

/* Its "strategy": how much was read. */
static cell strategy(doubleword sector, cell length)
{
	return read_at((sector + partition_sector) * SECTOR, buffer, length);
}

/* Where the device ends and the file begins: component by component, as long as there is one. */
static cell device_length(char *path)
{
	char kind[16];
	cell at = 0, end = 0, node;
	char saved;

	while (path[at] != 0) {
		end = at;
		while (path[++at] != 0 && path[at] != '/')
			;
		saved = path[at];
		path[at] = 0;
		node = OF_finddevice(path);
		path[at] = saved;
		if (node == NONE) {
			check_text("the last component that is one", kind, "block");
			return end;
		}
		memset(kind, 0, sizeof kind);
		OF_getprop(node, "device_type", kind, sizeof kind);
	}
	check_true("a file behind the device", 0);
	return 0;
}

/* Takes the file and the partition off a path; gives the partition's letter, or 0. */
static char take_off(char *path)
{
	cell at;
	char letter = 0;

	path[device_length(path)] = 0;
	for (at = length_of(path); at > 0 && path[at] != '/' && path[at] != ':'; at--)
		;
	if (path[at] == ':') {
		letter = path[at + 1];
		path[at] = 0;
	}
	return letter;
}

/* A label has its sum and its magic twice. */
static int is_label(const byte *sector)
{
	const cell *words = (const cell *)sector;
	const unsigned short *halves = (const unsigned short *)sector;
	cell count = halves[138 / 2], at, sum = 0;

	if (words[0] != LABEL_MAGIC || words[132 / 4] != LABEL_MAGIC || count > 16)
		return 0;
	for (at = 0; at < (148 + 16 * count) / 2; at++)
		sum ^= halves[at];
	return sum == 0;
}

/* The first sector of a partition by the label in the MBR's partition of a kind. */
static cell look_up(cell kind, char letter)
{
	const byte *entry;
	cell at, start = 0;

	partition_sector = 0;
	/* Without an MBR, the label would be here. */
	check("the second sector", strategy(1, SECTOR), SECTOR);
	check_true("no label there", !is_label(buffer));
	check("the MBR", strategy(0, SECTOR), SECTOR);
	check("its signature", buffer[510] << 8 | buffer[511], 0x55aa);
	for (at = 0; at < 4; at++) {
		entry = buffer + 0x1be + 16 * at;
		if (entry[4] == kind)
			start = little(entry + 8);
	}
	check_true("a partition of its kind", start != 0);
	check("the label's sector", strategy(start + 1, SECTOR), SECTOR);
	check_true("a label", is_label(buffer));
	return ((cell *)(buffer + 148 + 16 * (letter - 'a')))[1];
}

/* The superblock where UFS2 and UFS1 have it, then a kernel in the blocks behind. */
static void read_partition(void)
{
	static const cell superblocks[] = { 65536, 8192, 0, 262144 };
	cell at, start;
	doubleword base = (doubleword)partition_sector * SECTOR;

	for (at = 0; at < COUNT(superblocks); at++) {
		memset(buffer, 0, 8192);
		check("a superblock", strategy(superblocks[at] / SECTOR, 8192), 8192);
		/* The first blocks have the label. */
		start = superblocks[at] == 0 ? 2 * SECTOR : 0;
		check_words("a superblock", buffer + start, 8192 - start, OF_DISK,
			    base + superblocks[at] + start);
	}
	for (at = 0; at < 16; at++) {
		check("a block of the kernel", strategy(1024 + at * (MAXBSIZE / SECTOR), MAXBSIZE),
		      MAXBSIZE);
		check_words("a block of the kernel", buffer, MAXBSIZE, OF_DISK,
			    base + 1024 * SECTOR + at * MAXBSIZE);
	}
}

/* A read across the end gives what there is, and one behind it nothing. */
static void read_the_end(void)
{
	doubleword end = (doubleword)END_SECTOR * SECTOR;

	memset(buffer, 0x5a, sizeof buffer);
	check("across the end", read_at(end - 0x8000, buffer, MAXBSIZE), 0x8000);
	check_words("the last 32 KiB", buffer, 0x8000, OF_DISK, end - 0x8000);
	check_bytes("what is behind them", buffer + 0x8000, 0x8000, 0x5a);
	check("at the end", read_at(end, buffer, SECTOR), 0);
	check("behind the end", read_at(end + SECTOR, buffer, SECTOR), 0);
	check("the last sector", read_at(end - SECTOR, buffer, SECTOR), SECTOR);
	/* Where the next read goes on. */
	check("what follows it", transfer("read", disk, buffer, SECTOR), 0);
	/* Positions need be multiples of nothing. */
	check("three bytes", read_at(end - 7, buffer + 1, 3), 3);
	check("and more", transfer("read", disk, buffer + 4, 100), 4);
	check("the first three", *(cell *)buffer & 0xffffff, word_at(OF_DISK, end - 8) & 0xffffff);
	check("the last word", *(cell *)(buffer + 4), word_at(OF_DISK, end - 4));
}

void program(cell r3, cell r4, cell arguments, cell length)
{
	char path[256], name[64], device[260];
	cell node, memory;
	char letter;

	open_console();
	check_true("bootargs", (int)OF_getprop(OF_finddevice("/chosen"), "bootargs", path,
					       sizeof path) > 0);
	letter = take_off(path);
	node = OF_finddevice(path);
	check_true("the disk", node != NONE);
	check_true("its name", (int)OF_getprop(node, "name", name, sizeof name) > 0);
	check("its kind", OF_getprop(node, "device_type", name, sizeof name), 6);
	check_text("its kind", name, "block");
	memcpy(device, path, length_of(path));
	memcpy(device + length_of(path), ":0", 3);
	disk = OF_open(device);
	check_true("open", disk != NONE);
	check("dma-alloc", OF_call_method("dma-alloc", disk, 1, 1, MAXBSIZE, &memory), 0);
	check("its memory is claimed", OF_claim(memory, MAXBSIZE, 0), NONE);

	partition_sector = look_up(letter != 0 ? NETBSD : OPENBSD, letter != 0 ? letter : 'a');
	read_partition();
	read_the_end();

	check("dma-free", OF_call_method("dma-free", disk, 2, 0, memory, MAXBSIZE), 0);
	check("its memory is free", OF_claim(memory, MAXBSIZE, 0), memory);
	OF_close(disk);
	check("seek when closed", OF_seek(disk, 0), NONE);
	done("ofwboot");
	power_off();
}
