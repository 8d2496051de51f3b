/*
 * The first program of the big-endian guest: it shows what the machine is, checks what depends on the
 * byte order, and leaves.
 *
 * On the kernel's command line:
 *   autoreboot    restart once, then power off; the machine counts its starts in
 *                 /chosen/rust-vmm,boot-count, from 1
 *   autokexec     start the kernel /boot/vmlinux, with the rest of the command line
 * Without either it powers the machine off.
 */
#define _GNU_SOURCE
#include <altivec.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

/* How often each CPU checks everything: long enough for the kernel to take it away in between. */
#define ROUNDS 200

#define PAGE 65536
#define SECTOR 512

static int checks, wrong;

static void check(const char *what, int holds)
{
	checks++;
	if (holds)
		return;
	wrong++;
	printf("GUEST-WRONG %s\n", what);
}

/* 0x00, 0x11, ... 0xff, from an address that is a multiple of 16. */
static uint8_t bytes[16] __attribute__((aligned(16)));

#define FIRST 0x0011223344556677ull
#define SECOND 0x8899aabbccddeeffull

/* An instruction that loads a register from two addresses' sum. */
#define LOAD(instruction, address) ({ \
	uint64_t value; \
	__asm__ volatile(instruction " %0,0,%1" : "=r"(value) : "r"(address) : "memory"); \
	value; \
})

static void check_words(void)
{
	uint64_t doubleword = FIRST, old;
	uint32_t word;
	uint16_t halfword;

	memcpy(&word, bytes, sizeof word);
	memcpy(&halfword, bytes + 14, sizeof halfword);
	check("word", word == 0x00112233);
	check("halfword", halfword == 0xeeff);
	check("doubleword", !memcmp(&doubleword, bytes, 8));
	check("lhbrx", LOAD("lhbrx", bytes) == 0x1100);
	check("lwbrx", LOAD("lwbrx", bytes) == 0x33221100);
	check("ldbrx", LOAD("ldbrx", bytes) == 0x7766554433221100);
	check("lhax", LOAD("lhax", bytes + 8) == 0xffffffffffff8899);
	check("lwax", LOAD("lwax", bytes + 8) == 0xffffffff8899aabb);
	check("ldx, not aligned", LOAD("ldx", bytes + 3) == 0x33445566778899aa);
	__asm__ volatile("stdbrx %1,0,%2" : "=m"(doubleword) : "r"(FIRST), "r"(&doubleword));
	check("stdbrx", doubleword == 0x7766554433221100);
	do {
		old = LOAD("ldarx", &doubleword);
	} while (!__extension__({
		uint32_t cr;
		__asm__ volatile("stdcx. %1,0,%2; mfcr %0"
				 : "=r"(cr) : "r"(old + 1), "r"(&doubleword) : "cr0", "memory");
		cr >> 29 & 1;
	}));
	check("stdcx.", doubleword == 0x7766554433221101);
}

/*
 * What multiple and string instructions do is an interrupt in the other byte order. Register 31 is the
 * last of the former, and may be the compiler's for good, so that it is kept meanwhile.
 */
static void check_strings(void)
{
	uint64_t first, second;
	uint8_t stored[16] = { 0 };

	__asm__ volatile("mr 9,%2; mr 10,31; lmw 30,4(9); mr 7,30; mr 8,31; mr 31,10;"
			 "mr %0,7; mr %1,8"
			 : "=&r"(first), "=&r"(second)
			 : "r"(bytes) : "r7", "r8", "r9", "r10", "r30", "memory");
	check("lmw", first == 0x44556677 && second == 0x8899aabb);
	__asm__ volatile("mr 8,%1; mr 9,%0; mr 10,31; lwz 30,8(9); lwz 31,4(9); stmw 30,4(8);"
			 "mr 31,10"
			 : : "r"(bytes), "r"(stored) : "r8", "r9", "r10", "r30", "memory");
	check("stmw", !memcmp(stored + 4, bytes + 8, 4) && !memcmp(stored + 8, bytes + 4, 4));
	__asm__ volatile("lswi 7,%2,7; mr %0,7; mr %1,8"
			 : "=&r"(first), "=&r"(second) : "b"(bytes + 1) : "r7", "r8", "memory");
	check("lswi", first == 0x11223344 && second == 0x55667700);
	stored[5] = 0x5a;
	__asm__ volatile("lswi 7,%0,7; stswi 7,%1,5"
			 : : "b"(bytes + 1), "b"(stored) : "r7", "r8", "memory");
	check("stswi", !memcmp(stored, bytes + 1, 5) && stored[5] == 0x5a);
}

/* A word of which half is in one page and half in the next. */
static void check_pages(uint8_t *pages)
{
	uint64_t value;

	memcpy(pages + PAGE - 5, bytes, 16);
	check("ldx of two pages", LOAD("ldx", pages + PAGE - 5) == FIRST);
	value = SECOND;
	__asm__ volatile("stdx %0,0,%1" : : "r"(value), "r"(pages + PAGE - 3) : "memory");
	check("stdx to two pages", pages[PAGE - 3] == 0x88 && pages[PAGE] == 0xbb);
}

static void check_float(void)
{
	volatile double third = 1.0 / 3;
	volatile float single = third;
	uint64_t double_bits;
	uint32_t single_bits;
	double loaded;

	memcpy(&double_bits, (void *)&third, 8);
	memcpy(&single_bits, (void *)&single, 4);
	check("double", double_bits == 0x3fd5555555555555);
	check("single", single_bits == 0x3eaaaaab);
	__asm__ volatile("lfsx %0,0,%1" : "=d"(loaded) : "r"(&single) : "memory");
	check("lfsx", loaded == (double)single);
	__asm__ volatile("lfiwzx %0,0,%1; fcfidu %0,%0" : "=d"(loaded) : "r"(bytes) : "memory");
	check("lfiwzx", loaded == 0x00112233);
	__asm__ volatile("stfiwx %1,0,%2" : "=m"(single_bits) : "d"(third), "r"(&single_bits));
	check("stfiwx", single_bits == 0x55555555);
}

typedef vector unsigned char Bytes;
typedef vector unsigned long long Doublewords;

#define LOAD_VECTOR(instruction, address) ({ \
	Bytes value; \
	__asm__ volatile(instruction " %x0,0,%1" : "=wa"(value) : "r"(address) : "memory"); \
	value; \
})

static int same(Bytes value, const void *expected)
{
	Bytes stored = value;

	return !memcmp(&stored, expected, 16);
}

static void check_vectors(int has_power9)
{
	static const Doublewords splat = { SECOND, SECOND };
	Bytes plain = vec_ld(0, bytes), permuted;
	Doublewords doublewords = (Doublewords)plain;
	uint8_t stored[32] __attribute__((aligned(16)));

	check("lvx", same(plain, bytes));
	check("doubleword of a vector", doublewords[0] == FIRST && doublewords[1] == SECOND);
	check("lxvd2x", same(LOAD_VECTOR("lxvd2x", bytes), bytes));
	check("lxvw4x", same(LOAD_VECTOR("lxvw4x", bytes), bytes));
	check("lxvdsx", same(LOAD_VECTOR("lxvdsx", bytes + 8), &splat));
	memcpy(stored + 3, bytes, 16);
	permuted = vec_perm(vec_ld(0, stored), vec_ld(16, stored), vec_lvsl(3, stored));
	check("lvsl and vperm", same(permuted, bytes));
	__asm__ volatile("stxvd2x %x0,0,%1" : : "wa"(plain), "r"(stored + 5) : "memory");
	check("stxvd2x, not aligned", !memcmp(stored + 5, bytes, 16));
	if (!has_power9)
		return;
	__asm__ volatile(".machine push; .machine power9; lxv %x0,0(%1); stxvl %x0,%2,%3; .machine pop"
			 : "=&wa"(plain) : "b"(bytes), "b"(stored), "r"(5ull << 56) : "memory");
	check("lxv", same(plain, bytes));
	check("stxvl", !memcmp(stored, bytes, 5) && stored[5] == bytes[0]);
}

/* All of it, on one CPU. */
static void check_cpu(int cpu, int has_power9)
{
	cpu_set_t one;
	uint8_t *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int round;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	check("CPU", !sched_setaffinity(0, sizeof one, &one) && sched_getcpu() == cpu);
	for (round = 0; round < ROUNDS; round++) {
		check_words();
		check_strings();
		check_pages(pages);
		check_float();
		check_vectors(has_power9);
	}
}

/* All CPUs at once, in a process each. */
static void check_cpus(void)
{
	int cpus = sysconf(_SC_NPROCESSORS_ONLN), cpu, status;
	int has_power9 = __builtin_cpu_supports("arch_3_00");

	for (cpu = 0; cpu < 16; cpu++)
		bytes[cpu] = cpu * 0x11;
	fflush(stdout);
	for (cpu = 0; cpu < cpus; cpu++) {
		if (fork())
			continue;
		check_cpu(cpu, has_power9);
		fflush(stdout);
		_exit(wrong != 0);
	}
	while (wait(&status) > 0) {
		check("all that a CPU checks", status == 0);
		if (WIFSIGNALED(status))
			printf("GUEST-WRONG it died of signal %d\n", WTERMSIG(status));
	}
	printf("GUEST-CHECKED %d CPUs\n", cpus);
}

/* The first sector is somebody's text, the last is written. */
static void check_disk(void)
{
	char first[SECTOR], last[SECTOR] = "written by a big-endian guest";
	int disk = open("/dev/vda", O_RDWR | O_SYNC);
	off_t end;

	if (disk < 0)
		return;
	check("read", pread(disk, first, SECTOR, 0) == SECTOR);
	printf("GUEST-DISK %.64s\n", first);
	end = lseek(disk, 0, SEEK_END);
	check("write", pwrite(disk, last, SECTOR, end - SECTOR) == SECTOR);
	close(disk);
}

static void check_devices(void)
{
	uint8_t zeros[16] = { 0 }, random[16] = { 0 };
	int rng = open("/dev/hwrng", O_RDONLY);

	/* The file is there without a device, too. */
	if (rng >= 0 && read(rng, random, 16) == 16) {
		check("hwrng", memcmp(random, zeros, 16) != 0);
		printf("GUEST-RNG\n");
	}
	check_disk();
}

static void show(const char *path)
{
	char line[1024];
	FILE *file = fopen(path, "r");

	if (!file)
		return;
	while (fgets(line, sizeof line, file))
		fputs(line, stdout);
	fclose(file);
}

static uint32_t boot_count(void)
{
	uint32_t count = 0;
	int file = open("/proc/device-tree/chosen/rust-vmm,boot-count", O_RDONLY);

	if (file < 0 || read(file, &count, sizeof count) != sizeof count)
		printf("GUEST-WRONG boot count\n");
	return count;
}

/* Whether a word is on the command line. It is taken out. */
static int take(char *line, const char *word)
{
	char *at = strstr(line, word);

	if (!at)
		return 0;
	memset(at, ' ', strlen(word));
	return 1;
}

static void start_kernel(const char *line)
{
	int kernel = open("/boot/vmlinux", O_RDONLY), disk = open("/boot/initramfs.cpio", O_RDONLY);

	if (syscall(SYS_kexec_file_load, kernel, disk, strlen(line) + 1, line, 0)) {
		perror("GUEST-WRONG kexec_file_load");
		return;
	}
	printf("GUEST-KEXECS\n");
	fflush(stdout);
	reboot(LINUX_REBOOT_CMD_KEXEC);
	perror("GUEST-WRONG kexec");
}

static void leave(void)
{
	char line[2048] = "";
	FILE *file = fopen("/proc/cmdline", "r");

	if (!file || !fgets(line, sizeof line, file))
		printf("GUEST-WRONG command line\n");
	line[strcspn(line, "\n")] = 0;
	if (take(line, "autokexec"))
		start_kernel(line);
	if (take(line, "autoreboot") && boot_count() == 1) {
		printf("GUEST-REBOOTS\n");
		fflush(stdout);
		reboot(LINUX_REBOOT_CMD_RESTART);
	}
	fflush(stdout);
	reboot(LINUX_REBOOT_CMD_POWER_OFF);
}

int main(void)
{
	struct utsname name;

	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	/* The kernel says only what is urgent from here on, or it would do so in the midst of a line. */
	klogctl(8, NULL, 1);
	uname(&name);
	printf("GUEST-READY\n%s %s %s\n", name.sysname, name.release, name.machine);
	show("/proc/cpuinfo");
	check_cpus();
	check_devices();
	show("/proc/interrupts");
	printf("GUEST-CHECKS %d, %d of them wrong\n", checks, wrong);
	leave();
	for (;;)
		pause();
}
