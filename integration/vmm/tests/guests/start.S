# Where the guest programs in C start, and what C cannot say.

	.machine "power8"
	.text

	.globl _start
_start:
	mr	8, 1
	bl	enter
	b	.

	.globl hypercall
hypercall:
	mr	0, 3
	stwu	1, -16(1)
	stw	0, 8(1)
	ld	4, 8(3)
	ld	5, 16(3)
	ld	6, 24(3)
	ld	7, 32(3)
	ld	8, 40(3)
	ld	9, 48(3)
	ld	10, 56(3)
	ld	11, 64(3)
	ld	12, 72(3)
	ld	3, 0(3)
	sc	1
	mr	0, 3
	lwz	3, 8(1)
	std	0, 0(3)
	std	4, 8(3)
	std	5, 16(3)
	std	6, 24(3)
	std	7, 32(3)
	std	8, 40(3)
	std	9, 48(3)
	std	10, 56(3)
	std	11, 64(3)
	std	12, 72(3)
	addi	1, 1, 16
	blr

	.globl call_with_upper_halves
call_with_upper_halves:
	lis	11, interface@ha
	lwz	11, interface@l(11)
	mtctr	11
	mr	0, 4
	rldimi	0, 0, 32, 0
	.irp	register, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
	rldimi	\register, 0, 32, 0
	.endr
	bctr

	.globl state_bits
state_bits:
	mfmsr	3
	blr

	.globl start_second_cpu
start_second_cpu:
	mfmsr	4				# without its top bit, 64-bit mode
	clrldi	4, 4, 1
	mtsrr1	4
	lis	4, 1f@ha
	addi	4, 4, 1f@l
	mtsrr0	4
	rfid
1:	lis	1, second_stack_end@ha
	addi	1, 1, second_stack_end@l
	li	0, 0
	stwu	0, -32(1)
	bl	second_cpu
	b	.

	.bss
	.balign	16
	.skip	8192
second_stack_end:

	# Few programs have a use for it.
	.weak	second_cpu

	.section .note.GNU-stack, "", @progbits
