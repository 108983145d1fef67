// Random changes to one file in many ways (calls, mappings, two descriptors), each checked against a copy in memory. FileChangeTests.cs
// runs it on shared folders. As fsx does, which is not copied: file-changes FILE SEED COUNT [calls that are not to be tried]
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST (384 << 10)

static unsigned char image[MOST], found[MOST], bytes[MOST];
static size_t size;
static uint64_t state;
static long step;
static const char *path, *what = "";
static int file, other;

static uint32_t random32(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 16);
}

static uint32_t below(uint32_t limit) { return limit ? random32() % limit : 0; }

static void fail(const char *why)
{
    printf("step %ld, %s: %s (%s), size %zu\n", step, what, why, strerror(errno), size);
    exit(1);
}

static void same(const unsigned char *seen, size_t at, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (seen[i] != image[at + i]) {
            printf("step %ld, %s: byte %zu is %02x for %02x, size %zu\n", step, what, at + i, seen[i], image[at + i], size);
            exit(1);
        }
}

// Often at a page's edge, where the mistakes are.
static size_t place(size_t limit)
{
    size_t at = below(limit + 1);
    if (below(3) == 0) {
        at = (at + 2048) & ~(size_t)4095;
        at += below(3);
        at -= at > 0 && below(2);
    }
    return at > limit ? limit : at;
}

static size_t span(size_t room)
{
    size_t length = below(4) == 0 ? below(MOST / 4) : below(9000);
    return length > room ? room : length;
}

static void grown(size_t end) // what is between the old end and the new one is zero in the copy already
{
    if (end > size)
        size = end;
}

static void shrunk(size_t end)
{
    if (end < size)
        memset(image + end, 0, size - end);
    size = end;
}

static void fill(size_t length)
{
    unsigned char value = (unsigned char)random32();
    for (size_t i = 0; i < length; i++)
        bytes[i] = (unsigned char)(value + i * 7 + (i >> 8));
}

static void change(int kind)
{
    size_t at = place(MOST - 1), length = span(MOST - at);
    int one = below(2) ? file : other;
    struct stat s;
    switch (kind) {
    case 0: case 1:
        what = "pwrite";
        fill(length);
        if (pwrite(one, bytes, length, at) != (ssize_t)length)
            fail("it wrote less");
        if (length)
            grown(at + length);
        memcpy(image + at, bytes, length);
        break;
    case 2: case 3: {
        what = "pread";
        ssize_t wanted = at >= size ? 0 : (ssize_t)(length > size - at ? size - at : length);
        if (pread(one, found, length, at) != wanted)
            fail("it read another length");
        same(found, at, wanted);
        break;
    }
    case 4:
        what = "ftruncate";
        if (ftruncate(one, at) != 0)
            fail("refused");
        if (at < size) shrunk(at); else grown(at);
        break;
    case 5: case 6: {
        what = kind == 5 ? "mapped write" : "mapped read";
        if (size == 0)
            break;
        at = place(size - 1);
        length = span(size - at);
        size_t page = at & ~(size_t)4095, room = at + length - page;
        if (length == 0)
            break;
        unsigned char *map = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED, one, page);
        if (map == MAP_FAILED)
            fail("no mapping");
        if (kind == 5) {
            fill(length);
            memcpy(map + (at - page), bytes, length);
            memcpy(image + at, bytes, length);
            if (below(3) == 0 && msync(map, room, MS_SYNC) != 0)
                fail("msync");
        } else
            same(map + (at - page), at, length);
        if (munmap(map, room) != 0)
            fail("munmap");
        break;
    }
    case 7: case 8: case 9: {
        static const char *names[] = {"fallocate", "punch", "zero"};
        static const int modes[] = {0, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE};
        what = names[kind - 7];
        if (length == 0)
            break;
        if (fallocate(one, modes[kind - 7], at, length) != 0)
            fail("refused");
        if (kind == 8) {
            if (at < size)
                memset(image + at, 0, length > size - at ? size - at : length);
        } else {
            grown(at + length);
            if (kind == 9)
                memset(image + at, 0, length);
        }
        break;
    }
    case 10: {
        what = "copy_file_range";
        size_t to = place(MOST - 1);
        if (at >= size)
            break;
        length = length > size - at ? size - at : length;
        length = length > MOST - to ? MOST - to : length;
        if (length == 0 || (at < to + length && to < at + length))
            break;
        for (size_t done = 0; done < length;) {
            loff_t from = at + done, into = to + done;
            ssize_t n = copy_file_range(one, &from, one == file ? other : file, &into, length - done, 0);
            if (n <= 0)
                fail("it copied nothing");
            done += n;
        }
        memmove(bytes, image + at, length);
        memcpy(image + to, bytes, length);
        grown(to + length);
        break;
    }
    case 11:
        what = "append";
        length = span(MOST - size);
        fill(length);
        if (lseek(one, 0, SEEK_END) != (off_t)size)
            fail("the end is elsewhere");
        if (write(one, bytes, length) != (ssize_t)length)
            fail("it wrote less");
        memcpy(image + size, bytes, length);
        grown(size + length);
        break;
    case 12:
        what = below(2) ? "fsync" : "fdatasync";
        if ((*what == 'f' && what[1] == 's' ? fsync(one) : fdatasync(one)) != 0)
            fail("refused");
        break;
    case 13:
        what = "close and open";
        close(file);
        file = open(path, O_RDWR);
        if (file < 0)
            fail("no file");
        break;
    case 14:
        what = "hole and data";
        if (size > 0) {
            at = below(size);
            off_t data = lseek(one, at, SEEK_DATA);
            size_t until = data < 0 ? size : (size_t)data;
            for (size_t i = at; i < until; i++)
                if (image[i] != 0)
                    fail("a hole where data is");
        }
        break;
    }
    if (fstat(file, &s) != 0 || (size_t)s.st_size != size) {
        printf("step %ld, %s: the size is %ld for %zu\n", step, what, (long)s.st_size, size);
        exit(1);
    }
}

int main(int count, char **words)
{
    path = words[1];
    state = strtoull(words[2], NULL, 0) * 0x9E3779B97F4A7C15ull + 1;
    long steps = atol(words[3]);
    const char *without = count > 4 ? words[4] : "";
    file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    other = open(path, O_RDWR);
    if (file < 0 || other < 0)
        fail("no file");
    for (step = 0; step < steps; step++) {
        int kind = below(15);
        if (strchr(without, 'a' + kind) == NULL)
            change(kind);
    }
    what = "the end";
    if (pread(file, found, MOST, 0) != (ssize_t)size)
        fail("another length");
    same(found, 0, size);
    uint64_t sum = 14695981039346656037ull;
    for (size_t i = 0; i < size; i++)
        sum = (sum ^ image[i]) * 1099511628211ull;
    if (fsync(file) != 0 || close(file) != 0 || close(other) != 0)
        fail("fsync or close");
    printf("%zu %016lx\n", size, (unsigned long)sum);
    return 0;
}
