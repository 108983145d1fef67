/*
 * Asks Xen each hypercall with each sub-operation and wild arguments, and prints Xen's answers, a line for a sub-operation:
 * what its argument was, and the result. Runs as a PVH domU of real Xen and under `hull run --xen`; tests/xen/probe/mask
 * says where the two may differ.
 *
 *   null      no address            read      zeros in a page that cannot be written
 *   far       not canonical         edge      zeros, and after four bytes there is no page
 *   none      no page there         end       zeros, and after four bytes the end of RAM
 *   mmio      the local APIC        zero      zeros
 *   hole      no memory there       ones      all bits set
 *                                   self      DOMID_SELF, then zeros
 * Behind a result of these three stand the words of the structure that the call has changed.
 */
#include "console.h"

enum kind { NONE_AT_ALL = 0, NUL = 1, FAR = 2, NONE = 4, MMIO = 8, HOLE = 16, READ = 32, EDGE = 64, END = 128, ZERO = 256, ONES = 512, OWN = 1024 };
static const char *const kind_names[] = { "null", "far", "none", "mmio", "hole", "read", "edge", "end", "zero", "ones", "self" };
enum { KINDS = 11, ADDRESSES = NUL | FAR | NONE | MMIO | HOLE };

/* Where the sub-operation and the pointer stand, and what else. */
enum form { COMMAND_POINTER, COMMAND_POINTER_COUNT, COMMAND_VCPU_POINTER, COMMAND_COUNT_POINTER, POINTER, POINTER_COUNT, DOMAIN_COUNT_POINTER };

struct skipped { int operation, kinds; };
struct call {
    int number;
    const char *name;
    enum form form;
    int first, last;
    struct skipped skipped[6];  /* what would end or stop the guest */
};

enum { ALL = 2047 };
static const struct call calls[] = {
    { 12, "memory_op", COMMAND_POINTER, 0, 30, {} },
    { 17, "xen_version", COMMAND_POINTER, 0, 12, {} },
    { 18, "console_io", COMMAND_COUNT_POINTER, 0, 3, {} },
    { 20, "grant_table_op", COMMAND_POINTER_COUNT, 0, 14, {} },
    { 21, "vm_assist", COMMAND_COUNT_POINTER, 0, 3, {} },
    { 24, "vcpu_op", COMMAND_VCPU_POINTER, 0, 15, { { 2, ALL } } },
    { 29, "sched_op", COMMAND_POINTER, 0, 9, { { 1, ALL }, { 2, READ | ZERO | EDGE | END | ONES | OWN }, { 3, READ | ZERO | OWN }, { 6, READ | EDGE | END | ZERO } } },
    { 32, "event_channel_op", COMMAND_POINTER, 0, 16, { { 10, OWN } } },
    { 34, "hvm_op", COMMAND_POINTER, 0, 28, {} },
    { 7, "platform_op", POINTER, 0, 0, {} },
    { 13, "multicall", POINTER_COUNT, 0, 0, {} },
    { 27, "xsm_op", POINTER, 0, 0, {} },
    { 33, "physdev_op", COMMAND_POINTER, 0, 34, {} },
    { 35, "sysctl", POINTER, 0, 0, {} },
    { 36, "domctl", POINTER, 0, 0, {} },
    { 39, "argo_op", COMMAND_POINTER, 0, 6, {} },
    { 40, "xenpmu_op", COMMAND_POINTER, 0, 7, {} },
    { 41, "dm_op", DOMAIN_COUNT_POINTER, 0, 0, {} },
    { 42, "hypfs_op", COMMAND_POINTER, 0, 4, {} },
    { 26, "mmuext_op", POINTER_COUNT, 0, 0, {} },
    { 48, "mca", POINTER, 0, 0, {} },
};

static long (*call)(unsigned long number, ...) = call64;
void scenarios(void);
void beyond(uint32_t own, uint32_t console);
uint32_t own_domain(void);

static void fill(uint8_t *at, int from, int to, uint8_t with)
{
    for (int i = from; i < to; i++) {
        at[i] = with;
    }
}

/* The address of an argument of a kind, prepared. */
static uint64_t argument(int kind)
{
    switch (1 << kind) {
    case NUL: return 0;
    case FAR: return 0xDEAD0000DEAD0000;
    case NONE: return (uintptr_t)window(PAGE_NONE1) + 64;
    case MMIO: return (uintptr_t)window(PAGE_MMIO);
    case HOLE: return (uintptr_t)window(PAGE_HOLE);
    case READ: return (uintptr_t)window(PAGE_READ_ONLY);
    case EDGE: fill(window(PAGE_DATA), 0, 4096, 0); return (uintptr_t)window(PAGE_NONE1) - 4;
    case END: fill(window(PAGE_LAST_RAM), 0, 4096, 0); return (uintptr_t)window(PAGE_BEHIND_RAM) - 4;
    case ZERO: fill(window(PAGE_DATA), 0, 4096, 0); break;
    case ONES: fill(window(PAGE_DATA), 0, 4096, 0xFF); break;
    case OWN: fill(window(PAGE_DATA), 0, 4096, 0); *(uint32_t *)window(PAGE_DATA) = SELF; break;
    }
    return (uintptr_t)window(PAGE_DATA);
}

static void result(long value)
{
    if (value >= -1000 && value < 1000) {
        number(value);
    } else {
        hexadecimal(value);
    }
}

/* Words that the call has changed, the first of them, by the kind of the argument. */
enum { MOST_CHANGES = 4 };
static int change_count[KINDS], change_at[KINDS][MOST_CHANGES];
static uint32_t change[KINDS][MOST_CHANGES];

static void note(int kind)
{
    const uint32_t *words = (const uint32_t *)window(PAGE_DATA);
    change_count[kind] = 0;
    for (int i = 0; i < 1024 && change_count[kind] < MOST_CHANGES && 1 << kind & (ZERO | ONES | OWN); i++) {
        uint32_t before = 1 << kind == ONES ? 0xFFFFFFFF : 1 << kind == OWN && i == 0 ? SELF : 0;
        if (words[i] != before) {
            change_at[kind][change_count[kind]] = i;
            change[kind][change_count[kind]++] = words[i];
        }
    }
}

static void changes(int kind)
{
    for (int i = 0; i < change_count[kind]; i++) {
        text(i == 0 ? "(" : " ");
        number(change_at[kind][i]);
        text(":");
        hexadecimal(change[kind][i]);
    }
    if (change_count[kind] != 0) {
        text(")");
    }
}

static long one(const struct call *c, int operation, int kind, uint64_t other)
{
    uint64_t at = argument(kind);
    uint64_t a = operation, b = at, d = other;
    switch (c->form) {
    case COMMAND_POINTER: case COMMAND_POINTER_COUNT: break;
    case COMMAND_VCPU_POINTER: case COMMAND_COUNT_POINTER: b = other, d = at; break;
    case POINTER: a = at, b = d = 0; break;
    case POINTER_COUNT: a = at, b = other, d = 0; break;
    case DOMAIN_COUNT_POINTER: a = SELF, b = other, d = at; break;
    }
    return call(c->number, a, b, d, 0UL, (uint64_t)SELF);
}

static void operation(const struct call *c, int operation)
{
    int skipped = 0;
    for (int i = 0; i < 6; i++) {
        skipped |= c->skipped[i].operation == operation ? c->skipped[i].kinds : 0;
    }
    if (skipped == ALL) {
        return;
    }
    const int counted = c->form != COMMAND_POINTER && c->form != POINTER;
    static const uint64_t others[] = { 0, 1, 0xFFFFFFFF };
    for (int i = 0; i < (counted ? 3 : 1); i++) {
        text(c->name);
        text(" ");
        number(operation);
        if (counted) {
            text(c->form == COMMAND_VCPU_POINTER ? " vcpu " : " count ");
            number(others[i]);
        }
        text(":");
        /* Kinds with the same answer stand together. */
        long answers[KINDS];
        int same = 1, first = -1;
        for (int kind = 0; kind < KINDS; kind++) {
            if ((skipped & 1 << kind) == 0) {
                answers[kind] = one(c, operation, kind, others[i]);
                note(kind);
                first = first < 0 ? kind : first;
                same &= answers[kind] == answers[first] && change_count[kind] == 0;
            }
        }
        long last = 1L << 62;
        for (int kind = 0; kind < KINDS; kind++) {
            if ((skipped & 1 << kind) == 0 && (!same || kind == first)) {
                text(answers[kind] == last ? "," : " ");
                if (answers[kind] != last) {
                    result(answers[kind]);
                    text("=");
                }
                text(same ? "all" : kind_names[kind]);
                last = answers[kind];
                changes(kind);
            }
        }
        line();
    }
}

static void numbers(void)
{
    text("numbers:");
    for (int i = 0; i < 64; i++) {
        int known = i == 23; /* iret, which is for PV guests, has no instruction in the page */
        for (unsigned j = 0; j < sizeof(calls) / sizeof(calls[0]); j++) {
            known |= calls[j].number == i;
        }
        if (!known) {
            text(" ");
            number(i);
            text("=");
            result(call(i, -1L, -1L, -1L, -1L, -1L));
        }
    }
    line();
}

void probe(void)
{
    const int present = 1, writable = 3;
    static uint8_t data[4096] __attribute__((aligned(4096))), zeros[4096] __attribute__((aligned(4096)));
    console_open();
    map(PAGE_DATA, (uintptr_t)data >> 12, writable);
    map(PAGE_READ_ONLY, (uintptr_t)zeros >> 12, present);
    map(PAGE_MMIO, 0xFEE00, writable);
    map(PAGE_HOLE, 0x80000, writable);
    map(PAGE_LAST_RAM, 0x3FFF, writable);
    map(PAGE_BEHIND_RAM, 0x4000, writable);

    for (int narrow = 0; narrow < 2; narrow++) {
        call = narrow ? call32 : call64;
        text(narrow ? "== 32-bit code" : "== 64-bit code");
        line();
        numbers();
        for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
            for (int j = calls[i].first; j <= calls[i].last; j++) {
                operation(&calls[i], j);
            }
        }
    }
    text("nmis ");
    number(nmis);
    line();
    scenarios();
    beyond(own_domain(), console_port());
    text("== end");
    line();
    console_drain();
}
