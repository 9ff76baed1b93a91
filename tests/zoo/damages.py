# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of repositories, and must not become of their mirrors."""

from __future__ import annotations

from zoo.kind import Damage

HERE = ("",)
GIT = "init .; commit 1; commit 2; seq 1000 >many; git add many; git commit -qm many; git tag -a -m annotated v1"
PACKED = f"{GIT}; git gc -q"
HG = "hg init .; hgcommit 1; hgcommit 2; seq 1000 >many; hg add -q many; hg commit -q -m many"


def rot(what: str, offset: int = 15) -> str:
    """Return what changes some bytes of a loose object."""
    return f"flip $(object {what}) {offset}"


KINDS = [
    Damage("blob-rots", GIT, rot("HEAD:many", 60), r"[0-9a-f]{40}", HERE),
    Damage("tree-rots", GIT, rot("HEAD^{tree}"), r"[0-9a-f]{40}", HERE),
    Damage("commit-rots", GIT, rot("HEAD"), r"[0-9a-f]{40}", HERE),
    Damage("tag-rots", GIT, rot("v1"), r"[0-9a-f]{40}", HERE),
    Damage("tip-is-empty", GIT, "f=$(object HEAD); chmod 644 $f; : >$f", r"[0-9a-f]{40}", HERE),  # Klipper-Backup#126
    Damage("object-is-cut-short", GIT, "f=$(object HEAD:many); chmod 644 $f; truncate -s 50 $f", r"[0-9a-f]{40}", HERE),
    Damage(
        "object-is-zeros", GIT, "f=$(object HEAD:many); s=$(stat -c %s $f); chmod 644 $f; head -c $s /dev/zero >$f", r"[0-9a-f]{40}", HERE
    ),
    Damage("object-is-another", GIT, "f=$(object HEAD:many); rm -f $f; cp $(object HEAD:all) $f", r"[0-9a-f]{40}", HERE),
    Damage(
        "object-is-a-directory",
        GIT,
        "f=$(object HEAD:many); rm -f $f; mkdir $f",
        r"[0-9a-f]{40}",
        HERE,
    ),
    Damage(
        "object-is-missing",
        GIT,
        "rm -f $(object HEAD:many)",
        r"[0-9a-f]{40}",
        HERE,
    ),
    Damage(
        "new-object-is-damaged",
        GIT,
        f"seq 2000 >new; git add new; git commit -qm new; {rot('HEAD:new', 60)}",
        r"[0-9a-f]{40}",
        HERE,
        known=False,
        mends=False,
    ),
    Damage(
        "sed-over-git",
        GIT,
        "find .git -type f -exec chmod u+w {} +; find .git -type f -exec sed -i s/1/2/ {} +",
        r"[0-9a-f]{40}",
        HERE,
        known=False,
        mends=False,
    ),
    Damage(
        "sha256-blob-rots",
        GIT.replace("init .", "git init -q -b main --object-format=sha256 ."),
        rot("HEAD:many", 60),
        r"[0-9a-f]{64}",
        HERE,
    ),
    Damage("pack-rots", PACKED, "flip .git/objects/pack/*.pack 200", r"pack-[0-9a-f]{40}|[0-9a-f]{40}", HERE),
    Damage(
        "pack-is-cut-short",
        PACKED,
        "chmod 644 .git/objects/pack/*.pack; truncate -s -100 .git/objects/pack/*.pack",
        r"pack-[0-9a-f]{40}",
        HERE,
    ),
    Damage("pack-is-empty", PACKED, "chmod 644 .git/objects/pack/*.pack; : >$(ls .git/objects/pack/*.pack)", r"pack-[0-9a-f]{40}", HERE),
    Damage(
        "pack-is-missing",
        PACKED,
        "rm -f .git/objects/pack/*.pack",
        r"pack-[0-9a-f]{40}|[0-9a-f]{40}",
        HERE,
    ),
    Damage("pack-index-rots", PACKED, "flip .git/objects/pack/*.idx 1100", r"pack-[0-9a-f]{40}", HERE),
    Damage(
        "pack-index-is-missing",
        PACKED,
        "rm -f .git/objects/pack/*.idx",
        r"pack-[0-9a-f]{40}|[0-9a-f]{40}",
        HERE,
    ),
    Damage(
        "submodule-object-rots",
        f"(mkdir $OUT/s; cd $OUT/s; {GIT}); init .; commit 1; git submodule --quiet add $OUT/s sub; git commit -qm s",
        "cd sub; commit 5; f=$(git rev-parse HEAD:all); d=$(git rev-parse --absolute-git-dir)/objects/$(echo $f | cut -c1-2)/$(echo $f | cut -c3-); flip $d 15",
        r"[0-9a-f]{40}",
        ("", "sub"),
        known=False,
        mends=False,
    ),
    Damage(
        "worktree-object-rots",
        f"mkdir a; cd a; {GIT}; git worktree add -q ../b",
        "cd b; commit 5; f=$(git rev-parse HEAD:all); flip ../a/.git/objects/$(echo $f | cut -c1-2)/$(echo $f | cut -c3-) 15",
        r"[0-9a-f]{40}",
        ("a", "b"),
        known=False,
        mends=False,
    ),
    Damage(
        "alternate-object-rots",
        f"mkdir a; cd a; {GIT}; cd ..; git clone -q -s a b; echo ../../../a/.git/objects >b/.git/objects/info/alternates",
        f"cd a; {rot('HEAD:many', 60)}",
        r"[0-9a-f]{40}",
        ("a", "b"),
    ),
    Damage(
        "bare-object-rots",
        f"(mkdir $OUT/w; cd $OUT/w; {GIT}; git repack -q -d); git clone -q --bare $OUT/w x.git; (cd $OUT/w; commit 7); "
        f"git -C x.git -c transfer.unpackLimit=1000 fetch -q $OUT/w main:main",
        "cd x.git; f=$(git rev-parse main:all); flip objects/$(echo $f | cut -c1-2)/$(echo $f | cut -c3-) 15",
        r"[0-9a-f]{40}",
        ("x.git",),
    ),
    Damage("objects-vanish", GIT, "rm -rf .git/objects", "objects", HERE, mends=False),
    Damage("objects-become-a-file", GIT, "rm -rf .git/objects; echo x >.git/objects", "objects", HERE, mends=False),
    Damage("head-vanishes", GIT, "rm .git/HEAD", "HEAD", HERE, mends=False),
    Damage("head-is-empty", GIT, ": >.git/HEAD", "HEAD", HERE, mends=False),
    Damage("refs-vanish", GIT, "rm -rf .git/refs", "refs", HERE, mends=False),
    Damage("git-vanishes", GIT, "rm -rf .git", r"\.git", HERE, mends=False),
    Damage(
        "reference-is-empty",
        f"{GIT}; git branch other",
        ": >.git/refs/heads/other",
        "refs/heads/other",
        HERE,
        mends=False,
    ),
    Damage("hg-store-vanishes", HG, "rm -rf .hg/store", "store", hg=HERE, mends=False),
    Damage("hg-requires-vanishes", HG, "rm .hg/requires", "requires", hg=HERE, mends=False),
    Damage("hg-changelog-vanishes", HG, "rm .hg/store/00changelog.i", "00changelog.i", hg=HERE, mends=False),
    Damage(
        "hg-changelog-is-a-directory",
        HG,
        "rm .hg/store/00changelog.i; mkdir .hg/store/00changelog.i",
        "00changelog.i",
        hg=HERE,
        mends=False,
    ),
    Damage("hg-vanishes", HG, "rm -rf .hg", r"\.hg", hg=HERE, mends=False),
    Damage(
        "hg-filelog-rots",
        HG,
        "flip .hg/store/data/many.i 90",
        "many",
        hg=HERE,
    ),
    Damage(
        "hg-manifest-rots",
        HG,
        "flip .hg/store/00manifest.i 90",
        "manifest",
        hg=HERE,
    ),
    Damage(
        "hg-changelog-rots",
        HG,
        "flip .hg/store/00changelog.i 90",
        "changelog",
        hg=HERE,
    ),
    Damage(
        "hg-filelog-is-empty",
        HG,
        ": >.hg/store/data/many.i",
        "many",
        hg=HERE,
    ),
    Damage(
        "hg-filelog-is-cut-short",
        HG,
        "truncate -s -20 .hg/store/data/all.i",
        "all",
        hg=HERE,
    ),
    Damage(
        "hg-filelog-is-missing",
        HG,
        "rm .hg/store/data/many.i",
        "many",
        hg=HERE,
    ),
    Damage(
        "hg-new-filelog-is-damaged",
        HG,
        "hgcommit 5; flip .hg/store/data/file-5.i 66",
        "file-5",
        hg=HERE,
        known=False,
        mends=False,
    ),
]
