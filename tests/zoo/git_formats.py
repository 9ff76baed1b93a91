# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinds of git repositories: formats of objects, of what indexes them, of references, of the index."""

from __future__ import annotations

from zoo.kind import GIT_CHANGE, Kind

HERE = ("",)
PLAIN = "init .; commit 1; commit 2; git tag -a -m annotated v1"
MANY_REFS = 'init .; commit 1; for n in $(seq 2000); do echo "create refs/tags/t$n HEAD"; done | git update-ref --stdin'
REFTABLE = "git init -q -b main --ref-format=reftable .; commit 1; commit 2; git tag t"

OBJECTS = [
    Kind("git", PLAIN, GIT_CHANGE, HERE),
    Kind("git-empty", "init .", GIT_CHANGE, HERE),
    Kind("git-sha256", "git init -q -b main --object-format=sha256 .; commit 1; commit 2", "git gc -q; commit 3", HERE),
    Kind("git-loose-only", f"{PLAIN}; git config gc.auto 0; for n in 3 4 5; do commit $n; done", GIT_CHANGE, HERE),
    Kind("git-gc", f"{PLAIN}; git gc -q", "commit 3; git gc -q", HERE),
    Kind(
        "git-repacked-away",
        f"{PLAIN}; git gc -q",
        "git commit -q --amend -m other; git reflog expire --expire=now --all; git gc -q --prune=now",
        HERE,
    ),
    Kind("git-unreachable", f"{PLAIN}; echo lost | git hash-object -w --stdin", "echo lost2 | git hash-object -w --stdin; commit 3", HERE),
    Kind(
        "git-reflog-only",
        f"{PLAIN}; git commit -q --amend -m other; git reset -q --hard HEAD~1",
        "commit 3; git commit -q --amend -m again",
        HERE,
    ),
    Kind(
        "git-keep-packs",
        f"{PLAIN}; git repack -q -a -d; for p in .git/objects/pack/*.pack; do echo why >${{p%.pack}}.keep; done",
        "commit 3; git gc -q",
        HERE,
    ),
    Kind(
        "git-cruft-packs",
        f"{PLAIN}; git commit -q --amend -m other; git reflog expire --expire=now --all; git repack -q -d --cruft",
        "commit 3; git gc -q --cruft",
        HERE,
    ),
    Kind("git-many-packs", f"{PLAIN}; for n in 3 4 5; do git repack -q -d; commit $n; done", "git repack -q -d; commit 6", HERE, long=True),
    Kind(
        "git-multi-pack-index",
        f"{PLAIN}; git repack -q -d; commit 3; git repack -q -d; git multi-pack-index write",
        "commit 4; git repack -q -d; git multi-pack-index write",
        HERE,
    ),
    Kind(
        "git-multi-pack-bitmap",
        f"{PLAIN}; git repack -q -d; commit 3; git repack -q -d; git multi-pack-index write --bitmap",
        "commit 4; git repack -q -d; git multi-pack-index write --bitmap",
        HERE,
    ),
    Kind(
        "git-multi-pack-repacked",
        f"{PLAIN}; git repack -q -d; commit 3; git repack -q -d; git multi-pack-index write",
        "git repack -q -a -d; commit 4",
        HERE,
        long=True,
    ),
    Kind("git-bitmap", f"{PLAIN}; git repack -q -a -d -b", "commit 3; git repack -q -a -d -b", HERE),
    Kind(
        "git-reverse-index",
        f"{PLAIN}; git config pack.writeReverseIndex true; git repack -q -a -d",
        "commit 3; git repack -q -a -d",
        HERE,
        long=True,
    ),
    Kind(
        "git-pack-index-v1",
        f"{PLAIN}; git config pack.indexVersion 1; git repack -q -a -d",
        "commit 3; git repack -q -a -d",
        HERE,
        long=True,
    ),
    Kind(
        "git-commit-graph",
        f"{PLAIN}; git commit-graph write --reachable --changed-paths",
        "commit 3; git commit-graph write --reachable",
        HERE,
        long=True,
    ),
    Kind(
        "git-commit-graph-chain",
        "init .; for n in 1 2 3; do commit $n; git commit-graph write --reachable --split=no-merge; done",
        "commit 4; git commit-graph write --reachable --split=replace",
        HERE,
    ),
    Kind(
        "git-commit-graph-stale",
        f"{PLAIN}; git commit-graph write --reachable",
        "git commit -q --amend -m other; git reflog expire --expire=now --all; git gc -q --prune=now; git tag -d v1; commit 3",
        HERE,
    ),
    Kind(
        "git-large-blob",
        "init .; seq 300000 >big; git config core.bigFileThreshold 100k; commit 1",
        "seq 300001 >big; commit 2; git repack -q -a -d",
        HERE,
        long=True,
    ),
    Kind(
        "git-compression-0", "init .; git config core.compression 0; commit 1", "git config core.compression 9; commit 2", HERE, long=True
    ),
    Kind(
        "git-empty-tree", "init .; git commit -q --allow-empty -m empty; git commit -q --allow-empty -m again", GIT_CHANGE, HERE, long=True
    ),
    # an e-mail without its space: strict checks dislike it, and it has been there for years
    Kind(
        "git-old-history",
        "init .; T=$(git mktree </dev/null); "
        "C=$(printf 'tree %s\\nauthor A<a@x> 1 +0000\\ncommitter A <a@x> 1 +0000\\n\\nm\\n' $T | git hash-object -w -t commit --literally --stdin); "
        "git update-ref refs/heads/main $C",
        GIT_CHANGE,
        HERE,
    ),
    Kind(
        "git-zero-padded-modes",
        "init .; echo x >f; git add f; T=$(python3 -c 'import subprocess as s, sys; "
        'b = bytes.fromhex(s.run(["git", "rev-parse", ":f"], capture_output=True, check=True).stdout.decode()); '
        'sys.stdout.buffer.write(b"0100644 f\\0" + b)\' | git hash-object -w -t tree --literally --stdin); '
        "C=$(git commit-tree -m m $T); git update-ref refs/heads/main $C",
        GIT_CHANGE,
        HERE,
        long=True,
    ),
    Kind(
        "git-gitkeep-in-pack",
        f"{PLAIN}; touch .git/objects/pack/.gitkeep .git/objects/info/.gitkeep .git/objects/README",
        "commit 3; echo more >.git/objects/pack/.gitkeep",
        HERE,
    ),
    Kind(
        "git-temporary-objects",
        f"{PLAIN}; touch .git/objects/pack/tmp_pack_x1 .git/objects/tmp_obj_x2",
        GIT_CHANGE,
        HERE,
        transient=("tmp_pack_*", "tmp_obj_*"),
    ),
    Kind(
        "git-locks",
        f"{PLAIN}; touch .git/packed-refs.lock .git/HEAD.lock .git/gc.pid",
        "rm .git/*.lock; commit 3; touch .git/index.lock",
        HERE,
        transient=("*.lock", "gc.pid"),
    ),
    Kind(
        "git-objects-hard-linked", f"mkdir a; cd a; {PLAIN}; cd ..; git clone -q a b", "cd b; commit 3; git gc -q", ("a", "b")
    ),  # backup-utils#68
    Kind(
        "git-objects-group-writable",
        f"git init -q -b main --shared=group .; {PLAIN.partition('; ')[2]}; git gc -q",
        GIT_CHANGE,
        HERE,
        long=True,
    ),
    Kind(
        "git-objects-read-only", f"{PLAIN}; find .git/objects -type d -exec chmod a-w {{}} +", "chmod -R u+w .git/objects; commit 3", HERE
    ),  # git-for-windows#4250
]

REFERENCES = [
    Kind("git-detached", f"{PLAIN}; git checkout -q --detach", GIT_CHANGE, HERE),
    Kind("git-unborn", "init .; echo 1 >f; git add f", GIT_CHANGE, HERE),
    Kind("git-unborn-beside-others", f"{PLAIN}; git checkout -q --orphan new; git rm -rfq .", GIT_CHANGE, HERE, long=True),
    Kind("git-head-is-a-link", f"{PLAIN}; rm .git/HEAD; ln -s refs/heads/main .git/HEAD", GIT_CHANGE, HERE),
    Kind(
        "git-head-of-no-branch", f"{PLAIN}; git symbolic-ref refs/remotes/origin/HEAD refs/remotes/origin/gone", GIT_CHANGE, HERE, long=True
    ),
    Kind(
        "git-packed-refs-only",
        f"{PLAIN}; for n in 1 2 3; do git branch b$n; done; git pack-refs --all",
        "git branch -D b1 -q; commit 3; git pack-refs --all",
        HERE,
    ),
    Kind("git-2000-refs", MANY_REFS, "git pack-refs --all; commit 2", HERE),
    Kind("git-2000-packed-refs", f"{MANY_REFS}; git pack-refs --all", "git tag -d t7 t8 >/dev/null; commit 2", HERE, long=True),
    Kind(
        "git-odd-ref-names",
        "init .; commit 1; for r in ümlaut a@b.c x/y/z 'q\"uote' \"a'b\" -dash 'a b' $(printf 'n%.0s' $(seq 200)); "
        "do git update-ref \"refs/heads/$(echo $r | tr ' ' _)\" HEAD; done; "
        "git update-ref \"$(printf 'refs/heads/latin-\\344')\" HEAD; git update-ref refs/odd HEAD",
        GIT_CHANGE,
        HERE,
    ),
    Kind("git-ref-replaces-directory", f"{PLAIN}; git branch a/b", "git branch -D -q a/b; git branch a; commit 3", HERE),
    Kind("git-notes", f"{PLAIN}; git notes add -m note", "git notes append -m more; commit 3", HERE),
    Kind("git-replace-refs", f"{PLAIN}; commit 3; git replace HEAD HEAD~1", GIT_CHANGE, HERE, long=True),
    Kind("git-grafts", f"{PLAIN}; git rev-parse HEAD >.git/info/grafts", GIT_CHANGE, HERE),
    Kind("git-stash", f"{PLAIN}; echo x >all; git stash -q; echo y >all; git stash -q", "git stash pop -q; commit 3", HERE),
    Kind("git-reftable", REFTABLE, "commit 3; git tag -d t; git pack-refs", HERE, newest="git", unproven=True),
    Kind(
        "git-reftable-bare",
        "git init -q -b main --ref-format=reftable $OUT/w; (cd $OUT/w; commit 1); git clone -q --mirror --ref-format=reftable $OUT/w .",
        "(cd $OUT/w; commit 2); git fetch -q; git refs verify",
        HERE,
        newest="git",
        unproven=True,
        long=True,
    ),
    Kind(
        "git-reftable-worktree",
        f"mkdir a; cd a; {REFTABLE}; git worktree add -q ../b",
        "cd b; commit 3",
        ("a", "b"),
        newest="git",
        unproven=True,
        long=True,
    ),
    Kind(
        "git-migrated-to-reftable",
        "repository a; (cd a; git branch x); cp -a a b",
        "cd a; git refs migrate --ref-format=reftable; commit 3",
        ("a", "b"),
        newest="git",
    ),
    Kind("git-without-a-directory-of-references", f"{PLAIN}; git pack-refs --all", "rmdir .git/refs/tags; commit 3", HERE),
]

INDEXES = [
    Kind("git-index-v4", f"{PLAIN}; git update-index --index-version 4", GIT_CHANGE, HERE),
    Kind("git-index-v3", f"{PLAIN}; echo x >later; git add -N later", GIT_CHANGE, HERE, long=True),
    Kind(
        "git-split-index",
        f"{PLAIN}; git config core.splitIndex true; git update-index --split-index; echo x >y; git add y",
        GIT_CHANGE,
        HERE,
    ),
    Kind("git-untracked-cache", f"{PLAIN}; git update-index --force-untracked-cache; git status >/dev/null", GIT_CHANGE, HERE),
    Kind(
        "git-fsmonitor",
        f"{PLAIN}; printf '#!/bin/sh\\nprintf \"token\\\\0/\\\\0\"\\n' >.git/hooks/monitor; chmod +x .git/hooks/monitor; "
        f"git config core.fsmonitor .git/hooks/monitor; git update-index --fsmonitor; git status >/dev/null",
        GIT_CHANGE,
        HERE,
        long=True,
    ),
    Kind(
        "git-sparse-checkout",
        "init .; mkdir x y; commit 1; cp all x/f; cp all y/f; commit 2; git sparse-checkout set --no-cone x",
        "echo 3 >x/g; git add x; git commit -qm 3",
        HERE,
    ),
    Kind(
        "git-sparse-index",
        "init .; mkdir x y; cp $0 x/f; cp $0 y/f; commit 1; git sparse-checkout set --cone --sparse-index x",
        "echo 3 >x/g; git add x; git commit -qm 3",
        HERE,
    ),
    Kind(
        "git-sparse-index-v4",
        "init .; mkdir x y; cp $0 x/f; cp $0 y/f; commit 1; git update-index --index-version 4; git sparse-checkout set --cone --sparse-index x; "
        "git rm -q --cached --sparse y/f; git reset -q HEAD~0; git config index.threads 2; echo 2 >x/g; git add x",
        "echo 3 >x/g; git add x; git commit -qm 3",
        HERE,
        long=True,
    ),
    Kind(
        "git-assume-unchanged",
        f"{PLAIN}; git update-index --assume-unchanged all; git update-index --skip-worktree file-1; echo other >all",
        "echo third >all; git commit -q --allow-empty -m 3",
        HERE,
        long=True,
    ),
    Kind("git-no-index", f"{PLAIN}; rm .git/index", "git reset -q; commit 3", HERE),  # GitSync#427
    Kind(
        "git-index-end-of-entries",
        f"{PLAIN}; git config index.threads 2; for n in $(seq 300); do echo $n >f$n; done; git add .; git commit -qm many",
        GIT_CHANGE,
        HERE,
        long=True,
    ),
    Kind(
        "git-resolve-undo",
        f"{PLAIN}; git checkout -qb o HEAD~1; echo o >file-2; git add .; git commit -qm o; git merge -q main || true; echo r >file-2; git add file-2",
        GIT_CHANGE,
        HERE,
        long=True,
    ),
]

UNKNOWN = [
    Kind(
        "git-unknown-extension",
        f"{PLAIN}; git config core.repositoryFormatVersion 1; git config extensions.futureThing yes",
        "echo 3 >all",
        HERE,
        unproven=True,
    ),
    Kind(
        "git-format-2",
        f"{PLAIN}; git config core.repositoryFormatVersion 2",
        "echo 3 >all",
        HERE,
        unproven=True,
    ),
    Kind(
        "git-relative-worktrees",
        f"mkdir a; cd a; {PLAIN}; git config worktree.useRelativePaths true; git worktree add -q ../b",
        "cd b; commit 3",
        ("a", "b"),
        newest="git",
    ),  # ai-jail#101
    Kind(
        "git-made-by-the-newest",
        f"{PLAIN}; git maintenance run --quiet --task=gc --task=commit-graph; git submodule --quiet status || true",
        "commit 3; git repack -q -d; git maintenance run --quiet --task=incremental-repack",
        HERE,
        newest="git",
    ),
    Kind(
        "git-multi-pack-incremental",
        f"{PLAIN}; git repack -q -d; git multi-pack-index write --incremental --bitmap; commit 3; git repack -q -d; "
        f"git multi-pack-index write --incremental --bitmap",
        "commit 4; git repack -q -d; git multi-pack-index write --incremental --bitmap",
        HERE,
        newest="git",
        long=True,
    ),
    Kind(
        "git-precious-objects",
        f"{PLAIN}; git config core.repositoryFormatVersion 1; git config extensions.preciousObjects true",
        GIT_CHANGE,
        HERE,
        long=True,
    ),
    Kind(
        "git-no-op-extension",
        f"{PLAIN}; git config core.repositoryFormatVersion 1; git config extensions.noop yes",
        GIT_CHANGE,
        HERE,
        long=True,
    ),
]

KINDS = [*OBJECTS, *REFERENCES, *INDEXES, *UNKNOWN]
