/*
 * Copyright: (c) 2026, the repoman contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A directory seen through a mount on which every operation takes longer: a far target for benches.
 * usage: slowfs --root=DIR --delay=MICROSECONDS MOUNTPOINT [FUSE options]
 */
#define FUSE_USE_VERSION 31
#define _GNU_SOURCE

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

static struct {
    char *root;
    unsigned long delay;
} settings;
static int top;

static void linger(void)
{
    struct timespec pause = {settings.delay / 1000000, settings.delay % 1000000 * 1000};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

/* The path below the root; "/" itself is ".". */
static const char *below(const char *path) { return path[1] ? path + 1 : "."; }

static int done(int result) { return result == -1 ? -errno : 0; }

static int slow_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
    linger();
    return done(fi ? fstat(fi->fh, st) : fstatat(top, below(path), st, AT_SYMLINK_NOFOLLOW));
}

static int slow_readlink(const char *path, char *text, size_t size)
{
    linger();
    ssize_t length = readlinkat(top, below(path), text, size - 1);
    if (length == -1)
        return -errno;
    text[length] = '\0';
    return 0;
}

static int slow_mknod(const char *path, mode_t mode, dev_t device)
{
    linger();
    return done(mknodat(top, below(path), mode, device));
}

static int slow_mkdir(const char *path, mode_t mode)
{
    linger();
    return done(mkdirat(top, below(path), mode));
}

static int slow_unlink(const char *path)
{
    linger();
    return done(unlinkat(top, below(path), 0));
}

static int slow_rmdir(const char *path)
{
    linger();
    return done(unlinkat(top, below(path), AT_REMOVEDIR));
}

static int slow_symlink(const char *text, const char *path)
{
    linger();
    return done(symlinkat(text, top, below(path)));
}

static int slow_rename(const char *from, const char *to, unsigned int flags)
{
    linger();
    return done(renameat2(top, below(from), top, below(to), flags));
}

static int slow_link(const char *from, const char *to)
{
    linger();
    return done(linkat(top, below(from), top, below(to), 0));
}

static int slow_chmod(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    linger();
    return done(fi ? fchmod(fi->fh, mode) : fchmodat(top, below(path), mode, 0));
}

static int slow_chown(const char *path, uid_t uid, gid_t gid, struct fuse_file_info *fi)
{
    linger();
    return done(fi ? fchown(fi->fh, uid, gid) : fchownat(top, below(path), uid, gid, AT_SYMLINK_NOFOLLOW));
}

static int slow_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
    linger();
    if (fi)
        return done(ftruncate(fi->fh, size));
    int file = openat(top, below(path), O_WRONLY | O_NOFOLLOW);
    if (file == -1)
        return -errno;
    int result = done(ftruncate(file, size));
    close(file);
    return result;
}

static int slow_utimens(const char *path, const struct timespec times[2], struct fuse_file_info *fi)
{
    linger();
    return done(fi ? futimens(fi->fh, times) : utimensat(top, below(path), times, AT_SYMLINK_NOFOLLOW));
}

static int keep(int file, struct fuse_file_info *fi)
{
    if (file == -1)
        return -errno;
    fi->fh = file;
    return 0;
}

static int slow_open(const char *path, struct fuse_file_info *fi)
{
    linger();
    return keep(openat(top, below(path), fi->flags | O_NOFOLLOW), fi);
}

static int slow_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    linger();
    return keep(openat(top, below(path), fi->flags | O_CREAT | O_NOFOLLOW, mode), fi);
}

static int slow_read(const char *path, char *data, size_t size, off_t offset, struct fuse_file_info *fi)
{
    (void)path;
    linger();
    ssize_t count = pread(fi->fh, data, size, offset);
    return count == -1 ? -errno : (int)count;
}

static int slow_write(const char *path, const char *data, size_t size, off_t offset, struct fuse_file_info *fi)
{
    (void)path;
    linger();
    ssize_t count = pwrite(fi->fh, data, size, offset);
    return count == -1 ? -errno : (int)count;
}

static int slow_statfs(const char *path, struct statvfs *st)
{
    (void)path;
    linger();
    return done(fstatvfs(top, st));
}

static int slow_release(const char *path, struct fuse_file_info *fi)
{
    (void)path;
    close(fi->fh);
    return 0;
}

static int slow_fsync(const char *path, int data_only, struct fuse_file_info *fi)
{
    (void)path;
    linger();
    return done(data_only ? fdatasync(fi->fh) : fsync(fi->fh));
}

static int slow_readdir(const char *path, void *buffer, fuse_fill_dir_t fill, off_t offset, struct fuse_file_info *fi,
                        enum fuse_readdir_flags flags)
{
    (void)offset;
    (void)fi;
    (void)flags;
    linger();
    int file = openat(top, below(path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    DIR *directory = file == -1 ? NULL : fdopendir(file);
    if (!directory) {
        int problem = errno;
        if (file != -1)
            close(file);
        return -problem;
    }
    struct dirent *entry;
    while ((entry = readdir(directory))) {
        struct stat st = {.st_ino = entry->d_ino, .st_mode = (mode_t)entry->d_type << 12};
        if (fill(buffer, entry->d_name, &st, 0, 0))
            break;
    }
    closedir(directory);
    return 0;
}

static void *slow_init(struct fuse_conn_info *connection, struct fuse_config *config)
{
    (void)connection;
    config->use_ino = 1;
    config->nullpath_ok = 0;
    return NULL;
}

static const struct fuse_operations operations = {
    .init = slow_init,
    .getattr = slow_getattr,
    .readlink = slow_readlink,
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
    .statfs = slow_statfs,
    .release = slow_release,
    .fsync = slow_fsync,
    .readdir = slow_readdir,
};

int main(int argc, char *argv[])
{
    static const struct fuse_opt options[] = {
        {"--root=%s", offsetof(__typeof__(settings), root), 0},
        {"--delay=%lu", offsetof(__typeof__(settings), delay), 0},
        FUSE_OPT_END,
    };
    struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
    if (fuse_opt_parse(&args, &settings, options, NULL) == -1 || !settings.root) {
        fprintf(stderr, "usage: slowfs --root=DIR --delay=MICROSECONDS MOUNTPOINT [FUSE options]\n");
        return 2;
    }
    top = open(settings.root, O_RDONLY | O_DIRECTORY);
    if (top == -1) {
        perror(settings.root);
        return 1;
    }
    umask(0);
    return fuse_main(args.argc, args.argv, &operations, NULL);
}
