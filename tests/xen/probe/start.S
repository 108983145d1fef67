# A PVH kernel's beginning: long mode with a page table of our own, and the two ways into Xen.
# Linear 0x1000-0x3FFFFFF is physical memory as it is, in pages of 4 KiB; page 0 is not there; WINDOW below 4 GiB has one
# table of 512 pages for probe.c to fill.

    .section .note.Xen, "a", @note
    .long 4, 4, 18                      # XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long start

    .text
    .code32
    .globl start
start:
    movl    $stack_end, %esp
    xorl    %eax, %eax                  # 64 MiB in 32 tables, one behind the other
    movl    $tables, %edi
1:  movl    %eax, %edx
    orl     $7, %edx                    # user code may, too
    movl    %edx, (%edi)
    movl    $0, 4(%edi)
    addl    $0x1000, %eax
    addl    $8, %edi
    cmpl    $0x4000000, %eax
    jb      1b
    movl    $0, tables

    movl    $tables + 7, %eax
    movl    $directory0, %edi
    movl    $32, %ecx
2:  movl    %eax, (%edi)
    addl    $0x1000, %eax
    addl    $8, %edi
    loop    2b
    movl    $window_table + 3, directory3
    movl    $directory0 + 7, directories
    movl    $directory3 + 3, directories + 24
    movl    $directories + 7, root

    movl    $root, %eax
    movl    %eax, %cr3
    movl    $0x20, %eax                 # PAE
    movl    %eax, %cr4
    movl    $0xC0000080, %ecx           # EFER.LME
    rdmsr
    orl     $0x100, %eax
    wrmsr
    movl    $0x80010003, %eax           # PG, WP, MP, PE
    movl    %eax, %cr0
    lgdt    gdt_pointer
    ljmp    $8, $long_mode

    .code64
long_mode:
    movl    $24, %eax
    movl    %eax, %ds
    movl    %eax, %es
    movl    %eax, %ss
    lea     idt(%rip), %rdi             # all vectors but NMI's stop
    lea     stop(%rip), %rax
    mov     $256, %ecx
3:  call    gate
    loop    3b
    lea     idt + 32(%rip), %rdi
    lea     nmi(%rip), %rax
    call    gate
    lea     idt + 16 * 0x81(%rip), %rdi # the way back from ring 3
    lea     from_user(%rip), %rax
    call    gate
    movb    $0xEE, -11(%rdi)
    lidt    idt_pointer
    lea     task(%rip), %rax
    mov     %ax, gdt + 50
    shr     $16, %rax
    mov     %al, gdt + 52
    mov     %ah, gdt + 55
    mov     $48, %eax
    ltr     %ax
    call    probe
power_off:
    cli
    hlt
    jmp     power_off

gate:
    mov     %ax, (%rdi)
    movw    $8, 2(%rdi)
    movw    $0x8E00, 4(%rdi)
    mov     %rax, %rdx
    shr     $16, %rdx
    mov     %dx, 6(%rdi)
    movq    $0, 8(%rdi)
    add     $16, %rdi
    ret

nmi:
    incl    nmis(%rip)
    iretq
stop:
    mov     (%rsp), %rdi
    mov     8(%rsp), %rsi
    mov     %cr2, %rdx
    call    stopped
    jmp     power_off

# long call64(number, argument, ...): by the hypercall page.
    .globl call64
call64:
    mov     %rdi, %rax
    shl     $5, %rax
    lea     hypercall_page(%rip), %r11
    add     %rax, %r11
    mov     %rsi, %rdi
    mov     %rdx, %rsi
    mov     %rcx, %rdx
    mov     %r8, %r10
    mov     %r9, %r8
    jmp     *%r11

# long call_user(number, argument, ...): the same from ring 3.
    .globl call_user
call_user:
    push    %rbx
    push    %rbp
    mov     %rsp, kernel_stack(%rip)
    mov     %rdi, %rax
    shl     $5, %rax
    lea     hypercall_page(%rip), %rbp
    add     %rax, %rbp
    mov     %rsi, %rdi
    mov     %rdx, %rsi
    mov     %rcx, %rdx
    mov     %r8, %r10
    mov     %r9, %r8
    push    $0x2B
    lea     user_stack_end(%rip), %rbx
    push    %rbx
    push    $2
    push    $0x23
    lea     in_user(%rip), %rbx
    push    %rbx
    iretq
in_user:
    call    *%rbp
    int     $0x81
from_user:
    mov     kernel_stack(%rip), %rsp
    mov     $24, %ecx
    mov     %ecx, %ds
    mov     %ecx, %es
    mov     %ecx, %ss
    pop     %rbp
    pop     %rbx
    ret

# long call32(number, argument, ...): the same from 32-bit code, where a number has 32 bits.
    .globl call32
call32:
    push    %rbx
    push    %rbp
    shl     $5, %edi
    lea     hypercall_page(%rdi), %ebp
    mov     %esi, %ebx
    mov     %ecx, %eax
    mov     %edx, %ecx
    mov     %eax, %edx
    mov     %r8d, %esi
    mov     %r9d, %edi
    lcall   *short_code(%rip)
    movslq  %eax, %rax
    pop     %rbp
    pop     %rbx
    ret
    .code32
in_short_code:
    call    *%ebp
    lret

    .code64

    .data
    .balign 16
short_code:
    .long   in_short_code
    .word   16
    .balign 8
gdt:
    .quad   0
    .quad   0x00AF9B000000FFFF          # 8: 64-bit code
    .quad   0x00CF9B000000FFFF          # 16: 32-bit code
    .quad   0x00CF93000000FFFF          # 24: data
    .quad   0x00AFFB000000FFFF          # 32: 64-bit code of ring 3
    .quad   0x00CFF3000000FFFF          # 40: its data
    .quad   0x0000890000000067, 0       # 48: the task, whose address is put in
gdt_pointer:
    .word   . - gdt - 1
    .quad   gdt
idt_pointer:
    .word   4095
    .quad   idt
task:
    .long   0
    .quad   trap_stack_end
    .fill   92, 1, 0
kernel_stack:
    .quad   0
    .globl nmis
nmis:
    .long   0

    .bss
    .balign 4096
    .globl hypercall_page, window_table
hypercall_page: .skip 4096
root:           .skip 4096
directories:    .skip 4096
directory0:     .skip 4096
directory3:     .skip 4096
window_table:   .skip 4096
tables:         .skip 32 * 4096
idt:            .skip 4096
stack:          .skip 16384
stack_end:
                .skip 4096
trap_stack_end:
                .skip 4096
user_stack_end:
