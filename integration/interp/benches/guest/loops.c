/* Compute loops for the core: the workload of the number in r3, as often as r4 says. Ends with
 * `sc 1` and the checksum in r4. Built by build.sh, in both byte orders; the bytes are in
 * loops.bin and loops-big-endian.bin.
 */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

static u8 *const buffer = (u8 *)0x100000;
#define BYTES 65536

static u64 random(u64 *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static u64 crc32(void)
{
	u32 *table = (u32 *)(buffer + BYTES), crc = ~0u;
	for (u32 i = 0; i < 256; i++) {
		u32 value = i;
		for (int bit = 0; bit < 8; bit++)
			value = value & 1 ? value >> 1 ^ 0xedb88320 : value >> 1;
		table[i] = value;
	}
	for (u32 i = 0; i < BYTES; i++)
		crc = table[(crc ^ buffer[i]) & 255] ^ crc >> 8;
	return ~crc;
}

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define BIG_ENDIAN_WORD(x) (x)
#else
#define BIG_ENDIAN_WORD(x) __builtin_bswap32(x)
#endif

#define ROTATE(x, n) ((x) >> (n) | (x) << (32 - (n)))

static u64 sha256(void)
{
	u32 h[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
		     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
	for (u8 *block = buffer; block < buffer + BYTES; block += 64) {
		u32 w[64], s[8];
		for (int i = 0; i < 16; i++)
			w[i] = BIG_ENDIAN_WORD(((u32 *)block)[i]);
		for (int i = 16; i < 64; i++) {
			u32 a = w[i - 15], b = w[i - 2];
			w[i] = w[i - 16] + (ROTATE(a, 7) ^ ROTATE(a, 18) ^ a >> 3) +
			       w[i - 7] + (ROTATE(b, 17) ^ ROTATE(b, 19) ^ b >> 10);
		}
		for (int i = 0; i < 8; i++)
			s[i] = h[i];
		for (int i = 0; i < 64; i++) {
			u32 e = s[4], a = s[0];
			u32 t1 = s[7] + (ROTATE(e, 6) ^ ROTATE(e, 11) ^ ROTATE(e, 25)) +
				 ((e & s[5]) ^ (~e & s[6])) + 0x9e3779b9 * i + w[i];
			u32 t2 = (ROTATE(a, 2) ^ ROTATE(a, 13) ^ ROTATE(a, 22)) +
				 ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
			s[7] = s[6]; s[6] = s[5]; s[5] = e; s[4] = s[3] + t1;
			s[3] = s[2]; s[2] = s[1]; s[1] = a; s[0] = t1 + t2;
		}
		for (int i = 0; i < 8; i++)
			h[i] += s[i];
	}
	return (u64)h[0] << 32 | h[7];
}

static u64 heapsort(void)
{
	u64 *a = (u64 *)buffer, state = 88172645463325252;
	long n = BYTES / 8, sum = 0;
	for (long i = 0; i < n; i++)
		a[i] = random(&state);
	for (long start = n / 2, end = n; end > 1;) {
		if (start > 0) {
			start--;
		} else {
			u64 top = a[--end];
			a[end] = a[0];
			a[0] = top;
		}
		long root = start, child;
		while ((child = 2 * root + 1) < end) {
			if (child + 1 < end && a[child] < a[child + 1])
				child++;
			if (a[root] >= a[child])
				break;
			u64 swap = a[root];
			a[root] = a[child];
			a[child] = swap;
			root = child;
		}
	}
	for (long i = 0; i < n; i++)
		sum = sum * 31 + a[i];
	return sum;
}

static u64 hash(void)
{
	u64 h = 0xcbf29ce484222325;
	for (u32 i = 0; i < BYTES; i += 8)
		h = (h ^ *(u64 *)(buffer + i)) * 0x100000001b3;
	return h;
}

static u64 copy(void)
{
	volatile u64 *from = (u64 *)buffer, *to = (u64 *)(buffer + BYTES);
	for (u32 i = 0; i < BYTES / 8; i++)
		to[i] = from[i];
	return to[BYTES / 8 - 1];
}

u64 run(u64 which, u64 times)
{
	u64 state = 1, sum = 0;
	for (u32 i = 0; i < BYTES; i++)
		buffer[i] = random(&state);
	while (times--) {
		u64 value = which == 0 ? crc32() : which == 1 ? sha256() :
			    which == 2 ? heapsort() : which == 3 ? hash() : copy();
		sum = sum * 3 + value;
	}
	return sum;
}

__asm__(".section .text.first,\"ax\"\n.globl _start\n_start:\n"
	"lis 2,.TOC.@ha\naddi 2,2,.TOC.@l\nbl run\nmr 4,3\nli 3,0\nsc 1\n.text\n");
