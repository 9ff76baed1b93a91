# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copy from the backup, through open directories on both sides.

The destination may lie in a repository that a container changes at the same time. So paths are opened one component at a time without
following links, and modes and times are set on open files.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.attributes import REFUSED, AttributeWriter, safe_mode
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.items import Item, Items, Layer
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.directory_cursor import LIST, DirectoryCursor
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.files.syncing import sync_file_system

CHUNK = 1 << 20
BLOCK = 64 << 10
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EMLINK, errno.EXDEV)
_FULL = (errno.ENOSPC, errno.EDQUOT)


class LayerCopier:
    """Copies items of layers into an open directory.

    :param to_fd: the directory, which only this copier writes.
    :param where: the destination's path, for messages.

    ``notes`` are warnings about files or attributes that could not be restored.
    """

    def __init__(self, to_fd: int, where: bytes) -> None:
        self.to_fd, self.where = to_fd, where
        self.notes: set[str] = set()
        self._attributes = AttributeWriter(where, self.notes)
        self._layers: dict[Layer, DirectoryCursor] = {}
        self._links: dict[tuple[bytes, int, int], bytes] = {}
        self._stack = ExitStack()

    def copy(self, items: Items) -> None:
        """Copy all items, with owners, modes, times, links, holes and attributes, as far as this user may set them, and write them to the disk.

        They get their final names afterwards: after a power failure, a final name must not refer to incomplete contents.

        :param items: by path in the destination; the empty path is the directory itself.
        :raises RepomanError: something cannot be read or written.
        """
        directories = sorted(_directories(items))
        with self._stack, DirectoryCursor(self.to_fd) as cursor, DirectoryCursor(self.to_fd) as other:
            for path in directories:
                with self._writing(path):
                    parent_fd, name = cursor.reach(path)
                    os.mkdir(name, 0o700, dir_fd=parent_fd)
            for path in sorted(path for path, item in items.items() if not item.is_directory):
                with self._writing(path):
                    parent_fd, name = cursor.reach(path)
                    if not self._link(path, name, parent_fd, items[path], other):
                        self._copy_one(path, name, parent_fd, items[path])
            for path in [*reversed(directories), *([b""] if b"" in items else [])]:  # last: creating an entry changes its directory's time
                if path in items:
                    with self._writing(path):
                        self._finish_directory(cursor.open(path), items[path])
            with self._writing(b""):
                sync_file_system(self.to_fd)

    def finish(self, directory_fd: int, item: Item) -> None:
        """Apply the attributes of an item to an existing directory."""
        with self._stack, self._writing(b""):
            self._finish_directory(directory_fd, item)

    # Errors

    @contextmanager
    def _writing(self, path: bytes) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = os.path.join(self.where, path) if path else self.where
            raise write_error(where, error) from error

    @contextmanager
    def _reading(self, item: Item) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            path = os.path.join(item.layer.root, item.path)
            reason = error.strerror or str(error)
            raise RepomanError(
                f"{escape_path(path)} in the backup cannot be read: {reason}; nothing was restored.", f"ls -ld {shell_word(path)}"
            ) from error

    # Each kind

    def _source(self, item: Item) -> tuple[int, bytes]:
        """Return the open directory that an item is in, and its name there."""
        if item.layer not in self._layers:
            root_fd = os.open(item.layer.root, LIST)
            self._stack.callback(os.close, root_fd)
            self._layers[item.layer] = self._stack.enter_context(DirectoryCursor(root_fd))
            self._stack.callback(self._layers.pop, item.layer)
        return self._layers[item.layer].reach(item.path)

    def _link(self, path: bytes, name: bytes, parent_fd: int, item: Item, other: DirectoryCursor) -> bool:
        """Create a hard link to a copied file that is the same file in the layer; return False if that is impossible."""
        if item.status.st_nlink < 2:  # noqa: PLR2004
            return False
        key = item.layer.root, item.status.st_dev, item.status.st_ino
        first_path = self._links.setdefault(key, path)
        if first_path == path:
            return False
        try:
            first_fd, first_name = other.reach(first_path)
            os.link(first_name, name, src_dir_fd=first_fd, dst_dir_fd=parent_fd, follow_symlinks=False)
        except FileNotFoundError:  # a device that could not be created
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return False
        return True

    def _copy_one(self, path: bytes, name: bytes, parent_fd: int, item: Item) -> None:
        mode = item.status.st_mode
        if stat.S_ISREG(mode):
            self._copy_file(name, parent_fd, item)
        elif stat.S_ISLNK(mode):
            with self._reading(item):
                source_fd, source_name = self._source(item)
                link = os.readlink(source_name, dir_fd=source_fd)
            os.symlink(link, name, dir_fd=parent_fd)
            self._attributes.apply_owner(item.status, lambda uid, gid: os.chown(name, uid, gid, dir_fd=parent_fd, follow_symlinks=False))
            os.utime(name, ns=(item.status.st_atime_ns, item.status.st_mtime_ns), dir_fd=parent_fd, follow_symlinks=False)
        else:
            self._make_special(path, name, parent_fd, item)

    def _copy_file(self, name: bytes, parent_fd: int, item: Item) -> None:
        with self._reading(item):
            source_fd, source_name = self._source(item)
            source = os.open(source_name, _READ, dir_fd=source_fd)
        try:
            status = os.fstat(source)
            if not stat.S_ISREG(status.st_mode):
                path = escape_path(os.path.join(item.layer.root, item.path))
                raise RepomanError(f"{path} in the backup changed during the restore; nothing was restored.", "run the command again")
            out = os.open(name, _CREATE, 0o600, dir_fd=parent_fd)
            try:
                self._copy_contents(source, out, status, item)
                self._attributes.apply(out, source, status)
            finally:
                os.close(out)
        finally:
            os.close(source)

    def _copy_contents(self, source: int, out: int, status: os.stat_result, item: Item) -> None:
        """Copy up to the size the file had when it was opened. In a sparse file, holes and blocks of zeros become holes."""
        sparse, position = status.st_blocks * 512 < status.st_size, 0
        while position < status.st_size:
            with self._reading(item):
                if sparse:
                    try:
                        position = os.lseek(source, position, os.SEEK_DATA)
                    except OSError as error:
                        if error.errno == errno.ENXIO:
                            break
                        raise
                    os.lseek(source, position, os.SEEK_SET)
                data = os.read(source, min(BLOCK if sparse else CHUNK, status.st_size - position))
            if not data:
                break
            if sparse:
                if data.count(0) != len(data):
                    os.lseek(out, position, os.SEEK_SET)
                    _write(out, data)
            else:
                _write(out, data)
            position += len(data)
        if sparse:
            os.ftruncate(out, status.st_size)

    def _make_special(self, path: bytes, name: bytes, parent_fd: int, item: Item) -> None:
        status = item.status
        device = status.st_rdev if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode) else 0
        try:
            os.mknod(name, stat.S_IFMT(status.st_mode) | 0o600, device, dir_fd=parent_fd)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            self.notes.add(
                f"{escape_path(os.path.join(self.where, path))} is a device or socket that cannot be created here; it was skipped."
            )
            return
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
        try:
            itself = f"/proc/self/fd/{fd}"
            self._attributes.apply_owner(status, lambda uid, gid: os.chown(itself, uid, gid))
            os.chmod(itself, safe_mode(os.fstat(fd), status))
        finally:
            os.close(fd)
        os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=parent_fd, follow_symlinks=False)

    def _finish_directory(self, directory_fd: int, item: Item) -> None:
        with ExitStack() as stack:
            out = os.open(b".", LIST, dir_fd=directory_fd)
            stack.callback(os.close, out)
            source = -1
            with self._reading(item):
                above_fd, name = self._source(item)
                with suppress(PermissionError):  # searchable but not readable: its extended attributes are unknown
                    source = os.open(name, LIST, dir_fd=above_fd)
                    stack.callback(os.close, source)
            self._attributes.apply(out, source, item.status)


def write_error(path: bytes, error: OSError) -> RepomanError:
    """Return the error for a path of the destination that cannot be written."""
    word = shell_word(path)
    if error.errno in _FULL:
        parent = shell_word(os.path.dirname(path))
        return RepomanError(
            f"{escape_path(path)} cannot be written: {error.strerror}; nothing was restored.", f"df -h {parent}; df -i {parent}"
        )
    return RepomanError(f"{escape_path(path)} cannot be written: {error.strerror or error}; nothing was restored.", f"ls -ld {word}")


def _directories(items: Items) -> set[bytes]:
    """Return the directories to create: those among the items, and the parents of all items."""
    directories = {path for path, item in items.items() if path and item.is_directory}
    for path in items:
        parent = path.rpartition(b"/")[0]
        while parent and parent not in directories:
            directories.add(parent)
            parent = parent.rpartition(b"/")[0]
    return directories


def _write(out: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(out, view) :]
