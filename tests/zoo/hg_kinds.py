# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinds of Mercurial repositories: formats, layouts, extensions, what is under way in them."""

from __future__ import annotations

from zoo.kind import HG_CHANGE, Kind

HERE = ("",)
TWO = "hg init .; hgcommit 1; hgcommit 2"
BRANCHED = "hg init .; hgcommit 1; hgcommit 2; hg update -q 0; echo other >all; hg commit -q -m other 2>/dev/null"


def made(*options: str) -> str:
    """Return what makes a repository of a format."""
    return f"hg init {' '.join(f'--config format.{each}' for each in options)} .; hgcommit 1; hgcommit 2"


FORMATS = [
    Kind("hg", TWO, HG_CHANGE, hg=HERE),
    Kind("hg-empty", "hg init .", HG_CHANGE, hg=HERE),
    Kind("hg-zlib", made("revlog-compression=zlib"), HG_CHANGE, hg=HERE, long=True),
    Kind("hg-zstd", made("revlog-compression=zstd"), HG_CHANGE, hg=HERE),
    Kind("hg-dirstate-v2", made("use-dirstate-v2=yes"), "hg status >/dev/null; hgcommit 3", hg=HERE),
    Kind("hg-tracked-hint", made("use-dirstate-v2=yes", "use-dirstate-tracked-hint=yes"), HG_CHANGE, hg=HERE, long=True),
    Kind("hg-persistent-nodemap", made("use-persistent-nodemap=yes"), HG_CHANGE, hg=HERE),
    Kind("hg-share-safe-off", made("use-share-safe=no"), HG_CHANGE, hg=HERE, long=True),
    Kind("hg-no-dotencode", made("dotencode=no"), HG_CHANGE, hg=HERE, long=True),
    Kind("hg-no-fncache", made("usefncache=no"), HG_CHANGE, hg=HERE),
    Kind("hg-no-generaldelta", made("usegeneraldelta=no", "sparse-revlog=no"), HG_CHANGE, hg=HERE, long=True),
    Kind("hg-no-store", made("usestore=no"), HG_CHANGE, hg=HERE),
    Kind(
        "hg-treemanifest",
        "hg --config experimental.treemanifest=yes init .; mkdir d; hgcommit 1; echo x >d/f; hg add -q d; hg commit -q -m tree",
        "echo y >d/f; hgcommit 3",
        hg=HERE,
    ),
    Kind(
        "hg-copies-sidedata",
        made("exp-use-copies-side-data-changeset=yes"),
        "hg mv -q file-1 moved; hg commit -q -m mv",
        hg=HERE,
        long=True,
    ),
    Kind(
        "hg-changelog-v2",
        made("exp-use-changelog-v2=enable-unstable-format-and-corrupt-my-data"),
        HG_CHANGE,
        hg=HERE,
    ),
    Kind(
        "hg-revlog-v2",
        "hg --config experimental.revlogv2=enable-unstable-format-and-corrupt-my-data init .; hgcommit 1",
        HG_CHANGE,
        hg=HERE,
    ),
    Kind("hg-bookmarks-in-store", made("bookmarks-in-store=yes"), "hg bookmark b; hgcommit 3", hg=HERE, long=True),
    Kind(
        "hg-internal-phase",
        made("use-internal-phase=yes"),
        "hgcommit 3; echo x >all; hg shelve -q; hgcommit 4",
        hg=HERE,
        extensions=("shelve",),
        long=True,
    ),
    Kind("hg-archived-phase", made("exp-archived-phase=yes"), HG_CHANGE, hg=HERE, long=True),
    Kind(
        "hg-split-revlog",
        "hg init .; seq 40000 >big; hg add -q big; hgcommit 1",
        "awk 'BEGIN { srand(1); for (i = 0; i < 40000; i++) print rand() }' >big; hgcommit 2; seq 100000 >big; hgcommit 3",
        hg=HERE,
    ),
    Kind("hg-made-by-the-newest", TWO, HG_CHANGE, hg=HERE, newest="hg"),
    Kind("hg-delta-info", made("use-delta-info-flags=yes"), HG_CHANGE, hg=HERE, newest="hg", unproven=True),
    Kind(
        "hg-file-index",
        "hg --config format.use-fileindex-v1=yes --config storage.fileindex.slow-path=allow init .; "
        "printf '[storage]\\nfileindex.slow-path=allow\\n' >.hg/hgrc; hgcommit 1; hgcommit 2",
        HG_CHANGE,
        hg=HERE,
        newest="hg",
        unproven=True,
    ),
    Kind("hg-dirstate-v2-newest", made("use-dirstate-v2=yes"), "hg status >/dev/null; hgcommit 3", hg=HERE, newest="hg", long=True),
    Kind(
        "hg-unknown-requirement",
        f"{TWO}; echo future-thing >>.hg/requires",
        "echo 3 >all",
        hg=HERE,
        unproven=True,
    ),
]

LAYOUTS = [
    Kind(
        "hg-share",
        "hgrepository a; hg share -q a b",
        "cd b; hgcommit 3",
        hg=("a", "b"),
        extensions=("share",),
    ),
    Kind(
        "hg-share-relative",
        "hgrepository a; hg share -q --relative a b",
        "cd b; hgcommit 3; cd ../a; hgcommit 4",
        hg=("a", "b"),
        extensions=("share",),
        long=True,
    ),
    Kind(
        "hg-share-bookmarks",
        "hgrepository a; hg share -q -B a b",
        "cd b; hg bookmark x; hgcommit 3",
        hg=("a", "b"),
        extensions=("share",),
        long=True,
    ),
    Kind("hg-share-outside", "hgrepository $OUT/a; hg share -q $OUT/a b", "cd b; echo x >>all", extensions=("share",), long=True),
    Kind("hg-clones", "hgrepository a; hg clone -q a b", "cd b; hgcommit 3", hg=("a", "b")),
    Kind(
        "hg-clones-relinked",
        "hgrepository a; hg clone -q --pull a b; hg -R b relink -q a 2>/dev/null || true",
        "cd a; hgcommit 3",
        hg=("a", "b"),
        extensions=("relink",),
        long=True,
    ),
    Kind(
        "hg-subrepository",
        f"hgrepository sub; {TWO}; echo 'sub = sub' >.hgsub; hg add -q .hgsub; hg commit -q -m sub",
        "cd sub; hgcommit 3; cd ..; hgcommit 4",
        hg=("", "sub"),
    ),
    Kind(
        "hg-subrepository-git",
        f"repository sub; {TWO}; echo 'sub = [git]sub' >.hgsub; hg add -q .hgsub; hg --config subrepos.git:allowed=yes commit -q -m sub",
        "cd sub; commit 3",
        ("sub",),
        HERE,
    ),
    Kind("hg-nested", f"{TWO}; hgrepository in/ner", "cd in/ner; hgcommit 3", hg=("", "in/ner")),
    Kind(
        "hg-two-repositories", "hgrepository a; mkdir d; hgrepository d/b; echo 1 >note", "cd d/b; hgcommit 3", hg=("a", "d/b"), long=True
    ),
    Kind("hg-null-checkout", f"{TWO}; hg update -q null", "hg update -q 0", hg=HERE, long=True),
    Kind(
        "hg-case-collision",
        "hg init .; mkdir D d; echo 1 >README; echo 2 >readme; echo 1 >D/f; echo 2 >d/F; hg add -q 2>/dev/null; hgcommit 1",
        HG_CHANGE,
        hg=HERE,
    ),
    Kind(
        "hg-odd-names",
        "hg init .; for f in AUX con.txt 'a b' _x .dot; do echo $f >\"$f\"; done; echo x >\"$(printf 'caf\\351')\"; "
        "echo x >$(printf 'n%.0s' $(seq 200)); hg add -q 2>/dev/null; hgcommit 1",
        HG_CHANGE,
        hg=HERE,
    ),
    Kind(
        "hg-symlinks",
        f"{TWO}; ln -s file-1 l; ln -s /nonexistent dangling; chmod 755 all; hg add -q l dangling; hgcommit 3",
        "ln -sfn file-2 l; hgcommit 4",
        hg=HERE,
        long=True,
    ),
    Kind("hg-read-only-store", f"{TWO}; chmod -R a-w .hg/store/data", "chmod -R u+w .hg; hgcommit 3", hg=HERE, long=True),
]

EXTENSIONS = [
    Kind(
        "hg-largefiles",
        "hg init .; echo big >big; hg add -q --large big; hgcommit 1",
        "echo bigger >big; hgcommit 2",
        hg=HERE,
        extensions=("largefiles",),
    ),
    Kind(
        "hg-lfs",
        "hg init .; printf '[lfs]\\ntrack = size(\">1kB\")\\n' >>.hg/hgrc; seq 1000 >big; hg add -q big; hgcommit 1",
        "seq 1001 >big; hgcommit 2",
        hg=HERE,
        extensions=("lfs",),
    ),
    Kind(
        "hg-sparse",
        "hg init .; mkdir x y; echo 1 >x/f; echo 1 >y/f; hg add -q .; hgcommit 1; hg debugsparse --include x",
        "echo 2 >x/f; hg commit -q -m 2",
        hg=HERE,
        extensions=("sparse",),
    ),
    Kind(
        "hg-narrow",
        "hg init $OUT/w; (cd $OUT/w; mkdir x y; echo 1 >x/f; echo 1 >y/f; hg add -q .; hgcommit 1); "
        "printf '#!/bin/sh\\nshift\\nexec sh -c \"$*\"\\n' >$OUT/ssh; chmod 755 $OUT/ssh; "
        "hg --config ui.ssh=$OUT/ssh clone -q --narrow ssh://user@dummy/$OUT/w . --include x",
        "echo 2 >x/f; hg commit -q -m 2",
        hg=HERE,
        extensions=("narrow",),
    ),
    Kind(
        "hg-mq",
        f"{TWO}; hg qinit; echo p >p; hg add -q p; hg qnew patch1; echo q >>p; hg qrefresh; hg qnew patch2",
        "hg qpop -q; echo r >>p; hg qrefresh",
        hg=HERE,
        extensions=("mq",),
    ),
    Kind(
        "hg-mq-repository",
        f"{TWO}; hg qinit -c; echo p >p; hg add -q p; hg qnew patch1; hg --cwd .hg/patches add -q; hg --cwd .hg/patches commit -q -m patches",
        "hg qpop -q -a",
        hg=("", ".hg/patches"),
        extensions=("mq",),
        long=True,
    ),
    Kind(
        "hg-shelve", f"{TWO}; echo x >all; hg shelve -q", "echo y >all; hg shelve -q -n other; hgcommit 3", hg=HERE, extensions=("shelve",)
    ),
    Kind(
        "hg-obsolete",
        f"{TWO}; printf '[experimental]\\nevolution=all\\n' >>.hg/hgrc; hg commit -q --amend -m amended",
        "hgcommit 3; hg commit -q --amend -m again",
        hg=HERE,
    ),
    Kind("hg-secret", f"{TWO}; hg phase -q --secret -f tip; hg phase -q --public 0", "hg phase -q --draft tip; hgcommit 3", hg=HERE),
    Kind("hg-bookmarks", f"{TWO}; hg bookmark one; hg bookmark -r 0 two", "hgcommit 3; hg bookmark -q -d two", hg=HERE),
    Kind("hg-tags", f"{TWO}; hg tag t; hg tag --local l", "hg tag --remove t; hgcommit 3", hg=HERE, long=True),
    Kind(
        "hg-closed-branches",
        f"{TWO}; hg branch -q feature; hgcommit 3; hg commit -q --close-branch -m closed; hg update -q default",
        "hg branch -q again; hgcommit 4",
        hg=HERE,
    ),
    Kind(
        "hg-many-heads",
        "hg init .; for n in 1 2 3; do hg update -q null; echo $n >f$n; hg add -q f$n; hg commit -q -m $n; done",
        HG_CHANGE,
        hg=HERE,
        long=True,
    ),
    Kind("hg-stripped", f"{TWO}; hg strip -q tip", "hgcommit 4; hg strip -q tip", hg=HERE, extensions=("strip",)),
    Kind(
        "hg-clonebundles",
        f"{TWO}; hg bundle -q --all .hg/clone.hg; echo https://example.org/b.hg >.hg/clonebundles.manifest",
        HG_CHANGE,
        hg=HERE,
        long=True,
    ),
    Kind(
        "hg-eol",
        f"{TWO}; printf '[patterns]\\n** = native\\n' >.hgeol; hg add -q .hgeol; printf 'a\\r\\nb\\r\\n' >dos; hg add -q dos; hgcommit 3",
        HG_CHANGE,
        hg=HERE,
        long=True,
    ),
    Kind(
        "hg-hooks",
        f"{TWO}; printf '[hooks]\\nupdate = touch ran\\n' >>.hg/hgrc; echo x >.hg/file-of-mine; mkdir .hg/odd; echo x >.hg/odd/file",
        "echo y >.hg/file-of-mine; hgcommit 3",
        hg=HERE,
        long=True,
    ),
    Kind(
        "hg-git",
        f"{TWO}; git init -q --bare .hg/git; git -C .hg/git commit-tree -m m $(git -C .hg/git mktree </dev/null) >o; "
        f"git -C .hg/git update-ref refs/heads/main $(cat o); echo \"$(cat o) $(hg log -r 0 -T '{{node}}')\" >.hg/git-mapfile",
        HG_CHANGE,
        git=(".hg/git",),
        hg=HERE,
        long=True,
    ),
]

STATES = [
    Kind(
        "hg-merging", f"{BRANCHED}; hg merge -q --tool :fail || true", "echo r >all; hg resolve -q --mark; hg commit -q -m merged", hg=HERE
    ),
    Kind("hg-rebasing", f"{BRANCHED}; hg rebase -q -d 1 --tool :fail || true", "hg rebase -q --abort", hg=HERE, extensions=("rebase",)),
    Kind(
        "hg-histediting",
        f"{TWO}; hgcommit 3; for n in 1 2; do echo \"edit $(hg log -r $n -T '{{node|short}}') x\"; done >$OUT/plan; "
        f"hg histedit -q -r 1 --commands $OUT/plan >/dev/null 2>&1 || true",
        "hg histedit -q --abort",
        hg=HERE,
        extensions=("histedit",),
    ),
    Kind("hg-grafting", f"{BRANCHED}; hg graft -q 1 --tool :fail 2>/dev/null || true", "hg graft -q --abort", hg=HERE, long=True),
    Kind("hg-updating", f"{TWO}; echo dirty >all; hg update -q 0 --tool :fail || true", "hg update -q -C 1", hg=HERE, long=True),
    Kind("hg-bisecting", f"{TWO}; hgcommit 3; hg bisect -q --bad 2; hg bisect -q --good 0", "hg bisect --reset", hg=HERE, long=True),
    Kind(
        "hg-dirty",
        f"{TWO}; echo dirty >all; rm file-1; echo new >untracked; hg add -q untracked",
        "hg revert -q all; hg commit -q -m 3 -A",
        hg=HERE,
        long=True,
    ),
    Kind(
        "hg-locked",
        f"{TWO}; ln -s host:99999 .hg/store/lock; ln -s host:99999 .hg/wlock",
        "rm .hg/store/lock .hg/wlock; hgcommit 3",
        hg=HERE,
        transient=("lock", "wlock"),
    ),
    Kind(
        "hg-interrupted",
        f"{TWO}; cp .hg/store/00changelog.i $OUT/log; hgcommit 3; printf '00changelog.i\\0%s\\n' $(stat -c %s $OUT/log) >.hg/store/journal",
        "rm .hg/store/journal; hgcommit 4",
        hg=HERE,
        transient=("journal*",),
    ),
]

KINDS = [*FORMATS, *LAYOUTS, *EXTENSIONS, *STATES]
