/*
 * The calls of FreeBSD's loader that reads from a disk: it opens the path that it is told, with
 * whatever partition, and reads by seek and read, whole blocks of its cache. It takes any answer but
 * a negative one for all of what it asked for. On POWER, it does not close what it goes back to.
 *
 * The disk is what gpt_disk() in images/mod.rs makes; the arguments say where it is.
 */
#include "disk.h"
#include "ofw.h"

/* In sectors: the disk, and where its second partition begins and ends. */
#define DISK_SECTORS 0x20000u
#define FIRST 0x2000u
#define BEHIND 0x18000u

static byte buffer[0x100000];

/* Its device: what was opened last is at hand. */
static struct device {
	char path[256];
	cell handle;
} whole, part, *at_hand;
static cell opened;

static void strategy(struct device *device, cell sector, cell length)
{
	cell got;

	if (device != at_hand) {
		device->handle = OF_open(device->path);
		check_true("open", device->handle != NONE);
		opened++;
		at_hand = device;
	}
	do {
		check_true("seek", (int)OF_seek(device->handle, (doubleword)sector * SECTOR) >= 0);
		got = transfer("read", device->handle, buffer, length);
	} while (got == NOTHING_YET);
	check("read", got, length);
}

/* The node of a type that a path begins with; gives how long the path of it is. */
static cell device_length(const char *path, const char *type)
{
	char start[256], kind[64];
	cell at = 0, node;

	while (path[at] != 0) {
		while (path[++at] != 0 && path[at] != '/')
			;
		memcpy(start, path, at);
		start[at] = 0;
		node = OF_finddevice(start);
		if (node == NONE)
			continue;
		memset(kind, 0, sizeof kind);
		if (OF_getprop(node, "device_type", kind, sizeof kind) == NONE)
			continue;
		if (same(kind, type))
			return at;
	}
	check_true("a disk in the path", 0);
	return 0;
}

/* It asks for services of the names of methods, which there are not; others ask for the methods. */
static void ask_for_sizes(struct device *device)
{
	static struct { const char *service; cell arguments, results, instance, result, answer; }
		array = { "block-size", 2, 1, 0, 0, 0 };
	cell size = 0, count = 0;

	array.instance = device->handle;
	check("the service block-size", interface(&array), NONE);
	array.service = "#blocks";
	check("the service #blocks", interface(&array), NONE);
	check("block-size", OF_call_method("block-size", device->handle, 0, 1, &size), 0);
	check("block-size", size, SECTOR);
	check("#blocks", OF_call_method("#blocks", device->handle, 0, 1, &count), 0);
	check("#blocks, of the whole disk", count, DISK_SECTORS);
}

/* Reads of all the sizes that its cache and its file systems make. */
static void read_everywhere(void)
{
	static const cell lengths[] = { SECTOR, 0x400, 0x1000, 0x2000, 0x8000, 0x10000, 0x20000, 0x100000 };
	cell at, sector;

	for (at = 0; at < COUNT(lengths); at++)
		for (sector = FIRST; sector + lengths[at] / SECTOR <= BEHIND;
		     sector += 0x3000 + lengths[at] / SECTOR) {
			strategy(&whole, sector, lengths[at]);
			check_words("the disk", buffer, lengths[at], OF_DISK,
				    (doubleword)sector * SECTOR);
		}
	/* The last blocks of it, as backup tables are there. */
	strategy(&whole, DISK_SECTORS - 33, 33 * SECTOR);
	check_true("the backup of the table",
		   starts_with((char *)buffer + 32 * SECTOR, "EFI PART"));
}

/* Two devices in turns, each of which is opened anew each time. */
static void go_back_and_forth(void)
{
	cell at, sectors = BEHIND - FIRST;

	for (at = 0; at < 20; at++) {
		strategy(&part, at * 64, 0x8000);
		check_words("the partition", buffer, 0x8000, OF_DISK,
			    (doubleword)(FIRST + at * 64) * SECTOR);
		strategy(&whole, FIRST + at, SECTOR);
		check_words("the disk", buffer, SECTOR, OF_DISK, (doubleword)(FIRST + at) * SECTOR);
	}
	check_true("it opened many", opened > 40);
	strategy(&part, sectors - 1, SECTOR);
	check_words("the last sector", buffer, SECTOR, OF_DISK, (doubleword)(BEHIND - 1) * SECTOR);
	ask_for_sizes(&part);

	/* A partition ends where it ends, not where the disk does. */
	check("seek", OF_seek(part.handle, (doubleword)(sectors - 2) * SECTOR) & ~1, 0);
	memset(buffer, 0x5a, 0x1000);
	check("read across the end", transfer("read", part.handle, buffer, 0x1000), 2 * SECTOR);
	check_words("what there is", buffer, 2 * SECTOR, OF_DISK, (doubleword)(BEHIND - 2) * SECTOR);
	check_bytes("nothing more", buffer + 2 * SECTOR, 0x1000 - 2 * SECTOR, 0x5a);
	check("read at the end", transfer("read", part.handle, buffer, 0x1000), 0);
	check("seek behind the end", OF_seek(part.handle, 0x7fffffff00000000ULL) & ~1, 0);
	check("read behind the end", transfer("read", part.handle, buffer, 0x1000), 0);
	check("the next read", OF_seek(part.handle, 0) & ~1, 0);
	check("of the start", transfer("read", part.handle, buffer, SECTOR), SECTOR);
	check_words("the start", buffer, SECTOR, OF_DISK, (doubleword)FIRST * SECTOR);
}

void program(cell r3, cell r4, cell arguments, cell length)
{
	char path[256];
	cell at;

	open_console();
	check_true("bootargs", (int)OF_getprop(OF_finddevice("/chosen"), "bootargs", path,
					       sizeof path) > 0);
	at = device_length(path, "block");
	check_text("the file", path + at, "/boot/kernel/kernel");
	memcpy(whole.path, path, at);
	memcpy(part.path, path, at);
	memcpy(part.path + at, ":2", 3);

	strategy(&whole, 1, SECTOR);
	check_true("the table", starts_with((char *)buffer, "EFI PART"));
	ask_for_sizes(&whole);
	read_everywhere();
	go_back_and_forth();
	done("freebsd");
	call("boot", 1, 0, "");
}
