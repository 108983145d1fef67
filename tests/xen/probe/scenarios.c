/*
 * What a domU may do with the calls of which probe.c asks the errors: memory that it gives back and takes, grants of its own
 * pages, ports, timers, parameters. Each line is a call and its result; behind it the words of its structure that have changed.
 * What was done before matters: the order is part of the question.
 */
#include "console.h"

enum { MEMORY = 12, GRANT = 20, VCPU = 24, SCHED = 29, EVENT = 32, HVM = 34 };

uint32_t own_domain(void);
static uint32_t before[32];
static const char *prefix;

static uint32_t *words(void) { return (uint32_t *)window(PAGE_DATA); }

uint32_t own_domain(void)
{
    uint32_t a = 0x40000004, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return c;
}

/* The answer, and what it has changed in the structure. Numbers of domains differ between the sides. */
static long report(const char *what, long answer)
{
    int shown = 0;
    text(prefix);
    text(" ");
    text(what);
    text(": ");
    number(answer);
    for (int i = 0; i < 32; i++) {
        if (words()[i] != before[i]) {
            text(shown++ == 0 ? " (" : " ");
            number(i);
            text(":");
            hexadecimal(words()[i]);
        }
    }
    if (shown) {
        text(")");
    }
    line();
    return answer;
}

#define SET(...) do { \
        const uint32_t values[] = { __VA_ARGS__ }; \
        for (unsigned i = 0; i < 1024; i++) words()[i] = i < sizeof(values) / 4 ? values[i] : 0; \
        for (unsigned i = 0; i < 32; i++) before[i] = words()[i]; \
    } while (0)
#define ASK(what, number, operation, ...) ({ SET(__VA_ARGS__); report(what, call64(number, (long)(operation), words(), 1L, 0L, 0L)); })

/* The list of frames of a reservation. */
#define FRAMES(...) do { \
        const uint64_t values[] = { __VA_ARGS__ }; \
        for (unsigned i = 0; i < sizeof(values) / 8; i++) ((uint64_t *)window(PAGE_SCRATCH))[i] = values[i]; \
    } while (0)
#define LIST (uint32_t)(uintptr_t)window(PAGE_SCRATCH), 0

static long pages(void)
{
    uint16_t self = SELF;
    return call64(MEMORY, 3, &self);
}

static void difference(const char *what, long from)
{
    text(prefix);
    text(" ");
    text(what);
    text(" has changed the reservation by ");
    number(pages() - from);
    line();
}

static void memory(void)
{
    long from = pages();
    volatile uint32_t *const at = (uint32_t *)window(PAGE_SCRATCH2);
    prefix = "memory";
    FRAMES(0x3000);
    ASK("decrease 1", MEMORY, 1, LIST, 1, 0, 0, 0, SELF);
    difference("decrease", from);
    ASK("decrease it again", MEMORY, 1, LIST, 1, 0, 0, 0, SELF);
    ASK("populate 1", MEMORY, 6, LIST, 1, 0, 0, 0, SELF);
    ASK("populate it again", MEMORY, 6, LIST, 1, 0, 0, 0, SELF);
    difference("populate twice", from);
    FRAMES(0x3000, 0x5000, 0x3001);
    ASK("decrease 3 with a hole", MEMORY, 1, LIST, 3, 0, 0, 0, SELF);
    difference("decrease with a hole", from);
    FRAMES(0xFEE00);
    ASK("decrease the local APIC", MEMORY, 1, LIST, 1, 0, 0, 0, SELF);
    FRAMES(~0UL);
    ASK("decrease nowhere", MEMORY, 1, LIST, 1, 0, 0, 0, SELF);
    FRAMES(0x3002);
    ASK("decrease order 1", MEMORY, 1, LIST, 1, 0, 1, 0, SELF);
    FRAMES(0x3200);
    ASK("decrease order 9", MEMORY, 1, LIST, 1, 0, 9, 0, SELF);
    difference("decrease order 9", from);
    ASK("populate order 10", MEMORY, 6, LIST, 1, 0, 10, 0, SELF);
    ASK("populate order 9", MEMORY, 6, LIST, 1, 0, 9, 0, SELF);
    ASK("decrease order 10", MEMORY, 1, LIST, 1, 0, 10, 0, SELF);
    FRAMES(0x3000, 0x3002, 0x3003);
    ASK("populate 3, from 1 on", MEMORY, 6 | 1 << 6, LIST, 3, 0, 0, 0, SELF);
    ASK("populate 3, from 3 on", MEMORY, 6 | 3 << 6, LIST, 3, 0, 0, 0, SELF);
    ASK("populate 1", MEMORY, 6, LIST, 1, 0, 0, 0, SELF);
    difference("all", from);
    ASK("populate another's", MEMORY, 6, LIST, 1, 0, 0, 0, 0);
    ASK("populate nobody's", MEMORY, 6, LIST, 1, 0, 0, 0, 5);
    ASK("populate by a bad list", MEMORY, 6, 0xC0001000, 0, 1, 0, 0, 0, SELF);
    ASK("decrease by a bad list", MEMORY, 1, 0xC0001000, 0, 1, 0, 0, 0, SELF);
    ASK("populate 2^32 - 1", MEMORY, 6, 0xC0001000, 0, 0xFFFFFFFF, 0, 0, 0, SELF);
    ASK("populate 2^63", MEMORY, 6, LIST, 0, 0x80000000, 0, 0, SELF);
    ASK("decrease by a list at no address", MEMORY, 1, 0, 0, 1, 0, 0, 0, SELF);
    ASK("maximum_gpfn from 1 on", MEMORY, 14 | 1 << 6, SELF);

    FRAMES(0x3001, 0x3001);
    ASK("exchange", MEMORY, 11, LIST, 1, 0, 0, 0, SELF, 0, (uint32_t)(uintptr_t)window(PAGE_SCRATCH) + 8, 0, 1, 0, 0, 0, SELF, 0, 0, 0);
    ASK("exchange of orders", MEMORY, 11, LIST, 1, 0, 10, 0, SELF, 0, LIST, 1, 0, 10, 0, SELF, 0, 0, 0);
    ASK("exchange of lengths", MEMORY, 11, LIST, 2, 0, 0, 0, SELF, 0, LIST, 1, 0, 0, 0, SELF, 0, 0, 0);
    ASK("exchange of another's", MEMORY, 11, LIST, 1, 0, 0, 0, 0, 0, LIST, 1, 0, 0, 0, 0, 0, 0, 0);
    ASK("increase 1", MEMORY, 0, 0, 0, 1, 0, 0, 0, SELF);

    map(PAGE_SCRATCH2, 0x3004, 3);
    *at = 0x12345678;
    ASK("move a page", MEMORY, 7, SELF, 2, 0x3004, 0, 0x3005, 0);
    map(PAGE_SCRATCH2, 0x3005, 3);
    text(*at == 0x12345678 ? "memory the page is there\n" : "memory the page is not there\n");
    ASK("move it again", MEMORY, 7, SELF, 2, 0x3004, 0, 0x3005, 0);
    ASK("remove it", MEMORY, 15, SELF, 0, 0x3005, 0);
    ASK("remove it again", MEMORY, 15, SELF, 0, 0x3005, 0);
    difference("move and remove", from);
    FRAMES(0x3005);
    ASK("populate it", MEMORY, 6, LIST, 1, 0, 0, 0, SELF);
    FRAMES(0x3004);
    ASK("populate its old place", MEMORY, 6, LIST, 1, 0, 0, 0, SELF);
    difference("populate", from);
    ASK("move a range", MEMORY, 7, SELF | 2 << 16, 3, 0x3004, 0, 0x3006, 0);
    ASK("foreign", MEMORY, 7, SELF, 4, 0x3004, 0, 0x3005, 0);
    ASK("device", MEMORY, 7, SELF, 5, 0x3004, 0, 0x3005, 0);
    ASK("space 99", MEMORY, 7, SELF, 99, 0x3004, 0, 0x3005, 0);
    ASK("shared_info 1", MEMORY, 7, SELF, 0, 1, 0, 0x3005, 0);
    ASK("shared_info at 2^52", MEMORY, 7, SELF, 0, 0, 0, 0, 0x100000);
    ASK("shared_info", MEMORY, 7, SELF, 0, 0, 0, 0x3008, 0);
    ASK("grant frame 64", MEMORY, 7, SELF, 1, 64, 0, 0x3009, 0);
    ASK("grant status frame", MEMORY, 7, SELF, 1, 0, 0x80000000, 0x3009, 0);
    FRAMES(0, 1, 99);
    ((uint64_t *)window(PAGE_SCRATCH))[8] = 0x8000;
    ((uint64_t *)window(PAGE_SCRATCH))[9] = 0x8001;
    ((uint64_t *)window(PAGE_SCRATCH))[10] = 0x8002;
    const uint32_t list = (uint32_t)(uintptr_t)window(PAGE_SCRATCH);
    ASK("batch of grant frames", MEMORY, 23, SELF | 1 << 16, 3, list, 0, list + 64, 0, list + 128, 0);
    const uint32_t *errors = (const uint32_t *)window(PAGE_SCRATCH) + 32;
    for (int i = 0; i < 3; i++) {
        text("memory error of the batch ");
        number((int)errors[i]);
        line();
    }
    ASK("batch of a range", MEMORY, 23, SELF | 3 << 16, 1, list, 0, list + 64, 0, list + 128, 0);
    ASK("batch of foreign pages", MEMORY, 23, SELF | 4 << 16, 1, list, 0, list + 64, 0, list + 128, 0);
    ASK("batch from 4 on", MEMORY, 23 | 4 << 6, SELF | 1 << 16, 3, list, 0, list + 64, 0, list + 128, 0);
    FRAMES(0x5000);
    ASK("populate above RAM", MEMORY, 6, LIST, 1, 0, 0, 0, SELF);
    map(PAGE_SCRATCH2, 0x5000, 3);
    *at = 0x12345678;
    text(*at == 0x12345678 ? "memory there is some\n" : "memory there is none\n");
    ASK("decrease above RAM", MEMORY, 1, LIST, 1, 0, 0, 0, SELF);
    ASK("claim", MEMORY, 24, 0, 0, 1, 0, 0, 0, SELF);
}

/* Entries of the table are at 0x8000; page 0x3001 is granted. */
static void grants(void)
{
    const uint32_t own = own_domain();
    prefix = "grant";
    map(PAGE_SCRATCH2, 0x8000, 3);
    volatile uint32_t *entry = (uint32_t *)window(PAGE_SCRATCH2);
    FRAMES(0x3001);
    ASK("populate", MEMORY, 6, LIST, 1, 0, 0, 0, SELF);
    entry[2 * 8] = own << 16 | 1, entry[2 * 8 + 1] = 0x3001;
    entry[2 * 9] = own << 16 | 1 | 4, entry[2 * 9 + 1] = 0x3001;
    entry[2 * 10] = 77 << 16 | 1, entry[2 * 10 + 1] = 0x3001;
    entry[2 * 11] = own << 16 | 1, entry[2 * 11 + 1] = 0x7777;
    entry[2 * 12] = own << 16 | 1, entry[2 * 12 + 1] = 0x3002;
    ASK("query_size", GRANT, 6, SELF);
    ASK("map own by a gmfn", GRANT, 0, 0x9000000, 0, 2, 8, SELF);
    text("grant entry ");
    hexadecimal(entry[16] & 0xFFFF);
    line();
    ASK("unmap", GRANT, 1, 0x9000000, 0, 0, 0, 0);
    ASK("unmap again", GRANT, 1, 0x9000000, 0, 0, 0, 0);
    text("grant entry ");
    hexadecimal(entry[16] & 0xFFFF);
    line();
    ASK("map without flags", GRANT, 0, 0x9000000, 0, 0, 8, SELF);
    ASK("map another's", GRANT, 0, 0x9000000, 0, 2, 10, SELF);
    ASK("map nothing", GRANT, 0, 0x9000000, 0, 2, 20, SELF);
    ASK("map reference 2^31", GRANT, 0, 0x9000000, 0, 2, 1u << 31, SELF);
    ASK("map of nobody", GRANT, 0, 0x9000000, 0, 2, 8, 77);
    ASK("map of dom0", GRANT, 0, 0x9000000, 0, 2, 8, 0);
    ASK("map read-only entry for writing", GRANT, 0, 0x9000000, 0, 2, 9, SELF);
    ASK("map read-only", GRANT, 0, 0x9000000, 0, 6, 9, SELF);
    ASK("unmap it", GRANT, 1, 0x9000000, 0, 0, 0, 0);
    ASK("map a page that is not there", GRANT, 0, 0x9000000, 0, 2, 11, SELF);
    ASK("map for a device", GRANT, 0, 0x9000000, 0, 1, 8, SELF);
    ASK("map by the application", GRANT, 0, 0x9000000, 0, 10, 8, SELF);
    ASK("map at an odd address", GRANT, 0, 0x9000010, 0, 2, 8, SELF);
    ASK("unmap a wild handle", GRANT, 1, 0x9000000, 0, 0, 0, 0x123456);

    uint32_t *const first = (uint32_t *)window(PAGE_LAST_RAM);
    map(PAGE_SCRATCH2, 0x3001, 3);
    uint32_t *const page = (uint32_t *)window(PAGE_SCRATCH2);
    page[0] = 0x11111111, page[1] = 0x22222222, page[2] = 0;
    /* struct gnttab_copy: source u.ref or u.gmfn +0, domid +8, offset +10; dest +16, +24, +26; len +32, flags +34, status +36 */
    ASK("copy from a grant", GRANT, 5, 8, 0, SELF, 0, 0x3FFF, 0, SELF, 0, 4 | 1 << 16);
    text(first[0] == 0x11111111 ? "grant is copied\n" : "grant is not copied\n");
    ASK("copy to a grant", GRANT, 5, 0x3FFF, 0, SELF, 0, 8, 0, SELF | 8 << 16, 0, 4 | 2 << 16);
    text(page[2] == 0x11111111 ? "grant is copied\n" : "grant is not copied\n");
    ASK("copy to a read-only grant", GRANT, 5, 0x3FFF, 0, SELF, 0, 9, 0, SELF, 0, 4 | 2 << 16);
    ASK("copy from grant to grant", GRANT, 5, 9, 0, SELF, 0, 12, 0, SELF, 0, 4096 | 3 << 16);
    ASK("copy over the source's end", GRANT, 5, 8, 0, SELF | 4095 << 16, 0, 0x3FFF, 0, SELF, 0, 4 | 1 << 16);
    ASK("copy over the destination's end", GRANT, 5, 8, 0, SELF, 0, 0x3FFF, 0, SELF | 4095 << 16, 0, 4 | 1 << 16);
    ASK("copy at an offset beyond the page", GRANT, 5, 8, 0, SELF | 5000 << 16, 0, 0x3FFF, 0, SELF, 0, 4 | 1 << 16);
    ASK("copy of nothing", GRANT, 5, 8, 0, SELF, 0, 0x3FFF, 0, SELF, 0, 0 | 1 << 16);
    ASK("copy of frames", GRANT, 5, 0x3001, 0, SELF, 0, 0x3FFF, 0, SELF, 0, 8);
    ASK("copy from a hole", GRANT, 5, 0x7777, 0, SELF, 0, 0x3FFF, 0, SELF, 0, 8);
    ASK("copy of another's frame", GRANT, 5, 0x3001, 0, 0, 0, 0x3FFF, 0, SELF, 0, 8);
    ASK("copy from another's grant", GRANT, 5, 10, 0, SELF, 0, 0x3FFF, 0, SELF, 0, 4 | 1 << 16);
    ASK("copy from a grant of nothing", GRANT, 5, 20, 0, SELF, 0, 0x3FFF, 0, SELF, 0, 4 | 1 << 16);
    ASK("copy of nobody's", GRANT, 5, 8, 0, 77, 0, 0x3FFF, 0, SELF, 0, 4 | 1 << 16);
    ASK("copy with flags", GRANT, 5, 8, 0, SELF, 0, 0x3FFF, 0, SELF, 0, 4 | 0xFF01 << 16);

    ASK("swap", GRANT, 11, 8, 12);
    map(PAGE_SCRATCH2, 0x8000, 3);
    text("grant entry ");
    hexadecimal(entry[17]);
    line();
    ASK("swap with a wild reference", GRANT, 11, 8, 0x100000);
    ASK("swap with itself", GRANT, 11, 8, 8);
    ASK("cache_flush", GRANT, 12, 0x8000000, 0, 64 << 16, 1);
    ASK("get_version", GRANT, 10, SELF);
    FRAMES(0, 0, 0);
    ASK("setup_table", GRANT, 2, SELF, 2, 0, 0, LIST);
    ASK("setup_table of 65", GRANT, 2, SELF, 65, 0, 0, LIST);
    ASK("status frames of version 1", GRANT, 9, 1, SELF, LIST);
    ASK("set_version 1", GRANT, 8, 1);
    ASK("set_version 2", GRANT, 8, 2);
    ASK("set_version 1 again", GRANT, 8, 1);
    ASK("set_version 3", GRANT, 8, 3);
}

static uint32_t unbound(uint32_t remote)
{
    ASK("alloc_unbound", EVENT, 6, SELF | remote << 16);
    return words()[1];
}

static void events(void)
{
    prefix = "event";
    uint32_t first = unbound(SELF);
    ASK("bind_interdomain", EVENT, 0, SELF, first);
    uint32_t second = words()[2];
    ASK("bind it again", EVENT, 0, SELF, first);
    ASK("send", EVENT, 4, first);
    ASK("send", EVENT, 4, second);
    ASK("close", EVENT, 3, first);
    ASK("send to the closed", EVENT, 4, second);
    ASK("close", EVENT, 3, second);
    ASK("close again", EVENT, 3, second);
    ASK("status of a free port", EVENT, 5, SELF, second);
    ASK("status of a port beyond", EVENT, 5, SELF, 4000);
    uint32_t others = unbound(77);
    ASK("bind another's", EVENT, 0, SELF, others);
    ASK("send to an unbound", EVENT, 4, others);
    ASK("bind_vcpu", EVENT, 8, others, 0);
    ASK("bind_vcpu 1", EVENT, 8, others, 1);
    ASK("unmask", EVENT, 9, others);
    ASK("unmask a free port", EVENT, 9, second);
    ASK("unmask beyond", EVENT, 9, 4000);
    ASK("unmask far beyond", EVENT, 9, 5000);
    ASK("bind_vcpu of a free port", EVENT, 8, second, 0);
    ASK("close", EVENT, 3, others);
    for (uint32_t virq = 0; virq < 25; virq++) {
        ASK("bind_virq", EVENT, 1, virq, 0);
    }
    ASK("bind_virq of vCPU 1", EVENT, 1, 0, 1);
    ASK("bind_pirq", EVENT, 2, 9, 0);
    ASK("bind_pirq", EVENT, 2, 55, 0);
    ASK("bind_pirq", EVENT, 2, 56, 0);
    ASK("bind_interdomain with dom0", EVENT, 0, 0, 1);
    ASK("set_priority of queues that are not", EVENT, 13, 1, 7);
    ASK("init_control off its place", EVENT, 11, 0x3006, 0, 4);
    ASK("init_control over the end", EVENT, 11, 0x3006, 0, 4032);
    ASK("init_control nowhere", EVENT, 11, 0x7777, 0, 0);
    ASK("init_control", EVENT, 11, 0x3006, 0, 0);
    ASK("init_control again", EVENT, 11, 0x3006, 0, 0);
    ASK("expand_array nowhere", EVENT, 12, 0x7777, 0);
    ASK("expand_array", EVENT, 12, 0x3007, 0);
    ASK("set_priority", EVENT, 13, 1, 15);
    ASK("set_priority 16", EVENT, 13, 1, 16);
    ASK("set_priority of no port", EVENT, 13, 4000, 1);
    ASK("reset of nobody's", EVENT, 10, 77);
    ASK("reset_cont", EVENT, 14, SELF);
}

static void others(void)
{
    prefix = "watchdog";
    ASK("new", SCHED, 6, 0, 1000);
    ASK("new", SCHED, 6, 0, 1000);
    ASK("new", SCHED, 6, 0, 1000);
    ASK("kick", SCHED, 6, 2, 1000);
    ASK("stop", SCHED, 6, 1, 0);
    ASK("stop again", SCHED, 6, 1, 0);
    ASK("stop", SCHED, 6, 2, 0);
    ASK("number 3", SCHED, 6, 3, 1000);
    prefix = "sched";
    ASK("shutdown_code", SCHED, 5, 0);
    ASK("remote_shutdown of itself", SCHED, 4, SELF);
    ASK("pin_override", SCHED, 7, 0);
    ASK("poll of too many", SCHED, 3, LIST, 129, 0, 0, 0);
    ASK("poll of no port", SCHED, 3, (uint32_t)(uintptr_t)window(PAGE_READ_ONLY), 0, 1, 0, 1, 0);
    ASK("poll of a bad list", SCHED, 3, 0xC0001000, 0, 1, 0, 1, 0);

    prefix = "vcpu";
#define OF_VCPU(what, operation, ...) ({ SET(__VA_ARGS__); report(what, call64(VCPU, (long)(operation), 0L, words())); })
    OF_VCPU("info off its place", 10, 0x3008, 0, 4);
    OF_VCPU("info over the end", 10, 0x3008, 0, 4064);
    OF_VCPU("info nowhere", 10, 0x7777, 0, 0);
    OF_VCPU("info", 10, 0x3008, 0, 64);
    OF_VCPU("info again", 10, 0x3008, 0, 128);
    OF_VCPU("timer in the past", 8, 1, 0, 0);
    OF_VCPU("timer in the past, future only", 8, 1, 0, 1);
    OF_VCPU("timer of 2^64 - 1", 8, 0xFFFFFFFF, 0xFFFFFFFF, 1);
    OF_VCPU("timer of 0", 8, 0, 0, 1);
    OF_VCPU("stop timer", 9, 0);
    OF_VCPU("periodic timer of 1 ns", 6, 1, 0);
    OF_VCPU("periodic timer of 1 s", 6, 1000000000, 0);
    OF_VCPU("periodic timer of 2^63", 6, 0, 0x80000000);
    OF_VCPU("stop periodic timer", 7, 0);
    OF_VCPU("runstate at a bad address", 5, 0xC0001000, 0);
    OF_VCPU("runstate at no address", 5, 0, 0);
    OF_VCPU("time at a bad address", 13, 0xC0001000, 0);
    OF_VCPU("initialise", 0, 0);
    OF_VCPU("physid", 12, 0);

    prefix = "hvm";
    for (uint32_t i = 0; i < 40; i++) {
        SET(SELF, i);
        long answer = call64(HVM, 1, words());
        text("hvm parameter ");
        number(i);
        text(": ");
        number(answer);
        text(" ");
        hexadecimal((uint64_t)words()[3] << 32 | words()[2]);
        answer = call64(HVM, 0, words());
        text(", the same set: ");
        number(answer);
        words()[2] ^= 1;
        answer = call64(HVM, 0, words());
        text(", another: ");
        number(answer);
        line();
    }
    ASK("callback by INTx", HVM, 0, SELF, 0, 0, 0x01000000);
    ASK("callback by GSI", HVM, 0, SELF, 0, 5, 0);
    ASK("callback by vector", HVM, 0, SELF, 0, 0xF3, 0x02000000);
    ASK("callback of type 9", HVM, 0, SELF, 0, 0, 0x09000000);
    ASK("vector 15", HVM, 23, 0, 15);
    ASK("vector 16", HVM, 23, 0, 16);
    ASK("vector of vCPU 1", HVM, 23, 1, 0xF3);
    ASK("mem_type of RAM", HVM, 15, SELF, 0, 0x3002, 0);
    ASK("mem_type of a hole", HVM, 15, SELF, 0, 0x7777, 0);
    ASK("mem_type of the local APIC", HVM, 15, SELF, 0, 0xFEE00, 0);
    ASK("altp2m", HVM, 25, 1, 1, SELF);

    prefix = "vm_assist";
    for (uint32_t i = 0; i < 7; i++) {
        SET(0);
        report("enable", call64(21, 0L, (long)i));
        report("disable", call64(21, 1L, (long)i));
    }
    prefix = "multicall";
    SET(17, 0, 0, 0, 0, 0);
    words()[16] = before[16] = 13;
    words()[32] = 17, words()[36] = 7;
    report("of a version, itself, and a page's size", call64(13, words(), 3L));
    text("multicall the third ");
    number(words()[34]);
    line();
}

void scenarios(void)
{
    text("== what a domU may do\n");
    map(PAGE_SCRATCH, 0x3010, 3);
    memory();
    grants();
    events();
    others();
}
