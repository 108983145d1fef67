// What a folder does at a file system's calls, a line each: "call: result". FileCallTests.cs runs it on a shared folder and on a disk's
// ext4 in one guest and compares the lines. Run as root: file-calls FOLDER
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define DO(call) say(#call, (errno = 0, (long)(call)))
#define OPEN(...) say("open(" #__VA_ARGS__ ")", (errno = 0, shut(open(__VA_ARGS__))))
#define LOOK(path) look(#path, path)

static void say(const char *call, long value)
{
    if (value == -1 && errno != 0)
        printf("%s: %s\n", call, strerrorname_np(errno));
    else
        printf("%s: %ld\n", call, value);
    fflush(stdout);
}

static int shut(int file) { return file < 0 ? -1 : close(file); }

static void look(const char *name, const char *path)
{
    struct stat s;
    if (lstat(path, &s) != 0) {
        printf("%s: %s\n", name, strerrorname_np(errno));
        return;
    }
    printf("%s: mode %o uid %u gid %u", name, s.st_mode, s.st_uid, s.st_gid);
    if (!S_ISDIR(s.st_mode))
        printf(" links %lu size %ld device %lx", (unsigned long)s.st_nlink, (long)s.st_size, (unsigned long)s.st_rdev);
    printf("\n");
}

static int make(const char *path, const char *content)
{
    int file = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
    ssize_t n = write(file, content, strlen(content));
    close(file);
    return n == (ssize_t)strlen(content) ? 0 : -1;
}

static void content(const char *path)
{
    char text[64] = "";
    int file = open(path, O_RDONLY);
    ssize_t n = file < 0 ? -1 : read(file, text, sizeof text - 1);
    printf("content of %s: %ld %s\n", path, (long)n, n < 0 ? strerrorname_np(errno) : text);
    shut(file);
}

static int count(const char *path)
{
    DIR *folder = opendir(path);
    int n = 0;
    for (struct dirent *e; folder != NULL && (e = readdir(folder)) != NULL;)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    return folder == NULL ? -1 : closedir(folder) == 0 ? n : -1;
}

static void names(void)
{
    char longest[256], beyond[257];
    memset(longest, 'n', 255), longest[255] = 0;
    memset(beyond, 'n', 256), beyond[256] = 0;
    DO(make("plain", "hello"));
    LOOK("plain");
    DO(make(longest, "x"));
    DO(make(beyond, "x"));
    DO(access(longest, F_OK));
    DO(unlink(longest));
    DO(make(" sp ace\n\ttab", "x"));
    DO(make("\xff\xfe not utf-8", "x"));
    DO(make("\xc3\xa4\xe2\x82\xac", "x"));
    DO(make("...", "x"));
    DO(make("-rf", "x"));
    DO(make("back\\slash", "x"));
    DO(count("."));
    DO(unlink(" sp ace\n\ttab") | unlink("\xff\xfe not utf-8") | unlink("\xc3\xa4\xe2\x82\xac") | unlink("...") | unlink("-rf")
        | unlink("back\\slash"));
    OPEN("none", O_RDONLY);
    OPEN("plain/x", O_RDONLY);
    OPEN("plain", O_RDONLY | O_DIRECTORY);
    OPEN("plain", O_CREAT | O_EXCL | O_WRONLY, 0600);
    OPEN("exclusive", O_CREAT | O_EXCL | O_WRONLY, 0640);
    LOOK("exclusive");
    OPEN("", O_RDONLY);
    OPEN(".", O_WRONLY);
    OPEN("plain/", O_RDONLY);
    OPEN("new/", O_CREAT | O_WRONLY, 0600);
    DO(mkdir("folder", 0750));
    LOOK("folder");
    DO(mkdir("folder", 0750));
    DO(mkdir("none/folder", 0750));
    DO(rmdir("plain"));
    DO(unlink("folder"));
    DO(make("folder/inside", "x"));
    DO(rmdir("folder"));
    DO(rmdir("folder/."));
    DO(rmdir("folder/.."));
    DO(unlink("folder/inside"));
    DO(rmdir("folder"));
    DO(rmdir("folder"));
    DO(mkdir("sticky", 07777));
    DO(chmod("sticky", 07777));
    LOOK("sticky");
    DO(rmdir("sticky"));
}

static void links(void)
{
    char target[PATH_MAX];
    DO(make("one", "1"));
    DO(link("one", "two"));
    LOOK("one");
    DO(link("one", "two"));
    DO(link("none", "three"));
    DO(mkdir("d", 0755));
    DO(link("d", "hard"));
    DO(unlink("one"));
    LOOK("two");
    DO(symlink("two", "soft"));
    LOOK("soft");
    DO(symlink("two", "soft"));
    DO(symlink("", "empty"));
    DO(readlink("soft", target, sizeof target));
    DO(readlink("soft", target, 2));
    DO(readlink("two", target, sizeof target));
    DO(access("soft", F_OK));
    OPEN("soft", O_RDONLY | O_NOFOLLOW);
    OPEN("soft", O_PATH | O_NOFOLLOW);
    DO(symlink("loop", "loop"));
    OPEN("loop", O_RDONLY);
    DO(symlink("none", "dangling"));
    OPEN("dangling", O_RDONLY);
    OPEN("dangling", O_CREAT | O_EXCL | O_WRONLY, 0600);
    OPEN("dangling", O_CREAT | O_WRONLY, 0600);
    LOOK("none");
    memset(target, 't', sizeof target), target[4095] = 0;
    DO(symlink(target, "long"));
    LOOK("long");
    DO(linkat(AT_FDCWD, "soft", AT_FDCWD, "hardsoft", 0));
    LOOK("hardsoft");
    DO(linkat(AT_FDCWD, "soft", AT_FDCWD, "followed", AT_SYMLINK_FOLLOW));
    LOOK("followed");
    DO(lchown("soft", 5, 6));
    LOOK("soft");
    DO(unlink("soft") | unlink("loop") | unlink("dangling") | unlink("none") | unlink("long") | unlink("hardsoft") | unlink("followed")
        | unlink("two") | rmdir("d"));
}

static void renames(void)
{
    DO(make("a", "a") | make("b", "b"));
    DO(rename("a", "b"));
    LOOK("a");
    content("b");
    DO(rename("none", "b"));
    DO(mkdir("d", 0755) | mkdir("e", 0755));
    DO(rename("b", "d"));
    DO(rename("d", "b"));
    DO(make("e/x", "x"));
    DO(rename("d", "e"));
    DO(rename("e", "d"));
    DO(access("d/x", F_OK));
    DO(rename("d", "d/inside"));
    DO(rename("d/x", "moved"));
    DO(rename("moved", "moved"));
    DO(link("moved", "same"));
    DO(rename("moved", "same"));
    LOOK("moved");
    DO(renameat2(AT_FDCWD, "b", AT_FDCWD, "moved", RENAME_NOREPLACE));
    DO(renameat2(AT_FDCWD, "b", AT_FDCWD, "fresh", RENAME_NOREPLACE));
    DO(renameat2(AT_FDCWD, "fresh", AT_FDCWD, "moved", RENAME_EXCHANGE));
    content("fresh");
    content("moved");
    DO(renameat2(AT_FDCWD, "fresh", AT_FDCWD, "none", RENAME_EXCHANGE));
    DO(renameat2(AT_FDCWD, "fresh", AT_FDCWD, "d", RENAME_EXCHANGE));
    LOOK("fresh");
    DO(renameat2(AT_FDCWD, "moved", AT_FDCWD, "gone", RENAME_WHITEOUT));
    unlink("moved"), unlink("gone"), unlink("same"), unlink("fresh"), unlink("d"), rmdir("fresh"), rmdir("d");
    int file = open("held", O_CREAT | O_RDWR, 0600);
    DO(write(file, "kept", 4));
    DO(rename("held", "elsewhere"));
    struct stat s;
    DO(fstat(file, &s));
    DO(unlink("elsewhere"));
    DO(fstat(file, &s));
    DO(s.st_nlink);
    char text[8] = "";
    DO(pread(file, text, 8, 0));
    DO(write(file, "more", 4));
    DO(fstat(file, &s));
    DO(s.st_size);
    DO(fchmod(file, 0640));
    DO(ftruncate(file, 2));
    DO(pread(file, text, 8, 0));
    shut(file);
}

static void attributes(void)
{
    struct stat s;
    DO(make("m", "text"));
    for (int mode = 0; mode < 010000; mode += 01111)
        if (chmod("m", mode) != 0 || lstat("m", &s) != 0 || (s.st_mode & 07777) != (mode_t)mode)
            printf("chmod %o: wrong\n", mode);
    DO(chmod("m", 0644));
    DO(chown("m", 1000, 1001));
    LOOK("m");
    DO(chmod("m", 06755));
    DO(chown("m", 1002, -1));
    LOOK("m");
    DO(chmod("m", 06755));
    int file = open("m", O_WRONLY);
    DO(write(file, "x", 1));
    LOOK("m");
    shut(file);
    struct timespec times[2] = {{1000000000, 123456789}, {1500000000, 987654321}};
    DO(utimensat(AT_FDCWD, "m", times, 0));
    lstat("m", &s);
    DO(s.st_atim.tv_sec), DO(s.st_atim.tv_nsec), DO(s.st_mtim.tv_sec), DO(s.st_mtim.tv_nsec);
    times[0].tv_nsec = UTIME_OMIT, times[1].tv_sec = 42, times[1].tv_nsec = 0;
    DO(utimensat(AT_FDCWD, "m", times, 0));
    lstat("m", &s);
    DO(s.st_atim.tv_sec), DO(s.st_mtim.tv_sec);
    DO(truncate("m", 2));
    DO(lstat("m", &s));
    DO(s.st_mtim.tv_sec > 42);
    DO(s.st_size);
    DO(truncate("m", -1));
    DO(truncate("none", 1));
    DO(truncate(".", 1));
    DO(symlink("m", "soft"));
    times[0].tv_nsec = 0, times[0].tv_sec = 7;
    DO(utimensat(AT_FDCWD, "soft", times, AT_SYMLINK_NOFOLLOW));
    lstat("soft", &s);
    DO(s.st_mtim.tv_sec);
    DO(unlink("soft"));
    char value[256];
    DO(setxattr("m", "user.one", "value", 5, 0));
    DO(getxattr("m", "user.one", value, sizeof value));
    DO(getxattr("m", "user.one", value, 2));
    DO(getxattr("m", "user.one", NULL, 0));
    DO(getxattr("m", "user.none", value, sizeof value));
    DO(setxattr("m", "user.one", "v", 1, XATTR_CREATE));
    DO(setxattr("m", "user.two", "v", 1, XATTR_REPLACE));
    DO(setxattr("m", "user.two", "", 0, 0));
    DO(listxattr("m", value, sizeof value));
    DO(removexattr("m", "user.one"));
    DO(removexattr("m", "user.one"));
    DO(setxattr("m", "nonsense", "v", 1, 0));
    DO(mknod("null", S_IFCHR | 0600, 0x103));
    DO(mkfifo("fifo", 0600));
    LOOK("fifo");
    DO(mknod("socket", S_IFSOCK | 0640, 0));
    LOOK("socket");
    fflush(stdout);
    if (fork() == 0) {
        _exit(write(open("fifo", O_WRONLY), "through", 7) != 7);
    }
    content("fifo");
    wait(NULL);
    struct sockaddr_un name = {AF_UNIX, "bound"};
    int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    DO(bind(server, (struct sockaddr *)&name, sizeof name));
    DO(listen(server, 1));
    DO(connect(client, (struct sockaddr *)&name, sizeof name));
    DO(bind(client, (struct sockaddr *)&name, sizeof name));
    close(server), close(client), unlink("bound"), unlink("socket");
    unlink("m"), unlink("null"), unlink("fifo");
}

static void contents(void)
{
    static char block[1 << 16];
    char text[64] = "";
    int file = open("c", O_CREAT | O_RDWR, 0644);
    struct stat s;
    DO(pwrite(file, "start", 5, 0));
    DO(pwrite(file, "end", 3, 5L << 30));
    DO(fstat(file, &s));
    DO(s.st_size);
    DO(s.st_blocks < 1000);
    DO(lseek(file, 0, SEEK_DATA));
    DO(lseek(file, 100 << 20, SEEK_DATA));
    DO(lseek(file, 100 << 20, SEEK_HOLE));
    DO(lseek(file, 0, SEEK_HOLE));
    DO(lseek(file, 6L << 30, SEEK_DATA));
    DO(lseek(file, -1, SEEK_SET));
    DO(lseek(file, 0, SEEK_END));
    DO(pread(file, text, 8, (5L << 30) - 4));
    DO(memcmp(text, "\0\0\0\0end", 7));
    DO(pread(file, text, 8, 6L << 30));
    DO(ftruncate(file, 1 << 20));
    DO(fallocate(file, 0, 0, 2 << 20));
    DO(fallocate(file, FALLOC_FL_KEEP_SIZE, 0, 3 << 20));
    memset(block, 7, sizeof block);
    DO(pwrite(file, block, sizeof block, 0));
    DO(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192));
    DO(pread(file, text, 1, 4096) == 1 && text[0] == 0);
    DO(pread(file, text, 1, 4095) == 1 && text[0] == 7);
    DO(fallocate(file, FALLOC_FL_ZERO_RANGE, 16384, 4096));
    DO(pread(file, text, 1, 16384) == 1 && text[0] == 0);
    DO(fsync(file) | fdatasync(file));
    DO(sync_file_range(file, 0, 0, SYNC_FILE_RANGE_WRITE));
    DO(fstat(file, &s));
    DO(s.st_size);
    struct iovec parts[3] = {{"ab", 2}, {"", 0}, {"cde", 3}};
    DO(pwritev(file, parts, 3, 100));
    DO(pread(file, text, 5, 100) == 5 && memcmp(text, "abcde", 5) == 0);
    off_t from = 100, to = 200;
    DO(copy_file_range(file, &from, file, &to, 5, 0));
    DO(pread(file, text, 5, 200) == 5 && memcmp(text, "abcde", 5) == 0);
    DO(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED));
    DO(pread(file, text, 5, 200) == 5 && memcmp(text, "abcde", 5) == 0);
    char *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    DO(map != MAP_FAILED && map[100] == 'a');
    if (map == MAP_FAILED)
        exit(1);
    map[300] = 'm';
    DO(msync(map, 8192, MS_SYNC));
    DO(pread(file, text, 1, 300) == 1 && text[0] == 'm');
    DO(pwrite(file, "w", 1, 301));
    DO(map[301]);
    munmap(map, 8192);
    shut(file);
    file = open("c", O_RDWR | O_DIRECT);
    void *aligned = NULL;
    if (posix_memalign(&aligned, 4096, 8192) != 0)
        exit(1);
    memset(aligned, 'D', 8192);
    DO(file >= 0);
    DO(pwrite(file, aligned, 8192, 4096));
    DO(pread(file, aligned, 4096, 8192) == 4096 && *(char *)aligned == 'D');
    shut(file);
    file = open("c", O_WRONLY | O_APPEND);
    DO(ftruncate(file, 10));
    DO(write(file, "tail", 4));
    DO(lseek(file, 0, SEEK_CUR));
    DO(pwrite(file, "x", 1, 0));
    DO(fstat(file, &s));
    DO(s.st_size);
    DO(read(file, text, 1));
    shut(file);
    OPEN("c", O_WRONLY | O_TRUNC);
    LOOK("c");
    file = open(".", O_TMPFILE | O_RDWR, 0600);
    snprintf(block, sizeof block, "/proc/self/fd/%d", file);
    printf("O_TMPFILE: %s\n", file < 0 ? strerrorname_np(errno)
        : write(file, "t", 1) != 1 || linkat(AT_FDCWD, block, AT_FDCWD, "named", AT_SYMLINK_FOLLOW) != 0 || unlink("named") != 0
            ? "has no name" : "made");
    shut(file);
    DO(unlink("c"));
}

static void locks(void)
{
    int file = open("l", O_CREAT | O_RDWR, 0644), other = open("l", O_RDWR);
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 10};
    DO(fcntl(file, F_SETLK, &range));
    fflush(stdout);
    if (fork() == 0) {
        struct flock mine = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 15, .l_len = 1};
        DO(fcntl(other, F_SETLK, &mine));
        mine.l_start = 20;
        DO(fcntl(other, F_SETLK, &mine));
        mine.l_start = 12;
        DO(fcntl(other, F_GETLK, &mine));
        DO(mine.l_type == F_WRLCK && mine.l_start == 10 && mine.l_pid == getppid());
        _exit(0);
    }
    wait(NULL);
    range.l_type = F_UNLCK;
    DO(fcntl(file, F_SETLK, &range));
    DO(flock(file, LOCK_EX));
    DO(flock(other, LOCK_SH | LOCK_NB));
    DO(flock(file, LOCK_UN));
    DO(flock(other, LOCK_SH | LOCK_NB));
    struct flock open_file = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    DO(fcntl(file, F_OFD_SETLK, &open_file));
    open_file.l_type = F_WRLCK;
    DO(fcntl(other, F_OFD_SETLK, &open_file));
    shut(file), shut(other);
    DO(unlink("l"));
}

// A folder that is emptied while it is read: no entry twice, none left.
static void large_folder(void)
{
    char name[64];
    int wrong = 0, removed = 0;
    DO(mkdir("many", 0755));
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof name, "many/entry-%d", i);
        wrong += make(name, "x") != 0;
    }
    DO(wrong);
    DO(count("many"));
    DIR *folder = opendir("many");
    for (struct dirent *e; (e = readdir(folder)) != NULL;)
        if (e->d_name[0] != '.') {
            snprintf(name, sizeof name, "many/%.50s", e->d_name);
            wrong += unlink(name) != 0;
            wrong += e->d_type != DT_REG;
            removed++;
        }
    DO(wrong);
    DO(removed);
    rewinddir(folder);
    closedir(folder);
    DO(count("many"));
    folder = opendir("many");
    DO(rmdir("many"));
    DO(openat(dirfd(folder), "late", O_CREAT | O_WRONLY, 0600));
    closedir(folder);
    DO(count("many"));
}

static void as_user(const char *name, void (*calls)(void))
{
    printf("%s\n", name);
    fflush(stdout);
    if (fork() == 0) {
        if (setgid(1000) != 0 || setuid(1000) != 0)
            _exit(1);
        calls();
        _exit(0);
    }
    wait(NULL);
}

static void user_calls(void)
{
    OPEN("secret", O_RDONLY);
    OPEN("public", O_RDONLY);
    OPEN("public", O_WRONLY);
    OPEN("mine", O_RDWR);
    OPEN("new", O_CREAT | O_WRONLY, 0644);
    OPEN("open/new", O_CREAT | O_WRONLY, 0644);
    LOOK("open/new");
    DO(mkdir("open/folder", 0755));
    LOOK("open/folder");
    DO(chmod("mine", 0600));
    DO(chmod("public", 0666));
    DO(chown("mine", 0, -1));
    DO(unlink("public"));
    DO(unlink("tmp/others"));
    DO(rename("tmp/others", "tmp/renamed"));
    DO(access("secret", R_OK));
    DO(access("closed/x", F_OK));
    DO(count("closed"));
    DO(utimensat(AT_FDCWD, "public", NULL, 0));
    DO(truncate("public", 0));
    DO(setxattr("public", "user.x", "v", 1, 0));
    DO(setxattr("mine", "user.x", "v", 1, 0));
    DO(setxattr("mine", "trusted.x", "v", 1, 0));
    DO(mknod("open/disk", S_IFBLK | 0600, 0x800));
    DO(link("secret", "open/link"));
}

static void others(void)
{
    DO(make("secret", "s") | chmod("secret", 0600) | make("public", "p") | make("mine", "m") | chown("mine", 1000, 1000));
    DO(mkdir("open", 0777) | chmod("open", 0777) | mkdir("tmp", 0777) | chmod("tmp", 01777) | make("tmp/others", "o") | mkdir("closed", 0700)
        | make("closed/x", "x"));
    as_user("user 1000:", user_calls);
    DO(mkdir("group", 0777) | chown("group", 0, 1234) | chmod("group", 02777));
    DO(mkdir("group/sub", 0755) | make("group/file", "x"));
    LOOK("group/sub");
    LOOK("group/file");
}

int main(int arguments, char **words)
{
    struct statvfs space;
    if (arguments != 2 || chdir(words[1]) != 0) {
        perror("file-calls FOLDER");
        return 2;
    }
    umask(022);
    DO(statvfs(".", &space));
    DO(space.f_namemax);
    DO(space.f_bavail > 0);
    names();
    links();
    renames();
    attributes();
    contents();
    locks();
    large_folder();
    others();
    return 0;
}
