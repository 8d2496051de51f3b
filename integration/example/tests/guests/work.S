# Work in memory and in the registers that a hypercall leaves alone (Linux's
# Documentation/arch/powerpc/papr_hcalls.rst tells which), with a hypercall in each round.

	.machine "power9"
	.text

# Offsets in struct work, as counter.c has it.
	.set	GENERAL, 0
	.set	STATUS_OF_FLOATING, 120
	.set	FLOATING, 128
	.set	VECTOR, 384
	.set	SCRATCH, 896
	.set	CALL_STATUS, 904
	.set	CALL_COUNT, 912
	.set	TABLE, 1024

	.set	FRAME, 192
	.set	SAVED, 16			# r13 to r31, all of their 64 bits

	.set	FP_AND_VECTOR, 0x0200		# MSR[VEC], in the upper half of a word
	.set	FP, 0x2000			# MSR[FP]

# cell work(struct work *work, cell rounds, cell token, cell count)
#
# Calls hypercall `token` in each round, which has to give `count`; none for a token of 0. Gives
# how many rounds were left when a call gave something else: 0 if none did.
	.globl work
work:
	mflr	0
	stw	0, 4(1)
	mfcr	0
	stwu	1, -FRAME(1)
	stw	0, 8(1)
	.irp	n, 13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
	std	\n, SAVED+8*(\n-13)(1)
	.endr
	mr	13, 3
	mr	31, 4
	mr	29, 5
	clrldi	30, 6, 32
	mfmsr	0
	ori	0, 0, FP
	oris	0, 0, FP_AND_VECTOR
	mtmsr	0
	isync

	.irp	n, 14,15,16,17,18,19,20,21,22,23,24,25,26,27,28
	ld	\n, GENERAL+8*(\n-14)(13)
	.endr
	# Nothing is left of what was set before. Rounding is toward zero: not as after a reset.
	li	0, 0
	std	0, SCRATCH(13)
	lfd	0, SCRATCH(13)
	mtfsf	0xff, 0
	mtfsfi	7, 1
	.irp	n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
	lfd	\n, FLOATING+8*\n(13)
	fcfid	\n, \n
	li	0, VECTOR+16*\n
	lvx	\n, 13, 0
	.endr

1:	# What a register has lost is never made up for: each step can be undone.
	.irp	n, 14,15,16,17,18,19,20,21,22,23,24,25,26,27
	rotldi	\n, \n, 7
	add	\n, \n, \n+1
	.endr
	rotldi	28, 28, 11
	add	28, 28, 14
	.irp	n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
	fadd	\n, \n, 0
	vaddudm	\n, \n, 0
	.endr
	stfd	1, SCRATCH(13)
	ld	0, SCRATCH(13)
	add	15, 15, 0
	rlwinm	9, 14, 0, 16, 28
	addi	10, 13, TABLE
	ldx	0, 10, 9
	xor	0, 0, 16
	stdx	0, 10, 9
	add	17, 17, 0
	mtcrf	0x38, 18
	mtlr	19
	cmpwi	29, 0
	beq	2f

	clrldi	3, 29, 32
	sc	1
	cmpdi	3, 0
	bne	3f
	cmpd	4, 30
	bne	3f

2:	mflr	0
	add	20, 20, 0
	mfcr	0
	rlwinm	0, 0, 0, 8, 19			# fields 2 to 4
	add	21, 21, 0
	addi	31, 31, -1
	cmpwi	31, 0
	bne	1b

3:	std	3, CALL_STATUS(13)
	std	4, CALL_COUNT(13)
	.irp	n, 14,15,16,17,18,19,20,21,22,23,24,25,26,27,28
	std	\n, GENERAL+8*(\n-14)(13)
	.endr
	.irp	n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
	stfd	\n, FLOATING+8*\n(13)
	li	0, VECTOR+16*\n
	stvx	\n, 13, 0
	.endr
	mffs	0
	stfd	0, STATUS_OF_FLOATING(13)
	mr	3, 31
	.irp	n, 13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
	ld	\n, SAVED+8*(\n-13)(1)
	.endr
	lwz	0, 8(1)
	addi	1, 1, FRAME
	mtcrf	0xff, 0
	lwz	0, 4(1)
	mtlr	0
	blr

	.section .note.GNU-stack, "", @progbits
