/*
 * What a disk does that no loader asks for, by the first word of the arguments; the second is the
 * disk, whose partition 2 has words from its first sector to its last:
 *   writes      what is written there is on the disk, for the host as well
 *   read-only   nothing is written
 *   truncated   the host makes the disk's file shorter, and longer again
 *   any N       N calls that make no sense; the arguments go on with how many
 *   both N      the same from two processors, with instances that they share
 *   speed K M   reads M MiB by K KiB
 */
#include "disk.h"

/* In sectors, as images/mod.rs has them. */
#define PART_FIRST 0x2000u
#define PART_SECTORS 0x2000u
#define PART_BYTES (PART_SECTORS * SECTOR)

/* Memory that nobody else has, up to a place that is no more RAM. */
#define SCRATCH 0x1000000u
#define SCRATCH_BYTES 0x1000000u
#define END 0x4000000u

static char device[256], path[300];
static cell numbers[2];

/* The disk's path with something behind it. */
static const char *with(const char *rest)
{
	cell length = length_of(device);

	memcpy(path, device, length);
	memcpy(path + length, rest, length_of(rest) + 1);
	return path;
}

static cell open(const char *rest)
{
	cell instance = call("open", 1, 1, with(rest));

	check_true(path, instance != 0 && instance != NONE);
	return instance;
}

static void seek(cell instance, doubleword position)
{
	cell status = call("seek", 3, 1, instance, (cell)(position >> 32), (cell)position);

	check_true("seek", status <= 1);
}

static cell read(cell instance, void *to, cell length)
{
	return call("read", 3, 1, instance, to, length);
}

static cell write(cell instance, const void *from, cell length)
{
	return call("write", 3, 1, instance, from, length);
}

/* The host looks at the disk after "written", and changes it before it types a key. */
static void writes(void)
{
	static cell words[0x20000 / 4];
	static const byte odd[] = { 1, 2, 3, 4, 5, 6, 7 };
	cell part = open(":2"), whole = open(":0"), at;

	/* 128 KiB at once, 64 KiB into the partition. */
	fill_words(words, sizeof words, OF_GUEST, 0x10000);
	seek(part, 0x10000);
	check("write", write(part, words, sizeof words), sizeof words);
	memset(words, 0, sizeof words);
	seek(whole, PART_FIRST * SECTOR + 0x10000);
	check("read by another instance", read(whole, words, sizeof words), sizeof words);
	check_words("what was written", words, sizeof words, OF_GUEST, 0x10000);

	/* Seven bytes across two sectors; what is around them stays. */
	seek(part, 0x8000 - 3);
	check("write of some bytes", write(part, odd, sizeof odd), sizeof odd);
	seek(part, 0x8000 - SECTOR);
	check("read around them", read(part, words, 2 * SECTOR), 2 * SECTOR);
	for (at = 0; at < sizeof odd; at++)
		check("the bytes", ((byte *)words)[SECTOR - 3 + at], odd[at]);
	check_words("before them", words, SECTOR - 4, OF_DISK, PART_FIRST * SECTOR + 0x8000 - SECTOR);
	check_words("behind them", words + (SECTOR + 4) / 4, SECTOR - 4, OF_DISK,
		    PART_FIRST * SECTOR + 0x8000 + 4);

	/* No byte behind the partition. */
	fill_words(words, sizeof words, OF_GUEST, PART_BYTES - 2 * SECTOR);
	seek(part, PART_BYTES - 2 * SECTOR);
	check("write across the end", write(part, words, 8 * SECTOR), 2 * SECTOR);
	at = write(part, words, SECTOR);
	check_true("write at the end", at == 0 || at == NONE);
	seek(whole, (doubleword)(PART_FIRST + PART_SECTORS) * SECTOR);
	check("what is behind", read(whole, words, SECTOR), SECTOR);
	check_bytes("what is behind", words, SECTOR, 0);

	wait_for_key("written");
	seek(part, 0x20000);
	check("what the host has written", read(part, words, SECTOR), SECTOR);
	check_bytes("what the host has written", words, SECTOR, 0x77);
}

static void read_only(void)
{
	static cell words[SECTOR / 4];
	cell part = open(":2");

	memset(words, 0xff, sizeof words);
	check("write", write(part, words, sizeof words), NONE);
	seek(part, 0);
	check("write of no bytes", write(part, words, 0) == 0 || results[0] == NONE, 1);
	check("read", read(part, words, SECTOR), SECTOR);
	check_words("what was there", words, SECTOR, OF_DISK, PART_FIRST * SECTOR);
}

/* What is not there any more is an error, and the rest is as before. */
static void truncated(void)
{
	cell part = open(":2"), got, half = PART_BYTES / 2;
	void *words = (void *)SCRATCH;

	check("all of it", read(part, words, PART_BYTES), PART_BYTES);
	check_words("all of it", words, PART_BYTES, OF_DISK, PART_FIRST * SECTOR);
	wait_for_key("whole");

	seek(part, half);
	check("behind the cut", read(part, words, 0x10000), NONE);
	seek(part, 0);
	check("before the cut", read(part, words, half), half);
	check_words("before the cut", words, half, OF_DISK, PART_FIRST * SECTOR);
	memset(words, 0, PART_BYTES);
	seek(part, half - 0x10000);
	got = read(part, words, 0x20000);
	check_true("across the cut", got == NONE || got <= 0x10000);
	if (got != NONE)
		check_words("across the cut", words, got, OF_DISK,
			    PART_FIRST * SECTOR + half - 0x10000);
	seek(part, 0);
	check("once more", read(part, words, SECTOR), SECTOR);
	wait_for_key("cut");

	seek(part, half);
	check("when it is back", read(part, words, 0x10000), 0x10000);
	check_bytes("when it is back", words, 0x10000, 0);
}

/* A processor, which of the shared places it fills, and what it calls with. */
struct caller {
	cell state, first_place;
	struct { const char *service; cell arguments, results, cells[9]; } array;
};

static cell next(struct caller *caller)
{
	caller->state ^= caller->state << 13;
	caller->state ^= caller->state >> 17;
	caller->state ^= caller->state << 5;
	return caller->state;
}

#define SOME(caller, array) ((array)[next(caller) % COUNT(array)])

/* Partition 2 or what is on it, opened by one of the processors, used and closed by both. */
#define OWN_PLACES 6
static volatile cell shared[2 * OWN_PLACES];

static cell make(struct caller *caller)
{
	caller->array.cells[caller->array.arguments] = 0;
	check("made", interface(&caller->array), 0);
	return caller->array.cells[caller->array.arguments];
}

static void open_some(struct caller *caller)
{
	static const char *const rests[] = {
		":2", ":2", ":02", ":2,", ":2,\\", ":2,\\no\\such\\file", ":2,//\\..\\..\\x", ":99",
		":-1", ":18446744073709551618", ":2:2", ":2,\\:2", ":zz", ":2\\", ":4294967298",
	};
	const char *rest = SOME(caller, rests);
	char name[300];
	cell length = length_of(device), before, instance;
	cell place = caller->first_place + next(caller) % OWN_PLACES;

	memcpy(name, device, length);
	memcpy(name + length, rest, length_of(rest) + 1);
	caller->array.service = "open";
	caller->array.arguments = 1;
	caller->array.results = 1;
	caller->array.cells[0] = ADDRESS(name);
	instance = make(caller);
	if (instance == 0)
		return;
	before = shared[place];
	shared[place] = instance;
	/* Perhaps the other one is about to do it as well, or to use it. */
	caller->array.service = "close";
	caller->array.results = 0;
	caller->array.cells[0] = before;
	interface(&caller->array);
	interface(&caller->array);
}

static cell some_place(struct caller *caller)
{
	static const cell places[] = {
		END, END - 1, END - 4, END - SECTOR, 0x7fffffff, 0x80000000, 0xfffffffc, NONE,
	};

	if (next(caller) % 4 == 0)
		return SOME(caller, places);
	return SCRATCH + next(caller) % SCRATCH_BYTES;
}

static cell some_length(struct caller *caller)
{
	static const cell lengths[] = {
		0, 1, 3, 511, 512, 513, 4096, 0x8000, 0x100000, 0x100001, 0x800000, 0x3ffffff,
		0x7fffffff, 0x80000000, 0xfffffe00, NONE,
	};

	return next(caller) % 2 == 0 ? next(caller) % 0x4000 : SOME(caller, lengths);
}

static cell some_cell(struct caller *caller)
{
	return next(caller) % 2 == 0 ? some_place(caller) : some_length(caller);
}

/* Nothing but what goes to the scratch memory is written; the program itself is not RAM to be had. */
static int is_harmless(cell to, cell length)
{
	return to >= SCRATCH && (doubleword)to + length <= SCRATCH + SCRATCH_BYTES;
}

static void transfer_some(struct caller *caller, const char *service, int as_method)
{
	cell to = some_place(caller), length = some_length(caller), got;
	int to_ram = (doubleword)to + length <= END;

	if (to_ram && !is_harmless(to, length))
		return;
	caller->array.results = 1;
	if (as_method) {
		caller->array.service = "call-method";
		caller->array.arguments = 4;
		caller->array.results = 2;
		caller->array.cells[0] = ADDRESS(service);
		caller->array.cells[1] = SOME(caller, shared);
		caller->array.cells[2] = length;
		caller->array.cells[3] = to;
		make(caller);
		return;
	}
	caller->array.service = service;
	caller->array.arguments = 3;
	caller->array.cells[0] = SOME(caller, shared);
	caller->array.cells[1] = to;
	caller->array.cells[2] = length;
	got = make(caller);
	check_true("no more than was asked for", (int)got < 0 || got <= length);
	check_true("nothing where there is no RAM", to_ram || length > PART_BYTES || (int)got <= 0);
}

static void call_some(struct caller *caller)
{
	static const char *const methods[] = {
		"block-size", "#blocks", "seek", "max-transfer", "load", "read-blocks", "write-blocks",
		"offset", "dma-alloc", "dma-free", "open", "close", "flush", "no-such-method",
	};
	const char *method = SOME(caller, methods);
	cell at, count = next(caller) % 6, block = some_cell(caller), to = some_place(caller);

	caller->array.service = "call-method";
	caller->array.arguments = 2 + count;
	caller->array.results = 1 + next(caller) % 2;
	caller->array.cells[0] = ADDRESS(method);
	caller->array.cells[1] = SOME(caller, shared);
	for (at = 2; at < caller->array.arguments; at++)
		caller->array.cells[at] = some_cell(caller);
	/* These write to where they are told: to the scratch memory, or to nowhere. */
	if (same(method, "load")) {
		caller->array.arguments = 3;
		caller->array.cells[2] = next(caller) % 2 ? SCRATCH : END - 0x1000;
	} else if (same(method, "read-blocks") || same(method, "write-blocks")) {
		count = some_length(caller);
		if (!is_harmless(to, 0) || count > (SCRATCH + SCRATCH_BYTES - to) / SECTOR)
			to = END - SECTOR / 2;
		/* They know of no partitions. */
		if (same(method, "write-blocks")) {
			count = next(caller) % 64;
			block = PART_FIRST + next(caller) % (PART_SECTORS - 64);
		}
		caller->array.arguments = 5;
		caller->array.cells[2] = count;
		caller->array.cells[3] = block;
		caller->array.cells[4] = to;
	}
	make(caller);
}

static void seek_some(struct caller *caller)
{
	caller->array.service = "seek";
	caller->array.arguments = 3;
	caller->array.results = 1;
	caller->array.cells[0] = SOME(caller, shared);
	caller->array.cells[1] = next(caller) % 4 == 0 ? next(caller) : 0;
	caller->array.cells[2] = next(caller) % 4 == 0 ? next(caller) : next(caller) % PART_BYTES;
	make(caller);
}

static void do_something(struct caller *caller)
{
	switch (next(caller) % 8) {
	case 0: open_some(caller); break;
	case 1: call_some(caller); break;
	case 2: case 3: seek_some(caller); break;
	case 4: transfer_some(caller, "write", 0); break;
	case 5: transfer_some(caller, next(caller) % 2 ? "read" : "write", 1); break;
	default: transfer_some(caller, "read", 0);
	}
}

static struct caller one = { .state = 0x2545f491 };
static struct caller two = { .state = 0x9e3779b9, .first_place = OWN_PLACES };
static volatile cell second_count, finish;

void second_cpu(cell argument)
{
	while (!finish) {
		do_something(&two);
		second_count++;
		in_order();
	}
	finish = 2;
	for (;;)
		;
}

static void start_second(void)
{
	cell cpu, number;

	for (cpu = call("child", 1, 1, find("/cpus")); cpu != 0; cpu = call("peer", 1, 1, cpu)) {
		property(cpu, "reg", &number, 4);
		if (number == 1)
			call("start-cpu", 3, 0, cpu, ADDRESS(start_second_cpu), 0);
	}
}

static void nonsense(int both)
{
	static cell many[2048];
	cell at, opened = 0, node = find(device);

	wait_for_key("ready");
	if (both)
		start_second();
	for (at = 0; at < numbers[0]; at++)
		do_something(&one);
	if (both) {
		while (second_count == 0)
			;
		finish = 1;
		while (finish != 2)
			;
		in_order();
	}
	for (at = 0; at < COUNT(shared); at++) {
		call("close", 1, 0, shared[at]);
		check("closed", read(shared[at], (void *)SCRATCH, SECTOR), NONE);
	}
	/* As many as there can be. */
	while (opened < COUNT(many) && (many[opened] = call("open", 1, 1, with(":2"))) != 0)
		opened++;
	check_true("an end of instances", opened > 1000 && opened < COUNT(many));
	while (opened > 0)
		call("close", 1, 0, many[--opened]);
	/* What was not written to is as before: all in front of the partition. */
	at = open(":0");
	check("the whole disk", read(at, (void *)SCRATCH, PART_FIRST * SECTOR), PART_FIRST * SECTOR);
	check_words("in front of the partition", (void *)(SCRATCH + SECTOR),
		    (PART_FIRST - 1) * SECTOR, OF_DISK, SECTOR);
	check("the node", find(device), node);
	wait_for_key("\ndone");
}

static void speed(void)
{
	cell disk = open(":0"), chunk = numbers[0] << 10, total = numbers[1] << 20, at, before;
	cell *words = (cell *)SCRATCH;

	before = call("milliseconds", 0, 1);
	for (at = 0; at < total; at += chunk) {
		check("read", read(disk, words, chunk), chunk);
		check("the first word", words[0], word_at(OF_DISK, at));
		check("the last word", words[chunk / 4 - 1], word_at(OF_DISK, at + chunk - 4));
	}
	say_number(call("milliseconds", 0, 1) - before);
	say(" ms\n");
}

/* TASK DEVICE NUMBER NUMBER */
static void parse(const char *arguments)
{
	cell length = 0, at;

	while (*arguments != ' ')
		arguments++;
	for (arguments++; arguments[length] != 0 && arguments[length] != ' '; length++)
		device[length] = arguments[length];
	arguments += length;
	for (at = 0; at < COUNT(numbers); at++) {
		numbers[at] = number_in(arguments);
		while (*arguments == ' ')
			arguments++;
		while (*arguments != 0 && *arguments != ' ')
			arguments++;
	}
}

void program(cell r3, cell r4, cell arguments, cell length)
{
	char bootargs[256];

	open_console();
	check_true("bootargs", (int)property(find("/chosen"), "bootargs", bootargs,
					     sizeof bootargs) > 0);
	parse(bootargs);
	check("scratch memory", call("claim", 3, 1, SCRATCH, SCRATCH_BYTES, 0), SCRATCH);
	start_rtas();
	if (starts_with(bootargs, "writes"))
		writes();
	else if (starts_with(bootargs, "read-only"))
		read_only();
	else if (starts_with(bootargs, "truncated"))
		truncated();
	else if (starts_with(bootargs, "any"))
		nonsense(0);
	else if (starts_with(bootargs, "both"))
		nonsense(1);
	else if (starts_with(bootargs, "speed"))
		speed();
	done("disks");
	power_off();
}
