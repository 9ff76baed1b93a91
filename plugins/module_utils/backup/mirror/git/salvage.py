# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reduce the files read from a damaged git directory to those that can be proven; for the rest, the mirror keeps its own."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.broken_files import (
    _HEX,
    DROPPED,
    LIMIT,
    LINES,
    REFERENCE,
    Packed,
    _log_lines,
    broken_files,
    role_of,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.history_walk import Walker
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_checks import check_of
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_copy import ABSENT, SOUND, STAYS, Damage
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.salvage_store import Store
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.staging import in_full, small
from ansible_collections.homelab.repoman.plugins.module_utils.files import source_files
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.borrowed_objects import BorrowedError

NOT_WHOLE = "part of its history is missing or damaged"


class Salvage:
    """Finds the part of a git directory that can be published although its proof failed."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.missing = set(store.missing)
        self.packed_path = store.prefix + b"packed-refs"
        self.mirrored_packed = Packed(self._mirrored(self.packed_path) or b"").refs

    def run(self) -> bool:
        """Reduce the staged files to those that can be proven; return False if none remains."""
        store = self.store
        if store.prefix + b"HEAD" not in store.mirrored:
            return False
        saved_state = (dict(store.staged), set(store.protected), dict(store.damage))
        try:
            if self._reduce():
                return True
        except (OSError, BorrowedError):
            pass
        store.staged, store.protected, store.damage = saved_state
        return False

    def _reduce(self) -> bool:
        store = self.store
        self._leave_derived()
        broken = broken_files(store)
        if not broken:
            problem = store.prove(derived=False, everything=True)
            if not problem:
                self._name_missing()
                return True
        for path, reason in broken.items():
            if path == self.packed_path and store.staged.get(path, (None, None))[1] is not None:
                self._mend_packed(reason)
            else:
                self._keep_mirrors(path, reason)
        if broken and not store.prove(derived=False, everything=True):
            self._name_missing()
            return True
        self._drop_what_is_not_whole()
        if not store.prove(derived=False, everything=True):
            return True
        return self._without_indexes()

    def _leave_derived(self) -> None:
        """Keep the mirror's files that git derives from objects: no object of the mirror is removed now."""
        for path in [*self.store.staged, *self.store.mirrored]:
            inner = path[len(self.store.prefix) :]
            if check_of(inner, "sha1") is not None or inner.endswith((b"-chain", b"objects/info/packs")):
                self.store.staged.pop(path, None)
                if path in self.store.mirrored and path not in self.store.objects:
                    self.store.protected.add(path)

    def _name_missing(self) -> None:
        """Name the objects that the source lacks and the mirror has."""
        damaged = {each.what for each in self.store.damage.values()}
        for name in sorted(self.missing):
            description = f"object {name}"
            if description not in damaged and name.strip("0"):  # git prints that for a reference without a value
                path = f"objects/{name[:2]}/{name[2:]}".encode()
                self.store.damage[name.encode()] = Damage(self.store.prefix + path, description, "it is missing", SOUND)

    def _mirrored(self, path: bytes) -> bytes | None:
        """Return the contents of the mirror's file."""
        entry = self.store.mirrored.get(path)
        if entry is None or entry.type != "f" or entry.size > LIMIT:
            return None
        return source_files.read_regular(self.store.copier.mirror_fd, path, LIMIT)

    def _keep_mirrors(self, path: bytes, reason: str, accepts: Callable[[bytes], bool] = lambda _data: True) -> None:
        """Stage the mirror's version of a file, or no version."""
        store = self.store
        inner = path[len(store.prefix) :]
        role = role_of(inner)
        entry = store.staged.pop(path, (None, None))[0]
        mirrored = self._mirrored(path)
        was_directory = path in store.mirrored and store.mirrored[path].type == "d"
        if was_directory:  # of references
            store.protected |= {each for each in store.mirrored if each.startswith(path + b"/") and each not in store.staged}
        else:
            for below in [below for below in store.staged if below.startswith(path + b"/")]:
                del store.staged[below]
        if (
            mirrored is not None
            and path in store.mirrored
            and (role not in {"ref", "HEAD"} or REFERENCE.fullmatch(mirrored))
            and accepts(mirrored)
        ):
            store.staged[path] = (store.mirrored[path], mirrored)
            mirror_state = STAYS
        elif role == "ref" and (value := self.mirrored_packed.get(inner)) and accepts(value[0]):
            self._pack(inner, value)
            mirror_state = STAYS
        else:
            mirror_state = ABSENT
            if path in store.mirrored:
                store.protected.add(path)
                mirror_state = STAYS
        description = {"ref": "reference", "HEAD": "reference"}.get(role, "file")
        by_path = (
            (was_directory or mirrored is not None) and mirror_state == STAYS and reason != NOT_WHOLE
        )  # with an incomplete history, the mirror's reference may be older
        store.damage[path] = Damage(path, f"{description} {escape_path(inner)}", reason, mirror_state, entry, by_path=by_path)
        if role == "index":
            store.protected |= {
                each for each in store.mirrored if each.startswith(store.prefix + b"sharedindex.") and each not in store.staged
            }

    # Packed references

    def _packed(self) -> Packed:
        return Packed(in_full(self.store.staged.get(self.packed_path, (None, b""))[1], LIMIT))

    def _pack(self, name: bytes, value: tuple[bytes, bytes]) -> None:
        packed = self._packed()
        packed.refs[name] = value
        self._stage_packed(packed)

    def _stage_packed(self, packed: Packed) -> None:
        """Stage a ``packed-refs`` file that repoman wrote."""
        store = self.store
        template = (
            store.staged.get(self.packed_path) or store.staged.get(store.prefix + b"HEAD") or (store.mirrored[store.prefix + b"HEAD"], None)
        )
        data = packed.data()
        mode = stat.S_IFREG | 0o644
        entry = template[0]._replace(path=self.packed_path, mode=mode, size=len(data), ctime_ns=0, inode=0, nlink=1, link=b"")
        store.staged[self.packed_path] = (entry, data)

    def _mend_packed(self, reason: str) -> None:
        """Keep the valid lines of a damaged packed-refs, and take references that are now missing from the mirror."""
        store = self.store
        entry = store.staged[self.packed_path][0]
        packed = self._packed()
        for name, value in self.mirrored_packed.items():
            if name not in packed.refs and store.prefix + name not in store.staged:
                packed.refs[name] = value
        self._stage_packed(packed)
        store.damage[self.packed_path] = Damage(
            self.packed_path, "file packed-refs", reason, STAYS, entry, by_path=self.packed_path in store.mirrored
        )

    # Incomplete history

    def _drop_what_is_not_whole(self) -> None:
        """Drop every reference and reflog line without a complete history."""
        store = self.store
        shallow = in_full(store.staged.get(store.prefix + b"shallow", (None, b""))[1], LIMIT).split()
        with store.over_objects() as (environment, how):
            walker = Walker(environment, how, shallow, self._lacking())
            try:
                self._drop_references(walker)
                self._drop_log_lines(walker)
            finally:
                walker.close()
        absent = [each.what.removeprefix("object ") for each in store.damage.values() if each.is_object and each.mirror == ABSENT]
        self._drop_indexes([*(each.decode() for each in walker.lost), *absent])
        damaged = {each.what for each in store.damage.values()}
        for name in walker.lost:
            description = f"object {name.decode()}"
            if description not in damaged:
                path = store.prefix + b"objects/" + name[:2] + b"/" + name[2:]
                store.damage.setdefault(name, Damage(path, description, "it is missing", ABSENT))

    def _lacking(self) -> frozenset[bytes] | None:
        """Return missing objects that even a partial clone needs; None for any other repository."""
        if not self.store.is_partial:
            return None
        damaged = {each.what.removeprefix("object ") for each in self.store.damage.values() if each.is_object}
        return frozenset(each.encode() for each in {*damaged, *self.missing, *self.store.missing})

    def _drop_indexes(self, missing_names: Iterable[str]) -> None:
        """Keep the mirror's index of a work tree if the new one names a lost object: git only checks the index of the main work tree."""
        store = self.store
        names = [bytes.fromhex(each) for each in missing_names if _HEX.fullmatch(each)]
        for path in [each for each in store.staged if role_of(each[len(store.prefix) :]) == "index"]:
            data = small(store.staged[path][1], LIMIT)
            if data is not None and any(name in data for name in names):
                self._keep_mirrors(path, NOT_WHOLE)

    def _drop_references(self, walker: Walker) -> None:
        store = self.store

        def accepts(data: bytes) -> bool:
            value = data.split(maxsplit=1)[0] if data.split() else b""
            return value.startswith(b"ref:") or walker.is_whole(value)

        for path in [each for each in store.staged if role_of(each[len(store.prefix) :]) in {"ref", "HEAD"}]:
            entry, contents = store.staged[path]
            data = small(contents, LIMIT)
            if data is not None and entry.type == "f" and not accepts(data):
                self._keep_mirrors(path, NOT_WHOLE, accepts)
        packed, changed = self._packed(), False
        for name, (value, _peeled) in list(packed.refs.items()):
            if store.prefix + name in store.staged or walker.is_whole(value):
                continue
            changed = True
            del packed.refs[name]
            loose = self._mirrored(store.prefix + name)
            mirrored = self.mirrored_packed.get(name)
            mirror_state = STAYS
            if loose is not None and REFERENCE.fullmatch(loose) and accepts(loose):
                store.staged[store.prefix + name] = (store.mirrored[store.prefix + name], loose)
            elif loose is None and mirrored is not None and walker.is_whole(mirrored[0]):
                packed.refs[name] = mirrored
            else:
                mirror_state = ABSENT
            store.damage[store.prefix + name] = Damage(self.packed_path, f"reference {escape_path(name)}", NOT_WHOLE, mirror_state)
        if changed:
            self._stage_packed(packed)

    def _drop_log_lines(self, walker: Walker) -> None:
        store = self.store

        def accepted(name: bytes) -> bool:
            return not name.strip(b"0") or walker.is_whole(name)

        for path, (entry, contents) in list(store.staged.items()):
            data = small(contents, LIMIT)
            if data is None or entry.type != "f" or role_of(path[len(store.prefix) :]) != "log":
                continue
            sound_lines = b"".join(_log_lines(data, complete=True, accepted=accepted))
            if sound_lines != data:
                store.staged[path] = (entry._replace(ctime_ns=0, size=len(sound_lines)), sound_lines)
                description = f"reflog {escape_path(path[len(store.prefix) :])}"
                store.damage.setdefault(path, Damage(path, description, LINES, DROPPED, entry))

    def _without_indexes(self) -> bool:
        """Keep the mirror's indexes, or none; return whether the rest is proven then."""
        store = self.store
        indexes = [each for each in store.staged if role_of(each[len(store.prefix) :]) == "index"]
        for path in indexes:
            self._keep_mirrors(path, NOT_WHOLE)
            if not store.prove(derived=False, everything=True):
                return True
            if path in store.staged:
                del store.staged[path]
                store.protected.add(path)
                if not store.prove(derived=False, everything=True):
                    return True
        return False
