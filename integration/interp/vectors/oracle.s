/* Executes one instruction with all registers given, and tells all registers after it.
 *
 * A freestanding program for Linux, big- or little-endian. It reads records of `struct state` from
 * standard input, puts the word into a page of landing pads, loads all registers, goes there, and
 * writes the record back. All fields are in the program's own byte order.
 *
 * Three general registers are not free: r1 is the stack for signals, r31 is the record, and r30 the
 * number of the landing pad that was reached. Signals end an instruction, too; their number is in the record.
 */

        .set    GPR, 0               /* 32 doublewords */
        .set    VSR, 256             /* 64 pairs of doublewords, number 0 first */
        .set    CR, 1280
        .set    XER, 1288
        .set    LR, 1296
        .set    CTR, 1304
        .set    FPSCR, 1312
        .set    VSCR, 1328            /* a quadword */
        .set    PAD, 1344
        .set    SIGNAL, 1352
        .set    WORD, 1360
        .set    MEMORY, 1376            /* 256 bytes */
        .set    SIZE, 1632

        .set    CODE, 0x40000         /* a page of landing pads, the word in the middle */
        .set    AT, 0x40804
        .set    DATA, 0x20000         /* where MEMORY is while the instruction runs */

        .set    SYS_exit, 1
        .set    SYS_read, 3
        .set    SYS_write, 4
        .set    SYS_mmap, 90
        .set    SYS_rt_sigaction, 173

        .macro  li32 r, v
        lis     \r, (\v)@h
        ori     \r, \r, (\v)@l
        .endm

        .data
        .balign 16
state:  .space  SIZE
        .balign 16
saved:  .space  64
action: .space  64

        .abiversion 2
        .text
        .globl  _start
_start:
        /* mmap(addr, len, RWX, FIXED|PRIVATE|ANONYMOUS, -1, 0) */
        li32    3, CODE
        bl      map
        li32    3, DATA
        bl      map

        /* Landing pads: li r30, number; b landed. */
        li32    4, CODE
        li      5, 0
        lis     8, landed@highest
        ori     8, 8, landed@higher
        sldi    8, 8, 32
        oris    8, 8, landed@h
        ori     8, 8, landed@l
1:      li32    6, 0x3bc00000           /* li r30, 0 */
        or      6, 6, 5
        stw     6, 0(4)
        subf    7, 4, 8
        addi    7, 7, -4
        rlwinm  7, 7, 0, 6, 29
        oris    7, 7, 0x4800
        stw     7, 4(4)
        addi    4, 4, 8
        addi    5, 5, 1
        cmpwi   5, 512
        blt     1b

        /* Signals: SA_SIGINFO | SA_NODEFER | SA_ONSTACK left out. */
        lis     4, action@highest
        ori     4, 4, action@higher
        sldi    4, 4, 32
        oris    4, 4, action@h
        ori     4, 4, action@l
        lis     5, handler@highest
        ori     5, 5, handler@higher
        sldi    5, 5, 32
        oris    5, 5, handler@h
        ori     5, 5, handler@l
        std     5, 0(4)
        li32    5, 0x40000000
        std     5, 8(4)
        li      5, 0
        std     5, 16(4)
        std     5, 24(4)
        li      14, 4                   /* SIGILL */
        bl      signal
        li      14, 5                   /* SIGTRAP */
        bl      signal
        li      14, 7                   /* SIGBUS */
        bl      signal
        li      14, 8                   /* SIGFPE */
        bl      signal
        li      14, 11                  /* SIGSEGV */
        bl      signal

loop:   bl      address
        li      14, 0
2:      li      0, SYS_read
        li      3, 0
        add     4, 31, 14
        li      5, SIZE
        subf    5, 14, 5
        sc
        bso     done
        cmpdi   3, 0
        beq     done
        add     14, 14, 3
        cmpwi   14, SIZE
        blt     2b

        /* The word, and the memory. */
        li32    4, AT
        lwz     5, WORD(31)
        stw     5, -4(4)                /* not executed; keeps the pad before it apart */
        stw     5, 0(4)
        dcbst   0, 4
        sync
        icbi    0, 4
        isync
        li32    4, DATA
        bl      copy_in

        /* Status. */
        lfd     0, FPSCR(31)
        mtfsf   255, 0, 1, 0
        addi    4, 31, VSCR
        lvx     0, 0, 4
        mtvscr  0
        ld      4, CR(31)
        mtcr    4
        ld      4, XER(31)
        mtxer   4
        ld      4, LR(31)
        mtlr    4
        ld      4, CTR(31)
        mtctr   4

        .set    number, 0
        .rept   64
        li      4, VSR + 16 * number
        lxvd2x  number, 31, 4
        .set    number, number + 1
        .endr
        .set    number, 0
        .rept   30
        .if number != 1
        ld      number, 8 * number(31)
        .endif
        .set    number, number + 1
        .endr
        li      30, -1
        ba      AT

landed: std     30, PAD(31)
        .set    number, 0
        .rept   30
        .if number != 1
        std     number, 8 * number(31)
        .endif
        .set    number, number + 1
        .endr
        .set    number, 0
        .rept   64
        li      4, VSR + 16 * number
        stxvd2x number, 31, 4
        .set    number, number + 1
        .endr
        mfcr    4
        std     4, CR(31)
        mfxer   4
        std     4, XER(31)
        mflr    4
        std     4, LR(31)
        mfctr   4
        std     4, CTR(31)
        mffs    0
        stfd    0, FPSCR(31)
        mfvscr  0
        addi    4, 31, VSCR
        stvx    0, 0, 4
        li      4, 0
        std     4, SIGNAL(31)
        li32    4, DATA
        bl      copy_out
reply:  li      0, SYS_write
        li      3, 1
        mr      4, 31
        li      5, SIZE
        sc
        b       loop

done:   li      0, SYS_exit
        li      3, 0
        sc

handler:
        mr      14, 3
        bl      address
        std     14, SIGNAL(31)
        /* The frame of the signal is left behind: back to the stack of the beginning. */
        lis     4, saved@highest
        ori     4, 4, saved@higher
        sldi    4, 4, 32
        oris    4, 4, saved@h
        ori     4, 4, saved@l
        ld      1, 0(4)
        b       reply

/* r31 = the record; keeps the stack pointer for the handler. */
address:
        lis     31, state@highest
        ori     31, 31, state@higher
        sldi    31, 31, 32
        oris    31, 31, state@h
        ori     31, 31, state@l
        lis     15, saved@highest
        ori     15, 15, saved@higher
        sldi    15, 15, 32
        oris    15, 15, saved@h
        ori     15, 15, saved@l
        cmpdi   14, 0
        ld      16, 8(15)
        cmpdi   16, 0
        bnelr
        std     1, 0(15)
        li      16, 1
        std     16, 8(15)
        blr

map:    li      0, SYS_mmap
        li      4, 0x1000
        li      5, 7
        li      6, 0x32
        li      7, -1
        li      8, 0
        sc
        blr

signal: li      0, SYS_rt_sigaction
        mr      3, 14
        lis     4, action@highest
        ori     4, 4, action@higher
        sldi    4, 4, 32
        oris    4, 4, action@h
        ori     4, 4, action@l
        li      5, 0
        li      6, 8
        sc
        blr

copy_in:
        li      5, 32
        mtctr   5
        addi    6, 31, MEMORY - 8
        addi    7, 4, -8
3:      ldu     8, 8(6)
        stdu    8, 8(7)
        bdnz    3b
        blr

copy_out:
        li      5, 32
        mtctr   5
        addi    6, 4, -8
        addi    7, 31, MEMORY - 8
4:      ldu     8, 8(6)
        stdu    8, 8(7)
        bdnz    4b
        blr
