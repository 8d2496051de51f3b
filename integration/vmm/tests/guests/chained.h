/*
 * What a program that is entered by `chain` has as arguments: a text, and behind it what it is to
 * look at.
 */
#define CHAINED_ARGUMENTS "root=/dev/nothing"

struct chained {
	cell initrd, bytes;
	entry_point interface;
	char room[20];
};
_Static_assert(sizeof(struct chained) >= sizeof CHAINED_ARGUMENTS, "the text is before it");
