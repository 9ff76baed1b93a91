/*
 * Copyright: (c) 2026, the repoman contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A directory seen through a file system on which each operation takes half a millisecond more, as over a network.
 * SIGUSR1 takes the delay away, SIGUSR2 brings it back: what is only prepared need not wait.
 * Started by root with SLOWFS_UID and SLOWFS_GID, it works as that user once it is mounted.
 * cc -O2 slowfs.c -o slowfs $(pkg-config --cflags --libs fuse3); slowfs MOUNTPOINT BACKING -f
 */
#define FUSE_USE_VERSION 31
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

static int base;
static long delay = 500000;
static volatile sig_atomic_t is_fast;

static const char *below(const char *path)
{
	const struct timespec wait = { 0, delay };

	if (!is_fast)
		nanosleep(&wait, NULL);
	return path[1] ? path + 1 : ".";
}

static void set_speed(int number)
{
	is_fast = number == SIGUSR1;
}

#define ANSWER(call) return (call) == -1 ? -errno : 0

static int slow_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	if (fi) {
		below("/");
		ANSWER(fstat(fi->fh, st));
	}
	ANSWER(fstatat(base, below(path), st, AT_SYMLINK_NOFOLLOW));
}

static int slow_readlink(const char *path, char *buffer, size_t size)
{
	ssize_t length = readlinkat(base, below(path), buffer, size - 1);

	if (length == -1)
		return -errno;
	buffer[length] = 0;
	return 0;
}

static int slow_readdir(const char *path, void *buffer, fuse_fill_dir_t fill, off_t offset, struct fuse_file_info *fi,
			enum fuse_readdir_flags flags)
{
	int fd = openat(base, below(path), O_RDONLY | O_DIRECTORY);
	DIR *directory = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!directory)
		return -errno;
	while ((entry = readdir(directory)))
		fill(buffer, entry->d_name, NULL, 0, 0);
	closedir(directory);
	return 0;
}

static int slow_mknod(const char *path, mode_t mode, dev_t device) { ANSWER(mknodat(base, below(path), mode, device)); }
static int slow_mkdir(const char *path, mode_t mode) { ANSWER(mkdirat(base, below(path), mode)); }
static int slow_unlink(const char *path) { ANSWER(unlinkat(base, below(path), 0)); }
static int slow_rmdir(const char *path) { ANSWER(unlinkat(base, below(path), AT_REMOVEDIR)); }
static int slow_symlink(const char *to, const char *path) { ANSWER(symlinkat(to, base, below(path))); }

static int slow_rename(const char *from, const char *to, unsigned int flags)
{
	ANSWER(renameat2(base, from + 1, base, below(to), flags));
}

static int slow_link(const char *from, const char *to) { ANSWER(linkat(base, from + 1, base, below(to), 0)); }

static int slow_chmod(const char *path, mode_t mode, struct fuse_file_info *fi) { ANSWER(fchmodat(base, below(path), mode, 0)); }

static int slow_chown(const char *path, uid_t uid, gid_t gid, struct fuse_file_info *fi)
{
	ANSWER(fchownat(base, below(path), uid, gid, AT_SYMLINK_NOFOLLOW));
}

static int slow_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
	int fd, result;

	if (fi) {
		below("/");
		ANSWER(ftruncate(fi->fh, size));
	}
	fd = openat(base, below(path), O_WRONLY);
	if (fd == -1)
		return -errno;
	result = ftruncate(fd, size) == -1 ? -errno : 0;
	close(fd);
	return result;
}

static int slow_utimens(const char *path, const struct timespec times[2], struct fuse_file_info *fi)
{
	ANSWER(utimensat(base, below(path), times, AT_SYMLINK_NOFOLLOW));
}

static int opened(int fd, struct fuse_file_info *fi)
{
	if (fd == -1)
		return -errno;
	fi->fh = fd;
	return 0;
}

static int slow_open(const char *path, struct fuse_file_info *fi) { return opened(openat(base, below(path), fi->flags & ~O_NOFOLLOW), fi); }

static int slow_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
	return opened(openat(base, below(path), fi->flags, mode), fi);
}

static int slow_read(const char *path, char *buffer, size_t size, off_t offset, struct fuse_file_info *fi)
{
	ssize_t done;

	below("/");
	done = pread(fi->fh, buffer, size, offset);
	return done == -1 ? -errno : (int)done;
}

static int slow_write(const char *path, const char *buffer, size_t size, off_t offset, struct fuse_file_info *fi)
{
	ssize_t done;

	below("/");
	done = pwrite(fi->fh, buffer, size, offset);
	return done == -1 ? -errno : (int)done;
}

static int slow_release(const char *path, struct fuse_file_info *fi)
{
	close(fi->fh);
	return 0;
}

static int slow_statfs(const char *path, struct statvfs *st)
{
	below("/");
	ANSWER(fstatvfs(base, st));
}

static void *slow_init(struct fuse_conn_info *connection, struct fuse_config *config)
{
	const char *user = getenv("SLOWFS_UID"), *group = getenv("SLOWFS_GID");

	if (user && group && (setgroups(0, NULL) || setgid(atoi(group)) || setuid(atoi(user))))
		abort();
	config->use_ino = 1;
	config->hard_remove = 1;
	return NULL;
}

static const struct fuse_operations operations = {
	.init = slow_init,
	.getattr = slow_getattr,
	.readlink = slow_readlink,
	.readdir = slow_readdir,
	.mknod = slow_mknod,
	.mkdir = slow_mkdir,
	.unlink = slow_unlink,
	.rmdir = slow_rmdir,
	.symlink = slow_symlink,
	.rename = slow_rename,
	.link = slow_link,
	.chmod = slow_chmod,
	.chown = slow_chown,
	.truncate = slow_truncate,
	.utimens = slow_utimens,
	.open = slow_open,
	.create = slow_create,
	.read = slow_read,
	.write = slow_write,
	.release = slow_release,
	.statfs = slow_statfs,
};

int main(int count, char **arguments)
{
	if (count < 3) {
		fprintf(stderr, "usage: %s MOUNTPOINT BACKING [FUSE OPTIONS]\n", arguments[0]);
		return 2;
	}
	base = open(arguments[2], O_RDONLY | O_DIRECTORY);
	if (base == -1) {
		perror(arguments[2]);
		return 1;
	}
	if (getenv("SLOWFS_NS"))
		delay = atol(getenv("SLOWFS_NS"));
	signal(SIGUSR1, set_speed);
	signal(SIGUSR2, set_speed);
	umask(0);
	arguments[2] = arguments[1];
	arguments[1] = arguments[0];
	return fuse_main(count - 1, arguments + 1, &operations, NULL);
}
