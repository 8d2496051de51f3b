/*
 * A client that notices when something is lost, at whatever moment it stands still or is saved. By the
 * first word of the arguments:
 *   state N DISK  N rounds with open packages, claims, properties, and a disk that is read and written
 *   agree DISK    negotiates in between two rounds
 *   time          says what time has passed until a key is typed
 */
#include "disk.h"

/* In sectors, as images/mod.rs has them. */
#define PART_FIRST 0x2000u

/* Memory that this program claims, and where it reads to. */
#define CLAIMED 0x1000000u
#define CLAIMED_BYTES 0x100000u
#define SCRATCH 0x2000000u
#define PIECE 0x3000u

static char device[256], path[300];
static cell part, whole, console, memory, chosen_node;

static const char *with(const char *rest)
{
	cell length = length_of(device);

	memcpy(path, device, length);
	memcpy(path + length, rest, length_of(rest) + 1);
	return path;
}

static cell open(const char *specifier)
{
	cell instance = call("open", 1, 1, specifier);

	check_true(specifier, instance != 0 && instance != NONE);
	return instance;
}

static void seek(cell instance, cell position)
{
	check_true("seek", call("seek", 3, 1, instance, 0, position) <= 1);
}

static void read_piece(cell instance, cell length, cell offset)
{
	memset((void *)SCRATCH, 0, length);
	check("read", call("read", 3, 1, instance, SCRATCH, length), length);
	check_words("what is read", (void *)SCRATCH, length, OF_DISK, PART_FIRST * SECTOR + offset);
}

/* What stays open and claimed over all rounds. */
static void begin(void)
{
	part = open(with(":2"));
	whole = open(with(":0"));
	console = open("hvterm:9600,8");
	memory = chosen("memory");
	chosen_node = find("/chosen");
	check("claim", call("claim", 3, 1, CLAIMED, CLAIMED_BYTES, 0), CLAIMED);
	check("claim for what is read", call("claim", 3, 1, SCRATCH, CLAIMED_BYTES, 0), SCRATCH);
	seek(part, 0);
}

static void round(cell number)
{
	static cell words[SECTOR / 4];
	cell before, base, at = number * PIECE, other;

	/* What was read last is where reading goes on. */
	read_piece(part, PIECE, at);

	/* What is claimed is nobody else's, and what is released is. */
	check("claimed twice", call("claim", 3, 1, CLAIMED, 0x1000, 0), NONE);
	base = call("claim", 3, 1, 0, 0x2000, 0x1000);
	check_true("a claim anywhere", base != NONE && base % 0x1000 == 0);
	check("call-method claim", call("call-method", 5, 2, "claim", memory, 0, 0x1000, CLAIMED), 0 - 1u);
	call("release", 2, 0, base, 0x2000);
	check("claim again", call("claim", 3, 1, base, 0x2000, 0), base);
	call("release", 2, 0, base, 0x2000);

	/* A property of the last round. */
	if (number > 0) {
		check("getprop", call("getprop", 4, 1, chosen_node, "linux,round", &before, 4), 4);
		check("the last round", before, number - 1);
	}
	check("setprop", call("setprop", 4, 1, chosen_node, "linux,round", &number, 4), 4);

	/* A sector, by one instance, and back by another one. */
	fill_words(words, sizeof words, OF_GUEST, number * SECTOR);
	seek(whole, (PART_FIRST + 0x1000 + number) * SECTOR);
	check("write", call("write", 3, 1, whole, words, sizeof words), sizeof words);
	memset(words, 0, sizeof words);
	other = open(with(":2"));
	seek(other, (0x1000 + number) * SECTOR);
	check("read back", call("read", 3, 1, other, words, sizeof words), sizeof words);
	check_words("what was written", words, sizeof words, OF_GUEST, number * SECTOR);
	call("close", 1, 0, other);
	check("of a closed instance", call("read", 3, 1, other, words, 4), NONE);
	check("instance-to-package", call("instance-to-package", 1, 1, console), find("hvterm"));
	say("round ");
	say_number(number);
	say("\n");
}

/* POWER9 in version 3.0 of the architecture, and five vectors of options. */
static byte vectors[] = {
	0xff, 0xff, 0, 0, 0, 0x4e, 0, 0,
	0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 5,
	0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
	4,
	0, 0x80, 0, 0x80, 0, 0x80,
	1, 0, 10,
	25, 0, 0xd1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0x40,
};
_Static_assert(sizeof vectors == 3 * 8 + 1 + 6 + 3 + 27, "as long as it says");

static void agree(void)
{
	cell root = open("/");

	check("negotiation", call("call-method", 3, 2, "ibm,client-architecture-support", root, vectors), 0);
	check("its error", results[1], 0);
	call("close", 1, 0, root);
	check_true("the choice", call("getproplen", 2, 1, chosen_node, "ibm,architecture-vec-5") != NONE);
}

static doubleword timebase(void)
{
	cell upper, lower, again;

	do
		__asm__ volatile("mftbu %0\n\tmftb %1\n\tmftbu %2" : "=r"(upper), "=r"(lower), "=r"(again));
	while (upper != again);
	return (doubleword)upper << 32 | lower;
}

static cell decrementer(void)
{
	cell value;

	__asm__ volatile("mfdec %0" : "=r"(value));
	return value;
}

/* Until a key is typed; the decrementer goes down with the time base. */
static void tell_time(void)
{
	cell milliseconds, down;
	doubleword ticks;

	milliseconds = call("milliseconds", 0, 1);
	down = decrementer();
	ticks = timebase();
	wait_for_key("begun");
	ticks = timebase() - ticks;
	down -= decrementer();
	milliseconds = call("milliseconds", 0, 1) - milliseconds;
	/* In the lower half, as it comes round. */
	check_true("the decrementer", down - (cell)ticks + 5120000 < 10240000);
	say("ticks ");
	say_hex(ticks);
	say(" milliseconds ");
	say_number(milliseconds);
	say("\n");
}

static void take_device(const char *from)
{
	cell length = 0;

	for (; from[length] != 0 && from[length] != ' '; length++)
		device[length] = from[length];
}

void program(cell r3, cell r4, cell arguments, cell length)
{
	static char bootargs[256];
	cell count, at, space = 0;

	open_console();
	start_rtas();
	property(find("/chosen"), "bootargs", bootargs, sizeof bootargs);
	if (starts_with(bootargs, "time")) {
		tell_time();
	} else if (starts_with(bootargs, "agree ")) {
		take_device(bootargs + 6);
		begin();
		round(0);
		agree();
		round(1);
	} else {
		check_true("arguments", starts_with(bootargs, "state "));
		count = number_in(bootargs + 6);
		for (at = 6; bootargs[at] != 0; at++)
			if (bootargs[at] == ' ')
				space = at;
		take_device(bootargs + space + 1);
		begin();
		for (at = 0; at < count; at++)
			round(at);
	}
	done("moments");
	power_off();
}
