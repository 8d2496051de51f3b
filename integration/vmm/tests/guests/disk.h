/*
 * What the tests write on disks, so that a program can tell what it has read: each word says whose
 * it is, by a mark, and where it is. images/mod.rs writes the same.
 */
#ifndef DISK_H
#define DISK_H

#include "guest.h"

#define SECTOR 512u

/* Whose words they are. */
#define OF_DISK 0x10000000u
#define OF_KERNEL 0x20000000u
#define OF_MODULE 0x30000000u
#define OF_GUEST 0x40000000u

/* The word at an offset, which is a multiple of 4. */
static inline cell word_at(cell mark, doubleword offset)
{
	return ((cell)(offset >> 2) + mark) * 0x9e3779b1u ^ (cell)(offset >> 34) * 0x85ebca6bu;
}

/* A buffer has what was written from an offset on. */
static inline void check_words(const char *what, const void *buffer, cell length, cell mark,
			       doubleword offset)
{
	const cell *words = buffer;
	cell at;

	for (at = 0; at < length / 4; at++)
		if (words[at] != word_at(mark, offset + 4 * at)) {
			say("at ");
			say_hex(offset + 4 * at);
			say(" of ");
			say_hex(length);
			say(" bytes\n");
			check(what, words[at], word_at(mark, offset + 4 * at));
		}
}

/* Nothing but this byte. */
static inline void check_bytes(const char *what, const void *buffer, cell length, byte value)
{
	const byte *bytes = buffer;
	cell at;

	for (at = 0; at < length; at++)
		check(what, bytes[at], value);
}

static inline void fill_words(void *buffer, cell length, cell mark, doubleword offset)
{
	cell *words = buffer, at;

	for (at = 0; at < length / 4; at++)
		words[at] = word_at(mark, offset + 4 * at);
}

/* A number of partition tables: the lowest byte first. */
static inline cell little(const byte *at)
{
	return at[0] | at[1] << 8 | at[2] << 16 | (cell)at[3] << 24;
}

#endif
