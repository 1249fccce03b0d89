/* A disk that fails, or whose every change is written down: LD_PRELOAD for a program that works on files below a folder.
 *
 *   FAULTFS_DIR      the folder, absolute
 *   FAULTFS_CONTROL  a file of five 64-bit numbers of this machine, mapped and so changed while the program runs:
 *                    0  changes so far (counted here)
 *                    1  the first change that fails, counted from 1; 0: none
 *                    2  the last one
 *                    3  how: 1 ENOSPC, 2 EIO, 3 only half of a write is written
 *                    4  changes that have failed (counted here)
 *   FAULTFS_TRACE    a file to which each change that was made is appended, in order:
 *                    u8 what, u32 length, path, u32 length, second path, u64 offset, u32 length, bytes;
 *                    a rename with the bytes that the file has
 *
 * A change is a write, a truncation, a sync, a rename, a link, an unlink, a file or folder that is made. Files that are
 * mapped are not seen. Between fork and exec nothing here takes a lock, unless the child changes files below the folder.
 *
 *   cc -O2 -Wall -shared -fPIC -o faultfs.so faultfs.c -ldl
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum what { CREATE = 1, WRITE, TRUNCATE, RENAME, UNLINK, MKDIR, RMDIR, SYNC, LINK };
enum how { NO_SPACE = 1, BROKEN, HALF };

static const char *folder;
static size_t folder_length;
static volatile uint64_t *control;
static int trace = -1;
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void)
{
	const char *file = getenv("FAULTFS_CONTROL");
	folder = getenv("FAULTFS_DIR");
	folder_length = folder ? strlen(folder) : 0;
	if (folder && file) {
		int fd = syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC, 0);
		void *map = fd < 0 ? MAP_FAILED : mmap(NULL, 40, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		control = map == MAP_FAILED ? NULL : map;
		if (fd >= 0)
			syscall(SYS_close, fd);
	}
	file = getenv("FAULTFS_TRACE");
	if (folder && file)
		trace = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

/* whether a path lies below the folder, or is it */
static int is_ours(const char *path)
{
	return folder && path && !strncmp(path, folder, folder_length) &&
	       (path[folder_length] == '/' || !path[folder_length]);
}

/* the path of an open file, if it is ours */
static int names(int fd, char path[PATH_MAX])
{
	char link[64];
	ssize_t length;

	if (!folder)
		return 0;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	length = readlink(link, path, PATH_MAX - 1);
	if (length < 0)
		return 0;
	path[length] = 0;
	return is_ours(path);
}

/* counts a change; how it is to fail, or 0 */
static enum how fails(void)
{
	uint64_t number, first;

	if (!control)
		return 0;
	number = __atomic_add_fetch(&control[0], 1, __ATOMIC_SEQ_CST);
	first = control[1];
	if (!first || number < first || number > control[2])
		return 0;
	__atomic_add_fetch(&control[4], 1, __ATOMIC_SEQ_CST);
	return control[3];
}

/* true, with errno, when the change is not to be made */
static int refused(enum how how)
{
	if (how != NO_SPACE && how != BROKEN)
		return 0;
	errno = how == NO_SPACE ? ENOSPC : EIO;
	return 1;
}

static void put(char **at, const void *bytes, size_t length)
{
	memcpy(*at, bytes, length);
	*at += length;
}

/* one record, in one write */
static void note(enum what what, const char *path, const char *second, uint64_t offset, const void *bytes, uint32_t count)
{
	uint32_t one = strlen(path), two = second ? strlen(second) : 0;
	size_t length = 1 + 4 + one + 4 + two + 8 + 4 + count;
	uint8_t kind = what;
	char *record, *at;

	if (trace < 0 || !(record = at = malloc(length)))
		return;
	put(&at, &kind, 1);
	put(&at, &one, 4);
	put(&at, path, one);
	put(&at, &two, 4);
	put(&at, second ? second : "", two);
	put(&at, &offset, 8);
	put(&at, &count, 4);
	put(&at, bytes ? bytes : "", count);
	if (syscall(SYS_write, trace, record, length) != (long)length)
		abort();
	free(record);
}

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);

	if (!found)
		abort();
	return found;
}

static void lock(void)
{
	if (trace >= 0)
		pthread_mutex_lock(&order);
}

static void unlock(void)
{
	int before = errno;

	if (trace >= 0)
		pthread_mutex_unlock(&order);
	errno = before;
}

ssize_t write(int fd, const void *bytes, size_t count)
{
	char path[PATH_MAX];
	enum how how;
	ssize_t done;
	off_t at;

	if (!names(fd, path))
		return syscall(SYS_write, fd, bytes, count);
	how = fails();
	if (refused(how))
		return -1;
	lock();
	done = syscall(SYS_write, fd, bytes, how == HALF && count > 1 ? count / 2 : count);
	if (done > 0) {
		at = lseek(fd, 0, SEEK_CUR) - done;
		note(WRITE, path, NULL, at, bytes, done);
	}
	unlock();
	return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	char path[PATH_MAX];

	if (!names(fd, path))
		return syscall(SYS_writev, fd, parts, count);
	for (; count > 0; parts++, count--)
		if (parts->iov_len)
			return write(fd, parts->iov_base, parts->iov_len);
	return 0;
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at)
{
	char path[PATH_MAX];
	enum how how;
	ssize_t done;

	if (!names(fd, path))
		return syscall(SYS_pwrite64, fd, bytes, count, at);
	how = fails();
	if (refused(how))
		return -1;
	lock();
	done = syscall(SYS_pwrite64, fd, bytes, how == HALF && count > 1 ? count / 2 : count, at);
	if (done > 0)
		note(WRITE, path, NULL, at, bytes, done);
	unlock();
	return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at)
{
	return pwrite64(fd, bytes, count, at);
}

/* what is done to an open file and tells 0 or -1 */
static int change(int fd, const char *path, enum what what, uint64_t offset, long call, long argument)
{
	int done;

	if (refused(fails()))
		return -1;
	lock();
	done = syscall(call, fd, argument);
	if (!done)
		note(what, path, NULL, offset, NULL, 0);
	unlock();
	return done;
}

int ftruncate64(int fd, off64_t length)
{
	char path[PATH_MAX];

	return names(fd, path) ? change(fd, path, TRUNCATE, length, SYS_ftruncate, length)
			       : syscall(SYS_ftruncate, fd, length);
}

int ftruncate(int fd, off_t length)
{
	return ftruncate64(fd, length);
}

int fsync(int fd)
{
	char path[PATH_MAX];

	return names(fd, path) ? change(fd, path, SYNC, 0, SYS_fsync, 0) : syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
	char path[PATH_MAX];

	return names(fd, path) ? change(fd, path, SYNC, 0, SYS_fdatasync, 0) : syscall(SYS_fdatasync, fd);
}

static int opens(int at, const char *path, int flags, mode_t mode)
{
	struct stat about;
	int fd, is_new;

	if (!is_ours(path) || !(flags & (O_CREAT | O_TRUNC)) || (flags & __O_TMPFILE) == __O_TMPFILE)
		return syscall(SYS_openat, at, path, flags, mode);
	is_new = (flags & O_CREAT) && syscall(SYS_newfstatat, AT_FDCWD, path, &about, 0) < 0;
	if ((is_new || (flags & O_TRUNC)) && refused(fails()))
		return -1;
	lock();
	fd = syscall(SYS_openat, at, path, flags, mode);
	if (fd >= 0 && is_new)
		note(CREATE, path, NULL, 0, NULL, 0);
	else if (fd >= 0 && (flags & O_TRUNC))
		note(TRUNCATE, path, NULL, 0, NULL, 0);
	unlock();
	return fd;
}

#define MODE(flags)                                            \
	({                                                     \
		mode_t mode = 0;                               \
		if ((flags) & (O_CREAT | __O_TMPFILE)) {       \
			va_list rest;                          \
			va_start(rest, flags);                 \
			mode = va_arg(rest, mode_t);           \
			va_end(rest);                          \
		}                                              \
		mode;                                          \
	})

int open(const char *path, int flags, ...)
{
	return opens(AT_FDCWD, path, flags, MODE(flags));
}

int open64(const char *path, int flags, ...)
{
	return opens(AT_FDCWD, path, flags | O_LARGEFILE, MODE(flags));
}

int openat(int at, const char *path, int flags, ...)
{
	return opens(at, path, flags, MODE(flags));
}

int openat64(int at, const char *path, int flags, ...)
{
	return opens(at, path, flags | O_LARGEFILE, MODE(flags));
}

/* what is done to names and tells 0 or -1 */
#define NAMES(ours, what, path, second, call)                  \
	do {                                                   \
		int done;                                      \
		if (!(ours))                                   \
			return call;                           \
		if (refused(fails()))                          \
			return -1;                             \
		lock();                                        \
		done = call;                                   \
		if (!done)                                     \
			note(what, path, second, 0, NULL, 0);  \
		unlock();                                      \
		return done;                                   \
	} while (0)

/* with the file's bytes, which somebody else may have written */
static void note_renamed(const char *from, const char *to)
{
	struct stat about;
	void *bytes = NULL;
	long count = 0;
	int fd = syscall(SYS_openat, AT_FDCWD, to, O_RDONLY | O_CLOEXEC, 0);

	if (fd >= 0 && !fstat(fd, &about) && S_ISREG(about.st_mode) && (bytes = malloc(about.st_size + 1)))
		count = syscall(SYS_read, fd, bytes, about.st_size);
	note(RENAME, from, to, 0, bytes, count > 0 ? count : 0);
	free(bytes);
	if (fd >= 0)
		syscall(SYS_close, fd);
}

int rename(const char *from, const char *to)
{
	int done;

	if (!is_ours(from) && !is_ours(to))
		return REAL(rename)(from, to);
	if (refused(fails()))
		return -1;
	lock();
	done = REAL(rename)(from, to);
	if (!done && trace >= 0)
		note_renamed(from, to);
	unlock();
	return done;
}

int linkat(int from_at, const char *from, int to_at, const char *to, int flags)
{
	NAMES(is_ours(to), LINK, from, to, REAL(linkat)(from_at, from, to_at, to, flags));
}

int mkdir(const char *path, mode_t mode)
{
	NAMES(is_ours(path), MKDIR, path, NULL, REAL(mkdir)(path, mode));
}

/* going needs no room, and so never fails here */
int unlink(const char *path)
{
	int done;

	if (!is_ours(path))
		return REAL(unlink)(path);
	lock();
	done = REAL(unlink)(path);
	if (!done)
		note(UNLINK, path, NULL, 0, NULL, 0);
	unlock();
	return done;
}

int rmdir(const char *path)
{
	int done;

	if (!is_ours(path))
		return REAL(rmdir)(path);
	lock();
	done = REAL(rmdir)(path);
	if (!done)
		note(RMDIR, path, NULL, 0, NULL, 0);
	unlock();
	return done;
}

int unlinkat(int at, const char *name, int flags)
{
	char path[2 * PATH_MAX];
	int done, ours;

	if (at == AT_FDCWD || name[0] == '/') {
		snprintf(path, sizeof path, "%s", name);
		ours = is_ours(path);
	} else {
		ours = names(at, path);
		snprintf(path + strlen(path), sizeof path - strlen(path), "/%s", name);
	}
	if (!ours)
		return REAL(unlinkat)(at, name, flags);
	lock();
	done = REAL(unlinkat)(at, name, flags);
	if (!done)
		note(flags & AT_REMOVEDIR ? RMDIR : UNLINK, path, NULL, 0, NULL, 0);
	unlock();
	return done;
}
